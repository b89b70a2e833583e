"""The process and its server: draining on SIGTERM, uvicorn's HTTP protocol, a client's raw connection, the GC.

On SIGTERM the listener stays, new turns are refused, running ones may finish, then the process ends. uvicorn alone
closes its listener first and leaves open streams to be killed; so its handler is replaced by one that drains,
then makes it exit. The raw connection is below all middleware: how to write to it, how to abort it.
"""

import asyncio
import gc
import logging
import signal
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from httptools import HttpParserUpgrade, HttpRequestParser
from starlette.types import Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.errors import ShuttingDown
from gateway.turns.turn_registry import TurnRegistry

_log = logging.getLogger(__name__)

KEEP_ALIVE_S = 3_660  # Envoy keeps an idle connection for an hour; closed here first, its next POST would be lost

_UVICORN_KEEP_ALIVE_S = 5  # uvicorn's default
_KEY = "chat-api.connection"
_END_EVENT_S = 2.0  # for the open streams to send their `error` event
_CLOSE_S = 1.0  # for clients to read it; then their connections are aborted
_MAX_QUEUED_REQUESTS = 8  # of one connection, behind the one that is being answered


@contextmanager
def drain_on_signals(
    turns: TurnRegistry, drain_s: float, flush_telemetry: Callable[[], Awaitable[None]]
) -> Generator[None]:
    """Replace uvicorn's signal handlers for as long as the context is open.

    SIGTERM waits up to `drain_s` for open turns, SIGINT (Ctrl-C) does not; a second signal ends at once.
    `flush_telemetry` (which bounds itself) runs before the server ends: with a client that does not read, no later
    moment is certain.
    """
    server = _find_server()
    if server is None:
        yield
        return
    loop = asyncio.get_running_loop()
    drain = _Drain(turns, server, flush_telemetry)
    before = {
        signal.SIGTERM: _replace_handler(signal.SIGTERM, lambda: loop.call_soon_threadsafe(drain.begin, drain_s)),
        signal.SIGINT: _replace_handler(signal.SIGINT, lambda: loop.call_soon_threadsafe(drain.begin, 0.0)),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Drain:
    def __init__(self, turns: TurnRegistry, server: Any, flush_telemetry: Callable[[], Awaitable[None]]) -> None:
        self._turns = turns
        self._server = server
        self._flush_telemetry = flush_telemetry
        self._task: asyncio.Task[None] | None = None

    def begin(self, drain_s: float) -> None:
        if self._task:
            self._exit_at_once()
            return
        self._turns.draining = True
        _log.info("draining: %d open turns may take %g s", len(self._turns), drain_s)
        self._task = asyncio.create_task(self._run(drain_s))

    async def _run(self, drain_s: float) -> None:
        if not await self._wait_until_empty(drain_s):
            self._turns.end_all(ShuttingDown())
            await self._wait_until_empty(_END_EVENT_S)
        await self._flush_telemetry()
        self._server.should_exit = True
        await asyncio.sleep(_CLOSE_S)
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()  # Python 3.12 and later would wait for them forever
        await asyncio.sleep(_CLOSE_S)
        self._exit_at_once()

    def _exit_at_once(self) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what is cancelled now is not a failure
        self._server.should_exit = self._server.force_exit = True

    async def _wait_until_empty(self, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await self._turns.wait_until_empty()
        except TimeoutError:
            return False
        return True


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with two differences (docs/decisions/0040-http-protocol.md).

    An offered upgrade is ignored; uvicorn ignores the request's body with it. A server may ignore `Upgrade`, not the
    request (RFC 9110, 7.8). And a client disconnect is noticed while more requests of the client are queued
    (pipelining); uvicorn stops reading then, and tells only the newest request.
    """

    _answering: RequestResponseCycle | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = _RequestParser(self)

    def has_upgrade_offer(self) -> bool:
        return any(name == b"upgrade" for name, _ in self.headers)

    def build_head_without_offer(self) -> bytes:
        request_line = b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        headers = [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([request_line, *headers, b"", b""])

    def on_headers_complete(self) -> None:
        """Begin or queue the request, and go on reading: uvicorn pauses, and a pause hides a client disconnect."""
        parser_stops = self.parser.should_upgrade()
        if parser_stops and self.has_upgrade_offer():
            return  # the parser reads this head again
        super().on_headers_complete()
        if parser_stops:  # behind a CONNECT: what follows it is not HTTP
            self.cycle.keep_alive = False
        if not self.pipeline:
            self._answering = self.cycle
        elif len(self.pipeline) <= _MAX_QUEUED_REQUESTS:
            self.flow.resume_reading()

    def on_message_complete(self) -> None:
        if not (self.parser.should_upgrade() and self.has_upgrade_offer()):
            super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.pipeline:
            self._answering, _ = self.pipeline[-1]  # what uvicorn begins next
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered, too. Its writes would fail, and it would not stop."""
        if self._answering and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)


class _RequestParser(HttpRequestParser):
    """httptools' parser, which reads a head that offers an upgrade a second time, without the offer, and goes on.

    httptools always stops behind such a head; it only tells where that is.
    """

    def __init__(self, protocol: HttpProtocol) -> None:
        super().__init__(protocol)
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own parser
        self._protocol = protocol

    def feed_data(self, data: Any) -> None:
        while True:
            try:
                super().feed_data(data)
                return
            except HttpParserUpgrade as stop:
                data = memoryview(data)[stop.args[0] :]
            if self._protocol.has_upgrade_offer():
                self.feed_data(self._protocol.build_head_without_offer())
            if self.should_upgrade():  # still: a CONNECT, and what follows it is not HTTP
                return


def configure_uvicorn() -> None:
    """Set HttpProtocol and KEEP_ALIVE_S on the running server, for `uvicorn main:app` as well as for our own command.

    What its command line chose stays: another parser than httptools, another keep-alive timeout than the default.
    It must run in the lifespan, before uvicorn listens and `drain_on_signals` replaces the handler that finds it.
    """
    server = _find_server()
    if server is None:
        return
    if server.config.http_protocol_class is HttpToolsProtocol:
        server.config.http_protocol_class = HttpProtocol
    if server.config.timeout_keep_alive == _UVICORN_KEEP_ALIVE_S:
        server.config.timeout_keep_alive = KEEP_ALIVE_S


def freeze_startup_objects() -> None:
    """Freeze what is there after the start, so that full GC passes skip it (each took about 50 ms).

    Open streams are many small objects: with the default threshold a few hundred new ones would start full passes.
    """
    gc.freeze()
    gc.set_threshold(10_000, 10, 20)


def _find_server() -> Any:
    """Return the uvicorn.Server that runs us, found by its signal handler; None elsewhere (tests, other servers)."""
    if threading.current_thread() is not threading.main_thread():
        return None
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if hasattr(server, "should_exit") else None


def _replace_handler(number: signal.Signals, begin: Callable[[], object]) -> Any:
    def handler(_: int, __: FrameType | None) -> None:
        begin()

    return signal.signal(number, handler)


def remember_connection(scope: Scope, send: Send) -> None:
    """Keep `send` as the server gave it, before any middleware: FastAPI wraps some around ours."""
    scope[_KEY] = send


def get_body_sender(scope: Scope, send: Send) -> Send:
    """Return the server's own `send`, for the body of a stream.

    The head must go through the middleware's `send`; middleware has nothing to add to a body, and costs with each part.
    """
    server_send: Send = scope.get(_KEY, send)
    return server_send


def abort_connection(scope: Scope) -> None:
    """Abort the client's connection. A plain close would first wait for the client to read what is buffered."""
    transport = getattr(getattr(scope.get(_KEY), "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()
