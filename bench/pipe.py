"""Bytes passed on untouched, the least that a relay can cost: `python -m bench.pipe PORT UPSTREAM_PORT`."""

import asyncio
import sys
from typing import cast

import uvloop


class End(asyncio.Protocol):
    """One end of the pipe. What comes before the other end is there waits."""

    def __init__(self, other: "End | None" = None, upstream_port: int = 0) -> None:
        self._other = other
        self._upstream_port = upstream_port
        self._waiting: list[bytes] = []
        self._dialling: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self._other is None:
            self._dialling = asyncio.create_task(self._dial())

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        _, other = await loop.create_connection(lambda: End(self), "127.0.0.1", self._upstream_port)
        other.transport.writelines(self._waiting)
        self._other = other

    def data_received(self, data: bytes) -> None:
        if self._other:
            self._other.transport.write(data)
        else:
            self._waiting.append(data)

    def pause_writing(self) -> None:
        if self._other:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other and not self._other.transport.is_closing():
            self._other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self._other:
            self._other.transport.close()


async def _serve(port: int, upstream_port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: End(None, upstream_port), "127.0.0.1", port, backlog=2_048)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
