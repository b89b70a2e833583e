"""The contract's grammar, checked on what a caller got. Raises AssertionError where a stream lies."""

import json
from dataclasses import dataclass
from typing import Any

PING = ": ping"
DONE = {"type", "full_response", "timestamp", "finish_reason"}
ERROR = {"type", "error", "code", "retryable", "request_id"}


@dataclass(frozen=True)
class Ending:
    """`text` is what was said before it. `code` None: it is done."""

    text: str
    code: str | None
    finish_reason: str | None = None


def native_ending(body: str) -> Ending:
    """Of a whole stream: one metadata, chunks, one done or error, nothing after it."""
    opening, *chunks, last = _payloads(body)
    assert set(opening) == {"type", "conversation_id", "thread_id"}, opening
    assert opening["type"] == "metadata"
    assert opening["thread_id"]
    assert all(set(chunk) == {"type", "content"} and chunk["type"] == "chunk" for chunk in chunks), chunks
    assert all(chunk["content"] for chunk in chunks), "an empty chunk"
    text = "".join(chunk["content"] for chunk in chunks)
    if last["type"] == "error":
        assert set(last) - {"retry_after"} == ERROR, last
        return Ending(text, last["code"])
    assert last["type"] == "done", last
    assert set(last) - {"usage"} == DONE, last
    assert last["full_response"] == text
    return Ending(text, None, last["finish_reason"])


def simple_ending(body: str) -> Ending:
    *contents, last = _payloads(body)
    assert all(set(content) == {"content"} and content["content"] for content in contents), contents
    text = "".join(content["content"] for content in contents)
    if "error" in last:
        assert set(last) == {"error", "code"}, last
        return Ending(text, last["code"])
    assert set(last) - {"finish_reason"} == {"done"}, last
    assert last["done"] is True
    return Ending(text, None, last.get("finish_reason", "stop"))


def _payloads(body: str) -> list[dict[str, Any]]:
    assert body.isascii()
    assert "\r" not in body
    *frames, rest = body.split("\n\n")
    assert rest == "", f"half a frame: {rest[:80]}"
    spoken = [frame for frame in frames if frame != PING]
    assert spoken, "nothing was said"
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in spoken)
    return [json.loads(frame.removeprefix("data: ")) for frame in spoken]
