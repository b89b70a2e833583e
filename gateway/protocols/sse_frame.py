"""Writes the frame of one server-sent event. https://html.spec.whatwg.org/multipage/server-sent-events.html"""

import json
from collections.abc import Mapping


def encode_frame(event: Mapping[str, object]) -> bytes:
    """Return the frame whose data is `event` as one line of JSON, in ASCII."""
    return b"data: " + json.dumps(event).encode("ascii") + b"\n\n"
