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

from gateway.server import abort_connection, get_body_sender

T = TypeVar("T")

_NO_LOCK = nullcontext()
_PING: Message = {"type": "http.response.body", "body": b": ping\n\n", "more_body": True}


class TurnResponse(EventSourceResponse):
    """A response that sends encoded frames as they come, and pings between them.

    `release` is awaited exactly once, when the stream is over for whatever reason: it was sent, the client
    disconnected (even before the first byte), or did not read for `send_timeout_s`.
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
        connection = ClientConnection(scope, send, self._ping_s, self._send_timeout_s)
        try:
            await super().__call__(scope, receive, connection.send)
        finally:
            connection.stop()
            with anyio.CancelScope(shield=True):
                await self._frames.aclose()
                await self._release()

    async def _send_with_timeout(self, send: Send, message: Message) -> None:
        """Send without the library's cancel scope for each send: ClientConnection has one timer for the stream."""
        if not self.active:
            # Client disconnect. A generator that never suspends would never see the cancellation: force a checkpoint.
            await anyio.lowlevel.checkpoint_if_cancelled()
        await send(message)

    async def _listen_for_exit_signal_with_grace(self) -> None:
        """Wait forever: at a signal `server.py` drains, then ends open streams with an `error` event."""
        await asyncio.get_running_loop().create_future()


class ClientConnection:
    """A client's connection. One timer pings an idle stream, and aborts it if the client reads nothing."""

    def __init__(self, scope: Scope, send_head: Send, ping_s: float, send_timeout_s: float) -> None:
        self._scope = scope
        self._send = send_head
        self._ping_s = ping_s or math.inf
        self._send_timeout_s = send_timeout_s
        self._loop = asyncio.get_running_loop()
        self._sending_since: float | None = None
        self._pinging: asyncio.Task[None] | None = None
        self._is_finished = False
        self._next_ping = self._loop.time() + self._ping_s
        self._timer = self._loop.call_later(min(self._ping_s, send_timeout_s), self._check_timers)

    async def send(self, message: Message) -> None:
        self._is_finished = message.get("more_body") is False
        self._sending_since = self._loop.time()
        await self._send(message)
        self._send = get_body_sender(self._scope, self._send)
        self._sending_since = None

    def stop(self) -> None:
        self._is_finished = True
        self._timer.cancel()

    def _check_timers(self) -> None:
        now = self._loop.time()
        if self._sending_since is None:
            if now >= self._next_ping:
                self._next_ping = now + self._ping_s
                self._pinging = self._loop.create_task(self._ping())
            self._timer = self._loop.call_at(min(self._next_ping, now + self._send_timeout_s), self._check_timers)
        elif now - self._sending_since >= self._send_timeout_s:
            abort_connection(self._scope)  # a close would wait for the client to read what is buffered
        else:
            next_check = min(self._sending_since + self._send_timeout_s, now + self._ping_s)
            self._timer = self._loop.call_at(next_check, self._check_timers)  # it may be sent, and quiet, before that

    async def _ping(self) -> None:
        if not self._is_finished and self._sending_since is None:
            await self.send(_PING)


async def run_while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`.

    Raises ClientDisconnect if the client disconnects first; by then `work` is cancelled and has cleaned up.
    """
    task = asyncio.create_task(work)
    disconnect = asyncio.create_task(_wait_for_disconnect(request))
    try:
        await asyncio.wait({task, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        disconnect.cancel()
        if not task.done():
            task.cancel()
            with anyio.CancelScope(shield=True), suppress(asyncio.CancelledError, Exception):
                await task


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def answer_client_disconnect(_: Request, __: Exception) -> Response:
    """Answer a request whose client is gone, for the log."""
    return Response(status_code=499)
