"""One turn: its time, its cleaning up, and its one ending. Backends raise; here it is decided what that becomes."""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from gateway.backends.base import Backend
from gateway.errors import GatewayError, InternalError, UpstreamTimeout, UpstreamUnavailable
from gateway.events import BackendEvent, Event, RunCompleted, RunFailed, RunStarted, Turn
from gateway.telemetry import place_of

_log = logging.getLogger(__name__)


class Clock:
    """How long one turn may wait: for each next event, and over all. Loop time, seconds.

    It is `asyncio.timeout` with one timer for the turn instead of one for each event, which would cost as much as
    the event itself: a timer that rings too early is set again.
    """

    def __init__(self, idle_timeout_s: float, deadline_s: float | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle_timeout_s = idle_timeout_s
        self._deadline = math.inf if deadline_s is None else self._loop.time() + deadline_s
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[Any] | None = None
        self._cancels_of_others: int | None = None
        self._ending: GatewayError | None = None

    def end(self, error: GatewayError) -> None:
        """The turn fails with `error` now, or as soon as it asks for its next event."""
        self._ending = error
        self._until = 0.0
        self._ring()

    async def next(self, answer: AsyncGenerator[list[BackendEvent]]) -> list[BackendEvent] | None:
        """None after the last. Raises UpstreamTimeout, or what `end` was told."""
        if self._ending:
            raise self._ending
        self._until = min(self._loop.time() + self._idle_timeout_s, self._deadline)
        if self._timer is None:
            self._timer = self._loop.call_at(self._until, self._ring)
        task = self._waiting = asyncio.current_task()
        try:
            return await anext(answer, None)
        except asyncio.CancelledError as e:
            if task is None or self._cancels_of_others is None or task.uncancel() > self._cancels_of_others:
                raise
            raise (self._ending or UpstreamTimeout("no event in time")) from e
        finally:
            self._waiting = None

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _ring(self) -> None:
        if self._loop.time() < self._until:
            self._timer = self._loop.call_at(self._until, self._ring)
        elif self._waiting is None:
            self._timer = None
        elif self._cancels_of_others is None:
            self._cancels_of_others = self._waiting.cancelling()
            self._waiting.cancel()


async def run_turn(
    backend: Backend, turn: Turn, clock: Clock, handle: Callable[[str], str] = str
) -> AsyncGenerator[list[Event]]:
    """Batches of events: RunStarted, any TextDelta, then exactly one RunCompleted or RunFailed.

    `handle` makes what the caller may know of the upstream's thread id, and is asked once.

    Raises GatewayError while nothing was yielded: then the answer can still be a status. Close it when the
    reader leaves: that ends the run upstream.
    """
    begun = False
    try:
        async with aclosing(backend.answer(turn)) as answer:
            while (events := await clock.next(answer)) is not None:
                if not events:
                    continue
                told: list[Event] = [*events] if begun else _opened(events, handle)
                begun = True
                yield told
                if isinstance(events[-1], RunCompleted):
                    return
        raise UpstreamUnavailable("the backend ended without an ending")
    except GatewayError as e:
        failure = e
    except Exception as e:  # noqa: BLE001  the one place that catches everything: a bug is an ending, too
        failure = InternalError(place_of(e))
    finally:
        clock.stop()
    if not begun:
        raise failure
    _log.warning("the run failed: %s (%s)", failure.code, failure)
    yield [RunFailed(failure.code, failure.public_message, failure.retryable, failure.retry_after_s)]


def _opened(events: list[BackendEvent], handle: Callable[[str], str]) -> list[Event]:
    return [replace(e, thread_id=handle(e.thread_id)) if isinstance(e, RunStarted) else e for e in events]
