"""The two wires, event by event and in short streams, for tests that say the same on both.

Shapes: `emulator/responses_wire.py`, azure-ai-agents 1.1.0.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from emulator import responses_wire
from emulator.streaming import Frame, encoded
from emulator.wire import Json


def framed(events: Iterable[Json]) -> bytes:
    """Write events of the Responses API as a stream."""
    return classic_framed((event["type"], event) for event in events)


def classic_framed(frames: Iterable[Frame]) -> bytes:
    return b"".join(map(encoded, frames))


def created() -> Json:
    return responses_wire.created({"id": "resp_1", "status": "in_progress"})


def delta(text: str) -> Json:
    return responses_wire.delta("output_text", {"item_id": "msg_1"}, text)


def completed() -> Json:
    return _ended("completed", output=[], usage={"input_tokens": 9, "output_tokens": 2, "total_tokens": 11})


def incomplete(reason: str) -> Json:
    return _ended("incomplete", incomplete_details={"reason": reason})


def _ended(status: str, **more: Any) -> Json:
    return responses_wire.status_reached({"id": "resp_1", "status": status, **more})


def answer(*texts: str) -> list[Json]:
    return [created(), *map(delta, texts), completed()]


@dataclass(frozen=True)
class Responses:
    secret: str = "upstream words"
    delta_name: str = "response.output_text.delta"
    started = framed([created()])
    finished = framed([completed()])
    failed_without_reason = framed([_ended("failed", error=None)])

    def delta(self, text: str) -> bytes:
        return framed([delta(text)])

    def failed(self, code: str) -> bytes:
        return framed([_ended("failed", error={"code": code, "message": self.secret})])

    def error(self, code: str) -> bytes:
        return framed([responses_wire.error({"code": code, "message": self.secret})])

    def incomplete(self, reason: str) -> bytes:
        return framed([incomplete(reason)])


@dataclass(frozen=True)
class Classic:
    secret: str = "upstream words"
    delta_name: str = "thread.message.delta"

    def _run(self, kind: str, **more: Any) -> bytes:
        return encoded((f"thread.run.{kind}", {"id": "run_1", "thread_id": "thread_1", "status": kind, **more}))

    @property
    def started(self) -> bytes:
        return self._run("created")

    @property
    def finished(self) -> bytes:
        usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
        return self._run("completed", usage=usage) + encoded(("done", "[DONE]"))

    def delta(self, text: str) -> bytes:
        content = [{"index": 0, "type": "text", "text": {"value": text}}]
        return encoded(("thread.message.delta", {"id": "msg_1", "delta": {"content": content}}))

    def failed(self, code: str) -> bytes:
        return self._run("failed", last_error={"code": code, "message": self.secret})

    def error(self, code: str) -> bytes:
        return encoded(("error", {"error": {"code": code, "message": self.secret}}))

    def incomplete(self, reason: str) -> bytes:
        return self._run("incomplete", incomplete_details={"reason": reason})


WireFormat = Responses | Classic
