"""Where something stands in a trace: ids in, ids out. https://www.w3.org/TR/trace-context/ (level 1). Pure.

A caller's trace is continued, its sampling flag is not obeyed: a caller could hide from the operator with it.
"""

import random
import re
from typing import NamedTuple

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


class Place(NamedTuple):
    """`parent_id` 0: the root of its trace."""

    trace_id: int
    span_id: int
    parent_id: int = 0

    @property
    def trace_hex(self) -> str:
        return f"{self.trace_id:032x}"

    @property
    def traceparent(self) -> str:
        """What a request below this place carries."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-01"

    def below(self) -> "Place":
        return Place(self.trace_id, _random_id(64), self.span_id)


def root() -> Place:
    return Place(_random_id(128), _random_id(64))


def continued(traceparent: str | None) -> Place:
    """A root where the caller sent no trace, or nonsense."""
    given = _TRACEPARENT.fullmatch(traceparent or "")
    if given is None:
        return root()
    trace_id, parent_id = int(given[1], 16), int(given[2], 16)
    return Place(trace_id, _random_id(64), parent_id) if trace_id and parent_id else root()


def _random_id(bits: int) -> int:
    return random.getrandbits(bits) or 1  # as OpenTelemetry's SDK does: unique, not secret
