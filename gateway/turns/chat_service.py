"""What the routes use: opens turns, cancels runs, checks readiness, turns handles into threads and back."""

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from gateway.access.callers import Caller
from gateway.access.handles import create_handles
from gateway.backends import create_backend
from gateway.backends.base import Backend
from gateway.errors import GatewayError, NoActiveRun, NotConfigured, Overloaded, ShuttingDown, UpstreamTimeout
from gateway.events import Event, Handle, Thread, Turn
from gateway.settings import Settings
from gateway.telemetry.names import OPEN_TURNS, PREPARED_CONVERSATIONS
from gateway.telemetry.reporter import Reporter
from gateway.telemetry.turn_record import RequestInfo, TurnRecord, record_events
from gateway.turns.readiness import Readiness
from gateway.turns.run_turn import TurnTimeout, run_turn
from gateway.turns.turn_registry import TurnRegistry

_log = logging.getLogger(__name__)

DEFAULT_STREAMS_PER_CALLER = 8
_CANCEL_TIMEOUT_S = 9.0


def _freeze_startup_objects() -> None:
    """Freeze what is there after the start, so that full GC passes skip it (each took about 50 ms).

    Open streams are many small objects: with the default threshold a few hundred new ones would start full passes.
    """
    gc.freeze()
    gc.set_threshold(10_000, 10, 20)


class OpenTurn:
    """An open turn. `events` can be read once, in batches."""

    def __init__(self, events: AsyncGenerator[list[Event]], on_close: Callable[[], None]) -> None:
        self.events = events
        self._on_close = on_close

    async def aclose(self) -> None:
        """End the run upstream if it has not ended, and free its slot among `MAX_STREAMS`."""
        try:
            await self.events.aclose()
        finally:
            self._on_close()


class ChatService:
    """A service, created once. `backend`: used, and closed, instead of the one that the settings name."""

    def __init__(self, settings: Settings, backend: Backend | None = None) -> None:
        self.settings = settings
        self.turns = TurnRegistry(settings.max_streams)
        self.readiness = Readiness()
        self._handles = create_handles(settings)
        self.reporter = Reporter(
            settings, {OPEN_TURNS: self.turns.__len__, PREPARED_CONVERSATIONS: self._count_prepared}
        )
        self._injected = backend
        self._backend: asyncio.Task[Backend] | None = None

    async def get_backend(self) -> Backend:
        """Wait for just what a turn needs. Raises NotConfigured, ShuttingDown."""
        if self._backend is None:
            raise ShuttingDown("not open")
        return await asyncio.shield(self._backend)

    def from_handle(self, handle: Handle, caller: Caller) -> Thread:
        """Return the conversation whose handle the caller sent. Raises ConversationNotFound."""
        return self._handles.from_handle(handle, caller.subject)

    async def open_turn(
        self, turn: Turn, caller: Caller, request: RequestInfo, deadline_s: float | None = None
    ) -> OpenTurn:
        """Open a turn. Whoever opens it closes it.

        Raises NotConfigured, ShuttingDown, RateLimited, Overloaded.
        """
        timeout = TurnTimeout(self.settings.upstream_idle_timeout_s, deadline_s)
        record = self.reporter.begin_turn(turn, request)
        try:
            self.turns.open(timeout, caller.rate_limit_key, self._stream_limit(caller))
            backend = await self.get_backend()
        except BaseException as e:
            if isinstance(e, GatewayError):
                record.fail(e)
            self._close_turn(timeout, record)
            raise

        def to_handle(thread: Thread) -> Handle:
            record.thread_id = thread.id  # handles are never logged
            return self._handles.to_handle(thread, caller.subject)

        events = record_events(run_turn(backend, turn, timeout, to_handle), record)
        return OpenTurn(events, lambda: self._close_turn(timeout, record))

    async def cancel(self, thread: Thread) -> None:
        """Stop the conversation's active run.

        Raises NoActiveRun, NotConfigured, ShuttingDown, and what the upstream's requests raise; UpstreamTimeout in time
        for the contract's 10 s.
        """
        try:
            async with asyncio.timeout(_CANCEL_TIMEOUT_S):
                backend = await self.get_backend()
                if "cancel" not in backend.abilities:
                    raise NoActiveRun("this upstream cannot stop a run")
                with self.reporter.outside_turns():
                    await backend.cancel(thread)
        except TimeoutError as e:
            raise UpstreamTimeout("no answer to a cancel") from e

    def _stream_limit(self, caller: Caller) -> int | None:
        """Return how many streams this caller may have open; None means no limit."""
        configured = self.settings.max_streams_per_caller
        if configured is None and caller.is_loopback:
            return None  # a local reverse proxy makes all its users look like one caller
        return configured or DEFAULT_STREAMS_PER_CALLER

    async def check_ready(self) -> None:
        """Raise the GatewayError that a turn would meet now. What this replica itself cannot do is never cached."""
        if self.turns.draining:
            raise ShuttingDown()
        if self.turns.is_full:
            raise Overloaded(f"{len(self.turns)} open turns")
        with self.reporter.outside_turns():
            await self.readiness.check(await self.get_backend(), self.settings.upstream_idle_timeout_s)

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        """Create and warm up the backend while the service already listens; close it at the end."""
        with self.reporter.outside_turns():
            self._backend = asyncio.create_task(self._create_backend())
            warm_up = asyncio.create_task(self._warm_up())
        async with self.reporter.lifespan(warm_up, self.turns.wait_until_empty):
            try:
                yield
            finally:
                warm_up.cancel()
                await asyncio.gather(warm_up, return_exceptions=True)
                with self.reporter.outside_turns():
                    await self._close(self._backend)

    async def _create_backend(self) -> Backend:
        return self._injected or await create_backend(self.settings)

    async def _warm_up(self) -> None:
        try:
            backend = await self.get_backend()
            await backend.warm()
            _freeze_startup_objects()
            self.reporter.record_start()
        except NotConfigured as e:
            _log.warning("%s", e.public_message)
        except GatewayError as e:
            _log.warning("warm-up failed, not ready yet: %s (%s)", e.code, e)

    def _close_turn(self, timeout: TurnTimeout, record: TurnRecord) -> None:
        self.turns.close(timeout)
        self.reporter.end_turn(record)

    def _count_prepared(self) -> int:
        backend_task = self._backend
        if backend_task is None or not backend_task.done() or backend_task.cancelled() or backend_task.exception():
            return 0
        backend = backend_task.result()
        return backend.count_prepared() if "prepare" in backend.abilities else 0

    async def _close(self, backend_task: asyncio.Task[Backend]) -> None:
        try:
            backend = await backend_task
        except GatewayError:
            return
        await backend.aclose()
