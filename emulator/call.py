"""What the handler of an endpoint is given."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp

from emulator.service import Service
from emulator.wire import Json


@dataclass(frozen=True, slots=True)
class Call:
    """One request that was let in: authenticated, its body parsed (`{}` when there is none)."""

    request: Request
    service: Service
    body: Json

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])

    @property
    def wants_stream(self) -> bool:
        return self.body.get("stream") is True


Handler = Callable[[Call], Awaitable[ASGIApp]]
