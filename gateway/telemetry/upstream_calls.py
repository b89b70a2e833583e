"""What is recorded of one request to the upstream, whether it belongs to a turn or not (a check, a warm-up).

Backends begin and end calls; the listener is in a context variable, so that backends need not know it.
"""

import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, Self
from urllib.parse import urlsplit

from gateway.errors import GatewayError
from gateway.telemetry.trace_context import SpanIds

_ID = re.compile(r"(?<=/)(?:conv|resp|thread|run|asst|msg)_[^/?]+")


class Listener(Protocol):
    traced: bool
    """Whether `traceparent` is sent to the upstream."""

    def create_span_ids(self) -> SpanIds: ...
    def on_call_begin(self, call: "UpstreamCall") -> None: ...
    def on_call_end(self, call: "UpstreamCall") -> None: ...


current_listener: ContextVar[Listener | None] = ContextVar("listening", default=None)


class UpstreamCall:
    """A record of one attempt. Times in ns since the epoch; `error` is a code of ours."""

    __slots__ = (
        "_listener",
        "ended_ns",
        "error",
        "first_event_ns",
        "method",
        "resend",
        "span_ids",
        "started_ns",
        "status",
        "url",
    )

    def __init__(self, method: str, url: str, resend: int) -> None:
        self.method = method
        self.url = url
        self.resend = resend
        self.status: int | None = None
        self.error: str | None = None
        self.first_event_ns = 0
        self.ended_ns = 0
        self._listener = current_listener.get()
        self.span_ids = self._listener.create_span_ids() if self._listener else None
        self.started_ns = time.time_ns()
        if self._listener:
            self._listener.on_call_begin(self)

    @contextmanager
    def end_on_error(self) -> Generator[None]:
        """Close the record if the request failed before a response was accepted."""
        try:
            yield
        except BaseException as e:
            self._end(e)
            raise

    @property
    def headers(self) -> dict[str, str]:
        """The headers that pass the trace on to the upstream."""
        if self.span_ids is None or self._listener is None or not self._listener.traced:
            return {}
        return {"traceparent": self.span_ids.traceparent}

    @property
    def path(self) -> str:
        """The path without ids and query: a span's name should have few values."""
        return _ID.sub("{id}", urlsplit(self.url).path)

    def record_first_event(self) -> None:
        """Record the time of the first event; called at every batch."""
        if not self.first_event_ns:
            self.first_event_ns = time.time_ns()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        """Close the record, once. A client disconnect is not an error."""
        if self.ended_ns:
            return
        self.error = error.code if isinstance(error, GatewayError) else None
        self.ended_ns = time.time_ns()
        if self._listener:
            self._listener.on_call_end(self)
