"""The native contract of `POST /api/chat`: metadata · chunk · done · error, or one JSON answer."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from typing import Annotated, Literal, NotRequired, assert_never

from pydantic import Field
from typing_extensions import TypedDict

from gateway.errors import GatewayError, round_up_seconds
from gateway.events import (
    Event,
    FinishReason,
    Handle,
    RunCompleted,
    RunFailed,
    TextDelta,
    TurnRequest,
    TurnStarted,
    Usage,
)
from gateway.protocols.base import StreamSchema
from gateway.protocols.requests import ChatRequest
from gateway.protocols.sse_frame import encode_frame

_EXAMPLE = """data: {"type": "metadata", "conversation_id": "c-1", "thread_id": "conv_1"}

data: {"type": "chunk", "content": "Hello"}

data: {"type": "chunk", "content": " there"}

data: {"type": "done", "full_response": "Hello there", "timestamp": "2026-11-21T10:00:00.000Z", "finish_reason": "stop"}

"""
_CHUNK = b'data: {"type": "chunk", "content": %b}\n\n'


class UsageFields(TypedDict):
    input_tokens: int
    output_tokens: int
    total_tokens: int


class Metadata(TypedDict):
    type: Literal["metadata"]
    conversation_id: str
    thread_id: Handle


class Chunk(TypedDict):
    type: Literal["chunk"]
    content: str


class Ending(TypedDict):
    timestamp: str
    finish_reason: FinishReason
    usage: NotRequired[UsageFields]


class Done(Ending):
    type: Literal["done"]
    full_response: str


class Wait(TypedDict, total=False):
    retry_after: Annotated[int, Field(description="seconds, where known")]


class Error(Wait):
    type: Literal["error"]
    error: Annotated[str, Field(description="a sentence for a person")]
    code: str
    retryable: bool
    request_id: str


ChatEvent = Annotated[Metadata | Chunk | Done | Error, Field(discriminator="type")]
"""One `data:` line of the stream: one metadata, any chunk, then exactly one done or error."""


class ChatAnswer(TypedDict):
    """With `"stream": false`."""

    conversation_id: str
    thread_id: Handle
    message: str
    response: str
    timestamp: str
    finish_reason: FinishReason
    usage: NotRequired[UsageFields]
    is_new_conversation: bool


class NativeEncoder:
    def __init__(self, turn: TurnRequest, request_id: str) -> None:
        self._turn = turn
        self._request_id = request_id
        self._text_parts: list[str] = []

    def encode(self, event: Event) -> bytes:
        match event:
            case TextDelta(text):
                self._text_parts.append(text)
                return _CHUNK % encode_basestring_ascii(text).encode("ascii")  # 8 × as fast as json.dumps
            case TurnStarted(thread_id):
                return encode_frame(
                    Metadata(type="metadata", conversation_id=self._turn.conversation_id, thread_id=thread_id)
                )
            case RunCompleted():
                text = "".join(self._text_parts)
                return encode_frame(Done(type="done", full_response=text, **_build_ending(event)))
            case RunFailed(error):
                return encode_frame(_build_error(error, self._request_id))
            case _:
                assert_never(event)


class JsonAnswer:
    """A JSON answer, built from the same events."""

    def __init__(self, turn: TurnRequest) -> None:
        self._turn = turn
        self._text_parts: list[str] = []
        self._ending: Ending | None = None
        self._thread_id: Handle | None = None
        self.thread_id_after_failure = turn.thread_id
        """What continues the conversation if the turn fails; None if nothing does."""

    def take(self, event: Event) -> None:
        """Add the next event. Raises the error of a RunFailed: here it is a status."""
        match event:
            case TextDelta(text):
                self._text_parts.append(text)
            case TurnStarted(thread_id):
                self._thread_id = thread_id
                if event.outlives_failure:
                    self.thread_id_after_failure = thread_id
            case RunCompleted():
                self._ending = _build_ending(event)
            case RunFailed(error):
                raise error
            case _:
                assert_never(event)

    @property
    def text(self) -> str:
        return "".join(self._text_parts)

    @property
    def has_started(self) -> bool:
        return self._thread_id is not None

    def to_body(self) -> ChatAnswer:
        """Return the answer of a turn that was completed."""
        assert self._thread_id is not None
        assert self._ending is not None
        return {
            "conversation_id": self._turn.conversation_id,
            "thread_id": self._thread_id,
            "message": self._turn.message,
            "response": self.text,
            **self._ending,
            "is_new_conversation": self._turn.thread_id is None,
        }


class NativeProtocol:
    request = ChatRequest
    headers: Mapping[str, str] = {}
    stream = StreamSchema("ChatEvent", ChatEvent, _EXAMPLE)

    def to_turn(self, body: ChatRequest) -> TurnRequest:
        return TurnRequest(body.message, body.thread_id, body.conversation_id or str(uuid.uuid4()))

    def create_encoder(self, turn: TurnRequest, request_id: str) -> NativeEncoder:
        return NativeEncoder(turn, request_id)


def _build_ending(event: RunCompleted) -> Ending:
    ending: Ending = {"timestamp": _format_now(), "finish_reason": event.finish_reason}
    if event.usage:
        ending["usage"] = _build_usage(event.usage)
    return ending


def _build_usage(usage: Usage) -> UsageFields:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }


def _build_error(error: GatewayError, request_id: str) -> Error:
    wait: Wait = {} if error.retry_after_s is None else {"retry_after": round_up_seconds(error.retry_after_s)}
    return {
        "type": "error",
        "error": error.public_message,
        "code": error.code,
        "retryable": error.retryable,
        **wait,
        "request_id": request_id,
    }


def _format_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
