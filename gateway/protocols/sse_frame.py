"""Writes the frame of one server-sent event. https://html.spec.whatwg.org/multipage/server-sent-events.html"""


def encode_frame(payload: bytes) -> bytes:
    """Return the frame of `payload`, which is one line of JSON."""
    return b"data: " + payload + b"\n\n"
