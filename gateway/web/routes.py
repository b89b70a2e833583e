"""The routes, one function for each path. To add a protocol: a file in `protocols/`, and a route here."""

import json
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from gateway import __version__
from gateway.access.callers import get_caller
from gateway.errors import GatewayError
from gateway.protocols import NATIVE, SIMPLE
from gateway.protocols.base import ChatProtocol
from gateway.protocols.native import JsonAnswer
from gateway.protocols.requests import CancelRequest, ChatRequest, MessageRequest
from gateway.telemetry import request_id
from gateway.telemetry.trace_context import continue_trace
from gateway.telemetry.turn_record import RequestInfo
from gateway.web.middleware import seconds_since_arrival
from gateway.web.openapi import describe_cancel, describe_chat, describe_ready, describe_stream
from gateway.web.problems import problem_response
from gateway.web.request_body import read_body
from gateway.web.state import get_state
from gateway.web.turn_response import JsonTurnResponse, TurnResponse

Body = TypeVar("Body", bound=BaseModel)

router = APIRouter()


@router.post("/api/chat", **describe_chat(NATIVE))
async def chat(request: Request, body: Annotated[ChatRequest, Depends(read_body(ChatRequest))]) -> Response:
    """Opens or continues a conversation, and streams the answer (or returns it whole)."""
    return stream_turn(request, NATIVE, body) if body.stream else answer_turn(request, body)


@router.post("/api/v1/chat/stream", **describe_stream(SIMPLE))
async def simple_chat(
    request: Request, body: Annotated[MessageRequest, Depends(read_body(MessageRequest))]
) -> Response:
    """One message, no memory."""
    return stream_turn(request, SIMPLE, body)


@router.post("/api/chat/cancel", status_code=202, **describe_cancel())
async def cancel(request: Request, body: Annotated[CancelRequest, Depends(read_body(CancelRequest))]) -> Response:
    """Stops the active run of a conversation. Its stream then ends in `cancelled`."""
    await get_state(request).chat_service.cancel(body.thread_id, get_caller(request.scope))
    return _json_response({"status": "cancelling"}, 202)


@router.head("/health", include_in_schema=False)
@router.head("/api/health", include_in_schema=False)
@router.get("/api/health", include_in_schema=False)
@router.get("/health", summary="For probes")
async def health(request: Request) -> Response:
    """Touches no upstream."""
    status = "draining" if get_state(request).chat_service.turns.draining else "healthy"
    return _json_response({"status": status, "service": "chat-api", "version": __version__})


@router.head("/ready", include_in_schema=False)
@router.get("/ready", **describe_ready())
async def ready(request: Request) -> Response:
    """Could a turn be answered now?"""
    try:
        await get_state(request).chat_service.check_ready()
    except GatewayError as e:
        return problem_response(e, status=503)
    return _json_response({"status": "ready"})


def stream_turn(request: Request, protocol: ChatProtocol[Body], body: Body) -> TurnResponse:
    """Return the response that opens the turn, and streams it as the protocol says."""
    state, turn = get_state(request), protocol.to_turn(body)
    info = _build_request_info(request, streamed=True)
    return TurnResponse(
        state.chat_service.open_turn(turn, get_caller(request.scope), info),
        protocol.create_encoder(turn, info.request_id),
        state.settings,
        thread_id=turn.thread_id,
        headers=protocol.headers,
    )


def answer_turn(request: Request, body: ChatRequest) -> JsonTurnResponse:
    """Return the response that opens the turn, and answers it whole, within ANSWER_DEADLINE_S of the arrival."""
    state, turn = get_state(request), NATIVE.to_turn(body)
    left_s = state.settings.answer_deadline_s - seconds_since_arrival(request.scope)
    info = _build_request_info(request, streamed=False)
    opening = state.chat_service.open_turn(turn, get_caller(request.scope), info, max(left_s, 0.0))
    return JsonTurnResponse(opening, JsonAnswer(turn))


def _build_request_info(request: Request, *, streamed: bool) -> RequestInfo:
    kind = get_state(request).settings.auth if get_caller(request.scope).subject else "anonymous"
    span_ids = continue_trace(request.headers.get("traceparent"))
    return RequestInfo(request.url.path, request.url.scheme, request_id.get(), span_ids, streamed, kind)


def _json_response(body: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(body), status, {"cache-control": "no-store"}, "application/json")
