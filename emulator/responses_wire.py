"""The events of the Responses API's streams, as every stand-in makes them; who sends them adds `sequence_number`.

Shapes: https://platform.openai.com/docs/api-reference/responses-streaming and `tests/recordings/`. A `place` is an
item's `item_id` and `output_index`, and in a message its `content_index`.
"""

from typing import Literal

from emulator.wire import Json

WHOLE_FIELD = {"output_text": "text", "refusal": "refusal", "function_call_arguments": "arguments"}
"""By the kind of what comes in pieces: the field that holds it whole."""


def created(response: Json) -> Json:
    return {"type": "response.created", "response": dict(response)}


def status_reached(response: Json) -> Json:
    """A response as it is now, in an event named for its status."""
    return {"type": f"response.{response['status']}", "response": dict(response)}


def error(fields: Json) -> Json:
    """A failure, with its fields nested as in the recordings; the reference has them beside `type`."""
    return {"type": "error", "error": fields}


def output_item(stage: Literal["added", "done"], output_index: int, item: Json) -> Json:
    return {"type": f"response.output_item.{stage}", "output_index": output_index, "item": item}


def content_part(stage: Literal["added", "done"], kind: str, place: Json, text: str) -> Json:
    return {"type": f"response.content_part.{stage}", **place, "part": content(kind, text)}


def content(kind: str, text: str) -> Json:
    """A part of a message, for its events and its item."""
    more: Json = {"annotations": [], "logprobs": []} if kind == "output_text" else {}
    return {"type": kind, **more, WHOLE_FIELD[kind]: text}


def delta(kind: str, place: Json, piece: str) -> Json:
    return {"type": f"response.{kind}.delta", **place, "delta": piece, **_logprobs(kind)}


def done(kind: str, place: Json, text: str) -> Json:
    return {"type": f"response.{kind}.done", **place, WHOLE_FIELD[kind]: text, **_logprobs(kind)}


def _logprobs(kind: str) -> Json:
    return {"logprobs": []} if kind == "output_text" else {}


def mcp_list_tools(stage: Literal["in_progress", "completed"], place: Json) -> Json:
    return {"type": f"response.mcp_list_tools.{stage}", **place}
