"""Spans for people: `make run TRACE=1` prints each turn and what it asked of the upstream, in the terminal."""

import sys
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from gateway.telemetry.names import (
    CALLER,
    DELTAS,
    ENDING,
    ERROR_TYPE,
    FIRST_CHUNK_MS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    REQUEST_ID,
    RESPONSE_STATUS,
    RETRIES,
)

_TOLD = {
    FIRST_CHUNK_MS: "first chunk {} ms",
    DELTAS: "{} deltas",
    INPUT_TOKENS: "{} tokens in",
    OUTPUT_TOKENS: "{} out",
    RETRIES: "{} retries",
    CALLER: "{}",
    REQUEST_ID: "request {}",
}


class Terminal(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            print(line_of(span), file=sys.stderr, flush=True)  # noqa: T201  what it is for
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True

    def shutdown(self) -> None: ...


def line_of(span: ReadableSpan) -> str:
    """Below its turn, indented; a turn says its trace, too."""
    attributes = span.attributes or {}
    took_ms = ((span.end_time or 0) - (span.start_time or 0)) / 1e6
    outcome = attributes.get(ENDING) or attributes.get(ERROR_TYPE) or attributes.get(RESPONSE_STATUS) or ""
    line = f"{span.name:<44} {took_ms:>8.0f} ms  {outcome}"
    if ENDING not in attributes:
        return f"   └ {line}".rstrip()
    told = [words.format(_clean(attributes[name])) for name, words in _TOLD.items() if attributes.get(name)]
    trace_id = f"trace {span.context.trace_id:032x}" if span.context else ""
    return f" ● {line}  ({', '.join([*told, trace_id])})"


def _clean(value: object) -> str:
    return str(value).encode("unicode_escape").decode()
