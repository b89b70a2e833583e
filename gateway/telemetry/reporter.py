"""Reports ended turns and upstream calls: to the log at once, to OpenTelemetry once that is loaded.

Loading waits for the warm-up and for a moment without an open turn: it takes a core for a while, and a first chunk
must not wait for it. Until then the newest records are queued. Nothing here waits for a collector, or can end a turn.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from gateway.events import Turn
from gateway.settings import Settings
from gateway.telemetry.destination import destination_from_settings, upstream_info_from_settings
from gateway.telemetry.logs import locate_error
from gateway.telemetry.trace_context import SpanIds, start_trace
from gateway.telemetry.turn_record import RequestInfo, TurnRecord
from gateway.telemetry.upstream_calls import UpstreamCall, current_listener

if TYPE_CHECKING:
    from gateway.telemetry.otel import Otel

_log = logging.getLogger(__name__)

_QUEUE_SIZE = 1_000
_IDLE_TIMEOUT_S = 10.0  # a service that is never idle loads after this time
_FLUSH_TIMEOUT_S = 4.0

Gauges = dict[str, Callable[[], int]]
"""What is read when metrics are exported: metric name → its value now."""


class Reporter:
    """A reporter of turns, and the listener of upstream calls that belong to none."""

    def __init__(self, settings: Settings, gauges: Gauges) -> None:
        self._destination = destination_from_settings(settings)
        self.traced = bool(self._destination)
        self._upstream = upstream_info_from_settings(settings)
        self._capture_text = settings.otel_instrumentation_genai_capture_message_content
        self._gauges = gauges
        self._flush_s = min(_FLUSH_TIMEOUT_S, settings.drain_s)  # the rest of it is used up by each flush
        self._queue: deque[Callable[[Otel], None]] = deque(maxlen=_QUEUE_SIZE)
        self._otel: Otel | None = None
        self._loading = threading.Lock()
        self._began = time.perf_counter()

    def begin_turn(self, turn: Turn, request: RequestInfo) -> TurnRecord:
        """Begin to record a turn and its upstream calls. Whoever begins it passes it to `end_turn`."""
        record = TurnRecord(
            turn, request, self.on_call_end, traced=self.traced, text=self._capture_text and self.traced
        )
        current_listener.set(record)
        return record

    def end_turn(self, record: TurnRecord) -> None:
        if record.close():
            fields = {"upstream": self._upstream.kind, **record.build_log_fields()}
            _log.info(
                "%s: %s in %d ms", record.request.route, record.ending, record.total_ms, extra=_build_log_extra(fields)
            )
            self._enqueue(lambda otel: otel.export_turn(record))

    def record_start(self) -> None:
        """Record the duration of the start: the first turn could be answered now."""
        start_s = time.perf_counter() - self._began
        self._enqueue(lambda otel: otel.record_start(start_s))

    @contextmanager
    def outside_turns(self) -> Generator[None]:
        """Make each upstream call in this context a trace of its own."""
        before = current_listener.set(self)
        try:
            yield
        finally:
            current_listener.reset(before)

    def create_span_ids(self) -> SpanIds:
        return start_trace()

    def on_call_begin(self, call: UpstreamCall) -> None: ...

    def on_call_end(self, call: UpstreamCall) -> None:
        self._enqueue(lambda otel: otel.export_call(call))

    @asynccontextmanager
    async def lifespan(
        self, warm_up: asyncio.Task[None], wait_until_idle: Callable[[], Awaitable[None]]
    ) -> AsyncGenerator[None]:
        """Load OpenTelemetry in the background, flush at the end: within 4 s, and within DRAIN_S."""
        if not self.traced:
            yield
            return
        loading = asyncio.create_task(self._load_when_idle(warm_up, wait_until_idle))
        try:
            yield
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            await self._finish()

    async def flush(self) -> None:
        if otel := self._otel:
            await self._run_bounded(otel.flush)

    async def _load_when_idle(
        self, warm_up: asyncio.Task[None], wait_until_idle: Callable[[], Awaitable[None]]
    ) -> None:
        await asyncio.wait([warm_up])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_IDLE_TIMEOUT_S):
                await wait_until_idle()
        await _run_in_thread(self._load, None)
        self._flush_queue()

    async def _finish(self) -> None:
        if self._queue and self._otel is None:  # a short-lived process reports, too
            await self._run_bounded(self._load)
        self._flush_queue()
        if otel := self._otel:
            self._otel = None
            await self._run_bounded(otel.close)

    async def _run_bounded(self, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        await _run_in_thread(work, self._flush_s)
        self._flush_s = max(0.0, self._flush_s - (time.perf_counter() - began))

    def _load(self) -> None:
        with self._loading:
            if self._otel or not self.traced:
                return
            self._otel = self._create_otel()

    def _create_otel(self) -> "Otel | None":
        from gateway.telemetry.otel import Otel  # noqa: PLC0415  not before something is to be sent

        try:
            return Otel(self._destination, self._upstream, self._gauges)
        except Exception as e:  # noqa: BLE001  an invalid connection string must not end the service
            self.traced = False
            _log.error("telemetry disabled: %s", locate_error(e))
            return None

    def _enqueue(self, report: "Callable[[Otel], None]") -> None:
        if self.traced:
            self._queue.append(report)
            self._flush_queue()

    def _flush_queue(self) -> None:
        while self._queue and self._otel:
            try:
                self._queue.popleft()(self._otel)
            except Exception as e:  # noqa: BLE001  telemetry must never end a turn
                _log.error("unhandled exception in telemetry: %s", locate_error(e))


def _build_log_extra(fields: dict[str, object]) -> dict[str, object]:
    return {"event": "turn", "fields": {name: value for name, value in fields.items() if value is not None}}


async def _run_in_thread(work: Callable[[], object], seconds: float | None) -> None:
    """Run `work` in a thread that the end of the process does not wait for: an exporter may hang."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def run() -> None:
        try:
            work()
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed: no one waits
                loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name="telemetry", daemon=True).start()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await done.wait()
