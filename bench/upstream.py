"""A stand-in for Azure that costs next to nothing: `python -m bench.upstream PORT`. Foundry, classic, Azure OpenAI.

`GET /plan?deltas=100&pace=30&delay_ms=50&burst=1&hold=0` says how it answers from now on:
    deltas    in each answer
    pace      times a second that it writes; 0: as fast as the reader takes it
    burst     deltas written at a time
    delay_ms  before each answer, of whatever kind
    hold      1: after the first delta, silence
`GET /seen` tells, and forgets, how many requests came and when streams were closed by their reader (CLOCK_MONOTONIC,
the same for every process of a Linux machine), by the number N in a message "turn N".
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import uvloop

from bench.wire import Answer, Response, Run

_TURN = re.compile(rb"turn (\d+)")
_CONVERSATION = re.compile(rb'"conversation": ?"(\w+)"')
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Plan:
    deltas: int = 100
    pace: float = 0
    burst: int = 1
    delay_ms: float = 0
    hold: int = 0


_KINDS: dict[str, Callable[[str], Any]] = {"deltas": int, "pace": float, "burst": int, "delay_ms": float, "hold": int}


@dataclass
class Seen:
    requests: Counter[str] = field(default_factory=Counter)
    closed_ns: dict[int, int] = field(default_factory=dict)


class Upstream:
    def __init__(self) -> None:
        self.plan = Plan()
        self.seen = Seen()

    def controlled(self, path: str, query: dict[str, str]) -> bytes:
        if path == "/plan":
            self.plan = Plan(**{name: _KINDS[name](value) for name, value in query.items()})
            return b"{}"
        seen, self.seen = self.seen, Seen()
        return json.dumps(vars(seen)).encode()


class Connection(asyncio.Protocol):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._received = b""
        self._speech: Speech | None = None
        self._last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, rest = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if not blank or len(rest) < size:
            return
        self._received = rest[size:]
        self._last = b"connection: close" in head.lower()
        method, target, _ = head.split(b" ", 2)
        self._asked(method.decode(), target.decode(), head, rest[:size])

    def _asked(self, method: str, target: str, head: bytes, body: bytes) -> None:
        path, query = urlsplit(target).path, dict(parse_qsl(urlsplit(target).query))
        if path in ("/plan", "/seen"):
            self._say(self._upstream.controlled(path, query))
        elif path == "/identity":
            self._say(_token(query.get("resource", "")), 200 if b"x-identity-header" in head.lower() else 401)
        else:
            self._upstream.seen.requests[f"{method} {path.rpartition('/')[2]}"] += 1
            delay_s = self._upstream.plan.delay_ms / 1000
            asyncio.get_running_loop().call_later(delay_s, self._answer, method, path, body)

    def _answer(self, method: str, path: str, body: bytes) -> None:
        if self._transport.is_closing():
            return
        last = path.rpartition("/")[2]
        if method == "POST" and last == "responses":
            conversation = _CONVERSATION.search(body)
            self._speak(Response(conversation[1].decode() if conversation else None), body)
        elif method == "POST" and last == "runs":
            thread = path.split("/")[-2]
            self._speak(Run(None if thread == "threads" else thread), body)
        else:
            self._say(_object(path))

    def _say(self, body: bytes, status: int = 200) -> None:
        head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)
        self._ended()

    def _speak(self, answer: Answer, body: bytes) -> None:
        turn = _TURN.search(body)
        number = int(turn[1]) if turn else -1
        self._speech = Speech(self._transport, answer, self._upstream.plan, number, self._ended)
        self._speech.begin()

    def _ended(self) -> None:
        self._speech = None
        if self._last:
            self._transport.close()

    def pause_writing(self) -> None:
        if self._speech:
            self._speech.paused = True

    def resume_writing(self) -> None:
        if self._speech:
            self._speech.paused = False
            self._speech.step()

    def connection_lost(self, error: Exception | None) -> None:
        if self._speech:
            self._upstream.seen.closed_ns[self._speech.turn] = time.monotonic_ns()
            self._speech.stop()


class Speech:
    """One answer on its way: paced by the clock, or by its reader."""

    def __init__(
        self, transport: asyncio.Transport, answer: Answer, plan: Plan, turn: int, ended: Callable[[], None]
    ) -> None:
        self.turn = turn
        self.paused = False
        self._transport = transport
        self._answer = answer
        self._plan = plan
        self._ended = ended
        self._sent = 0
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.Handle | None = None

    def begin(self) -> None:
        self._transport.write(_HEAD + self._answer.opening())
        self._began = self._loop.time()
        self.step()

    def stop(self) -> None:
        if self._next:
            self._next.cancel()

    def step(self) -> None:
        """Writes the next deltas, and sees to it that it is called again."""
        self.stop()
        if self.paused or self._transport.is_closing():
            return
        until = min(self._sent + self._plan.burst, self._plan.deltas)
        self._transport.write(b"".join([self._answer.delta(number) for number in range(self._sent, until)]))
        self._sent = until
        if self._plan.hold:
            return
        if self._sent >= self._plan.deltas:
            self._finish()
        elif self._plan.pace:
            steps = self._sent / self._plan.burst
            self._next = self._loop.call_at(self._began + steps / self._plan.pace, self.step)
        else:
            self._next = self._loop.call_soon(self.step)

    def _finish(self) -> None:
        self._transport.write(self._answer.ending(self._plan.deltas) + b"0\r\n\r\n")
        self._ended()


def _token(resource: str) -> bytes:
    token = {"access_token": "t" * 1_500, "expires_on": str(int(time.time()) + 86_400)}
    return json.dumps({**token, "resource": resource, "token_type": "Bearer"}).encode()


def _object(path: str) -> bytes:
    """A conversation, an agent, a run: as much of it as anybody reads."""
    parts = path.split("/")
    if parts[-1] == "conversations":
        return json.dumps({"id": f"conv_{time.monotonic_ns():x}", "object": "conversation", "metadata": {}}).encode()
    if parts[-1] == "runs":
        return b'{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}'
    if parts[-1] == "cancel":
        return json.dumps({"id": parts[-2], "object": "thread.run", "status": "cancelling"}).encode()
    return json.dumps({"id": parts[-1], "name": parts[-1], "object": parts[-2].removesuffix("s")}).encode()


async def _serve(port: int) -> None:
    upstream = Upstream()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(upstream), "127.0.0.1", port, backlog=2_048)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))
