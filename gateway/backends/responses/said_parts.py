"""Which parts of an answer's text were passed on already: an upstream tells each text up to four times.

A text comes in deltas, and whole in the events that end its part, its item and the response. A part is known by its
output index and content index. Ids only count where the output index is missing: some servers make up a new `item_id`
for each event, and then the answer would be told twice.
"""

from typing import Any, TypeGuard

from gateway.backends.json_values import as_object, as_string

_TEXT_FIELDS = {"output_text": "text", "refusal": "refusal"}
_EVERY_PART = -1  # where the content index is missing


class SaidParts:
    def __init__(self) -> None:
        self._said: dict[int | str, set[int]] = {}  # by output index, and by item id: content indexes
        self._some_without_index = False
        self._newest: object = None

    def add(self, output_index: object, content_index: object, item_id: object) -> None:
        """Note that text of this part was passed on. Cheap if it is that of the call before, as with most deltas."""
        newest = (output_index, content_index, item_id if output_index is None else None)
        if newest == self._newest:
            return
        self._newest = newest
        self._some_without_index = self._some_without_index or not _is_index(output_index)
        for item in (output_index, item_id):
            if _is_index(item) or isinstance(item, str):
                self._said.setdefault(item, set()).add(content_index if _is_index(content_index) else _EVERY_PART)

    def has(self, output_index: object, content_index: object, item_id: object) -> bool:
        """Return whether text of this part was passed on. In doubt it was: better too little than twice."""
        if _is_index(output_index) and self._some_without_index:
            return True
        item = output_index if _is_index(output_index) else as_string(item_id)
        parts = self._said.get(item, set()) if item is not None else set()
        return bool(parts) if not _is_index(content_index) else not parts.isdisjoint({content_index, _EVERY_PART})


def texts_of_item(item: dict[str, Any]) -> list[tuple[int, str]]:
    """Return the texts of a message, with their content indexes; nothing of any other item."""
    content = item.get("content")
    if item.get("type") != "message" or not isinstance(content, list):
        return []
    texts = [(index, text_of_part(as_object(part))) for index, part in enumerate(content)]
    return [(index, text) for index, text in texts if text]


def text_of_part(part: dict[str, Any]) -> str:
    """Return its text; "" for a part of another kind, reasoning for example."""
    return as_string(part.get(_TEXT_FIELDS.get(str(part.get("type")), ""))) or ""


def _is_index(value: object) -> TypeGuard[int]:
    return type(value) is int and value >= 0
