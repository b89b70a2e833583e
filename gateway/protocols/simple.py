"""The simple contract of `POST /api/v1/chat/stream`: one message, no memory. Its events are frozen."""

from typing import assert_never

from gateway.events import Event, RunCompleted, RunFailed, TextDelta, TurnStarted
from gateway.protocols.sse_frame import encode_frame


class SimpleEncoder:
    def encode(self, event: Event) -> bytes:
        match event:
            case TextDelta(text):
                return encode_frame({"content": text})
            case TurnStarted():
                return b""
            case RunCompleted("stop"):
                return encode_frame({"done": True})
            case RunCompleted(finish_reason):
                return encode_frame({"done": True, "finish_reason": finish_reason})
            case RunFailed(error):
                return encode_frame({"error": error.public_message, "code": error.code})
            case _:
                assert_never(event)
