"""The simple contract of `POST /api/v1/chat/stream`: one message, no memory. Its shapes are frozen."""

import json
from typing import Any, assert_never

from gateway.events import Event, RunCompleted, RunFailed, RunStarted, TextDelta
from gateway.protocols.sse_frame import frame


class SimpleEncoder:
    def encode(self, event: Event) -> bytes:
        match event:
            case TextDelta(text):
                return _line({"content": text})
            case RunStarted():
                return b""
            case RunCompleted("stop"):
                return _line({"done": True})
            case RunCompleted(finish_reason):
                return _line({"done": True, "finish_reason": finish_reason})
            case RunFailed(code, message):
                return _line({"error": message, "code": code})
            case _:
                assert_never(event)


def _line(event: dict[str, Any]) -> bytes:
    return frame(json.dumps(event).encode("ascii"))
