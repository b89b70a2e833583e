"""Streams in which nothing is said for long: pinged from the head on, and ending well. Five minutes: `make soak`."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
from starlette.types import Message

from gateway.access.callers import Caller
from gateway.events import Event, Handle, TextDelta, Turn, TurnStarted
from gateway.protocols.simple import SimpleEncoder
from gateway.settings import Settings
from gateway.telemetry.reporter import Reporter
from gateway.telemetry.trace_context import start_trace
from gateway.telemetry.turn_record import RequestInfo
from gateway.turns.open_turn import OpenTurn
from gateway.turns.run_turn import TurnTimeout
from gateway.web.turn_response import TurnResponse
from tests.support.callers import calling, classic, foundry, openai, unread
from tests.support.raw_socket_callers import begin, read_all, read_until
from tests.support.raw_socket_upstream import Wire, bare_upstream
from tests.support.stream_grammar import native_ending, simple_ending


class Stalled:
    """An upstream that stops after its first event (or one word) until it is told to go on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    async def play(self, wire: Wire, message: str) -> None:
        await wire.head()
        await wire.send(wire.wire_format.started)
        if message == "a word":
            await wire.send(wire.wire_format.delta("Hello"))
        while not self.go_on.is_set():
            await wire.pause(0.02)
        await wire.send(wire.wire_format.delta("late"), wire.wire_format.finished)
        await wire.end()


@pytest.mark.parametrize("settings", [foundry, classic, openai])
@pytest.mark.parametrize("path", ["/api/chat", "/api/v1/chat/stream"])
@pytest.mark.parametrize("message", ["nothing", "a word"])
def test_a_long_stall_is_pinged_and_ends_well(settings: Callable[..., Settings], path: str, message: str) -> None:
    stalled = Stalled()
    with (
        bare_upstream(stalled.play) as upstream,
        calling(settings(upstream.url, ping_s=0.05)) as client,
        begin(str(client.base_url), message, path=path) as connection,
    ):
        pinged = read_until(connection, b": ping\n\n")
        while pinged.count(b": ping") < 10:
            pinged += connection.recv(65_536)
        stalled.go_on.set()
        body, broke_off = read_all(connection)
    assert not broke_off
    ending = (native_ending if path == "/api/chat" else simple_ending)(said(pinged + body))
    assert (ending.text, ending.code) == ("late" if message == "nothing" else "Hellolate", None)


def test_the_first_ping_needs_no_word_before_it() -> None:
    stalled = Stalled()
    with bare_upstream(stalled.play) as upstream, calling(foundry(upstream.url, ping_s=0.05)) as client:
        with begin(str(client.base_url), "nothing", path="/api/v1/chat/stream") as connection:
            assert b"data:" not in read_until(connection, b": ping\n\n")
        stalled.go_on.set()


def test_silence_is_over_at_the_idle_timeout_and_pings_do_not_count() -> None:
    with bare_upstream(Stalled().play) as upstream:
        settings: Settings = foundry(upstream.url, ping_s=0.05, upstream_idle_timeout_s=1)
        with calling(settings) as client, begin(str(client.base_url), "a word") as connection:
            body, broke_off = read_all(connection)
    assert not broke_off
    assert body.count(b": ping") >= 2
    assert native_ending(said(body)).code == "upstream_timeout"


PING_S = 0.1


class Client:
    """What an ASGI server is to a response. `is_slow`: it takes a while to send a chunk."""

    def __init__(self, *, is_slow: bool) -> None:
        self.is_slow = is_slow
        self.got: list[Message] = []
        self.pinged = asyncio.Event()
        self.sends = self.most_sends = 0
        """Under way now, and at most."""

    async def receive(self) -> Message:
        never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        return await never

    async def send(self, message: Message) -> None:
        self.sends += 1
        self.most_sends = max(self.most_sends, self.sends)
        if self.is_slow and b"data:" in message.get("body", b""):
            await asyncio.sleep(3 * PING_S)
        self.sends -= 1
        self.got.append(message)
        if message.get("body") == b": ping\n\n":
            self.pinged.set()


@pytest.mark.parametrize("is_slow", [True, False])
def test_no_ping_follows_the_end_or_is_sent_beside_a_chunk(is_slow: bool) -> None:
    async def answered() -> Client:
        client, closed = Client(is_slow=is_slow), asyncio.Event()

        async def batches() -> AsyncGenerator[list[Event]]:
            yield [TurnStarted(Handle("t"), "r")]
            await client.pinged.wait()
            asyncio.get_running_loop().call_soon(time.sleep, 2 * PING_S)  # then both are due: this, and the next ping
            await asyncio.sleep(PING_S / 2)
            if is_slow:
                yield [TextDelta("1")]

        @asynccontextmanager
        async def opening() -> AsyncGenerator[OpenTurn]:
            record = Reporter(unread(), {}).begin_turn(
                Turn("hi", None, "c"), RequestInfo("/", "http", "r", start_trace(), streamed=True)
            )
            turn = OpenTurn(Caller("", ""), TurnTimeout(60), record, None)
            turn.events = batches()
            yield turn
            closed.set()

        response = TurnResponse(opening(), SimpleEncoder(), unread(ping_s=PING_S), thread_id=None, headers={})
        await response({"type": "http", "method": "POST"}, client.receive, client.send)
        assert closed.is_set()
        await asyncio.sleep(2 * PING_S)
        return client

    client = asyncio.run(answered())
    assert client.pinged.is_set()
    assert client.most_sends == 1
    assert [message.get("more_body", True) for message in client.got].index(False) == len(client.got) - 1


def said(raw: bytes) -> str:
    """The events of an answer in HTTP chunks."""
    rest = raw.partition(b"\r\n\r\n")[2]
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body.decode()
