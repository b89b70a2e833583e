"""What happens in a turn: the vocabulary that backends and protocols share. Imports only errors.py."""

from dataclasses import dataclass
from typing import Literal

from gateway.errors import BY_CODE, GatewayError

FinishReason = Literal["stop", "length", "content_filter"]


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn's input. `thread_id` is the upstream's id, None for a new conversation."""

    message: str
    thread_id: str | None
    conversation_id: str


@dataclass(frozen=True, slots=True)
class Usage:
    input_tokens: int
    output_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A start: always first, exactly once. `thread_id` is the upstream's id; after `run_turn` the caller's handle."""

    thread_id: str
    run_id: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of text, never empty, and never half of a surrogate pair."""

    text: str


@dataclass(frozen=True, slots=True)
class RunCompleted:
    """An end: always last. `usage` is None if the upstream gives none."""

    finish_reason: FinishReason
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class RunFailed:
    """An end, instead of RunCompleted. `message` is the public one; `code` is from `errors.py`."""

    code: str
    message: str
    retryable: bool
    retry_after_s: float | None


BackendEvent = RunStarted | TextDelta | RunCompleted
Event = BackendEvent | RunFailed


def error_from_event(failed: RunFailed) -> GatewayError:
    """Return the error that a RunFailed was made of, for the JSON mode, where it is a status."""
    return BY_CODE[failed.code](
        public_message=failed.message, retryable=failed.retryable, retry_after_s=failed.retry_after_s
    )
