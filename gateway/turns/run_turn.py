"""One turn: its timeout, its cleanup, its one ending. Backends raise; here it is decided what that becomes."""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, cast

from gateway.backends.base import Backend
from gateway.errors import GatewayError, InternalError, UpstreamTimeout, UpstreamUnavailable
from gateway.events import (
    BackendEvent,
    Event,
    Handle,
    RunCompleted,
    RunFailed,
    RunStarted,
    Thread,
    Turn,
    TurnStarted,
)
from gateway.telemetry import locate_error

_log = logging.getLogger(__name__)


class ClientDisconnected(Exception):
    """The client is gone: a turn that fails with this has no ending that anybody could read."""


class TurnTimeout:
    """A bound on how long one turn waits: for each next event, and in total. Loop time, seconds.

    It is `asyncio.timeout` with one timer for the turn instead of one for each event, which would cost as much as
    the event itself: a timer that fires too early is set again.
    """

    def __init__(self, idle_timeout_s: float, deadline_s: float | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle_timeout_s = idle_timeout_s
        self._deadline = math.inf if deadline_s is None else self._loop.time() + deadline_s
        self._expires_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[Any] | None = None
        self._cancelling_before: int | None = None
        self._end_error: Exception | None = None

    def end(self, error: Exception) -> None:
        """Make the turn fail with `error` now, or as soon as it asks for its next event. The first error counts."""
        self._end_error = self._end_error or error
        self._expires_at = 0.0
        self._expire()

    async def wait_for_events(self, answer: AsyncGenerator[list[BackendEvent]]) -> list[BackendEvent] | None:
        """Return the next batch, None after the last. Raises UpstreamTimeout, or the error given to `end`."""
        if self._end_error:
            raise self._end_error
        now = self._loop.time()
        if now >= self._deadline:
            raise UpstreamTimeout("the deadline passed")
        self._expires_at = min(now + self._idle_timeout_s, self._deadline)
        if self._timer is None:
            self._timer = self._loop.call_at(self._expires_at, self._expire)
        task = self._waiting = asyncio.current_task()
        try:
            return await anext(answer, None)
        except asyncio.CancelledError as e:
            if task is None or self._cancelling_before is None or task.uncancel() > self._cancelling_before:
                raise
            raise (self._end_error or UpstreamTimeout("no event in time")) from e
        finally:
            self._waiting = None

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _expire(self) -> None:
        if self._loop.time() < self._expires_at:
            self._timer = self._loop.call_at(self._expires_at, self._expire)
        elif self._waiting is None:
            self._timer = None
        elif self._cancelling_before is None:
            self._cancelling_before = self._waiting.cancelling()
            self._waiting.cancel()


async def run_turn(
    backend: Backend, turn: Turn, turn_timeout: TurnTimeout, to_handle: Callable[[Thread], Handle]
) -> AsyncGenerator[list[Event]]:
    """Yield batches of events: TurnStarted, any TextDelta, then exactly one RunCompleted or RunFailed.

    `to_handle` gives the caller's handle of the conversation, and is called once.

    Raises GatewayError while nothing was yielded: then the answer can still be a status; and ClientDisconnected, if
    that was given to `turn_timeout.end`. Closing it ends the run upstream.
    """
    has_started = False
    try:
        async with aclosing(backend.answer(turn)) as answer:
            while (events := await turn_timeout.wait_for_events(answer)) is not None:
                if not events:
                    continue
                outgoing = cast("list[Event]", events) if has_started else _start_turn(events, to_handle)
                has_started = True
                yield outgoing
                if isinstance(events[-1], RunCompleted):
                    return
        raise UpstreamUnavailable("the backend ended without a final event")
    except ClientDisconnected:
        raise
    except GatewayError as e:
        error = e
    except Exception as e:  # noqa: BLE001  an unhandled exception is an ending, too
        error = InternalError(locate_error(e))
    finally:
        turn_timeout.stop()
    if not has_started:
        raise error
    _log.warning("turn failed: %s (%s)", error.code, error)
    error.__traceback__ = None  # as in ErrorMiddleware
    yield [RunFailed(error)]


def _start_turn(events: list[BackendEvent], to_handle: Callable[[Thread], Handle]) -> list[Event]:
    return [
        TurnStarted(to_handle(e.thread), e.run_id, outlives_failure=not e.thread.is_chain)
        if isinstance(e, RunStarted)
        else e
        for e in events
    ]
