"""Writes the frame of one server-sent event. https://html.spec.whatwg.org/multipage/server-sent-events.html"""

import json
from typing import Any


def encode_frame(event: dict[str, Any]) -> bytes:
    """Return the frame whose data is `event` as one line of JSON, in ASCII."""
    return b"data: " + json.dumps(event).encode("ascii") + b"\n\n"
