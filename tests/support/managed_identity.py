"""A managed identity on this machine, as Container Apps offers it: $IDENTITY_ENDPOINT and $IDENTITY_HEADER.

https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
"""

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.servers import serving

_SECRET = "secret of the container"
_A_TOKEN: Any = object()


class Identity:
    def __init__(self, *, refuses: int | None, times: int | None, says: Any) -> None:
        self._refuses = refuses
        self._times = times
        self.says = says
        self.asked: list[dict[str, str]] = []
        """The query of each request for a token."""
        self.app = Starlette(routes=[Route("/msi/token", self._answer)])

    async def _answer(self, request: Request) -> Response:
        self.asked.append(dict(request.query_params))
        if self._refuses and (self._times is None or len(self.asked) <= self._times):
            later = {"retry-after": "30"} if self._refuses == 429 else {}
            return JSONResponse({"message": "No User Assigned or Delegated Managed Identity"}, self._refuses, later)
        if request.headers.get("x-identity-header") != _SECRET:
            return JSONResponse({"message": "who are you?"}, 401)
        return JSONResponse(_token(request.query_params["resource"]) if self.says is _A_TOKEN else self.says)


def _token(resource: str) -> dict[str, str]:
    expires_on = str(int(time.time()) + 86_400)
    return {
        "access_token": "token-of-the-identity",
        "expires_on": expires_on,
        "resource": resource,
        "token_type": "Bearer",
    }


@contextmanager
def identified(
    monkeypatch: pytest.MonkeyPatch, *, refuses: int | None = None, times: int | None = None, says: Any = _A_TOKEN
) -> Generator[Identity]:
    """Within it, this process has a managed identity. `refuses`: a status, the first `times` times or always.

    `says`: any JSON, instead of a token.
    """
    identity = Identity(refuses=refuses, times=times, says=says)
    with serving(identity.app) as url, monkeypatch.context() as environment:
        environment.setenv("IDENTITY_ENDPOINT", f"{url}/msi/token")
        environment.setenv("IDENTITY_HEADER", _SECRET)
        yield identity
