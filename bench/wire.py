"""What the stand-in upstream says, as the real ones do. Shapes: `tests/recordings`, azure-ai-agents 1.1.0.

A delta's text opens with its send time, `@<microseconds>@`, so that whoever reads it knows how long it was on its way.
The whole texts at the end of an answer leave the stamps out.
"""

import json
import time
from typing import Any, Protocol

_MESSAGE_ID = "msg_02ce8deeb6197db200698c5198ca0c81979bedbe6c98a8ab93"
_RESPONSE_ID = "resp_02ce8deeb6197db200698c5196e9588197a572bbea62d38cd1"
_USAGE = {"input_tokens": 11, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 11}
_USAGE |= {"output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 22}
_CREATED = 1_770_803_606


class Answer(Protocol):
    """One answer's frames, each in its own HTTP chunk."""

    def opening(self) -> bytes: ...
    def delta(self, number: int) -> bytes: ...
    def ending(self, deltas: int) -> bytes: ...


class Response:
    """Foundry agents and Azure OpenAI."""

    def __init__(self, conversation_id: str | None) -> None:
        self._response = _response(conversation_id)
        self._item: dict[str, Any] = {"id": _MESSAGE_ID, "type": "message", "content": [], "role": "assistant"}

    def opening(self) -> bytes:
        at = {"item_id": _MESSAGE_ID, "output_index": 0, "content_index": 0}
        return b"".join(
            [
                _event("response.created", 0, response=self._response),
                _event("response.in_progress", 1, response=self._response),
                _event("response.output_item.added", 2, output_index=0, item={**self._item, "status": "in_progress"}),
                _event("response.content_part.added", 3, **at, part=_part("")),
            ]
        )

    def delta(self, number: int) -> bytes:
        return _chunk(_RESPONSE_DELTA % (4 + number, _now_us()))

    def ending(self, deltas: int) -> bytes:
        text, number = " word" * deltas, 4 + deltas
        at = {"item_id": _MESSAGE_ID, "output_index": 0, "content_index": 0}
        item = {**self._item, "status": "completed", "content": [_part(text)]}
        done = {**self._response, "status": "completed", "output": [item], "usage": _USAGE}
        return b"".join(
            [
                _event("response.output_text.done", number, **at, text=text, logprobs=[]),
                _event("response.content_part.done", number + 1, **at, part=_part(text)),
                _event("response.output_item.done", number + 2, output_index=0, item=item),
                _event("response.completed", number + 3, response=done),
            ]
        )


class Run:
    """Classic agents. `thread_id` None: the run makes its thread."""

    def __init__(self, thread_id: str | None) -> None:
        self._is_new = thread_id is None
        self._thread_id = thread_id or "thread_1"

    def opening(self) -> bytes:
        thread = {"id": self._thread_id, "object": "thread", "created_at": _CREATED, "metadata": {}}
        states = ["created", "queued", "in_progress"]
        return b"".join(
            [
                _named("thread.created", thread) if self._is_new else b"",
                *(_named(f"thread.run.{state}", self._run(state)) for state in states),
                _named("thread.run.step.created", self._step("in_progress")),
                _named("thread.run.step.in_progress", self._step("in_progress")),
                _named("thread.message.created", self._message("in_progress", [])),
                _named("thread.message.in_progress", self._message("in_progress", [])),
            ]
        )

    def delta(self, number: int) -> bytes:
        return _chunk(_CLASSIC_DELTA % _now_us())

    def ending(self, deltas: int) -> bytes:
        said = [{"type": "text", "text": {"value": " word" * deltas, "annotations": []}}]
        return b"".join(
            [
                _named("thread.message.completed", self._message("completed", said)),
                _named("thread.run.step.completed", self._step("completed")),
                _named("thread.run.completed", self._run("completed")),
                _chunk(b"event: done\ndata: [DONE]\n\n"),
            ]
        )

    def _run(self, state: str) -> dict[str, Any]:
        tokens = {"prompt_tokens": 11, "completion_tokens": 11, "total_tokens": 22}
        run = {"id": "run_1", "object": "thread.run", "created_at": _CREATED, "assistant_id": "asst_1"}
        run |= {"thread_id": self._thread_id, "status": state.replace("created", "queued"), "required_action": None}
        run |= {"last_error": None, "incomplete_details": None, "instructions": "Be brief.", "model": "gpt-4.1"}
        run |= {"tools": [], "tool_resources": {}, "metadata": {}, "temperature": 1.0, "top_p": 1.0}
        return {**run, "usage": tokens if state == "completed" else None, "parallel_tool_calls": True}

    def _step(self, state: str) -> dict[str, Any]:
        details = {"type": "message_creation", "message_creation": {"message_id": _MESSAGE_ID}}
        step = {"id": "step_1", "object": "thread.run.step", "run_id": "run_1", "thread_id": self._thread_id}
        return {**step, "type": "message_creation", "status": state, "step_details": details, "usage": None}

    def _message(self, state: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        message = {"id": _MESSAGE_ID, "object": "thread.message", "created_at": _CREATED, "assistant_id": "asst_1"}
        message |= {"thread_id": self._thread_id, "run_id": "run_1", "status": state, "role": "assistant"}
        return {**message, "incomplete_details": None, "content": content, "attachments": [], "metadata": {}}


def _response(conversation_id: str | None) -> dict[str, Any]:
    response: dict[str, Any] = {"id": _RESPONSE_ID, "object": "response", "created_at": _CREATED}
    response |= {"status": "in_progress", "background": False, "completed_at": None, "error": None}
    response |= {"incomplete_details": None, "instructions": None, "max_output_tokens": None, "model": "gpt-5.1"}
    response |= {"output": [], "parallel_tool_calls": True, "previous_response_id": None, "store": True}
    response |= {"reasoning": {"effort": "none", "summary": None}, "service_tier": "auto", "temperature": 1, "top_p": 1}
    response |= {"text": {"format": {"type": "text"}, "verbosity": "medium"}, "tool_choice": "auto", "tools": []}
    response |= {"truncation": "disabled", "usage": None, "user": None, "metadata": {}}
    return {**response, "conversation": {"id": conversation_id} if conversation_id else None}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _event(kind: str, number: int, **fields: object) -> bytes:
    return _named(kind, {"type": kind, "sequence_number": number, **fields})


def _named(kind: str, body: dict[str, Any]) -> bytes:
    return _chunk(f"event: {kind}\ndata: {json.dumps(body, separators=(',', ':'))}\n\n".encode())


def _chunk(frame: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(frame), frame)


def _now_us() -> int:
    return time.monotonic_ns() // 1000


_RESPONSE_DELTA = (
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":%d,'
    b'"item_id":"' + _MESSAGE_ID.encode() + b'","output_index":0,"content_index":0,"delta":"@%d@ word",'
    b'"logprobs":[],"obfuscation":"VLMdSoETMf5"}\n\n'
)
_CLASSIC_DELTA = (
    b'event: thread.message.delta\ndata: {"id":"' + _MESSAGE_ID.encode() + b'","object":"thread.message.delta",'
    b'"delta":{"content":[{"index":0,"type":"text","text":{"value":"@%d@ word"}}]}}\n\n'
)
