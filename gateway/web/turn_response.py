"""The responses of a turn, its only owners: each opens the turn, reads it, notices a client disconnect, and ends it."""

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from sse_starlette import EventSourceResponse
from sse_starlette.sse import AppStatus
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway.errors import ConversationNotFound, GatewayError
from gateway.events import Event, Handle
from gateway.protocols.base import Encoder
from gateway.protocols.native import JsonAnswer
from gateway.server import abort_connection, get_body_sender
from gateway.settings import Settings
from gateway.turns.open_turn import OpenTurn
from gateway.turns.run_turn import ClientDisconnected
from gateway.web.problems import log_and_respond, problem_response

_PING: Message = {"type": "http.response.body", "body": b": ping\n\n", "more_body": True}
_LAST: Message = {"type": "http.response.body", "body": b"", "more_body": False}
_BATCHES_A_BREAK = 64

Opening = AbstractAsyncContextManager[OpenTurn]

AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]  # it would cut open streams at SIGTERM: `server.py` drains


class TurnResponse(EventSourceResponse):
    """A stream: its head is sent with the first event, so that a failure until then is raised, to be a status.

    `opening`: the turn, not opened yet. `thread_id`: the handle that the caller sent, if any.
    """

    def __init__(
        self,
        opening: Opening,
        encoder: Encoder,
        settings: Settings,
        *,
        thread_id: Handle | None,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(iter(()), headers=headers)
        del self.headers["connection"]  # whether it is kept, the server knows
        self._opening = opening
        self._encoder = encoder
        self._thread_id = thread_id
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with _owning(self._opening, receive) as turn:
                await self._relay(turn, scope, send)
        except ClientDisconnected:
            pass
        except GatewayError as e:
            await _refuse(e, self._thread_id)(scope, receive, send)

    async def _relay(self, turn: OpenTurn, scope: Scope, send: Send) -> None:
        """Send the batches as they come; what arrived together is sent together."""
        first = await anext(turn.events)
        turn.record.take(first)
        connection = ClientConnection(scope, send, self._settings.ping_s, self._settings.send_timeout_s)
        try:
            await connection.send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            await connection.send(self._encode(first))
            count = 0
            async for batch in turn.events:
                turn.record.take(batch)
                await connection.send(self._encode(batch))
                count += 1
                if not count % _BATCHES_A_BREAK:
                    await asyncio.sleep(0)  # a disconnect is noticed though neither upstream nor client makes it wait
            await connection.send(_LAST)
        finally:
            connection.stop()

    def _encode(self, batch: list[Event]) -> Message:
        body = b"".join([self._encoder.encode(event) for event in batch])
        return {"type": "http.response.body", "body": body, "more_body": True}


class JsonTurnResponse(Response):
    """A whole answer as JSON."""

    def __init__(self, opening: Opening, answer: JsonAnswer) -> None:
        super().__init__()
        self._opening = opening
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._answer
        try:
            async with _owning(self._opening, receive) as turn:
                async for batch in turn.events:
                    turn.record.take(batch)
                    for event in batch:
                        answer.take(event)
        except ClientDisconnected:
            return
        except GatewayError as e:
            response = _refuse(e, answer.thread_id_after_failure, is_logged=answer.has_started)
        else:
            response = Response(
                json.dumps(answer.to_body()), 200, {"cache-control": "no-store"}, media_type="application/json"
            )
        await response(scope, receive, send)


@asynccontextmanager
async def _owning(opening: Opening, receive: Receive) -> AsyncGenerator[OpenTurn]:
    """Open the turn, and end it when the client disconnects."""
    async with opening as turn:
        disconnect = asyncio.create_task(_end_at_disconnect(turn, receive))
        try:
            yield turn
        finally:
            disconnect.cancel()


async def _end_at_disconnect(turn: OpenTurn, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    turn.end(ClientDisconnected())


def _refuse(error: GatewayError, thread_id: Handle | None, *, is_logged: bool = False) -> Response:
    """Return the problem. `thread_id`: what still continues the conversation; an unknown one is not repeated."""
    error.__traceback__ = None  # as in ErrorMiddleware
    respond = problem_response if is_logged else log_and_respond
    return respond(error, thread_id=None if isinstance(error, ConversationNotFound) else thread_id)


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


async def answer_client_disconnect(_: Request, __: Exception) -> Response:
    """Answer a request whose client disconnected while its body was read, for the log."""
    return Response(status_code=499)
