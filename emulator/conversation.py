"""What the emulator keeps of one conversation, or of a classic thread."""

from dataclasses import dataclass, field

from emulator.wire import Json, now


@dataclass(slots=True)
class Conversation:
    """A conversation or, of the classic kind, a thread. `items` are in the shape of its own generation."""

    id: str
    metadata: dict[str, str]
    created_at: int = field(default_factory=now)
    items: list[Json] = field(default_factory=list)
    active: str | None = None  # the response or run that holds it
