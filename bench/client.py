"""Callers: each opens a connection, asks, and stamps every delta as it arrives. Raw sockets: they cost little."""

import asyncio
import re
import time
from collections.abc import Iterable
from typing import cast

_STAMP = re.compile(rb'(?:content": "|delta":"|value":")@(\d+)@')
_CHUNK_HEAD = re.compile(rb"\r\n[0-9a-f]+\r\n")  # may stand inside a delta, where a relay does not know frames
_THREAD_ID = re.compile(rb'"thread_id": "([\w-]+)"')
_LONGEST = 64  # of a stamp that a read cut in two


class Caller(asyncio.Protocol):
    """`leave_after` deltas it goes away in the middle; else it reads to the end."""

    def __init__(self, port: int, request: bytes, leave_after: int = 0) -> None:
        self.began_ns = time.monotonic_ns()
        self.first_ms: float | None = None
        self.delays_ms: list[float] = []
        self.left_ns = 0
        self.whole = False
        self.head = b""
        self.gone = asyncio.get_running_loop().create_future()
        self._port, self._request, self._leave_after = port, request, leave_after
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    async def call(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, "127.0.0.1", self._port)
            await self.gone
        except OSError as error:
            self.head = str(error).encode()
        finally:
            if self._transport:
                self._transport.abort()

    @property
    def thread_id(self) -> str | None:
        found = _THREAD_ID.search(self.head)
        return found[1].decode() if found else None

    @property
    def took_ms(self) -> float:
        return (time.monotonic_ns() - self.began_ns) / 1e6

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        if len(self.head) < 2_000:
            self.head += data[:2_000]
        raw = self._rest + data
        self.whole = raw.endswith(b"0\r\n\r\n")
        text, end = _CHUNK_HEAD.sub(b"", raw), 0
        for stamp in _STAMP.finditer(text):
            self.delays_ms.append(now_ns / 1e6 - int(stamp[1]) / 1e3)
            end = stamp.end()
        self._rest = text[max(end, len(text) - _LONGEST) :]
        if self.first_ms is None and end:
            self.first_ms = (now_ns - self.began_ns) / 1e6
        if self._leave_after and len(self.delays_ms) >= self._leave_after and not self.left_ns and self._transport:
            self.left_ns = time.monotonic_ns()
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(None)


async def call_all(callers: Iterable[Caller], spread_s: float, timeout_s: float) -> list[Caller]:
    """They begin evenly over `spread_s`. Whoever is not done by then is cut off."""
    waiting = list(callers)

    async def one(number: int, caller: Caller) -> None:
        await asyncio.sleep(spread_s * number / len(waiting))
        caller.began_ns = time.monotonic_ns()
        await caller.call()

    tasks = [asyncio.create_task(one(number, caller)) for number, caller in enumerate(waiting)]
    try:
        await asyncio.wait(tasks, timeout=timeout_s)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return waiting


async def get(port: int, path: str) -> bytes:
    """The answer's body. Raises OSError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return (await reader.read(-1)).partition(b"\r\n\r\n")[2]
    finally:
        writer.close()


def post(path: str, body: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer t\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()
