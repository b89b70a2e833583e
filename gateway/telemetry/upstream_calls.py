"""What is noted of one request to the upstream, and whose it is: a turn's, or nobody's (a check, a warm-up).

Backends begin and end calls; who listens is in a context variable, so that they need not know.
"""

import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, Self
from urllib.parse import urlsplit

from gateway.errors import GatewayError
from gateway.telemetry.trace_context import Place

_ID = re.compile(r"(?<=/)(?:conv|resp|thread|run|asst|msg)_[^/?]+")


class Listener(Protocol):
    traced: bool
    """Whether the upstream is told of the trace."""

    def place_below(self) -> Place: ...
    def call_begun(self, call: "UpstreamCall") -> None: ...
    def call_ended(self, call: "UpstreamCall") -> None: ...


listening: ContextVar[Listener | None] = ContextVar("listening", default=None)


class UpstreamCall:
    """One attempt. Times in ns since the epoch; `error` is a code of ours."""

    __slots__ = (
        "_listener",
        "ended_ns",
        "error",
        "first_event_ns",
        "method",
        "place",
        "resend",
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
        self._listener = listening.get()
        self.place = self._listener.place_below() if self._listener else None
        self.started_ns = time.time_ns()
        if self._listener:
            self._listener.call_begun(self)

    @contextmanager
    def unless_accepted(self) -> Generator[None]:
        """Ends it where nothing came of it."""
        try:
            yield
        except BaseException as e:
            self.__exit__(type(e), e, e.__traceback__)
            raise

    @property
    def headers(self) -> dict[str, str]:
        """What tells the upstream of the trace."""
        if self.place is None or self._listener is None or not self._listener.traced:
            return {}
        return {"traceparent": self.place.traceparent}

    @property
    def path(self) -> str:
        """Without ids and query: few values, as a span's name should have."""
        return _ID.sub("{id}", urlsplit(self.url).path)

    def event_seen(self) -> None:
        """At every batch; the first one counts."""
        if not self.first_event_ns:
            self.first_event_ns = time.time_ns()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Ends it, once. Being left is no error."""
        if self.ended_ns:
            return
        self.error = error.code if isinstance(error, GatewayError) else None
        self.ended_ns = time.time_ns()
        if self._listener:
            self._listener.call_ended(self)
