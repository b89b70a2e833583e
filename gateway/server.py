"""All that knows uvicorn's inside: draining on SIGTERM, and a client's raw connection.

On SIGTERM the listener stays, new turns are refused, running ones may finish, then the process ends. uvicorn alone
closes its listener first and leaves open streams to whoever kills it; so its handler is replaced by one that drains,
then tells it to exit. The raw connection is below all middleware: how to write to it, how to break it off.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from starlette.types import Scope, Send

from gateway.errors import ShuttingDown
from gateway.turns.turn_registry import OpenTurns

_log = logging.getLogger(__name__)

_KEY = "chat-api.connection"
_GOODBYE_S = 2.0  # for the last words of the open streams
_CLOSING_S = 1.0  # for callers to read them; then whoever does not is cut off


@contextmanager
def drained_on_signals(turns: OpenTurns, drain_s: float, last_words: Callable[[], Awaitable[None]]) -> Generator[None]:
    """SIGTERM waits up to `drain_s` for open turns, SIGINT (Ctrl-C) does not; a second signal ends at once.

    `last_words` (bounded by itself) come before the server ends: with a caller who does not read, no later moment is
    certain.
    """
    server = _server()
    if server is None:
        yield
        return
    loop = asyncio.get_running_loop()
    drain = _Drain(turns, server, last_words)
    before = {
        signal.SIGTERM: _replaced(signal.SIGTERM, lambda: loop.call_soon_threadsafe(drain.begin, drain_s)),
        signal.SIGINT: _replaced(signal.SIGINT, lambda: loop.call_soon_threadsafe(drain.begin, 0.0)),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Drain:
    def __init__(self, turns: OpenTurns, server: Any, last_words: Callable[[], Awaitable[None]]) -> None:
        self._turns = turns
        self._server = server
        self._last_words = last_words
        self._task: asyncio.Task[None] | None = None

    def begin(self, drain_s: float) -> None:
        if self._task:
            self._exit_at_once()
            return
        self._turns.draining = True
        _log.info("draining: %d open turns may take %g s", len(self._turns), drain_s)
        self._task = asyncio.create_task(self._run(drain_s))

    async def _run(self, drain_s: float) -> None:
        if not await self._emptied(drain_s):
            self._turns.end_all(ShuttingDown())
            await self._emptied(_GOODBYE_S)
        await self._last_words()
        self._server.should_exit = True
        await asyncio.sleep(_CLOSING_S)
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()  # or Python 3.12 and later wait for them without end
        await asyncio.sleep(_CLOSING_S)
        self._exit_at_once()

    def _exit_at_once(self) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what is cancelled now is no failure
        self._server.should_exit = self._server.force_exit = True

    async def _emptied(self, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await self._turns.none_left()
        except TimeoutError:
            return False
        return True


def _server() -> Any:
    """The uvicorn.Server that runs us, known by its signal handler; None elsewhere (tests, other servers)."""
    if threading.current_thread() is not threading.main_thread():
        return None
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if hasattr(server, "should_exit") else None


def _replaced(number: signal.Signals, begin: Callable[[], object]) -> Any:
    def handler(_: int, __: FrameType | None) -> None:
        begin()

    return signal.signal(number, handler)


def remember(scope: Scope, send: Send) -> None:
    """`send` as the server gave it, before any middleware: FastAPI puts some around ours."""
    scope[_KEY] = send


def body_sender(scope: Scope, send: Send) -> Send:
    """For a body's parts, once the head is sent by `send`: middleware has nothing to add, and costs with each part."""
    server_send: Send = scope.get(_KEY, send)
    return server_send


def abort(scope: Scope) -> None:
    """Breaks the connection off. A plain close would first wait for the caller to read what is buffered."""
    transport = getattr(getattr(scope.get(_KEY), "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()
