"""The simple contract of `POST /api/v1/chat/stream`: one message, no memory. Its events are frozen."""

import uuid
from collections.abc import Mapping
from typing import Literal, assert_never

from typing_extensions import TypedDict

from gateway.events import Event, FinishReason, RunCompleted, RunFailed, TextDelta, TurnRequest, TurnStarted
from gateway.protocols.base import StreamSchema
from gateway.protocols.requests import MessageRequest
from gateway.protocols.sse_frame import encode_frame

_EXAMPLE = 'data: {"content": "Hello"}\n\ndata: {"done": true}\n\n'


class SimpleEvent(TypedDict, total=False):
    """`content`…, then `done`; or `error` and `code` instead."""

    content: str
    done: Literal[True]
    finish_reason: FinishReason
    error: str
    code: str


class SimpleEncoder:
    def encode(self, event: Event) -> bytes:
        match event:
            case TextDelta(text):
                return encode_frame(SimpleEvent(content=text))
            case TurnStarted():
                return b""
            case RunCompleted("stop"):
                return encode_frame(SimpleEvent(done=True))
            case RunCompleted(finish_reason):
                return encode_frame(SimpleEvent(done=True, finish_reason=finish_reason))
            case RunFailed(error):
                return encode_frame(SimpleEvent(error=error.public_message, code=error.code))
            case _:
                assert_never(event)


class SimpleProtocol:
    request = MessageRequest
    headers: Mapping[str, str] = {}
    stream = StreamSchema("SimpleEvent", SimpleEvent, _EXAMPLE)

    def to_turn(self, body: MessageRequest) -> TurnRequest:
        return TurnRequest(body.message, None, str(uuid.uuid4()))

    def create_encoder(self, turn: TurnRequest, request_id: str) -> SimpleEncoder:
        return SimpleEncoder()
