"""A request that offers another protocol (`Upgrade`) is read and answered like one that does not: RFC 9110, 7.8."""

import http.client
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.browsers import program
from tests.support.callers import calling, events_of, foundry, text_of
from tests.support.ports import free_port
from tests.support.processes import Process, environment, running
from tests.support.processes import uvicorn as by_hand
from tests.support.waiting import PATIENCE_S
from tests.test_real_clients import NO_CURL

JAVA = Path(__file__).parent / "java_client" / "Post.java"
H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA"
OFFERS = pytest.mark.parametrize(
    "offer",
    [
        H2C,  # Java's HttpClient and `curl --http2`
        "upgrade: H2C\r\nconnection: upgrade",
        "UPGRADE: h2c, TLS/1.0, x/2\r\nCONNECTION: keep-alive, UPGRADE",
        "Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: TLS/1.0",
        "Upgrade: TLS/1.0\r\nConnection: Upgrade",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAA==",
        "Upgrade:\r\nConnection: Upgrade",
        "Upgrade: h2c",  # not named in Connection
    ],
)
HELLO = b'{"message": "[echo] hello", "stream": false}'
GET = b"GET /health HTTP/1.1\r\nhost: localhost\r\n%s\r\n"


def post(offer: str, body: bytes = HELLO, more: bytes = b"") -> tuple[bytes, bytes]:
    """Head and body of a request."""
    length = more or b"content-length: %d\r\n" % len(body)
    head = b"POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n" + length
    return head + offer.encode() + b"\r\n\r\n", body


class Connection:
    """A client's connection, of which each packet arrives by itself."""

    def __init__(self, url: str) -> None:
        self._url = url
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port), timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, *packets: bytes) -> "Connection":
        for number, packet in enumerate(packets):
            if number:
                httpx.get(f"{self._url}/health")  # when this is answered, the service has read what came before
            self._socket.sendall(packet)
        return self

    def answer(self) -> tuple[int, Any]:
        response = http.client.HTTPResponse(self._socket)
        response.begin()
        return response.status, json.loads(response.read())

    def all_answers(self) -> list[int]:
        """The status of each answer, until the service closes."""
        said = b""
        while part := self._socket.recv(65_536):
            said += part
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", said)]

    def close(self) -> None:
        self._socket.close()


@contextmanager
def connecting(url: str) -> Generator[Connection]:
    connection = Connection(url)
    try:
        yield connection
    finally:
        connection.close()


@pytest.fixture
def service(emulator: str) -> Generator[str]:
    with calling(foundry(emulator)) as client:
        yield str(client.base_url).rstrip("/")


def said(answer: tuple[int, Any]) -> str:
    status, body = answer
    assert status == 200, body
    text: str = body["response"]
    return text


@OFFERS
def test_a_message_is_answered_whatever_is_offered_with_it(offer: str, service: str) -> None:
    with connecting(service) as connection:
        head, body = post(offer)
        assert said(connection.send(head + body).answer()) == "hello"


@OFFERS
def test_its_body_may_come_later(offer: str, service: str) -> None:
    with connecting(service) as connection:
        head, body = post(offer)
        assert said(connection.send(head[:40], head[40:], body[:5], body[5:]).answer()) == "hello"


@OFFERS
def test_its_body_may_come_in_chunks(offer: str, service: str) -> None:
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (HELLO[:7], HELLO[7:])) + b"0\r\n\r\n"
    for packets in ([slice(None)], [slice(9), slice(9, None)]):
        with connecting(service) as connection:
            head, _ = post(offer, more=b"transfer-encoding: chunked\r\n")
            whole = [body[part] for part in packets]
            assert said(connection.send(head + whole[0], *whole[1:]).answer()) == "hello"


@OFFERS
def test_a_get_is_answered(offer: str, service: str) -> None:
    with connecting(service) as connection:
        status, body = connection.send(GET % (offer.encode() + b"\r\n")).answer()
        assert (status, body["status"]) == (200, "healthy")


@OFFERS
def test_the_connection_stays_for_the_next_request(offer: str, service: str) -> None:
    """It may come later, offer the same again, or be sent at once, before and behind others."""
    head, body = post(offer)
    with connecting(service) as connection:
        for _ in range(3):
            assert said(connection.send(head + body).answer()) == "hello"
        assert connection.send(GET % b"").answer()[0] == 200
    with connecting(service) as connection:
        connection.send(GET % b"" + (head + body) * 20 + GET % b"connection: close\r\n")
        assert connection.all_answers() == [200] * 22


def test_a_request_may_arrive_byte_by_byte(service: str) -> None:
    head, body = post(H2C)
    with connecting(service) as connection:
        for byte in head + body:
            connection.send(bytes([byte]))
        assert said(connection.answer()) == "hello"


@pytest.mark.parametrize("offer", [H2C, "Upgrade: websocket\r\nConnection: Upgrade"])
def test_a_body_is_never_taken_for_the_next_request(offer: str, service: str) -> None:
    """Otherwise what a proxy in front takes for one request would be two: request smuggling."""
    head, hidden = post(offer, GET % b"")
    for packets in ([head, hidden], [head + hidden]):
        with connecting(service) as connection:
            assert connection.send(*packets).answer()[0] == 400
            connection.send(b"GET /nothing HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            assert connection.all_answers() == [404]


@pytest.mark.parametrize("offer", ["", f"{H2C}\r\n"])
@pytest.mark.parametrize("behind", [b"", b"not HTTP"])
@pytest.mark.parametrize(("target", "status"), [("x:443", 400), ("http://x/health", 405)])
def test_a_tunnel_is_refused_and_the_connection_closed(
    offer: str, target: str, status: int, behind: bytes, service: str
) -> None:
    with connecting(service) as connection:
        connection.send(f"CONNECT {target} HTTP/1.1\r\nhost: localhost\r\n{offer}\r\n".encode() + behind)
        assert connection.all_answers() == [status]


@contextmanager
def by_uvicorn(upstream: str) -> Generator[Process]:
    with running(by_hand(), environment(upstream), output=subprocess.PIPE) as process:
        yield process


@contextmanager
def by_module(upstream: str) -> Generator[Process]:
    port = free_port()
    env = environment(upstream, PORT=str(port))
    with running(["-m", "gateway"], env, port, output=subprocess.PIPE) as process:
        yield process


@contextmanager
def by_make_run(upstream: str) -> Generator[Process]:
    port = free_port()
    env = environment(upstream, PORT=str(port))
    with running(["-m", "scripts.run_local"], env, port, output=subprocess.PIPE) as process:
        yield process


@pytest.mark.parametrize("start", [by_uvicorn, by_module, by_make_run])
def test_however_the_service_is_started(start: Callable[..., Any], emulator: str) -> None:
    """And nobody can write warnings into the log by an offer."""
    head, body = post(H2C)
    with start(emulator) as process:
        with connecting(process.url) as connection:
            assert said(connection.send(head, body).answer()) == "hello"
            assert connection.send(b"CONNECT http://x/health HTTP/1.1\r\nhost: localhost\r\n\r\n").answer()[0] == 405
        process.popen.terminate()
        written = b"".join(process.popen.communicate(timeout=PATIENCE_S))
    assert b"pgrade" not in written
    assert b"WebSocket" not in written


def test_curl_with_http2_is_answered(service: str) -> None:
    curl = program("curl", NO_CURL)
    features = subprocess.run([curl, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    if "HTTP2" not in features:
        pytest.skip("This curl knows no HTTP/2, so it cannot offer it.")
    body = ["-H", "content-type: application/json", "-d", '{"message": "[echo] hello"}']
    command = [curl, "--http2", "--verbose", "--no-buffer", "--fail", f"{service}/api/chat", *body]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "> Upgrade: h2c" in ran.stderr
    assert text_of(events_of(ran.stdout)) == "hello"


def test_javas_http_client_is_answered(service: str) -> None:
    """By its defaults: it offers HTTP/2 with each request. The CI machine need not have Java."""
    java = shutil.which("java") or pytest.skip("No Java was found: `apt-get install default-jdk-headless`.")
    command = [java, str(JAVA), f"{service}/api/chat", '{"message": "[echo] hello"}']
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    first, second = ran.stdout.split("--- next\n")
    assert [text_of(events_of(answer)) for answer in (first, second)] == ["hello", "hello"]
