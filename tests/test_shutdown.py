"""SIGTERM: the listener stays, new turns are refused, open ones may end, and the process ends with 0, in time."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.processes import Process, environment, running, uvicorn
from tests.support.raw_socket_callers import begin, read_all, read_until
from tests.support.raw_socket_upstream import Wire, bare_upstream
from tests.support.stream_grammar import native_ending
from tests.support.waiting import eventually

Start = Callable[..., Any]


@contextmanager
def by_uvicorn(upstream: str, **settings: str) -> Generator[Process]:
    with running(uvicorn(), environment(upstream, **settings)) as process:
        yield process


@contextmanager
def by_module(upstream: str, **settings: str) -> Generator[Process]:
    port = free_port()
    with running(["-m", "gateway"], environment(upstream, PORT=str(port), **settings), port) as process:
        yield process


@contextmanager
def by_make_run(upstream: str, **settings: str) -> Generator[Process]:
    port = free_port()
    with running(["-m", "scripts.run_local"], environment(upstream, PORT=str(port), **settings), port) as process:
        yield process


@contextmanager
def without_uvloop(upstream: str, **settings: str) -> Generator[Process]:
    """On asyncio's own event loop, as on Windows: from Python 3.12 on its server waits for every connection."""
    command = [*uvicorn()[:-1], "--loop", "asyncio", "--port"]
    with running(command, environment(upstream, **settings)) as process:
        yield process


STARTS = pytest.mark.parametrize("start", [by_uvicorn, by_module, by_make_run])


class Paused:
    """An upstream that says one word, and ends when it is told to. "stay": when it is left; "flood": it goes on."""

    def __init__(self) -> None:
        self.told = threading.Event()

    async def play(self, wire: Wire, message: str) -> None:
        await wire.head()
        await wire.send(wire.wire_format.started, wire.wire_format.delta("Hello"))
        if message == "flood":
            while True:
                await wire.send(wire.wire_format.delta("x" * 10_000))
        if message == "stay":
            await wire.left()
            return
        while not self.told.is_set():
            await wire.pause(0.02)
        await wire.send(wire.wire_format.finished)
        await wire.end()


def draining(service: Process) -> None:
    def is_draining() -> bool:
        answer = httpx.get(f"{service.url}/health")
        return answer.status_code == 200 and answer.json()["status"] == "draining"

    eventually(is_draining, "the service says that it drains")


@STARTS
def test_an_open_stream_may_end_while_new_turns_are_refused(start: Start) -> None:
    paused = Paused()
    with bare_upstream(paused.play) as upstream, start(upstream.url, DRAIN_S="30") as service:
        with begin(service.url, "hi") as connection:
            head = read_until(connection, b"Hello")
            service.popen.send_signal(signal.SIGTERM)
            draining(service)
            refused = httpx.post(f"{service.url}/api/chat", json={"message": "hi"})
            assert (refused.status_code, refused.json()["code"]) == (503, "shutting_down")
            assert refused.json()["retryable"] is True
            assert refused.headers["retry-after"] == "1"
            assert httpx.get(f"{service.url}/ready").json()["code"] == "shutting_down"
            paused.told.set()
            assert b'"type": "done"' in head + read_all(connection)[0]
        assert service.ended(15) == 0


@STARTS
def test_a_stream_that_does_not_end_is_ended_with_an_error(start: Start) -> None:
    with bare_upstream(Paused().play) as upstream, start(upstream.url, DRAIN_S="1") as service:
        with httpx.stream("POST", f"{service.url}/api/chat", json={"message": "stay"}, timeout=30) as answer:
            service.popen.send_signal(signal.SIGTERM)
            ending = native_ending(answer.read().decode())
        assert (ending.text, ending.code) == ("Hello", "shutting_down")
        assert '"retryable": true' in answer.text
        assert service.ended(15) == 0
        eventually(lambda: not upstream.open, "the upstream is left")


@STARTS
def test_json_that_is_awaited_fails_with_a_status(start: Start) -> None:
    with bare_upstream(Paused().play) as upstream, start(upstream.url, DRAIN_S="1") as service:
        answers: list[httpx.Response] = []
        body = {"message": "hi", "stream": False}
        asking = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{service.url}/api/chat", json=body, timeout=30))
        )
        asking.start()
        eventually(lambda: upstream.open, "the turn is upstream")
        service.popen.send_signal(signal.SIGTERM)
        asking.join(30)
        assert (answers[0].status_code, answers[0].json()["code"]) == (503, "shutting_down")
        assert answers[0].headers["retry-after"] == "1"
        assert service.ended(15) == 0


@STARTS
def test_without_open_streams_it_ends_soon(start: Start) -> None:
    with bare_upstream(Paused().play) as upstream, start(upstream.url, DRAIN_S="60") as service:
        service.popen.send_signal(signal.SIGTERM)
        assert service.ended(20) == 0


@pytest.mark.parametrize("start", [by_uvicorn, by_module, by_make_run, without_uvloop])
def test_idle_kept_alive_connections_do_not_hold_it(start: Start) -> None:
    """They are kept for an hour otherwise (test_keep_alive.py)."""
    with (
        bare_upstream(Paused().play) as upstream,
        start(upstream.url, DRAIN_S="60") as service,
        httpx.Client() as used,
        begin(service.url, "hi", behind=b"") as busy,
    ):
        assert used.get(f"{service.url}/health").headers.get("connection") != "close"
        read_until(busy, b"Hello")
        with socket.create_connection(("127.0.0.1", urlsplit(service.url).port or 0)) as unused:
            service.popen.send_signal(signal.SIGTERM)
            draining(service)
            busy.close()
            before = time.monotonic()
            assert service.ended(15) == 0
            assert time.monotonic() - before < 5
            unused.settimeout(5)
            assert unused.recv(1) == b""


@pytest.mark.slow
@pytest.mark.parametrize("start", [by_uvicorn, by_module, by_make_run, without_uvloop])
@pytest.mark.parametrize("agent", ["agent", "asst_1"])
def test_a_caller_who_does_not_read_does_not_hold_it(start: Start, agent: str) -> None:
    settings = {"DRAIN_S": "1", "AZURE_AI_AGENT_ID": agent}
    with bare_upstream(Paused().play, cancel_hangs=True) as upstream, start(upstream.url, **settings) as service:
        with begin(service.url, "flood", buffer=4_096) as connection:
            read_until(connection, b"Hello")
            service.popen.send_signal(signal.SIGTERM)
            before = time.monotonic()
            assert service.ended(30) == 0
            assert time.monotonic() - before < 1 + 5 + 5  # `DRAIN_S` + 5 s, and five for a busy machine
        eventually(lambda: not upstream.open, "the upstream is left")


@STARTS
@pytest.mark.parametrize("reads", [True, False])
def test_a_second_sigterm_ends_at_once(start: Start, reads: bool) -> None:
    with (
        bare_upstream(Paused().play) as upstream,
        start(upstream.url, DRAIN_S="60") as service,
        begin(service.url, "hi" if reads else "flood", buffer=4_096) as connection,
    ):
        read_until(connection, b"Hello")
        service.popen.send_signal(signal.SIGTERM)
        draining(service)
        service.popen.send_signal(signal.SIGTERM)
        assert service.ended(15) == 0


@pytest.mark.parametrize("start", [by_uvicorn, by_module])
def test_ctrl_c_does_not_wait_for_open_streams(start: Start) -> None:
    settings = {"DRAIN_S": "600", "PING_S": "60"}  # no ping: a stream that is not ended is silent for longer than 5 s
    with bare_upstream(Paused().play) as upstream, start(upstream.url, **settings) as service:
        with httpx.stream("POST", f"{service.url}/api/chat", json={"message": "hi"}, timeout=5) as answer:
            service.popen.send_signal(signal.SIGINT)
            assert native_ending(answer.read().decode()).code == "shutting_down"
        assert service.ended(15) == 0
