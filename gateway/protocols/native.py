"""The native contract of `POST /api/chat`: metadata · chunk · done · error, or one JSON answer."""

from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from typing import Annotated, Any, assert_never

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gateway.errors import round_up_seconds
from gateway.events import Event, RunCompleted, RunFailed, RunStarted, TextDelta, Turn, Usage
from gateway.protocols.sse_frame import encode_frame

_CHUNK = b'data: {"type": "chunk", "content": %b}\n\n'

Message = Annotated[str, Field(min_length=1, description="what the person says; passed on as it was sent")]


class MessageRequest(BaseModel):
    """`POST /api/v1/chat/stream`"""

    model_config = ConfigDict(strict=True, extra="ignore")

    message: Message

    @field_validator("message")
    @classmethod
    def _check_message(cls, message: str) -> str:
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
    def _treat_empty_as_absent(cls, value: object, info: Any) -> object:
        return cls.model_fields[info.field_name].default if value in (None, "") else value


class CancelRequest(BaseModel):
    """`POST /api/chat/cancel`"""

    model_config = ConfigDict(strict=True, extra="ignore")

    thread_id: str


class NativeEncoder:
    def __init__(self, turn: Turn, request_id: str) -> None:
        self._turn = turn
        self._request_id = request_id
        self._text_parts: list[str] = []

    def encode(self, event: Event) -> bytes:
        match event:
            case TextDelta(text):
                self._text_parts.append(text)
                return _CHUNK % encode_basestring_ascii(text).encode("ascii")  # 8 × as fast as json.dumps
            case RunStarted(thread_id):
                ids = {"conversation_id": self._turn.conversation_id, "thread_id": thread_id}
                return encode_frame({"type": "metadata", **ids})
            case RunCompleted():
                return encode_frame(
                    {"type": "done", "full_response": "".join(self._text_parts), **_build_ending_fields(event)}
                )
            case RunFailed():
                return encode_frame({"type": "error", **_build_error_fields(event), "request_id": self._request_id})
            case _:
                assert_never(event)


class JsonAnswer:
    """A JSON answer, built from the same events. `thread_id`: the handle that the caller sent, None for a new one."""

    def __init__(self, turn: Turn, thread_id: str | None) -> None:
        self._turn = turn
        self._text_parts: list[str] = []
        self._ending: dict[str, Any] = {}
        self.thread_id = thread_id
        self.failed: RunFailed | None = None

    def take(self, event: Event) -> None:
        """Add the next event."""
        match event:
            case TextDelta(text):
                self._text_parts.append(text)
            case RunStarted(thread_id):
                self.thread_id = thread_id
            case RunCompleted():
                self._ending = _build_ending_fields(event)
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
            "response": "".join(self._text_parts),
            **self._ending,
            "is_new_conversation": self._turn.thread_id is None,
        }


def _build_ending_fields(event: RunCompleted) -> dict[str, Any]:
    return {"timestamp": _format_now(), "finish_reason": event.finish_reason, **_build_usage_fields(event.usage)}


def _build_usage_fields(usage: Usage | None) -> dict[str, Any]:
    if usage is None:
        return {}
    counts = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    return {"usage": {**counts, "total_tokens": usage.total_tokens}}


def _build_error_fields(event: RunFailed) -> dict[str, Any]:
    wait = {} if event.retry_after_s is None else {"retry_after": round_up_seconds(event.retry_after_s)}
    return {"error": event.message, "code": event.code, "retryable": event.retryable, **wait}


def _format_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
