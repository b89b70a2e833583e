"""A turn while it is open: what its owner reads, and how others end it early."""

from collections.abc import AsyncGenerator

from gateway.access.callers import Caller
from gateway.events import Event, ThreadId
from gateway.telemetry.turn_record import TurnRecord
from gateway.turns.run_turn import TurnTimeout


class OpenTurn:
    """One turn between its admission and its end. Its owner, the response, reads `events` once, in batches."""

    __slots__ = ("caller", "events", "record", "thread_ids", "timeout")

    events: AsyncGenerator[list[Event]]

    def __init__(self, caller: Caller, timeout: TurnTimeout, record: TurnRecord, thread_id: ThreadId | None) -> None:
        self.caller = caller
        self.timeout = timeout
        self.record = record
        self.thread_ids = set() if thread_id is None else {thread_id}
        """The ids of the conversation in this turn: a chain has two, of the last response and of this one."""

    def end(self, error: Exception) -> None:
        """Make `events` fail with `error`, now or when the next batch is asked for; the run ends upstream, too."""
        self.timeout.end(error)
