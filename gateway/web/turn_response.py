"""The response of a turn: waits for the first batch, sends frames and pings, and notices that the client is gone."""

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import nullcontext, suppress
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
from sse_starlette import EventSourceResponse
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway.server import abort, body_sender

T = TypeVar("T")

_NO_LOCK = nullcontext()
_PING: Message = {"type": "http.response.body", "body": b": ping\n\n", "more_body": True}


class EventStream(EventSourceResponse):
    """Sends encoded frames as they come, and pings between them.

    `release` is awaited exactly once, when the stream is over for whatever reason: it was sent, the caller
    left (even before the first byte), or did not read for `send_timeout_s`.
    """

    def __init__(
        self,
        frames: AsyncGenerator[bytes],
        *,
        release: Callable[[], Awaitable[None]],
        ping_s: float,
        send_timeout_s: float,
    ) -> None:
        super().__init__(frames, sep="\n", ping=0)  # the library's ping is a task for each stream, 7 KiB
        self._send_lock = _NO_LOCK  # type: ignore[assignment]  # for the library's ping, which is off
        self._frames = frames
        self._release = release
        self._ping_s = ping_s
        self._send_timeout_s = send_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        line = Line(scope, send, self._ping_s, self._send_timeout_s)
        try:
            await super().__call__(scope, receive, line.send)
        finally:
            line.stop()
            with anyio.CancelScope(shield=True):
                await self._frames.aclose()
                await self._release()

    async def _send_with_timeout(self, send: Send, message: Message) -> None:
        """As the library's, without a cancel scope for each send: Line has one timer for the stream."""
        if not self.active:  # the caller left: a stream that is always ready never waits, and would not be cancelled
            await anyio.lowlevel.checkpoint_if_cancelled()
        await send(message)

    async def _listen_for_exit_signal_with_grace(self) -> None:
        """Not the library's cut at a signal: `drain.py` ends open streams with a word."""
        await asyncio.get_running_loop().create_future()


class Line:
    """The line to one caller. One timer pings it while it is quiet, and breaks it off where nothing can be sent."""

    def __init__(self, scope: Scope, send_head: Send, ping_s: float, send_timeout_s: float) -> None:
        self._scope = scope
        self._send = send_head
        self._ping_s = ping_s or math.inf
        self._send_timeout_s = send_timeout_s
        self._loop = asyncio.get_running_loop()
        self._sending_since: float | None = None
        self._pinging: asyncio.Task[None] | None = None
        self._over = False
        self._next_ping = self._loop.time() + self._ping_s
        self._timer = self._loop.call_later(min(self._ping_s, send_timeout_s), self._look)

    async def send(self, message: Message) -> None:
        self._over = message.get("more_body") is False
        self._sending_since = self._loop.time()
        await self._send(message)
        self._send = body_sender(self._scope, self._send)
        self._sending_since = None

    def stop(self) -> None:
        self._over = True
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        if self._sending_since is None:
            if now >= self._next_ping:
                self._next_ping = now + self._ping_s
                self._pinging = self._loop.create_task(self._ping())
            self._timer = self._loop.call_at(min(self._next_ping, now + self._send_timeout_s), self._look)
        elif now - self._sending_since >= self._send_timeout_s:
            abort(self._scope)  # a close would wait for the caller to read what is buffered
        else:
            self._timer = self._loop.call_at(self._sending_since + self._send_timeout_s, self._look)

    async def _ping(self) -> None:
        if not self._over and self._sending_since is None:
            await self.send(_PING)


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Raises ClientDisconnect when the caller goes away first; by then `work` is cancelled and has cleaned up."""
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        watching.cancel()
        if not working.done():
            working.cancel()
            with anyio.CancelScope(shield=True), suppress(asyncio.CancelledError, Exception):
                await working


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def left(_: Request, __: Exception) -> Response:
    """Nobody is there to read it."""
    return Response(status_code=499)
