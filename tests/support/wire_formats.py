"""The two wires, event by event, for tests that say the same on both.

Shapes: `tests/recordings/`, azure-ai-agents 1.1.0.
"""

import json
from dataclasses import dataclass
from typing import Any, Protocol

Json = dict[str, Any]


class Dialect(Protocol):
    @property
    def started(self) -> bytes: ...
    @property
    def finished(self) -> bytes: ...

    def delta(self, text: str) -> bytes: ...
    def failed(self, code: str) -> bytes: ...
    def error(self, code: str) -> bytes: ...
    def incomplete(self, reason: str) -> bytes: ...


def frame(event: str, body: Json) -> bytes:
    return f"event: {event}\ndata: {json.dumps(body)}\n\n".encode()


@dataclass(frozen=True)
class Responses:
    secret: str = "upstream words"

    def _of(self, kind: str, **more: Any) -> bytes:
        return frame(f"response.{kind}", {"type": f"response.{kind}", **more})

    @property
    def started(self) -> bytes:
        return self._of("created", response={"id": "resp_1", "status": "in_progress"})

    @property
    def finished(self) -> bytes:
        usage = {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11}
        return self._of("completed", response={"id": "resp_1", "status": "completed", "output": [], "usage": usage})

    @property
    def failed_without_reason(self) -> bytes:
        return self._of("failed", response={"id": "resp_1", "status": "failed", "error": None})

    def delta(self, text: str) -> bytes:
        return self._of("output_text.delta", item_id="msg_1", delta=text)

    def failed(self, code: str) -> bytes:
        error = {"code": code, "message": self.secret}
        return self._of("failed", response={"id": "resp_1", "status": "failed", "error": error})

    def error(self, code: str) -> bytes:
        return frame("error", {"type": "error", "error": {"code": code, "message": self.secret}})

    def incomplete(self, reason: str) -> bytes:
        response = {"id": "resp_1", "status": "incomplete", "incomplete_details": {"reason": reason}}
        return self._of("incomplete", response=response)


@dataclass(frozen=True)
class Classic:
    secret: str = "upstream words"

    def _run(self, kind: str, **more: Any) -> bytes:
        return frame(f"thread.run.{kind}", {"id": "run_1", "thread_id": "thread_1", "status": kind, **more})

    @property
    def started(self) -> bytes:
        return self._run("created")

    @property
    def finished(self) -> bytes:
        usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
        return self._run("completed", usage=usage) + b"event: done\ndata: [DONE]\n\n"

    def delta(self, text: str) -> bytes:
        content = [{"index": 0, "type": "text", "text": {"value": text}}]
        return frame("thread.message.delta", {"id": "msg_1", "delta": {"content": content}})

    def failed(self, code: str) -> bytes:
        return self._run("failed", last_error={"code": code, "message": self.secret})

    def error(self, code: str) -> bytes:
        return frame("error", {"error": {"code": code, "message": self.secret}})

    def incomplete(self, reason: str) -> bytes:
        return self._run("incomplete", incomplete_details={"reason": reason})
