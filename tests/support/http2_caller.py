"""A caller that speaks HTTP/2 frame by frame (RFC 9113): it can reset one stream and keep the connection."""

import json
import socket
import struct
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6
END_STREAM, ACK, END_HEADERS = 1, 1, 4
CANCEL = 8


class Http2Caller:
    """One connection. What comes is small: no flow control is needed."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._authority = f"{parts.hostname}:{parts.port}"
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=20)
        self._received = self._socket.makefile("rb")
        self._next_stream = 1
        self._socket.sendall(PREFACE)
        self._send(SETTINGS, 0, 0, b"")

    def post(self, path: str, message: str, **more: Any) -> int:
        """Send a turn; return the id of its stream."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        body = json.dumps({"message": message, **more}).encode()
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": self._authority,
            "content-type": "application/json",
            "content-length": str(len(body)),
        }
        self._send(HEADERS, END_HEADERS, stream, b"".join(_literal(*field) for field in fields.items()))
        self._send(DATA, END_STREAM, stream, body)
        return stream

    def read_until(self, stream: int, mark: bytes) -> None:
        """Read the body of a stream until `mark` has come."""
        body = b""
        while mark not in body:
            kind, _, of, payload = self._read_frame()
            assert (kind, of) != (RST_STREAM, stream), f"the stream was reset after {body[-200:]!r}"
            if (kind, of) == (DATA, stream):
                body += payload

    def reset(self, stream: int) -> None:
        self._send(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))

    def is_alive(self) -> bool:
        """Return whether the connection answers a PING."""
        self._send(PING, 0, 0, b"are here")
        while True:
            kind, flags, _, payload = self._read_frame()
            if kind == PING and flags & ACK:
                return payload == b"are here"

    def close(self) -> None:
        self._received.close()
        self._socket.close()

    def _send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self._socket.sendall(struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload)

    def _read_frame(self) -> tuple[int, int, int, bytes]:
        head = self._received.read(9)
        assert len(head) == 9, "the connection was closed"
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        payload = self._received.read(int.from_bytes(head[:3], "big"))
        if kind == SETTINGS and not flags & ACK:
            self._send(SETTINGS, ACK, 0, b"")
        return kind, flags, stream, payload


@contextmanager
def connecting(url: str) -> Generator[Http2Caller]:
    caller = Http2Caller(url)
    try:
        yield caller
    finally:
        caller.close()


def _literal(name: str, value: str) -> bytes:
    """A header field as HPACK's plainest form: a literal without indexing, lengths below 127 (RFC 7541, 6.2.2)."""
    return b"".join([b"\0", bytes([len(name)]), name.encode(), bytes([len(value)]), value.encode()])
