"""Event streams as bytes on a connection: written, left by their reader, broken when told to."""

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send

from emulator.scenario import Break, Comment, Orders
from emulator.seen import Seen
from emulator.wire import Json

TRANSPORT = "emulator.transport"  # where the application's entry puts the connection, for `abort`
COMMENT = b": keepalive\n\n"
HEAD = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]

Frame = tuple[str, Json | str]  # the event's name and its data
Part = Frame | Comment | Break


def encoded(frame: Frame) -> bytes:
    """Write half of a surrogate pair, which UTF-8 cannot say, as its escape."""
    name, data = frame
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n".encode(errors="backslashreplace")


@dataclass(slots=True)
class EventStream:
    """An ASGI response. `parts` is closed as soon as its reader leaves."""

    name: str
    parts: AsyncGenerator[Part]
    orders: Orders
    seen: Seen
    at_end: Callable[[], None]  # called however it ends, and if `parts` never began
    headers: dict[str, str] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.streams["opened"].append(self.name)
        state = "left"
        try:
            if await _unless_left(self._write(scope, send), receive):
                state = "broken" if scope.get("emulator.broken") else "finished"
        finally:
            self.at_end()
            self.seen.streams[state].append(self.name)

    async def _write(self, scope: Scope, send: Send) -> None:
        head = HEAD + [(name.encode(), value.encode()) for name, value in self.headers.items()]
        async with aclosing(self.parts) as parts:
            await send({"type": "http.response.start", "status": 200, "headers": head})
            async for part in parts:
                if isinstance(part, Break):
                    scope["emulator.broken"] = True
                    if part.how == "drop":
                        await self._drop(scope, send)
                    break
                await self._send(send, COMMENT if isinstance(part, Comment) else encoded(part))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, data: bytes) -> None:
        if "crlf" in self.orders:
            data = data.replace(b"\n", b"\r\n")
        writes = [data[i : i + 1] for i in range(len(data))] if "bytes" in self.orders else [data]
        for write in writes:
            await send({"type": "http.response.body", "body": write, "more_body": True})
            if len(writes) > 1:
                await asyncio.sleep(0)

    async def _drop(self, scope: Scope, send: Send) -> None:
        half = b"event: response.output_text.delta\ndata: "
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await asyncio.sleep(0.05)  # the half frame goes out before the reset
        abort(scope)


class Reset:
    """An ASGI response that is none: the connection is reset before the head."""

    async def __call__(self, scope: Scope, receive: Receive, _: Send) -> None:
        abort(scope)
        await _disconnected(receive)  # or uvicorn takes the silence for a mistake


async def _unless_left(writing: Coroutine[None, None, None], receive: Receive) -> bool:
    """Whether `writing` came to its end; when the reader leaves first it is cancelled."""
    writer, leaver = asyncio.create_task(writing), asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait((writer, leaver), return_when=asyncio.FIRST_COMPLETED)
        ended = writer.done()
    finally:
        writer.cancel()
        leaver.cancel()
        results = await asyncio.gather(writer, leaver, return_exceptions=True)
    if isinstance(results[0], Exception):
        raise results[0]
    return ended


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def abort(scope: Scope) -> None:
    """Reset the connection: linger 0 makes the close an RST (on a copy: uvloop hides the option)."""
    transport = scope[TRANSPORT]
    if transport.is_closing():
        return
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
