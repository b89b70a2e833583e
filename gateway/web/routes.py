"""The routes: which path answers what. To add a protocol: an encoder in `protocols/`, and a route here."""

import json
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar

import anyio
from fastapi import APIRouter, Request, Response

from gateway import __version__
from gateway.access.callers import get_caller
from gateway.errors import ConversationNotFound, GatewayError, UpstreamTimeout
from gateway.events import Event, Handle, Thread, Turn
from gateway.protocols.base import Encoder
from gateway.protocols.native import CancelRequest, ChatRequest, JsonAnswer, MessageRequest, NativeEncoder
from gateway.protocols.simple import SimpleEncoder
from gateway.telemetry import request_id
from gateway.telemetry.trace_context import continue_trace
from gateway.telemetry.turn_record import RequestInfo
from gateway.turns.chat_service import ChatService
from gateway.web.body_budget import BodyBudget
from gateway.web.middleware import seconds_since_arrival
from gateway.web.openapi import BODIES, RESPONSES
from gateway.web.problems import log_and_respond, problem_response
from gateway.web.request_body import read_json, read_message
from gateway.web.turn_response import TurnResponse, run_while_connected

Body = TypeVar("Body", bound=MessageRequest)


class Routes:
    def __init__(self, chat_service: ChatService) -> None:
        self._chat_service = chat_service
        self._settings = chat_service.settings
        self._body_budget = BodyBudget()
        self.router = APIRouter()
        post, get = self.router.post, self.router.get
        post("/api/chat", responses=RESPONSES["chat"], openapi_extra=BODIES["chat"])(self.chat)
        post("/api/v1/chat/stream", responses=RESPONSES["simple"], openapi_extra=BODIES["simple"])(self.simple_chat)
        post("/api/chat/cancel", status_code=202, responses=RESPONSES["cancel"], openapi_extra=BODIES["cancel"])(
            self.cancel
        )
        get("/health", summary="For probes")(self.health)
        get("/api/health", include_in_schema=False)(self.health)
        get("/ready", responses=RESPONSES["ready"])(self.ready)
        for path, answer in (("/health", self.health), ("/api/health", self.health), ("/ready", self.ready)):
            self.router.head(path, include_in_schema=False)(answer)

    async def chat(self, request: Request) -> Response:
        """Opens or continues a conversation, and streams the answer (or returns it whole)."""
        body = await self._read_message(request, ChatRequest)
        thread = self._from_handle(request, body.thread_id) if body.thread_id else None
        turn = Turn(body.message, thread, body.conversation_id or str(uuid.uuid4()))
        if body.stream:
            return await self._stream_turn(request, turn, NativeEncoder(turn, request_id.get()))
        return await self._answer_whole(request, turn, body.thread_id)

    async def simple_chat(self, request: Request) -> Response:
        """One message, no memory."""
        body = await self._read_message(request, MessageRequest)
        return await self._stream_turn(request, Turn(body.message, None, str(uuid.uuid4())), SimpleEncoder())

    async def cancel(self, request: Request) -> Response:
        """Stops the active run of a conversation, where the upstream can. Its stream then ends in `cancelled`."""
        body = await read_json(request, CancelRequest, self._body_budget, max_bytes=self._settings.max_body_bytes)
        await self._chat_service.cancel(self._from_handle(request, body.thread_id))
        return _json_response({"status": "cancelling"}, 202)

    async def health(self) -> Response:
        """Touches no upstream."""
        status = "draining" if self._chat_service.turns.draining else "healthy"
        return _json_response({"status": status, "service": "chat-api", "version": __version__})

    async def ready(self) -> Response:
        """Could a turn be answered now?"""
        try:
            await self._chat_service.check_ready()
        except GatewayError as e:
            return problem_response(e, status=503)
        return _json_response({"status": "ready"})

    async def _read_message(self, request: Request, model: type[Body]) -> Body:
        max_chars, max_bytes = self._settings.max_message_chars, self._settings.max_body_bytes
        return await read_message(request, model, self._body_budget, max_chars=max_chars, max_bytes=max_bytes)

    def _from_handle(self, request: Request, handle: Handle) -> Thread:
        return self._chat_service.from_handle(handle, get_caller(request.scope))

    def _build_request_info(self, request: Request, *, streamed: bool) -> RequestInfo:
        kind = self._settings.auth if get_caller(request.scope).subject else "anonymous"
        span_ids = continue_trace(request.headers.get("traceparent"))
        return RequestInfo(request.url.path, request.url.scheme, request_id.get(), span_ids, streamed, kind)

    async def _stream_turn(self, request: Request, turn: Turn, encoder: Encoder) -> Response:
        """Send the head with the first event: until then, a failure is a status."""
        open_turn = await self._chat_service.open_turn(
            turn, get_caller(request.scope), self._build_request_info(request, streamed=True)
        )
        try:
            first = await run_while_connected(request, anext(open_turn.events))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await open_turn.aclose()
            raise
        return TurnResponse(
            _encode_batches(first, open_turn.events, encoder),
            release=open_turn.aclose,
            ping_s=self._settings.ping_s,
            send_timeout_s=self._settings.send_timeout_s,
        )

    async def _answer_whole(self, request: Request, turn: Turn, handle: Handle | None) -> Response:
        answer = JsonAnswer(turn, handle)
        try:
            await run_while_connected(request, self._collect(request, turn, answer))
        except ConversationNotFound:
            raise  # the same answer for every reason: without the thread_id
        except GatewayError as e:
            e.__traceback__ = None  # as in ErrorMiddleware
            respond = problem_response if answer.has_started else log_and_respond  # later errors: run_turn logs them
            return respond(e, thread_id=answer.thread_id_after_failure)
        return _json_response(answer.body)

    async def _collect(self, request: Request, turn: Turn, answer: JsonAnswer) -> None:
        deadline_s = self._settings.answer_deadline_s - seconds_since_arrival(request.scope)
        if deadline_s <= 0:
            raise UpstreamTimeout("the deadline passed before the upstream was asked")
        caller, info = get_caller(request.scope), self._build_request_info(request, streamed=False)
        opening = self._chat_service.open_turn(turn, caller, info, deadline_s)
        async with aclosing(await opening) as open_turn:
            async for events in open_turn.events:
                for event in events:
                    answer.take(event)


async def _encode_batches(
    first: list[Event], events: AsyncGenerator[list[Event]], encoder: Encoder
) -> AsyncGenerator[bytes]:
    """Yield one encoded piece for each batch: what arrived together is sent together."""
    yield _encode_batch(first, encoder)
    async for batch in events:
        yield _encode_batch(batch, encoder)


def _encode_batch(events: list[Event], encoder: Encoder) -> bytes:
    return b"".join([encoder.encode(event) for event in events])


def _json_response(body: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(body), status, {"cache-control": "no-store"}, "application/json")
