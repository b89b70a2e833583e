"""Behind a real Envoy, as Container Apps' ingress is one: streams, resets, errors and a drain pass through it."""

import json
import signal
import socket
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived

from emulator.app import create_app as create_emulator
from tests.support.callers import events_of
from tests.support.envoy import behind_envoy
from tests.support.processes import Process, environment, running, uvicorn
from tests.support.servers import serving
from tests.support.waiting import eventually

STALLED = {"message": "[stall]"}
HTTP = pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])


@contextmanager
def calling(url: str, *, http2: bool) -> Generator[httpx.Client]:
    with httpx.Client(base_url=url, http1=not http2, http2=http2, timeout=30) as client:
        yield client


@pytest.fixture
def upstream() -> Iterator[str]:
    """An emulator that takes about two seconds for its usual answer."""
    with serving(create_emulator(pace=20)) as url:
        yield url


@pytest.fixture
def service(upstream: str) -> Iterator[Process]:
    settings = {"PING_S": "0.5", "DRAIN_S": "20", "ALLOWED_ORIGINS": "https://a.example"}
    with running(uvicorn(), environment(upstream, **settings)) as process:
        yield process


def streams(upstream: str) -> dict[str, list[Any]]:
    seen: dict[str, list[Any]] = httpx.get(f"{upstream}/_seen").json()["streams"]
    return seen


@HTTP
def test_chunks_arrive_as_they_are_written(http2: bool, service: Process, upstream: str) -> None:
    with behind_envoy(service.url) as url, calling(url, http2=http2) as client:
        with client.stream("POST", "/api/chat", json={"message": "Hello!"}) as answer:
            lines = answer.iter_lines()
            first = next(line for line in lines if "chunk" in line)
            assert streams(upstream)["finished"] == []  # the upstream still writes
            rest = [line for line in lines if line.startswith("data: ")]
        assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert first.startswith('data: {"type": "chunk"')
    assert '"type": "done"' in rest[-1]


@HTTP
def test_a_quiet_stream_is_pinged_through_it(http2: bool, service: Process) -> None:
    with behind_envoy(service.url) as url, calling(url, http2=http2) as client:  # noqa: SIM117
        with client.stream("POST", "/api/chat", json=STALLED) as answer:
            lines = answer.iter_lines()
            pings = [line for line in (next(lines) for _ in range(20)) if line == ": ping"]
    assert len(pings) > 2


def test_a_client_that_closes_its_connection_ends_the_run(service: Process, upstream: str) -> None:
    with behind_envoy(service.url) as url:
        for _ in range(3):
            with calling(url, http2=False) as client, client.stream("POST", "/api/chat", json=STALLED) as answer:
                lines = answer.iter_lines()
                assert any("chunk" in line for line in lines)
        ends_within_seconds(3, upstream)


def test_a_client_that_resets_a_stream_of_its_connection_ends_the_run(service: Process, upstream: str) -> None:
    with behind_envoy(service.url) as url, Http2Connection(url) as connection:
        for _ in range(3):
            connection.post_and_reset(json.dumps(STALLED).encode(), b"chunk")
        ends_within_seconds(3, upstream)


def ends_within_seconds(streams_left: int, upstream: str) -> None:
    began = time.monotonic()
    eventually(lambda: len(streams(upstream)["left"]) == streams_left, "the upstream's streams are closed")
    assert time.monotonic() - began < 5


class Http2Connection:
    """One connection on which single streams can be reset: httpx only forgets them."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port), timeout=20)
        self._authority = address.netloc
        self._state = H2Connection()

    def __enter__(self) -> "Http2Connection":
        self._state.initiate_connection()
        self._flush()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def post_and_reset(self, body: bytes, seen: bytes) -> None:
        """Post to /api/chat, and reset the stream as soon as the answer has these bytes."""
        stream = self._state.get_next_available_stream_id()
        pseudo = {":method": "POST", ":scheme": "http", ":path": "/api/chat", ":authority": self._authority}
        self._state.send_headers(stream, [*pseudo.items(), ("content-type", "application/json")])
        self._state.send_data(stream, body, end_stream=True)
        self._flush()
        while seen not in self._read(stream):
            self._flush()
        self._state.reset_stream(stream, ErrorCodes.CANCEL)
        self._flush()

    def _read(self, stream: int) -> bytes:
        events = self._state.receive_data(self._socket.recv(65_536))
        return b"".join(event.data for event in events if isinstance(event, DataReceived) and event.stream_id == stream)

    def _flush(self) -> None:
        self._socket.sendall(self._state.data_to_send())


@HTTP
def test_whole_answers_problems_and_preflights_pass_unchanged(http2: bool, service: Process) -> None:
    preflight = {
        "origin": "https://a.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    with behind_envoy(service.url) as url, calling(url, http2=http2) as client:
        whole = client.post("/api/chat", json={"message": "[echo] hi", "stream": False})
        refused = client.post("/api/chat", json={"message": "[denied]"})
        allowed = client.options("/api/chat", headers=preflight)
    assert whole.json()["response"] == "hi"
    assert (refused.status_code, refused.json()["code"]) == (502, "upstream_denied")
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["x-request-id"] == refused.json()["request_id"]  # Envoy gives a stranger's request its own
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, "https://a.example")


@HTTP
def test_a_drain_behind_it_ends_open_streams_well_and_refuses_new_turns(http2: bool, service: Process) -> None:
    with behind_envoy(service.url) as url, calling(url, http2=http2) as client:  # noqa: SIM117
        with client.stream("POST", "/api/chat", json={"message": "Hello!"}) as answer:
            lines = answer.iter_lines()
            first = next(lines)
            service.popen.send_signal(signal.SIGTERM)
            with calling(url, http2=http2) as other:
                eventually(lambda: other.get("/health").json()["status"] == "draining", "it drains")
                refused = other.post("/api/chat", json={"message": "hi"})
            body = "\n".join([first, *lines]) + "\n"
    assert (refused.status_code, refused.json()["code"]) == (503, "shutting_down")
    assert events_of(body)[-1]["type"] == "done"
    assert service.ended(20) == 0
