"""What every way to sign in has in common: the interface, the challenge, the bearer token."""

from typing import Protocol

from starlette.datastructures import Headers

from gateway.errors import Unauthenticated

_CHALLENGE = 'Bearer realm="chat-api"'


class Identity(Protocol):
    async def authenticate(self, headers: Headers) -> str:
        """Return a stable, unique subject id. Callers must not be able to influence it.

        Raises Unauthenticated, Forbidden; UpstreamUnavailable if it cannot be decided now.
        """
        ...

    async def warm(self) -> None: ...
    async def aclose(self) -> None: ...


def unauthenticated_error(cause: str, *, given: bool = True) -> Unauthenticated:
    """Create the error with its challenge; `given`: there was something to check.

    https://www.rfc-editor.org/rfc/rfc6750#section-3
    """
    challenge = f'{_CHALLENGE}, error="invalid_token"' if given else _CHALLENGE
    return Unauthenticated(cause, headers={"www-authenticate": challenge})


def read_bearer_token(headers: Headers) -> str | None:
    """Return the token of the only Authorization header, None if there is no such token."""
    given = headers.getlist("authorization")
    kind, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    token = token.strip(" \t")  # and no other space: it may be a byte of a key, read as Latin-1
    return token if kind.lower() == "bearer" and token else None
