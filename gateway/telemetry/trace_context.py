"""W3C Trace Context: the ids of spans, read from and written to `traceparent`. https://www.w3.org/TR/trace-context/

Level 1. Pure.

A caller's trace is continued, but its sampling flag is ignored: a caller could hide from the operator with it.
"""

import random
import re
from typing import NamedTuple

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


class SpanIds(NamedTuple):
    """A span's ids. `parent_id` 0: the root of its trace."""

    trace_id: int
    span_id: int
    parent_id: int = 0

    @property
    def trace_hex(self) -> str:
        return f"{self.trace_id:032x}"

    @property
    def traceparent(self) -> str:
        """The header of a request that is a child of this span."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-01"

    def create_child(self) -> "SpanIds":
        return SpanIds(self.trace_id, _create_random_id(64), self.span_id)


def start_trace() -> SpanIds:
    return SpanIds(_create_random_id(128), _create_random_id(64))


def continue_trace(traceparent: str | None) -> SpanIds:
    """Return a child of the caller's span; the root of a new trace if the header is absent or invalid."""
    given = _TRACEPARENT.fullmatch(traceparent or "")
    if given is None:
        return start_trace()
    trace_id, parent_id = int(given[1], 16), int(given[2], 16)
    return SpanIds(trace_id, _create_random_id(64), parent_id) if trace_id and parent_id else start_trace()


def _create_random_id(bits: int) -> int:
    return random.getrandbits(bits) or 1  # as OpenTelemetry's SDK does: unique, not secret
