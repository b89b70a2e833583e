"""A pool of prepared conversations, so that a first turn costs one round trip instead of two. docs/decisions/0004."""

import asyncio
import contextvars
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from gateway.errors import GatewayError
from gateway.events import ThreadId

_log = logging.getLogger(__name__)

_MAX_AGE_S = 3_600.0  # an older one may have been deleted upstream
_CLOSE_TIMEOUT_S = 2.0


class ConversationPool:
    """A pool. `create` creates a conversation and returns its id, `delete` deletes it; they raise only GatewayError."""

    def __init__(
        self, size: int, create: Callable[[], Awaitable[ThreadId]], delete: Callable[[ThreadId], Awaitable[object]]
    ) -> None:
        self._size = size
        self._create = create
        self._delete = delete
        self._background_context = contextvars.copy_context()  # in logs and traces a refill belongs to no turn
        self._prepared: deque[tuple[float, asyncio.Task[ThreadId | None]]] = deque()

    def refill(self) -> None:
        """Create what is missing, in the background: no request waits for it."""
        while len(self._prepared) < self._size:
            task = asyncio.create_task(self._try_create(), context=self._background_context)
            self._prepared.append((time.monotonic(), task))

    async def take(self) -> ThreadId | None:
        """Return a prepared conversation, None if there is none. Waits for one that is just being created."""
        while self._prepared:
            created_at, task = self._prepared.popleft()
            if time.monotonic() - created_at > _MAX_AGE_S:
                continue
            try:
                thread_id = await asyncio.shield(task)
            except asyncio.CancelledError:
                self._prepared.appendleft((created_at, task))
                raise
            if thread_id:
                return thread_id
        return None

    async def wait_until_filled(self) -> None:
        """Wait until all are created, or refused."""
        if self._prepared:
            await asyncio.wait([task for _, task in self._prepared])  # cancelling the waiter must not cancel the tasks

    async def aclose(self) -> None:
        """Delete what was not used. Best effort, bounded."""
        with suppress(TimeoutError, GatewayError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                while self._prepared:
                    if thread_id := await self._prepared.popleft()[1]:
                        await self._delete(thread_id)

    async def _try_create(self) -> ThreadId | None:
        try:
            return await self._create()
        except GatewayError as e:
            _log.info("could not pre-create a conversation: %s (%s)", e.code, e)
            return None

    def __len__(self) -> int:
        return len(self._prepared)
