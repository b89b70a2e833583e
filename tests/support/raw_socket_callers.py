"""Callers on a bare socket: they read when they want, or never."""

import json
import socket
from typing import Any
from urllib.parse import urlsplit


def begin(
    url: str,
    message: str,
    *,
    path: str = "/api/chat",
    buffer: int | None = None,
    behind: bytes | None = None,
    **more: Any,
) -> socket.socket:
    """Posts a turn and reads nothing.

    `buffer`: what the kernel may keep for this caller, in bytes. `behind`: what is sent in the same packet, on a
    connection that then stays open for more.
    """
    parts = urlsplit(url)
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(20)
    connection.connect((parts.hostname, parts.port))
    body = json.dumps({"message": message, **more}).encode()
    kept = "close" if behind is None else "keep-alive"
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: {kept}\r\ncontent-type: application/json\r\n"
    connection.sendall(head.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body + (behind or b""))
    return connection


def read_until(connection: socket.socket, mark: bytes, at_most: int = 65_536) -> bytes:
    """`at_most` so many bytes at a time."""
    read = b""
    while mark not in read:
        part = connection.recv(at_most)
        assert part, f"the connection ended before {mark!r}: {read[-200:]!r}"
        read += part
    return read


def read_all(connection: socket.socket) -> tuple[bytes, bool]:
    """What came, and whether it broke off: by a reset, or without the last chunk of a body in chunks."""
    parts: list[bytes] = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        return b"".join(parts), True
    read = b"".join(parts)
    return read, not read.endswith(b"\r\n0\r\n\r\n")
