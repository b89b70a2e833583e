"""Which path answers what. To add a protocol: an encoder in `protocols/`, and a route here."""

import json
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar

import anyio
from fastapi import APIRouter, Request, Response

from gateway import __version__
from gateway.access.callers import caller_of
from gateway.errors import ConversationNotFound, GatewayError, NoActiveRun, restored
from gateway.events import Event, Turn
from gateway.protocols.base import Encoder
from gateway.protocols.native import Answer, CancelRequest, ChatRequest, MessageRequest, NativeEncoder
from gateway.protocols.simple import SimpleEncoder
from gateway.telemetry import request_id
from gateway.telemetry.trace_context import continued
from gateway.telemetry.turn_record import Asked
from gateway.turns.chat_service import Service
from gateway.web.openapi import ANSWERS, BODIES
from gateway.web.problems import problem
from gateway.web.request_body import read_json, read_message
from gateway.web.turn_response import EventStream, while_connected

Said = TypeVar("Said", bound=MessageRequest)


class Routes:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._settings = service.settings
        self.router = APIRouter()
        post, get = self.router.post, self.router.get
        post("/api/chat", responses=ANSWERS["chat"], openapi_extra=BODIES["chat"])(self.chat)
        post("/api/v1/chat/stream", responses=ANSWERS["simple"], openapi_extra=BODIES["simple"])(self.simple_chat)
        post("/api/chat/cancel", status_code=202, responses=ANSWERS["cancel"], openapi_extra=BODIES["cancel"])(
            self.cancel
        )
        get("/health", summary="For probes")(self.health)
        get("/api/health", include_in_schema=False)(self.health)
        get("/ready", responses=ANSWERS["ready"])(self.ready)

    async def chat(self, request: Request) -> Response:
        """Opens or continues a conversation, and streams the answer (or returns it whole)."""
        said = await self._read(request, ChatRequest)
        thread_id = self._thread_id(request, said.thread_id) if said.thread_id else None
        turn = Turn(said.message, thread_id, said.conversation_id or str(uuid.uuid4()))
        if said.stream:
            return await self._stream(request, turn, NativeEncoder(turn, request_id.get()))
        return await self._whole(request, turn, said.thread_id)

    async def simple_chat(self, request: Request) -> Response:
        """One message, no memory."""
        said = await self._read(request, MessageRequest)
        return await self._stream(request, Turn(said.message, None, str(uuid.uuid4())), SimpleEncoder())

    async def cancel(self, request: Request) -> Response:
        """Stops the active run of a conversation, where the upstream can. Its stream then ends in `cancelled`."""
        asked = await read_json(request, CancelRequest, max_bytes=self._settings.max_body_bytes)
        if not await self._service.cancel(self._thread_id(request, asked.thread_id)):
            raise NoActiveRun()
        return _json({"status": "cancelling"}, 202)

    async def health(self) -> Response:
        """Touches no upstream."""
        status = "draining" if self._service.turns.draining else "healthy"
        return _json({"status": status, "service": "chat-api", "version": __version__})

    async def ready(self) -> Response:
        """Could a turn be answered now?"""
        try:
            await self._service.ready()
        except GatewayError as e:
            return problem(e, status=503)
        return _json({"status": "ready"})

    async def _read(self, request: Request, shape: type[Said]) -> Said:
        limits = self._settings
        return await read_message(request, shape, max_chars=limits.max_message_chars, max_bytes=limits.max_body_bytes)

    def _thread_id(self, request: Request, handle: str) -> str:
        return self._service.thread_id(handle, caller_of(request.scope))

    def _asked(self, request: Request, *, streamed: bool) -> Asked:
        kind = self._settings.auth if caller_of(request.scope).owner else "anonymous"
        place = continued(request.headers.get("traceparent"))
        return Asked(request.url.path, request.url.scheme, request_id.get(), place, streamed, kind)

    async def _stream(self, request: Request, turn: Turn, encoder: Encoder) -> Response:
        """The head is sent with the first event: until then, a failure is a status."""
        run = await self._service.open_turn(turn, caller_of(request.scope), self._asked(request, streamed=True))
        try:
            first = await while_connected(request, anext(run.events))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await run.aclose()
            raise
        return EventStream(
            _frames(first, run.events, encoder),
            release=run.aclose,
            ping_s=self._settings.ping_s,
            send_timeout_s=self._settings.send_timeout_s,
        )

    async def _whole(self, request: Request, turn: Turn, handle: str | None) -> Response:
        answer = Answer(turn, handle)
        try:
            await while_connected(request, self._collect(request, turn, answer))
        except ConversationNotFound:
            raise  # one answer for every way not to find it
        except GatewayError as e:
            return problem(e, thread_id=answer.thread_id)
        if answer.failed:
            return problem(restored(answer.failed), thread_id=answer.thread_id)
        return _json(answer.body)

    async def _collect(self, request: Request, turn: Turn, answer: Answer) -> None:
        caller, asked = caller_of(request.scope), self._asked(request, streamed=False)
        opening = self._service.open_turn(turn, caller, asked, self._settings.answer_deadline_s)
        async with aclosing(await opening) as run:
            async for events in run.events:
                for event in events:
                    answer.take(event)


async def _frames(first: list[Event], events: AsyncGenerator[list[Event]], encoder: Encoder) -> AsyncGenerator[bytes]:
    """What arrived together is sent together."""
    yield _joined(first, encoder)
    async for batch in events:
        yield _joined(batch, encoder)


def _joined(events: list[Event], encoder: Encoder) -> bytes:
    return b"".join([encoder.encode(event) for event in events])


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(body), status, {"cache-control": "no-store"}, "application/json")
