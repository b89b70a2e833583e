"""The native contract of `POST /api/chat`: metadata · chunk · done · error, or one JSON answer."""

import json
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from typing import Annotated, Any, assert_never

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gateway.errors import whole_seconds
from gateway.events import Event, RunCompleted, RunFailed, RunStarted, TextDelta, Turn, Usage
from gateway.protocols.sse_frame import frame

_CHUNK = b'data: {"type": "chunk", "content": %b}\n\n'

Message = Annotated[str, Field(min_length=1, description="what the person says; passed on as it was sent")]


class MessageRequest(BaseModel):
    """`POST /api/v1/chat/stream`"""

    model_config = ConfigDict(strict=True, extra="ignore")

    message: Message

    @field_validator("message")
    @classmethod
    def _says_something(cls, message: str) -> str:
        if not message.strip():
            raise ValueError("is empty")
        if "\0" in message:
            raise ValueError("has a NUL character")
        return message


class ChatRequest(MessageRequest):
    """`POST /api/chat`. null and "" mean absent."""

    conversation_id: str | None = Field(None, max_length=200, description="the caller's own label")
    thread_id: str | None = Field(None, description="continues a conversation: what the last `metadata` gave")
    stream: bool = Field(True, description="false: one JSON answer")

    @field_validator("conversation_id", "thread_id", "stream", mode="before")
    @classmethod
    def _absent(cls, value: object, info: Any) -> object:
        return cls.model_fields[info.field_name].default if value in (None, "") else value


class CancelRequest(BaseModel):
    """`POST /api/chat/cancel`"""

    model_config = ConfigDict(strict=True, extra="ignore")

    thread_id: str


class NativeEncoder:
    def __init__(self, turn: Turn, request_id: str) -> None:
        self._turn = turn
        self._request_id = request_id
        self._said: list[str] = []

    def encode(self, event: Event) -> bytes:
        match event:
            case TextDelta(text):
                self._said.append(text)
                return _CHUNK % encode_basestring_ascii(text).encode("ascii")  # 8 × as fast as json.dumps
            case RunStarted(thread_id):
                ids = {"conversation_id": self._turn.conversation_id, "thread_id": thread_id}
                return _line({"type": "metadata", **ids})
            case RunCompleted():
                return _line({"type": "done", "full_response": "".join(self._said), **_ending(event)})
            case RunFailed():
                return _line({"type": "error", **_failure(event), "request_id": self._request_id})
            case _:
                assert_never(event)


class Answer:
    """The JSON answer, put together from the same events. `thread_id` is the one that the caller sent."""

    def __init__(self, turn: Turn, thread_id: str | None) -> None:
        self._turn = turn
        self._said: list[str] = []
        self._ending: dict[str, Any] = {}
        self.thread_id = thread_id
        self.failed: RunFailed | None = None

    def take(self, event: Event) -> None:
        match event:
            case TextDelta(text):
                self._said.append(text)
            case RunStarted(thread_id):
                self.thread_id = thread_id
            case RunCompleted():
                self._ending = _ending(event)
            case RunFailed():
                self.failed = event
            case _:
                assert_never(event)

    @property
    def body(self) -> dict[str, Any]:
        return {
            "conversation_id": self._turn.conversation_id,
            "thread_id": self.thread_id,
            "message": self._turn.message,
            "response": "".join(self._said),
            **self._ending,
            "is_new_conversation": self._turn.thread_id is None,
        }


def _line(event: dict[str, Any]) -> bytes:
    return frame(json.dumps(event).encode("ascii"))


def _ending(event: RunCompleted) -> dict[str, Any]:
    return {"timestamp": _now(), "finish_reason": event.finish_reason, **_usage(event.usage)}


def _usage(usage: Usage | None) -> dict[str, Any]:
    if usage is None:
        return {}
    figures = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    return {"usage": {**figures, "total_tokens": usage.total_tokens}}


def _failure(event: RunFailed) -> dict[str, Any]:
    wait = {} if event.retry_after_s is None else {"retry_after": whole_seconds(event.retry_after_s)}
    return {"error": event.message, "code": event.code, "retryable": event.retryable, **wait}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
