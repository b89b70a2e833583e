"""The interface of a protocol: a codec between what callers speak and a turn's events. No paths, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from gateway.events import Event, TurnRequest

Body_contra = TypeVar("Body_contra", bound=BaseModel, contravariant=True)


class Encoder(Protocol):
    """The writer of one stream."""

    def encode(self, event: Event) -> bytes:
        """Return whole frames, or nothing if the protocol does not report the event."""
        ...


@dataclass(frozen=True)
class StreamSchema:
    """How /openapi.json describes a stream. `name`: of the component; `event`: the type of one event's data."""

    name: str
    event: Any
    example: str


class ChatProtocol(Protocol[Body_contra]):
    """What one kind of caller speaks. Each is one object, listed in `protocols.PROTOCOLS`."""

    @property
    def request(self) -> type[BaseModel]:
        """The model of a request's body: `web/request_body.py` reads it, and refuses what is not valid."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """What an answer has besides the headers of every stream."""
        ...

    @property
    def stream(self) -> StreamSchema: ...

    def to_turn(self, body: Body_contra) -> TurnRequest:
        """Return what the body asks for."""
        ...

    def create_encoder(self, turn: TurnRequest, request_id: str) -> Encoder:
        """Return the encoder of one stream. `request_id`: what an error names, for the log."""
        ...
