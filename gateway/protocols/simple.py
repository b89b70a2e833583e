"""The simple contract of `POST /api/v1/chat/stream`: one message, no memory. Its events are frozen."""

import json
from typing import Any, assert_never

from gateway.events import Event, RunCompleted, RunFailed, RunStarted, TextDelta
from gateway.protocols.sse_frame import encode_frame


class SimpleEncoder:
    def encode(self, event: Event) -> bytes:
        match event:
            case TextDelta(text):
                return _encode_event({"content": text})
            case RunStarted():
                return b""
            case RunCompleted("stop"):
                return _encode_event({"done": True})
            case RunCompleted(finish_reason):
                return _encode_event({"done": True, "finish_reason": finish_reason})
            case RunFailed(code, message):
                return _encode_event({"error": message, "code": code})
            case _:
                assert_never(event)


def _encode_event(event: dict[str, Any]) -> bytes:
    return encode_frame(json.dumps(event).encode("ascii"))
