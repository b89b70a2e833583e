"""What the routes share: made once, opened and closed with the process."""

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from gateway.access.callers import Caller
from gateway.access.handles import threads_for
from gateway.backends import open_backend
from gateway.backends.base import Backend, Stocked
from gateway.errors import GatewayError, NotConfigured, ShuttingDown
from gateway.events import Event, Turn
from gateway.settings import Settings
from gateway.telemetry.names import OPEN_TURNS, STOCK
from gateway.telemetry.reporter import Reporter
from gateway.telemetry.turn_record import Asked, TurnRecord, noted
from gateway.turns.readiness import Readiness
from gateway.turns.run_turn import Clock, run_turn
from gateway.turns.turn_registry import OpenTurns

_log = logging.getLogger(__name__)

_MOST_PER_CALLER = 8


def _settle() -> None:
    """What is here now stays: a full collection would go through it, 50 ms at a time. And open streams are many small
    objects: by default a few hundred new ones would set off full collections as long as that."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 20)


class OpenTurn:
    """Its events once, in batches."""

    def __init__(self, events: AsyncGenerator[list[Event]], closed: Callable[[], None]) -> None:
        self.events = events
        self._closed = closed

    async def aclose(self) -> None:
        """Ends the run upstream where it has not ended, and gives its place free."""
        try:
            await self.events.aclose()
        finally:
            self._closed()


class Service:
    def __init__(self, settings: Settings, backend: Backend | None = None) -> None:
        self.settings = settings
        self.turns = OpenTurns(settings.max_streams)
        self.readiness = Readiness()
        self._threads = threads_for(settings)
        self.reporter = Reporter(settings, {OPEN_TURNS: self.turns.__len__, STOCK: self._ahead})
        self._given = backend
        self._opening: asyncio.Task[Backend] | None = None

    async def backend(self) -> Backend:
        """Waits for just what a turn needs. Raises NotConfigured, ShuttingDown."""
        if self._opening is None:
            raise ShuttingDown("not open")
        return await asyncio.shield(self._opening)

    def thread_id(self, handle: str, caller: Caller) -> str:
        """The upstream's, of what the caller sent as `thread_id`. Raises ConversationNotFound."""
        return self._threads.thread_id(handle, caller.owner)

    async def open_turn(self, turn: Turn, caller: Caller, asked: Asked, deadline_s: float | None = None) -> "OpenTurn":
        """Whoever opens it closes it. Raises NotConfigured, ShuttingDown, RateLimited, Overloaded."""
        clock = Clock(self.settings.upstream_idle_timeout_s, deadline_s)
        record = self.reporter.begin(turn, asked)
        try:
            self.turns.open(clock, caller.counted, self._most_of(caller))
            backend = await self.backend()
        except BaseException as e:
            if isinstance(e, GatewayError):
                record.fail(e.code)
            self._close_turn(clock, record)
            raise

        def handle(thread_id: str) -> str:
            record.thread_id = thread_id  # what the caller holds instead of it is for no log
            return self._threads.handle(thread_id, caller.owner)

        events = noted(run_turn(backend, turn, clock, handle), record)
        return OpenTurn(events, lambda: self._close_turn(clock, record))

    async def cancel(self, thread_id: str) -> bool:
        """False where nothing runs. Raises NotConfigured, ShuttingDown."""
        with self.reporter.beside_turns():
            return await (await self.backend()).cancel(thread_id)

    def _most_of(self, caller: Caller) -> int | None:
        """Unless it is said, this machine itself is not limited: a proxy on it speaks for many."""
        most = self.settings.max_streams_per_caller
        return most if most or caller.is_local else _MOST_PER_CALLER

    async def ready(self) -> None:
        """Raises the GatewayError that a turn would meet now."""
        if self.turns.draining:
            raise ShuttingDown()
        with self.reporter.beside_turns():
            await self.readiness.ask(await self.backend(), self.settings.upstream_idle_timeout_s)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """The socket listens first; the backend opens and warms up behind it."""
        with self.reporter.beside_turns():
            self._opening = asyncio.create_task(self._open())
            warming = asyncio.create_task(self._warm())
        async with self.reporter.opened(warming, self.turns.none_left):
            try:
                yield
            finally:
                warming.cancel()
                await asyncio.gather(warming, return_exceptions=True)
                with self.reporter.beside_turns():
                    await self._close(self._opening)

    async def _open(self) -> Backend:
        return self._given or await open_backend(self.settings)

    async def _warm(self) -> None:
        try:
            backend = await self.backend()
            await backend.warm()
            _settle()
            self.reporter.warmed()
        except NotConfigured as e:
            _log.warning("%s", e.public_message)
        except GatewayError as e:
            _log.warning("not ready yet: %s (%s)", e.code, e)

    def _close_turn(self, clock: Clock, record: TurnRecord) -> None:
        self.turns.close(clock)
        self.reporter.end(record)

    def _ahead(self) -> int:
        opening = self._opening
        if opening is None or not opening.done() or opening.cancelled() or opening.exception():
            return 0
        backend = opening.result()
        return backend.ahead() if isinstance(backend, Stocked) else 0

    async def _close(self, opening: asyncio.Task[Backend]) -> None:
        try:
            backend = await opening
        except GatewayError:
            return
        await backend.aclose()
