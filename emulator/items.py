"""The items of conversations and responses: checked, read as a dialogue, calls and answers paired.

Shapes: the Responses API as openai 3.52 types it, and real streams (tests/recordings).
"""

from collections.abc import Iterable, Sequence

from emulator.wire import Json, new_id, openai_error

PARTS = {"user": "input_text", "system": "input_text", "developer": "input_text", "assistant": "output_text"}
PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "mcp_approval_response": "mcpa",
}
ANSWERS = {
    "function_call_output": "call_id",
    "mcp_approval_response": "approval_request_id",
}  # type → whom it answers


def input_items(given: object) -> list[Json]:
    """`input` of a response: a text or a list of items."""
    if isinstance(given, str) and given:
        return [checked({"type": "message", "role": "user", "content": given}, "input[0]")]
    if isinstance(given, list) and given:
        return [checked(item, f"input[{i}]") for i, item in enumerate(given)]
    if given is None:
        raise openai_error(
            400, "Missing required parameter: 'input'.", code="missing_required_parameter", param="input"
        )
    raise openai_error(400, "Invalid 'input': expected a text or items, not empty.", code="invalid_type", param="input")


def checked(item: object, param: str) -> Json:
    if not isinstance(item, dict):
        raise openai_error(400, f"Invalid type for '{param}': expected an item.", code="invalid_type", param=param)
    kind = item.get("type", "message")
    if kind == "message":
        return _message(item, param)
    if kind in ANSWERS and isinstance(item.get(ANSWERS[kind]), str):
        return {"id": new_id(PREFIXES[kind]), "status": "completed", **item}
    raise openai_error(400, f"Invalid value: '{kind}'.", code="invalid_value", param=f"{param}.type")


def _message(item: Json, param: str) -> Json:
    role, content = item.get("role"), item.get("content")
    if role not in PARTS:
        raise openai_error(400, f"Invalid value: '{role}'.", code="invalid_value", param=f"{param}.role")
    if isinstance(content, str) and content:
        content = [{"type": PARTS[role], "text": content}]
    if not isinstance(content, list) or not content or not all(_is_part(part) for part in content):
        raise openai_error(400, "Invalid content: expected text.", code="invalid_type", param=f"{param}.content")
    return {"id": new_id("msg"), "type": "message", "status": "completed", "role": role, "content": content}


def _is_part(part: object) -> bool:
    return isinstance(part, dict) and "type" in part and isinstance(part.get("text", ""), str)


def text_of(item: Json) -> str:
    return "".join(part.get("text", part.get("refusal", "")) for part in item["content"])


def said_by_user(items: Iterable[Json]) -> list[str]:
    return [text_of(item) for item in items if item["type"] == "message" and item["role"] == "user"]


def dialogue(items: Iterable[Json]) -> list[Json]:
    """As `/chat/completions` wants it."""
    return [{"role": item["role"], "content": text_of(item)} for item in items if item["type"] == "message"]


def words_in(items: Iterable[Json]) -> int:
    return sum(len(text_of(item).split()) for item in items if item["type"] == "message")


def check_answered(history: Sequence[Json], given: Sequence[Json]) -> None:
    """A call that nobody answered bars the conversation, and an answer must have its call."""
    waiting = {_called(item) for item in history} - {_answered(item) for item in history} - {None}
    answered = {_answered(item) for item in given} - {None}
    if unknown := answered - waiting:
        message = f"No tool call found for call id {unknown.pop()}."
        raise openai_error(400, message, param="input")
    if open_calls := waiting - answered:
        raise openai_error(400, f"No tool output found for call {open_calls.pop()}.", param="input")


def _called(item: Json) -> str | None:
    named = {"function_call": "call_id", "mcp_approval_request": "id"}.get(item["type"])
    return item[named] if named else None


def _answered(item: Json) -> str | None:
    return item[ANSWERS[item["type"]]] if item["type"] in ANSWERS else None
