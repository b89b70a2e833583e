"""An upstream on a bare socket, for what no HTTP server does: resets, half frames, silence, floods."""

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

from tests.support.wire_formats import Classic, Responses, WireFormat


class Wire:
    """One turn's connection, after its request was read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire_format: WireFormat) -> None:
        self.wire_format = wire_format
        self._reader = reader
        self._writer = writer

    async def head(self, status: str = "200 OK", kind: str = "text/event-stream", **headers: str) -> None:
        framing = {} if "content_length" in headers else {"transfer-encoding": "chunked"}
        named = {"content-type": kind, "connection": "close", **framing, **headers}
        lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in named.items())]
        await self.raw("\r\n".join(lines).encode() + b"\r\n\r\n")

    async def send(self, *frames: bytes) -> None:
        for frame in frames:
            await self.raw(f"{len(frame):x}\r\n".encode() + frame + b"\r\n")

    async def raw(self, part: bytes) -> None:
        self._writer.write(part)
        await self._writer.drain()

    async def end(self) -> None:
        await self.raw(b"0\r\n\r\n")

    async def reset(self) -> None:
        """What was written goes out first; then RST."""
        await asyncio.sleep(0.05)
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def left(self) -> None:
        """Until the gateway closes its side."""
        with suppress(ConnectionError):
            await self._reader.read()


Play = Callable[[Wire, str], Awaitable[None]]
"""What becomes of a turn, given its message. The connection is closed after it."""


class Bare:
    def __init__(self, play: Play, *, cancel_hangs: bool) -> None:
        self.url = ""
        self.said: list[str] = []
        """The messages whose request arrived whole."""
        self.turn_ids: list[str] = []
        self.cancelled: list[str] = []
        self.open = 0
        """Turns on the wire now."""
        self.active_runs: list[dict[str, Any]] = []
        """What a list of a thread's runs shows."""
        self._play = play
        self._cancel_hangs = cancel_hangs

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._answered(reader, writer):
                    pass
        finally:
            writer.close()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        method, path, body = await _request(reader)
        if method == "POST" and path.endswith(("/responses", "/runs")):
            await self._turn(Wire(reader, writer, Classic() if path.endswith("/runs") else Responses()), body)
            return False
        answer: dict[str, Any] = {"id": "conv_1"}
        if path.endswith("/cancel"):
            self.cancelled.append(path.split("/")[-2])
            await asyncio.sleep(60 if self._cancel_hangs else 0)
        elif path.endswith("/runs"):
            answer = {"data": self.active_runs}
        text = json.dumps(answer).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
        writer.write(f"content-length: {len(text)}\r\n\r\n".encode() + text)
        return True

    async def _turn(self, wire: Wire, body: dict[str, Any]) -> None:
        thread = body.get("thread") or {}
        messages = body.get("additional_messages") or thread.get("messages") or [{"content": body.get("input")}]
        self.said.append(messages[0]["content"])
        self.turn_ids.append((body.get("metadata") or {}).get("turn_id", ""))
        self.open += 1
        try:
            await self._play(wire, self.said[-1])
        finally:
            self.open -= 1


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, Any]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    method, target, _ = head.split(" ", 2)
    lengths = [line.split(":")[1] for line in head.lower().split("\r\n") if line.startswith("content-length:")]
    body = await reader.readexactly(int(lengths[0])) if lengths else b""
    return method, target.partition("?")[0], json.loads(body) if body else {}


@contextmanager
def bare_upstream(play: Play, port: int = 0, *, cancel_hangs: bool = False) -> Generator[Bare]:
    bare = Bare(play, cancel_hangs=cancel_hangs)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    starting = asyncio.start_server(bare.connected, "127.0.0.1", port, backlog=2048)
    server = asyncio.run_coroutine_threadsafe(starting, loop).result(10)
    bare.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield bare
    finally:
        asyncio.run_coroutine_threadsafe(_closed(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _closed(server: asyncio.Server) -> None:
    server.close()
    ours = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks() if task is not ours]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)  # transports say goodbye
