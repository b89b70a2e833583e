"""The simple contract of `POST /api/v1/chat/stream`: one message, no memory. Its events are frozen."""

from typing import assert_never

from gateway.events import Event, RunCompleted, RunFailed, RunStarted, TextDelta
from gateway.protocols.sse_frame import encode_frame


class SimpleEncoder:
    def encode(self, event: Event) -> bytes:
        match event:
            case TextDelta(text):
                return encode_frame({"content": text})
            case RunStarted():
                return b""
            case RunCompleted("stop"):
                return encode_frame({"done": True})
            case RunCompleted(finish_reason):
                return encode_frame({"done": True, "finish_reason": finish_reason})
            case RunFailed(code, message):
                return encode_frame({"error": message, "code": code})
            case _:
                assert_never(event)
