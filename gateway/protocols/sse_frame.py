"""A server-sent event frame. https://html.spec.whatwg.org/multipage/server-sent-events.html"""


def frame(payload: bytes) -> bytes:
    """`payload` is one line of JSON."""
    return b"data: " + payload + b"\n\n"
