"""What is recorded of one turn, from the whole message to the last byte: counts, times, ids and codes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from gateway.errors import GatewayError
from gateway.events import Event, RunCompleted, RunFailed, TextDelta, Turn, TurnStarted, Usage
from gateway.telemetry.names import CLIENT_DISCONNECT
from gateway.telemetry.trace_context import SpanIds
from gateway.telemetry.upstream_calls import UpstreamCall


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """A record of the request. `caller_kind`: the kind of identity, never whose."""

    route: str
    scheme: str
    request_id: str
    span_ids: SpanIds
    streamed: bool
    caller_kind: str = "anonymous"


class TurnRecord:
    """A record of one turn, and the listener of its upstream calls. `on_late_call` takes those that end later."""

    def __init__(
        self,
        turn: Turn,
        request: RequestInfo,
        on_late_call: Callable[[UpstreamCall], None],
        *,
        traced: bool,
        text: bool,
    ) -> None:
        self.turn = turn
        self.request = request
        self.traced = traced
        self.thread_id = turn.thread_id
        """The upstream's id, never the caller's handle."""
        self.run_id: str | None = None
        self.deltas = 0
        self.characters = 0
        self.first_chunk_s: float | None = None
        self.longest_gap_s = 0.0
        """The longest time between two chunks; those that came together are 0 apart."""
        self.usage: Usage | None = None
        self.ending: str = CLIENT_DISCONNECT
        self.failed: type[GatewayError] | None = None
        self.retries = 0
        self.calls: list[UpstreamCall] = []
        self.text_parts: list[str] | None = [] if text else None
        self.yielded = False
        """Something was sent: an error is an event, not a status."""
        self.ended_ns = 0
        self._on_late_call = on_late_call
        self._ended = False
        self._last_chunk = 0.0
        self.started_ns = time.time_ns()
        self._began = time.perf_counter()

    def take(self, batch: Sequence[Event]) -> None:
        """Record one batch of events."""
        self.yielded = True
        deltas = 0
        for event in batch:
            if type(event) is TextDelta:
                deltas += 1
                self.characters += len(event.text)
                if self.text_parts is not None:
                    self.text_parts.append(event.text)
            else:
                self._take_other(event)
        if deltas:
            self._record_chunks(deltas)

    def fail(self, error: GatewayError) -> None:
        """Record a failure: its class alone, because an error holds the frames that it went through."""
        self.ending = error.code
        self.failed = type(error)

    def close(self) -> bool:
        """Record the end. Return true the first time."""
        if self._ended:
            return False
        self._ended = True
        self.ended_ns = self.started_ns + int((time.perf_counter() - self._began) * 1e9)
        return True

    @property
    def finished(self) -> bool:
        """Whether the ending is a finish reason."""
        return self.failed is None and self.ending != CLIENT_DISCONNECT

    @property
    def first_chunk_ms(self) -> int | None:
        return None if self.first_chunk_s is None else round(self.first_chunk_s * 1e3)

    @property
    def mean_gap_s(self) -> float | None:
        """The mean time between two chunks; None for fewer than two."""
        if self.first_chunk_s is None or self.deltas < 2:
            return None
        return (self._last_chunk - self._began - self.first_chunk_s) / (self.deltas - 1)

    @property
    def mean_gap_ms(self) -> int | None:
        return None if self.mean_gap_s is None else round(self.mean_gap_s * 1e3)

    @property
    def longest_gap_ms(self) -> int | None:
        return round(self.longest_gap_s * 1e3) if self.deltas > 1 else None

    @property
    def upstream_ms(self) -> int | None:
        """From sending the request that was answered to its first event."""
        answered = [call for call in self.calls if call.first_event_ns]
        return _to_ms(answered[-1].first_event_ns - answered[-1].started_ns) if answered else None

    @property
    def total_ms(self) -> int:
        return _to_ms(self.ended_ns - self.started_ns)

    @property
    def status(self) -> int:
        """The status that the caller got; 499 if the client disconnected first."""
        if self.yielded and self.request.streamed:
            return 200
        if self.failed is None:
            return 499 if self.ending == CLIENT_DISCONNECT else 200
        return self.failed.status

    def create_span_ids(self) -> SpanIds:
        return self.request.span_ids.create_child()

    def on_call_begin(self, call: UpstreamCall) -> None:
        if call.resend:
            self.retries += 1

    def on_call_end(self, call: UpstreamCall) -> None:
        if self._ended:
            self._on_late_call(call)
        else:
            self.calls.append(call)

    def build_log_fields(self) -> dict[str, object]:
        """Return the fields of the turn's line in the log."""
        return {
            "trace_id": self.request.span_ids.trace_hex,
            "route": self.request.route,
            "caller": self.request.caller_kind,
            "conversation_id": self.turn.conversation_id,
            "run_id": self.run_id,
            "ending": self.ending,
            "code": self.ending if self.failed else None,
            "finish_reason": self.ending if self.finished else None,
            "deltas": self.deltas,
            "characters": self.characters,
            "input_tokens": self.usage and self.usage.input_tokens,
            "output_tokens": self.usage and self.usage.output_tokens,
            "first_chunk_ms": self.first_chunk_ms,
            "mean_gap_ms": self.mean_gap_ms,
            "longest_gap_ms": self.longest_gap_ms,
            "total_ms": self.total_ms,
            "upstream_ms": self.upstream_ms,
            "retries": self.retries,
        }

    def _take_other(self, event: Event) -> None:
        match event:
            case TurnStarted(_, run_id):
                self.run_id = run_id or None
            case RunCompleted(finish_reason, usage):
                self.ending, self.usage = finish_reason, usage
            case RunFailed(error):
                self.fail(error)
            case TextDelta():
                raise AssertionError("counted before")
            case _:
                assert_never(event)

    def _record_chunks(self, deltas: int) -> None:
        now = time.perf_counter()
        if self.first_chunk_s is None:
            self.first_chunk_s = now - self._began
        elif now - self._last_chunk > self.longest_gap_s:
            self.longest_gap_s = now - self._last_chunk
        self.deltas += deltas
        self._last_chunk = now


def _to_ms(nanoseconds: int) -> int:
    return round(nanoseconds / 1e6)
