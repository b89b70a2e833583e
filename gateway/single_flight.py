"""A single flight: one task does the work for all who wait for its result."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Work that runs once however many wait for it. A failure reaches all who wait; the next call starts anew.

    A waiter that is cancelled does not cancel the flight. A failure for which nobody waits is not reported.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._work = work
        self._task: asyncio.Task[T] | None = None

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def result(self) -> T | None:
        """What the newest flight returned; None while it runs, and if it failed."""
        return self._task.result() if self._task and _has_succeeded(self._task) else None

    async def get(self) -> T:
        """Return what the newest flight returned, without another one. Raises what the work raises."""
        if self._task and _has_succeeded(self._task):
            return self._task.result()
        return await self.run()

    async def run(self) -> T:
        """Join the running flight, or start one. Raises what the work raises."""
        task = self.start()
        await asyncio.wait({task})  # unlike `shield`, it says nothing about a failure after its waiter has left
        return task.result()

    def start(self) -> asyncio.Task[T]:
        """Return the running flight, or start one in the background."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
            self._task.add_done_callback(_has_succeeded)
        return self._task

    async def aclose(self) -> None:
        """Cancel the running flight, and wait until it has ended."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})


def _has_succeeded(task: asyncio.Task[T]) -> bool:
    """Mark a failure as seen, or asyncio reports it as never retrieved."""
    return task.done() and not task.cancelled() and task.exception() is None
