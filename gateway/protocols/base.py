"""The other port: what a caller speaks. One encoder for each stream, synchronous, without I/O."""

from typing import Protocol

from gateway.events import Event


class Encoder(Protocol):
    def encode(self, event: Event) -> bytes:
        """Whole frames, or nothing where the protocol has no word for the event."""
        ...
