"""What happens in a turn: the vocabulary that backends and protocols share. Imports only errors.py.

Upstream, a conversation is a `Thread`; a caller holds its `Handle`. `access/handles.py` translates.
"""

from dataclasses import dataclass
from typing import Literal, NewType

from gateway.errors import GatewayError

FinishReason = Literal["stop", "length", "content_filter"]

ThreadId = NewType("ThreadId", str)
"""An upstream's id of a conversation, or of the newest response of a chain. Its prefix means nothing."""
Handle = NewType("Handle", str)
"""What a caller holds: `thread_id` in the contract. Opaque, and not checked before `from_handle` took it."""


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation upstream. `is_chain`: the upstream keeps responses alone, and `id` is the newest one's."""

    id: ThreadId
    is_chain: bool = False


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What a caller asks for, in whatever protocol. `thread_id`: of the conversation that it continues, if any.

    `conversation_id` is the caller's own label, or a UUID.
    """

    message: str
    thread_id: Handle | None
    conversation_id: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What a backend is asked for. `thread`: the conversation that it continues, None for a new one."""

    message: str
    thread: Thread | None
    conversation_id: str

    @property
    def thread_id(self) -> ThreadId | None:
        return self.thread.id if self.thread else None


@dataclass(frozen=True, slots=True)
class Usage:
    input_tokens: int
    output_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A backend's start: always first, exactly once. `run_id` is the upstream's, "" if it gave none."""

    thread: Thread
    run_id: str


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A caller's start, instead of RunStarted: `thread_id` is the handle that continues the conversation.

    `outlives_failure`: it does so even if the turn fails. In a chain only a completed response can be followed.
    """

    thread_id: Handle
    run_id: str
    outlives_failure: bool = True


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
    """An end, instead of RunCompleted."""

    error: GatewayError


BackendEvent = RunStarted | TextDelta | RunCompleted
"""What a backend yields. It raises instead of a RunFailed."""
Event = TurnStarted | TextDelta | RunCompleted | RunFailed
"""What a caller gets: TurnStarted, any TextDelta, then exactly one RunCompleted or RunFailed."""
