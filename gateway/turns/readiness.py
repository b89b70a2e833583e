"""`GET /ready`: could a turn be answered now? The upstream's answer is cached: probes come often."""

import asyncio
import logging
import time

from gateway.backends.base import Backend
from gateway.errors import GatewayError, InternalError, UpstreamTimeout
from gateway.telemetry import locate_error

_log = logging.getLogger(__name__)

_READY_CACHE_S = 60.0
_NOT_READY_CACHE_S = 5.0


class Readiness:
    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._expires_at = 0.0
        self._error: GatewayError | None = None

    async def check(self, backend: Backend, timeout_s: float) -> None:
        """Raise the GatewayError that a turn would meet now."""
        async with self._lock:
            if time.monotonic() >= self._expires_at:
                self._error = await _check(backend, timeout_s)
                self._expires_at = time.monotonic() + (_NOT_READY_CACHE_S if self._error else _READY_CACHE_S)
            if self._error:
                raise self._error


async def _check(backend: Backend, timeout_s: float) -> GatewayError | None:
    """Return the error, logged. Here, too, everything is caught: a probe gets 503 whatever failed."""
    try:
        async with asyncio.timeout(timeout_s):
            await backend.check()
    except TimeoutError:
        error: GatewayError = UpstreamTimeout("no answer to the readiness check")
    except GatewayError as e:
        error = e
    except Exception as e:  # noqa: BLE001
        error = InternalError(locate_error(e))
    else:
        return None
    _log.warning("not ready: %s (%s)", error.code, error)
    return error
