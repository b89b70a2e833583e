"""Prints spans in the terminal, for people: with `make run TRACE=1` each turn and its upstream requests."""

import sys

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import ConsoleSpanExporter

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

_SHOWN = {
    FIRST_CHUNK_MS: "first chunk {} ms",
    DELTAS: "{} deltas",
    INPUT_TOKENS: "{} tokens in",
    OUTPUT_TOKENS: "{} out",
    RETRIES: "{} retries",
    CALLER: "{}",
    REQUEST_ID: "request {}",
}


def create_console_exporter() -> ConsoleSpanExporter:
    """Return an exporter that prints each span at once, to stderr, as the log does."""
    return ConsoleSpanExporter(out=sys.stderr, formatter=lambda span: f"{format_span(span)}\n")


def format_span(span: ReadableSpan) -> str:
    """Return one line: a turn with its trace id, or an upstream request, indented below its turn."""
    attributes = span.attributes or {}
    took_ms = ((span.end_time or 0) - (span.start_time or 0)) / 1e6
    outcome = attributes.get(ENDING) or attributes.get(ERROR_TYPE) or attributes.get(RESPONSE_STATUS) or ""
    line = f"{span.name:<44} {took_ms:>8.0f} ms  {outcome}"
    if ENDING not in attributes:
        return f"   └ {line}".rstrip()
    shown = [template.format(_escape(attributes[name])) for name, template in _SHOWN.items() if attributes.get(name)]
    trace_id = f"trace {span.context.trace_id:032x}" if span.context else ""
    return f" ● {line}  ({', '.join([*shown, trace_id])})"


def _escape(value: object) -> str:
    return str(value).encode("unicode_escape").decode()
