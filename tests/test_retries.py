"""What is sent again, and what never: the upstream accepts each message of a person at most once."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from gateway.backends.http_client import UpstreamClient
from gateway.backends.responses.backend import FoundryAgent, ResponsesBackend
from gateway.events import Handle, RunCompleted, Turn
from gateway.settings import Settings
from gateway.turns.run_turn import TurnTimeout, run_turn
from tests.support.callers import calling, chat, classic, foundry, openai, text_of
from tests.support.faults import ON_BARE_SOCKET, ON_EMULATOR, Expected, Status, play
from tests.support.ports import free_port
from tests.support.raw_socket_upstream import Wire, bare_upstream
from tests.support.waiting import eventually

UPSTREAMS = pytest.mark.parametrize("settings", [foundry, classic, openai])


def turns_posted(emulator: str) -> int:
    requests = httpx.get(f"{emulator}/_seen").json()["requests"]
    return sum(request["path"].endswith(("/responses", "/runs")) for request in requests)


def post_all(client: httpx.Client, messages: Iterable[str]) -> None:
    """At the same time: some wait for a timeout."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(lambda message: client.post("/api/chat", json={"message": message}), messages))


def was_refused(expected: Expected) -> bool:
    """Before the upstream took the message in."""
    return isinstance(expected, Status) and (expected.status in (400, 409, 429) or expected.code == "upstream_denied")


@pytest.mark.slow
@UPSTREAMS
def test_no_fault_makes_the_upstream_accept_a_message_twice(settings: Callable[..., Settings], emulator: str) -> None:
    with calling(settings(emulator, upstream_idle_timeout_s=5)) as client:
        post_all(client, ON_EMULATOR)
    messages = httpx.get(f"{emulator}/_seen").json()["messages"]
    for fault, expected in ON_EMULATOR.items():
        assert messages.count(fault) == (0 if was_refused(expected) else 1), fault
    assert turns_posted(emulator) == len(ON_EMULATOR)


@pytest.mark.slow
@UPSTREAMS
def test_no_broken_connection_is_answered_with_a_second_try(settings: Callable[..., Settings]) -> None:
    with bare_upstream(play) as upstream, calling(settings(upstream.url, upstream_idle_timeout_s=5)) as client:
        post_all(client, ON_BARE_SOCKET)
    assert sorted(upstream.said) == sorted(ON_BARE_SOCKET)


@UPSTREAMS
def test_a_429_that_says_when_is_waited_for(settings: Callable[..., Settings], emulator: str) -> None:
    with calling(settings(emulator)) as client:
        assert text_of(chat(client, "[429 once] [echo] at last")) == "at last"
    assert turns_posted(emulator) == 2
    assert len(httpx.get(f"{emulator}/_seen").json()["messages"]) == 1


@UPSTREAMS
def test_it_is_tried_twice_more_and_then_told(settings: Callable[..., Settings], emulator: str) -> None:
    with calling(settings(emulator)) as client:
        answer = client.post("/api/chat", json={"message": "[429:0.1]"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert turns_posted(emulator) == 3


@UPSTREAMS
def test_a_wait_that_does_not_fit_is_told_at_once(settings: Callable[..., Settings], emulator: str) -> None:
    with calling(settings(emulator)) as client:
        answer = client.post("/api/chat", json={"message": "[429:11]"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "11")
    assert answer.json()["code"] == "upstream_rate_limited"
    assert turns_posted(emulator) == 1


def test_a_429_without_a_time_is_told_at_once() -> None:
    async def busy(wire: Wire, _: str) -> None:
        await wire.raw(b"HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")

    with bare_upstream(busy) as upstream, calling(foundry(upstream.url)) as client:
        answer = client.post("/api/chat", json={"message": "hi"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert upstream.said == ["hi"]


@pytest.mark.parametrize("status", ["301 Moved Permanently", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_redirect_is_not_followed(status: str) -> None:
    """A 307 would have the message sent again, and the token with it."""

    async def redirect(wire: Wire, _: str) -> None:
        location = "/api/projects/p/openai/v1/responses"
        await wire.raw(
            f"HTTP/1.1 {status}\r\nconnection: close\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()
        )

    with bare_upstream(redirect) as upstream, calling(foundry(upstream.url)) as client:
        answer = client.post("/api/chat", json={"message": "hi"})
    assert (answer.status_code, answer.json()["code"]) == (502, "upstream_unavailable")
    assert upstream.said == ["hi"]


@UPSTREAMS
def test_a_connection_refused_for_good_is_a_502(settings: Callable[..., Settings]) -> None:
    with calling(settings(f"http://127.0.0.1:{free_port()}")) as client:
        answer = client.post("/api/chat", json={"message": "hi"})
    assert (answer.status_code, answer.json()["code"]) == (502, "upstream_unavailable")
    assert answer.json()["retryable"] is True


class BeforeTheSecondTry:
    """A way to sign in that counts, and calls `act` when a request is about to be sent again."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.tries = 0
        self._act = act

    async def get_headers(self) -> Mapping[str, str]:
        self.tries += 1
        if self.tries == 2:
            self._act()
        return {}

    async def aclose(self) -> None: ...


def test_a_connection_refused_is_tried_again_until_someone_listens() -> None:
    async def answer(wire: Wire, _: str) -> None:
        await wire.head()
        await wire.send(wire.wire_format.started, wire.wire_format.delta("Hello"), wire.wire_format.finished)
        await wire.end()

    port = free_port()
    with ExitStack() as stack:
        sign_in = BeforeTheSecondTry(lambda: stack.enter_context(bare_upstream(answer, port)))
        last = asyncio.run(_last_event(f"http://127.0.0.1:{port}", sign_in))
    assert isinstance(last, RunCompleted)
    assert sign_in.tries == 3  # conversation, once more, response


async def _last_event(url: str, sign_in: BeforeTheSecondTry) -> object:
    upstream = UpstreamClient(url, sign_in, 5)
    backend = ResponsesBackend(upstream, FoundryAgent("agent"), pool_size=0)
    try:
        return [
            batch
            async for batch in run_turn(
                backend, Turn("hi", None, "c"), TurnTimeout(10), lambda thread: Handle(thread.id)
            )
        ][-1][-1]
    finally:
        await backend.aclose()


@pytest.mark.parametrize("settings", [foundry, classic])
def test_a_connection_that_the_upstream_closed_while_it_was_idle_costs_no_turn(
    settings: Callable[..., Settings],
) -> None:
    async def answer_and_close(wire: Wire, _: str) -> None:
        await wire.head(connection="keep-alive")  # which it does not keep
        await wire.send(wire.wire_format.started, wire.wire_format.delta("Hello"), wire.wire_format.finished)
        await wire.end()

    with bare_upstream(answer_and_close) as upstream, calling(settings(upstream.url)) as client:
        for message in ("one", "two", "three"):
            assert text_of(chat(client, message)) == "Hello"
            eventually(lambda: upstream.open == 0, "the turn's connection is closed")
            time.sleep(0.1)  # until the gateway has seen it
    assert upstream.said == ["one", "two", "three"]
