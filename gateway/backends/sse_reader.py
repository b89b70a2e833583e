"""Server-sent events in: bytes as they come, frames as they are whole. The standard's grammar, in any chunking.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from gateway.errors import UpstreamUnavailable

_BOM = b"\xef\xbb\xbf"  # may open a stream
MAX_FRAME_BYTES = 32 * 1024 * 1024  # the largest seen is a web search's end, 90 kB


Frame = tuple[str, bytes]
"""The event's name ("" where the upstream gives none) and its data. A plain tuple: one is made for each delta."""


class FrameReader:
    """Feed it what arrives. A last frame without its empty line is no frame, as the standard says."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._last = b""
        self._ended_in_cr = False

    def feed(self, chunk: bytes) -> list[Frame]:
        """Comments make no frame. Raises UpstreamUnavailable when a frame never ends."""
        text = self._with_lf(chunk)
        if b"\n\n" not in self._last + text:
            return self._keep(text)
        *blocks, rest = (b"".join(self._parts) + text).split(b"\n\n")
        self._parts, self._size = [], 0
        self._last = b""
        self._keep(rest)
        return [frame for block in blocks if (frame := _frame(block))]

    def _keep(self, text: bytes) -> list[Frame]:
        if text:
            self._parts.append(text)
            self._last = text[-1:]
            self._size += len(text)
        if self._size > MAX_FRAME_BYTES:
            raise UpstreamUnavailable(f"a frame of more than {MAX_FRAME_BYTES} bytes")
        return []

    def _with_lf(self, chunk: bytes) -> bytes:
        if self._ended_in_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
            self._ended_in_cr = False
        if b"\r" not in chunk:
            self._ended_in_cr = self._ended_in_cr and not chunk
            return chunk
        self._ended_in_cr = chunk[-1:] == b"\r"
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _frame(block: bytes) -> Frame | None:
    event, seam, data = block.partition(b"\ndata: ")  # what all but a few frames look like, in a third of the time
    if seam and event[:7] == b"event: " and block.count(b"\n") == 1:
        return event[7:].decode(errors="replace"), data
    return _any_frame(block)


def _any_frame(block: bytes) -> Frame | None:
    event, data = b"", None
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name in (b"data", _BOM + b"data"):
            data = value if data is None else data + b"\n" + value
        elif name in (b"event", _BOM + b"event"):
            event = value
    return None if data is None else (event.decode(errors="replace"), data)
