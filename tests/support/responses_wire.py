"""Short streams of the responses API, written by hand."""

from typing import Any

USAGE = {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11}


def created(response_id: str = "resp_1") -> dict[str, Any]:
    return {"type": "response.created", "response": {"id": response_id, "status": "in_progress"}}


def delta(text: str) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "item_id": "msg_1", "delta": text}


def completed(**more: Any) -> dict[str, Any]:
    response = {"id": "resp_1", "status": "completed", "output": [], "usage": USAGE}
    return {"type": "response.completed", "response": {**response, **more}}


def incomplete(reason: str) -> dict[str, Any]:
    details = {"reason": reason}
    return {
        "type": "response.incomplete",
        "response": {"id": "resp_1", "status": "incomplete", "incomplete_details": details},
    }


def answer(*texts: str) -> list[dict[str, Any]]:
    return [created(), *map(delta, texts), completed()]
