"""The schemas of events and answers in /openapi.json. Imported late: nothing but the document needs them."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, RootModel

from gateway.events import FinishReason
from gateway.protocols.native import CancelRequest, ChatRequest, MessageRequest
from gateway.web.problems import Problem


class Usage(BaseModel):
    input_tokens: int
    output_tokens: int
    total_tokens: int


class Metadata(BaseModel):
    type: Literal["metadata"]
    conversation_id: str
    thread_id: str


class Chunk(BaseModel):
    type: Literal["chunk"]
    content: str


class Done(BaseModel):
    type: Literal["done"]
    full_response: str
    timestamp: str
    finish_reason: FinishReason
    usage: Usage | None = None


class Error(BaseModel):
    type: Literal["error"]
    error: str = Field(description="a sentence for a person")
    code: str
    retryable: bool
    retry_after: int | None = Field(None, description="seconds, where known")
    request_id: str


class ChatEvent(RootModel[Annotated[Metadata | Chunk | Done | Error, Field(discriminator="type")]]):
    """One `data:` line of the stream: one metadata, any chunk, then exactly one done or error."""


class SimpleEvent(BaseModel):
    """`content`…, then `done`; or `error` and `code` instead."""

    content: str | None = None
    done: Literal[True] | None = None
    finish_reason: FinishReason | None = None
    error: str | None = None
    code: str | None = None


class ChatAnswer(BaseModel):
    """With `"stream": false`."""

    conversation_id: str
    thread_id: str
    message: str
    response: str
    timestamp: str
    finish_reason: FinishReason
    usage: Usage | None = None
    is_new_conversation: bool


SCHEMAS: list[type[BaseModel]] = [
    CancelRequest,
    ChatAnswer,
    ChatEvent,
    ChatRequest,
    MessageRequest,
    Problem,
    SimpleEvent,
]
