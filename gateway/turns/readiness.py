"""`GET /ready`: could a turn be answered now? Asked upstream, but remembered: probes come often."""

import asyncio
import time

from gateway.backends.base import Backend
from gateway.errors import GatewayError, UpstreamTimeout

_YES_S = 60.0
_NO_S = 5.0


class Readiness:
    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._until = 0.0
        self._failure: GatewayError | None = None

    async def ask(self, backend: Backend, timeout_s: float) -> None:
        """Raises the GatewayError that a turn would meet."""
        async with self._lock:
            if time.monotonic() >= self._until:
                self._failure = await _failure(backend, timeout_s)
                self._until = time.monotonic() + (_NO_S if self._failure else _YES_S)
            if self._failure:
                raise self._failure


async def _failure(backend: Backend, timeout_s: float) -> GatewayError | None:
    try:
        async with asyncio.timeout(timeout_s):
            await backend.check()
    except TimeoutError:
        return UpstreamTimeout("no answer to the check")
    except GatewayError as e:
        return e
    return None
