"""Conversations made ahead, so that a first turn costs one round trip instead of two. docs/decisions/0004."""

import asyncio
import contextvars
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from gateway.errors import GatewayError

_log = logging.getLogger(__name__)

_FRESH_S = 3_600.0  # an older one is not worth the risk that somebody has cleaned it away
_GIVE_BACK_S = 2.0


class Stock:
    """`make` makes a conversation and gives its id, `drop` deletes one. Both raise only GatewayError."""

    def __init__(self, size: int, make: Callable[[], Awaitable[str]], drop: Callable[[str], Awaitable[object]]) -> None:
        self._size = size
        self._make = make
        self._drop = drop
        self._nobodys = contextvars.copy_context()  # a refill belongs to no turn, in the log and in traces
        self._ahead: deque[tuple[float, asyncio.Task[str | None]]] = deque()

    def refill(self) -> None:
        """In the background: never on the way of a request."""
        while len(self._ahead) < self._size:
            self._ahead.append((time.monotonic(), asyncio.create_task(self._made(), context=self._nobodys)))

    async def take(self) -> str | None:
        """None where there is none, or the upstream refused. Waits for one that is just being made."""
        while self._ahead:
            made_at, making = self._ahead.popleft()
            if time.monotonic() - made_at > _FRESH_S:
                continue
            try:
                thread_id = await asyncio.shield(making)
            except asyncio.CancelledError:
                self._ahead.appendleft((made_at, making))
                raise
            if thread_id:
                return thread_id
        return None

    async def ready(self) -> None:
        """Until those in the making are made, or refused."""
        if self._ahead:
            await asyncio.wait([making for _, making in self._ahead])  # not gather: who waits no longer cancels nothing

    async def aclose(self) -> None:
        """Gives back what nobody used. Best effort, bounded."""
        with suppress(TimeoutError, GatewayError):
            async with asyncio.timeout(_GIVE_BACK_S):
                while self._ahead:
                    if thread_id := await self._ahead.popleft()[1]:
                        await self._drop(thread_id)

    async def _made(self) -> str | None:
        try:
            return await self._make()
        except GatewayError as e:
            _log.info("no conversation ahead: %s (%s)", e.code, e)
            return None

    def __len__(self) -> int:
        return len(self._ahead)
