"""Who may talk, by the setting AUTH. What is off is not imported."""

import asyncio
import importlib
from typing import Protocol

from starlette.datastructures import Headers

from gateway.errors import Unauthenticated
from gateway.settings import Settings

_CHALLENGE = 'Bearer realm="chat-api"'


class Identity(Protocol):
    async def owner(self, headers: Headers) -> str:
        """A name that is the same at each call of the same caller, and nobody else's, whatever they choose.

        Raises Unauthenticated, Forbidden; UpstreamUnavailable where it cannot be known now.
        """
        ...

    async def warm(self) -> None: ...
    async def aclose(self) -> None: ...


async def open_identity(settings: Settings) -> Identity:
    module = await asyncio.to_thread(importlib.import_module, f"gateway.access.identity.{settings.auth}")
    identity: Identity = module.opened(settings)
    return identity


def unauthenticated(cause: str, *, given: bool = True) -> Unauthenticated:
    """`given` says whether there was something to check. https://www.rfc-editor.org/rfc/rfc6750#section-3"""
    challenge = f'{_CHALLENGE}, error="invalid_token"' if given else _CHALLENGE
    return Unauthenticated(cause, headers={"www-authenticate": challenge})


def bearer_token(headers: Headers) -> str | None:
    given = headers.getlist("authorization")
    kind, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    return token.strip() if kind.lower() == "bearer" and token.strip() else None
