"""What the routes use: opens turns, cancels runs, checks readiness, turns handles into threads and back."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial

from gateway.access.callers import Caller
from gateway.access.handles import create_handles
from gateway.backends import create_backend
from gateway.backends.base import Backend
from gateway.errors import (
    Cancelled,
    GatewayError,
    MessageTooLarge,
    NoActiveRun,
    NotConfigured,
    Overloaded,
    ShuttingDown,
    UpstreamTimeout,
)
from gateway.events import Handle, Thread, Turn, TurnRequest
from gateway.settings import Settings
from gateway.single_flight import SingleFlight
from gateway.telemetry.names import OPEN_TURNS, PREPARED_CONVERSATIONS
from gateway.telemetry.reporter import Reporter
from gateway.telemetry.turn_record import RequestInfo
from gateway.turns.open_turn import OpenTurn
from gateway.turns.readiness import Readiness
from gateway.turns.run_turn import TurnTimeout, run_turn
from gateway.turns.turn_registry import TurnRegistry

_log = logging.getLogger(__name__)

DEFAULT_STREAMS_PER_CALLER = 8
_CANCEL_TIMEOUT_S = 9.0


class ChatService:
    """A service, created once. `backend`: used, and closed, instead of the one that the settings name.

    `on_warm` is called once, when the first turn could be answered.
    """

    def __init__(
        self, settings: Settings, backend: Backend | None = None, on_warm: Callable[[], None] = lambda: None
    ) -> None:
        self.settings = settings
        self.turns = TurnRegistry(settings.max_streams)
        self.readiness = Readiness()
        self._handles = create_handles(settings)
        self.reporter = Reporter(
            settings, {OPEN_TURNS: self.turns.__len__, PREPARED_CONVERSATIONS: self._count_prepared}
        )
        self._injected = backend
        self._on_warm = on_warm
        self._backend: SingleFlight[Backend] | None = None

    async def get_backend(self) -> Backend:
        """Wait for just what a turn needs. Raises NotConfigured, ShuttingDown."""
        if self._backend is None:
            raise ShuttingDown("not open")
        return await self._backend.get()

    def from_handle(self, handle: Handle, caller: Caller) -> Thread:
        """Return the conversation whose handle the caller sent. Raises ConversationNotFound."""
        return self._handles.from_handle(handle, caller.subject)

    @asynccontextmanager
    async def open_turn(
        self, request: TurnRequest, caller: Caller, info: RequestInfo, deadline_s: float | None = None
    ) -> AsyncGenerator[OpenTurn]:
        """Open a turn, which ends with the context, upstream too. Whoever enters it owns the turn.

        `deadline_s`: how long the turn may take in all, None for any time. Raises MessageTooLarge,
        ConversationNotFound, NotConfigured, ShuttingDown, RateLimited, Overloaded.
        """
        thread = self.from_handle(request.thread_id, caller) if request.thread_id else None
        if len(request.message.strip()) > self.settings.max_message_chars:
            raise MessageTooLarge(f"{len(request.message)} characters")
        turn = Turn(request.message, thread, request.conversation_id)
        record = self.reporter.begin_turn(turn, info)
        timeout = TurnTimeout(self.settings.upstream_idle_timeout_s, deadline_s)
        open_turn = OpenTurn(caller, timeout, record, turn.thread_id)
        try:
            self.turns.open(open_turn, self._stream_limit(caller))
            events = run_turn(await self.get_backend(), turn, timeout, partial(self._to_handle, open_turn))
            async with aclosing(events):
                open_turn.events = events
                yield open_turn
        except GatewayError as e:
            record.fail(e)
            raise
        finally:
            self.turns.close(open_turn)
            self.reporter.end_turn(record)

    def _to_handle(self, turn: OpenTurn, thread: Thread) -> Handle:
        turn.thread_ids.add(thread.id)
        turn.record.thread_id = thread.id  # handles are never logged
        return self._handles.to_handle(thread, turn.caller.subject)

    async def cancel(self, handle: Handle, caller: Caller) -> None:
        """Stop the conversation's active run: on any replica if the upstream can, else only if this one relays it.

        Raises ConversationNotFound, NoActiveRun, NotConfigured, ShuttingDown, and what the upstream's requests raise;
        UpstreamTimeout in time for the contract's 10 s.
        """
        thread = self.from_handle(handle, caller)
        open_turns = self.turns.find(caller.subject, thread.id)
        try:
            async with asyncio.timeout(_CANCEL_TIMEOUT_S):
                await self._cancel_upstream(thread)
        except NoActiveRun:
            if not open_turns:
                raise
            for turn in open_turns:
                turn.end(Cancelled("by the caller"))
        except TimeoutError as e:
            raise UpstreamTimeout("no answer to a cancel") from e

    async def _cancel_upstream(self, thread: Thread) -> None:
        """Cancel the run by a request: its stream, on whichever replica, then ends by the run's own event."""
        backend = await self.get_backend()
        if "cancel" not in backend.abilities:
            raise NoActiveRun("this upstream cannot stop a run of another replica")
        with self.reporter.outside_turns():
            await backend.cancel(thread)

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
            self._backend = SingleFlight(self._create_backend)
            self._backend.start()
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
            self._on_warm()
            self.reporter.record_start()
        except NotConfigured as e:
            _log.warning("%s", e.public_message)
        except GatewayError as e:
            _log.warning("warm-up failed, not ready yet: %s (%s)", e.code, e)

    def _count_prepared(self) -> int:
        backend = self._backend.result if self._backend else None
        return backend.count_prepared() if backend and "prepare" in backend.abilities else 0

    async def _close(self, creation: SingleFlight[Backend]) -> None:
        try:
            backend = await creation.get()
        except GatewayError:
            return
        await backend.aclose()
