"""Behind a real Envoy, the ingress of Container Apps: HTTP/1.1 and HTTP/2, streams, disconnects, a drain."""

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.support.browsers import program
from tests.support.callers import events_of, text_of
from tests.support.envoy import Envoy, envoy_before
from tests.support.http2_caller import connecting
from tests.support.processes import Process, environment, running, uvicorn
from tests.support.raw_socket_callers import begin, read_all, read_until
from tests.support.raw_socket_upstream import Wire, bare_upstream
from tests.support.stream_grammar import Ending, native_ending
from tests.support.waiting import eventually
from tests.test_real_clients import NO_CURL

LEFT_WITHIN_S = 5.0
PARTIAL_FILE, HTTP2_STREAM_ERROR = 18, 92  # exit codes of curl
VARIES = {"request_id", "thread_id", "conversation_id", "timestamp"}  # from one answer to the next
ADDED_BY_ENVOY = {"x-envoy-upstream-service-time", "server", "date", "transfer-encoding", "x-request-id"}
HTTP = pytest.mark.parametrize(
    ("version", "flags"),
    [("1.1", ["--http1.1"]), ("2", ["--http2-prior-knowledge"]), ("2", ["--http2", "--insecure"])],
    ids=["http1", "http2", "http2-by-tls"],
)


@contextmanager
def behind_envoy(upstream: str, **settings: str) -> Generator[tuple[Envoy, Process]]:
    with running(uvicorn(), environment(upstream, **settings)) as service, envoy_before(service.url) as envoy:
        yield envoy, service


class Curl:
    """A turn by curl, which prints head and body as they arrive."""

    def __init__(self, popen: "subprocess.Popen[bytes]") -> None:
        assert popen.stdout
        self._popen = popen
        self._output = popen.stdout

    def read_until(self, mark: str) -> str:
        """Read up to the end of the first line with `mark`."""
        read = ""
        for line in self._output:
            read += line.decode()
            if mark in line.decode():
                return read
        raise AssertionError(f"no {mark!r} came: {read!r}")

    def read_all(self) -> str:
        return self._output.read().decode()

    def exit_code(self) -> int:
        return self._popen.wait(20)


@contextmanager
def curl(envoy: Envoy, flags: list[str], message: str) -> Generator[Curl]:
    url = envoy.tls_url if "--insecure" in flags else envoy.url
    command = [program("curl", NO_CURL), "--no-buffer", "--silent", "--include", *flags, f"{url}/api/chat"]
    body = ["-H", "content-type: application/json", "-d", json.dumps({"message": message})]
    with subprocess.Popen([*command, *body], stdout=subprocess.PIPE, bufsize=0) as popen:
        try:
            yield Curl(popen)
        finally:
            popen.kill()


class Told:
    """An upstream that says the next word when it is told to, and then ends."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self._told = threading.Semaphore(0)

    def tell(self) -> None:
        self._told.release()

    async def play(self, wire: Wire, _: str) -> None:
        await wire.head()
        await wire.send(wire.wire_format.started)
        for word in self._words:
            await self._wait(wire)
            await wire.send(wire.wire_format.delta(word))
        await self._wait(wire)
        await wire.send(wire.wire_format.finished)
        await wire.end()

    async def _wait(self, wire: Wire) -> None:
        while not self._told.acquire(blocking=False):
            await wire.pause(0.01)


@HTTP
def test_each_chunk_arrives_before_the_upstream_says_the_next(version: str, flags: list[str]) -> None:
    told = Told("one", "two", "three")
    with (
        bare_upstream(told.play) as upstream,
        behind_envoy(upstream.url) as (envoy, _),
        curl(envoy, flags, "hi") as caller,
    ):
        told.tell()
        assert caller.read_until('"metadata"').startswith(f"HTTP/{version} 200")
        for word in ("one", "two", "three"):
            caller.read_until(f'"{word}"')
            assert upstream.open == 1
            told.tell()
        assert '"chunk"' not in caller.read_until('"done"')


def streams(emulator: str) -> dict[str, list[str]]:
    seen: dict[str, dict[str, list[str]]] = httpx.get(f"{emulator}/_seen").json()
    return seen["streams"]


def wait_until_left(emulator: str, streams: int) -> float:
    """Wait until so many streams are over upstream; return how long it took, in seconds.

    A stream of a classic run may come to its end in between: its run is cancelled at the same time.
    """
    begun = time.monotonic()
    while time.monotonic() - begun < LEFT_WITHIN_S:
        seen = httpx.get(f"{emulator}/_seen").json()
        if len(seen["streams"]["left"] + seen["streams"]["finished"]) == streams and not seen["active_runs"]:
            return time.monotonic() - begun
        time.sleep(0.002)
    raise AssertionError(f"not left within {LEFT_WITHIN_S:g} s")


@pytest.mark.parametrize("agent", ["agent", "asst_1"])
def test_a_client_that_resets_its_stream_ends_the_run(agent: str, emulator: str) -> None:
    """Its connection stays, and with it the other streams on it."""
    with behind_envoy(emulator, AZURE_AI_AGENT_ID=agent) as (envoy, _), connecting(envoy.url) as caller:
        for left in range(1, 6):
            stream = caller.post("/api/chat", "[stall]")
            caller.read_until(stream, b"chunk")
            caller.reset(stream)
            wait_until_left(emulator, left)
        assert caller.is_alive()
        caller.read_until(caller.post("/api/chat", "[echo] hi"), b"done")


def test_a_reset_leaves_the_other_streams_of_the_connection_alone(emulator: str) -> None:
    with behind_envoy(emulator) as (envoy, _), connecting(envoy.url) as caller:
        kept, dropped = caller.post("/api/chat", "[slow:0] [echo] a b c d e f"), caller.post("/api/chat", "[stall]")
        caller.read_until(dropped, b"chunk")
        caller.reset(dropped)
        caller.read_until(kept, b'"done"')
        eventually(lambda: len(streams(emulator)["left"]) == 1, "the other one is left")


@pytest.mark.parametrize("agent", ["agent", "asst_1"])
def test_a_client_that_closes_its_connection_ends_the_run(agent: str, emulator: str) -> None:
    with behind_envoy(emulator, AZURE_AI_AGENT_ID=agent) as (envoy, _):
        for left in range(1, 6):
            connection = begin(envoy.url, "[stall]")
            read_until(connection, b"chunk")
            connection.close()
            wait_until_left(emulator, left)


def test_a_client_that_disconnects_before_the_first_event_ends_the_run(emulator: str) -> None:
    with behind_envoy(emulator) as (envoy, _), connecting(envoy.url) as caller:
        stream = caller.post("/api/chat", "[silent]")
        eventually(lambda: streams(emulator)["opened"], "the turn is upstream")
        caller.reset(stream)
        wait_until_left(emulator, 1)


@pytest.mark.slow
def test_a_client_that_does_not_read_stops_the_upstream_and_is_dropped(emulator: str) -> None:
    """Envoy holds what it cannot pass on, up to its buffers' size; then it no longer reads from the service."""
    with (
        behind_envoy(emulator, SEND_TIMEOUT_S="1") as (envoy, _),
        begin(envoy.url, "[long:1000000]", buffer=4_096) as connection,
    ):
        eventually(lambda: len(streams(emulator)["left"]) == 1, "the upstream is left")
        body, is_broken_off = read_all(connection)
    assert is_broken_off
    assert b"done" not in body


@HTTP
def test_a_stream_that_broke_off_is_an_error_to_the_client(version: str, flags: list[str], emulator: str) -> None:
    """As when the process is killed: Envoy does not end it like a whole one."""
    with behind_envoy(emulator) as (envoy, service), curl(envoy, flags, "[stall]") as caller:
        caller.read_until('"chunk"')
        service.popen.kill()
        assert caller.exit_code() == {"1.1": PARTIAL_FILE, "2": HTTP2_STREAM_ERROR}[version]


@HTTP
def test_a_drain_lets_open_streams_end_and_refuses_new_turns(version: str, flags: list[str]) -> None:
    told = Told("Hello", " again")
    with (
        bare_upstream(told.play) as upstream,
        behind_envoy(upstream.url, DRAIN_S="30") as (envoy, service),
        curl(envoy, flags, "hi") as caller,
    ):
        told.tell()
        begun = caller.read_until('"Hello"')
        assert begun.startswith(f"HTTP/{version} 200")
        service.popen.send_signal(signal.SIGTERM)
        eventually(lambda: httpx.get(f"{envoy.url}/health").json()["status"] == "draining", "the service drains")
        with curl(envoy, flags, "hi") as refused:
            head, _, problem = refused.read_all().partition("\r\n\r\n")
        assert head.startswith(f"HTTP/{version} 503")
        assert re.search(r"(?im)^retry-after: 1\r?$", head)
        assert (json.loads(problem)["code"], json.loads(problem)["retryable"]) == ("shutting_down", True)
        told.tell()
        told.tell()
        body = (begun + caller.read_all()).partition("\r\n\r\n")[2]
        assert native_ending(body) == Ending("Hello again", None, "stop")
        assert service.ended(15) == 0


@pytest.mark.slow
def test_envoy_uses_an_idle_connection_again_after_uvicorns_default_timeout(emulator: str) -> None:
    with behind_envoy(emulator) as (envoy, _):
        for wait_s in (0, 6, 6):
            time.sleep(wait_s)
            answer = httpx.post(f"{envoy.url}/api/chat", json={"message": "[echo] hi"}, timeout=20)
            assert text_of(events_of(answer.text)) == "hi"
            assert (envoy.count("upstream_cx_total"), envoy.count("upstream_cx_destroy")) == (1, 0)


PREFLIGHT = {
    "origin": "https://a.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type",
}
REQUESTS: dict[str, dict[str, Any]] = {
    "json": {"url": "/api/chat", "method": "POST", "json": {"message": "[echo] hi", "stream": False}},
    "a problem before the upstream": {"url": "/api/chat", "method": "POST", "json": {"message": ""}},
    "a problem of the upstream": {"url": "/api/chat", "method": "POST", "json": {"message": "[429:30]"}},
    "no such route": {"url": "/nothing", "method": "GET"},
    "a preflight": {"url": "/api/chat", "method": "OPTIONS", "headers": PREFLIGHT},
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_what_is_no_stream_passes_unchanged(request_: dict[str, Any], emulator: str) -> None:
    with behind_envoy(emulator, ALLOWED_ORIGINS="https://a.example") as (envoy, service):
        direct, passed = (seen_by_client(url, request_) for url in (service.url, envoy.url))
    assert passed == direct


def seen_by_client(base_url: str, request: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
    """Status, headers and body, without what is another with each request."""
    with httpx.Client(base_url=base_url, timeout=20) as client:
        answer = client.request(**request)
    headers = {name: value for name, value in answer.headers.items() if name not in ADDED_BY_ENVOY}
    if "json" not in headers["content-type"]:
        return answer.status_code, headers, answer.text
    body = {name: value for name, value in answer.json().items() if name not in VARIES}
    return answer.status_code, {**headers, "content-length": ""}, body
