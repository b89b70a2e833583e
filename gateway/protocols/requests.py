"""The bodies of requests: their fields, and what is valid in them."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from gateway.events import Handle


def _check_message(message: str) -> str:
    if not message.strip():
        raise ValueError("is empty")
    return _refuse_nul(message)


def _refuse_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("has a NUL character")
    return text


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


def _true_if_empty(value: object) -> object:
    return True if value in (None, "") else value


Label = Annotated[str, Field(max_length=200), AfterValidator(_refuse_nul)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class MessageRequest(_Body):
    """`POST /api/v1/chat/stream`"""

    message: Annotated[str, AfterValidator(_check_message)] = Field(
        min_length=1, description="what the person says; passed on as it was sent"
    )


class ChatRequest(MessageRequest):
    """`POST /api/chat`. null and "" mean absent."""

    conversation_id: Annotated[Label | None, BeforeValidator(_none_if_empty)] = Field(
        None, description="the caller's own label"
    )
    thread_id: Annotated[Handle | None, BeforeValidator(_none_if_empty)] = Field(
        None, description="continues a conversation: what the last `metadata` gave"
    )
    stream: Annotated[bool, BeforeValidator(_true_if_empty)] = Field(True, description="false: one JSON answer")


class CancelRequest(_Body):
    """`POST /api/chat/cancel`"""

    thread_id: Handle
