"""Which conversation: what callers hold as `thread_id`, and the upstream's id behind it. The one door for both ways."""

import re
from typing import Protocol

from gateway.errors import ConversationNotFound
from gateway.settings import Settings

_SHAPE = re.compile(r"[A-Za-z0-9_-]{1,200}")


class Threads(Protocol):
    """`owner` is `Caller.owner`."""

    def handle(self, thread_id: str, owner: str) -> str: ...

    def thread_id(self, handle: str, owner: str) -> str:
        """Raises ConversationNotFound, the same for whatever is not this owner's."""
        ...


class RawThreads:
    """Without CONVERSATION_KEYS: the upstream's own id, for whoever knows it."""

    def handle(self, thread_id: str, owner: str) -> str:
        return thread_id

    def thread_id(self, handle: str, owner: str) -> str:
        if not _SHAPE.fullmatch(handle):
            raise ConversationNotFound("not an id")
        return handle


def threads_for(settings: Settings) -> Threads:
    if not settings.conversation_keys:
        return RawThreads()
    from gateway.threads_signed import SignedThreads  # noqa: PLC0415  not imported when off

    return SignedThreads([key.get_secret_value() for key in settings.conversation_keys])
