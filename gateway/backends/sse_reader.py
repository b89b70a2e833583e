"""Reads server-sent events: takes bytes in any chunking, returns whole frames. The standard's grammar.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from gateway.errors import UpstreamUnavailable

_BOM = b"\xef\xbb\xbf"  # may open a stream
MAX_FRAME_BYTES = 32 * 1024 * 1024  # the largest seen is a web search's end, 90 kB


Frame = tuple[str, bytes]
"""The event's name ("" where the upstream gives none) and its data. A plain tuple: one is made for each delta."""


class FrameReader:
    """An incremental parser. A last frame without its blank line is no frame, as the standard says."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._last = b""
        self._ended_in_cr = False

    def feed(self, chunk: bytes) -> list[Frame]:
        """Return the frames that are whole now. Comments and blank data make none.

        Raises UpstreamUnavailable for an endless frame.
        """
        text = self._normalize_line_ends(chunk)
        if b"\n\n" not in self._last + text:
            return self._buffer(text)
        *blocks, rest = (b"".join(self._parts) + text).split(b"\n\n")
        self._parts, self._size = [], 0
        self._last = b""
        self._buffer(rest)
        return [frame for block in blocks if (frame := _parse_block(block)) and frame[1].strip()]

    def _buffer(self, text: bytes) -> list[Frame]:
        if text:
            self._parts.append(text)
            self._last = text[-1:]
            self._size += len(text)
        if self._size > MAX_FRAME_BYTES:
            raise UpstreamUnavailable(f"a frame of more than {MAX_FRAME_BYTES} bytes")
        return []

    def _normalize_line_ends(self, chunk: bytes) -> bytes:
        if self._ended_in_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
            self._ended_in_cr = False
        if b"\r" not in chunk:
            self._ended_in_cr = self._ended_in_cr and not chunk
            return chunk
        self._ended_in_cr = chunk[-1:] == b"\r"
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _parse_block(block: bytes) -> Frame | None:
    event, separator, data = block.partition(b"\ndata: ")  # nearly all frames look like this: a third of the time
    if separator and event[:7] == b"event: " and block.count(b"\n") == 1:
        return event[7:].decode(errors="replace"), data
    return _parse_block_by_lines(block)


def _parse_block_by_lines(block: bytes) -> Frame | None:
    event, data = b"", None
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name in (b"data", _BOM + b"data"):
            data = value if data is None else data + b"\n" + value
        elif name in (b"event", _BOM + b"event"):
            event = value
    return None if data is None else (event.decode(errors="replace"), data)
