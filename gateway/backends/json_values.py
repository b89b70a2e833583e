"""Reads the upstream's JSON, which may have any shape: objects, texts in pieces, token counts. Pure.

What does not fit is read as absent.
"""

import json
import re
from typing import Any

import orjson

from gateway.errors import UpstreamUnavailable
from gateway.events import Usage

_CODE = re.compile(r"[\w.:/-]{1,64}")


def parse_object(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object; None for anything else.

    orjson refuses half a surrogate pair, which a delta may end in: json takes it.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(data.decode(errors="replace"))
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def check_heartbeat(data: bytes, *, is_known: bool) -> None:
    """Raise UpstreamUnavailable if a frame that is no JSON object should be one: text could be lost with it.

    Heartbeats have any data; `is_known`: the frame's event has a name that we use.
    """
    if is_known or data.lstrip().startswith(b"{"):
        raise UpstreamUnavailable("a frame that is not a JSON object")


class Surrogates:
    """A joiner of surrogate pairs that two deltas share; a half that stays alone becomes U+FFFD."""

    def __init__(self) -> None:
        self._half = ""

    def join(self, text: str) -> str:
        """Return the text that is whole; it may be empty, if a half waits for the next delta."""
        if not self._half and text.isascii():
            return text
        text, self._half = self._half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def flush(self) -> str:
        """Return what is left at the end: U+FFFD for a half, else nothing."""
        half, self._half = self._half, ""
        return "�" if half else ""


def as_object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def code_for_log(value: object) -> str:
    """Return an error's code or a reason as the log may have it; "-" for a sentence, which could quote a person."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) else "-"


def usage_from(value: object, input_name: str, output_name: str) -> Usage | None:
    """Return None unless all three counts are there."""
    usage = as_object(value)
    try:
        return Usage(int(usage[input_name]), int(usage[output_name]), int(usage["total_tokens"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
