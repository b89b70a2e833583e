"""Takes what was noted of turns and upstream calls: to the log at once, to OpenTelemetry when that is loaded.

Loading waits for the warm-up and for a moment without an open turn: it takes a core for a while, and a first chunk
must not wait for it. Until then the newest records are kept; never does anything here wait for a collector.
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
from gateway.telemetry.destination import answering_of, destination_of
from gateway.telemetry.logs import place_of
from gateway.telemetry.trace_context import Place, root
from gateway.telemetry.turn_record import Asked, TurnRecord
from gateway.telemetry.upstream_calls import UpstreamCall, listening

if TYPE_CHECKING:
    from gateway.telemetry.otel import Otel

_log = logging.getLogger(__name__)

_KEPT = 1_000
_QUIET_S = 10.0  # a service that is never quiet loads after so long
_FLUSH_S = 4.0

Figures = dict[str, Callable[[], int]]
"""What is read when figures are exported: metric name → its value now."""


class Reporter:
    """Also listens to the upstream calls that belong to no turn."""

    def __init__(self, settings: Settings, figures: Figures) -> None:
        self._destination = destination_of(settings)
        self.traced = bool(self._destination)
        self._answering = answering_of(settings)
        self._capture_text = settings.otel_instrumentation_genai_capture_message_content
        self._figures = figures
        self._flush_s = min(_FLUSH_S, settings.drain_s)  # what is left of it
        self._kept: deque[Callable[[Otel], None]] = deque(maxlen=_KEPT)
        self._otel: Otel | None = None
        self._loading = threading.Lock()
        self._began = time.perf_counter()

    def begin(self, turn: Turn, asked: Asked) -> TurnRecord:
        """The turn's upstream calls are noted from here on; whoever begins it hands it to `end`."""
        record = TurnRecord(turn, asked, self.call_ended, traced=self.traced, text=self._capture_text and self.traced)
        listening.set(record)
        return record

    def end(self, record: TurnRecord) -> None:
        if record.close():
            fields = {"upstream": self._answering.kind, **record.fields()}
            _log.info("%s: %s in %d ms", record.asked.route, record.ending, record.total_ms, extra=_turn_line(fields))
            self._pass_on(lambda otel: otel.turn(record))

    def warmed(self) -> None:
        """The first turn could be answered now."""
        start_s = time.perf_counter() - self._began
        self._pass_on(lambda otel: otel.started(start_s))

    @contextmanager
    def beside_turns(self) -> Generator[None]:
        """What is asked of the upstream in here is a trace of its own."""
        before = listening.set(self)
        try:
            yield
        finally:
            listening.reset(before)

    def place_below(self) -> Place:
        return root()

    def call_begun(self, call: UpstreamCall) -> None: ...

    def call_ended(self, call: UpstreamCall) -> None:
        self._pass_on(lambda otel: otel.call(call))

    @asynccontextmanager
    async def opened(self, warm: asyncio.Task[None], quiet: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
        """Loads in the background, flushes at the end: within 4 s, and within DRAIN_S."""
        if not self.traced:
            yield
            return
        loading = asyncio.create_task(self._load_when_quiet(warm, quiet))
        try:
            yield
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            await self._finish()

    async def flush(self) -> None:
        if otel := self._otel:
            await self._hurry(otel.flush)

    async def _load_when_quiet(self, warm: asyncio.Task[None], quiet: Callable[[], Awaitable[None]]) -> None:
        await asyncio.wait([warm])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_S):
                await quiet()
        await _bounded(self._load, None)
        self._empty()

    async def _finish(self) -> None:
        if self._kept and self._otel is None:  # a short life has something to tell, too
            await self._hurry(self._load)
        self._empty()
        if otel := self._otel:
            self._otel = None
            await self._hurry(otel.close)

    async def _hurry(self, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        await _bounded(work, self._flush_s)
        self._flush_s = max(0.0, self._flush_s - (time.perf_counter() - began))

    def _load(self) -> None:
        with self._loading:
            if self._otel or not self.traced:
                return
            self._otel = self._opened()

    def _opened(self) -> "Otel | None":
        from gateway.telemetry.otel import Otel  # noqa: PLC0415  not before something is to be sent

        try:
            return Otel(self._destination, self._answering, self._figures)
        except Exception as e:  # noqa: BLE001  a connection string that nobody can read must not end the service
            self.traced = False
            _log.error("no telemetry: %s", place_of(e))
            return None

    def _pass_on(self, report: "Callable[[Otel], None]") -> None:
        if self.traced:
            self._kept.append(report)
            self._empty()

    def _empty(self) -> None:
        while self._kept and self._otel:
            try:
                self._kept.popleft()(self._otel)
            except Exception as e:  # noqa: BLE001  a bug in here must not cost a turn
                _log.error("a bug in telemetry: %s", place_of(e))


def _turn_line(fields: dict[str, object]) -> dict[str, object]:
    return {"event": "turn", "fields": {name: value for name, value in fields.items() if value is not None}}


async def _bounded(work: Callable[[], object], seconds: float | None) -> None:
    """In a thread that the end of the process does not wait for: an exporter may hang."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def run() -> None:
        try:
            work()
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits
                loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name="telemetry", daemon=True).start()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await done.wait()
