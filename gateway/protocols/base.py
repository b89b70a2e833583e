"""The interface of a protocol: one encoder for each stream, synchronous, without I/O."""

from typing import Protocol

from gateway.events import Event


class Encoder(Protocol):
    def encode(self, event: Event) -> bytes:
        """Return whole frames, or nothing if the protocol does not report the event."""
        ...
