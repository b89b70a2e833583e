"""Under which names the service on a developer's machine answers: not under one that a page has resolve there."""

import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from gateway.access.host_check import refuse_foreign_host
from gateway.errors import UnreadableRequest
from tests.support.callers import calling, foundry, unread
from tests.support.raw_socket_callers import read_all

LOCAL = [
    "localhost",
    "localhost:8000",
    "LocalHost:65535",
    "127.0.0.1",
    "127.0.0.1:1",
    "[::1]",
    "[::1]:8000",
    "localhost:",
]
FOREIGN = [
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "localhost.evil.example:8000",
    "evil.example#localhost",
    "localhost@evil.example",
    "evil.example@localhost",
    "localhost.",
    "localhost:80:80",
    "localhost:evil",
    "localhost, evil.example",
    "127.0.0.2",
    "127.1",
    "2130706433",
    "0.0.0.0",
    "::1",
    "[::1",
    "[::2]",
    "",
]
PATHS = ["/health", "/api/health", "/ready", "/", "/chat-client.js", "/docs", "/openapi.json", "/nothing"]


def answered(url: str, head: str, body: bytes = b"") -> bytes:
    """All that comes to a request with exactly these lines."""
    parts = urlsplit(url)
    with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=20) as connection:
        lines = [head, "connection: close", f"content-length: {len(body)}", "content-type: application/json"]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        return read_all(connection)[0]


def is_refused(answer: bytes) -> bool:
    if not answer.startswith(b"HTTP/1.1 400 "):
        return False
    assert b'"code": "invalid_request", "retryable": false' in answer
    assert b"TRUSTED_HOPS" in answer
    return True


def test_only_the_names_of_this_machine_are_served_on_loopback_without_a_sign_in(emulator: str) -> None:
    with calling(foundry(emulator, chat_page=True, docs=True)) as client:
        url = str(client.base_url)
        for host in FOREIGN:
            assert is_refused(answered(url, f"GET /health HTTP/1.1\r\nhost: {host}")), host
        for host in LOCAL:
            assert answered(url, f"GET /health HTTP/1.1\r\nhost: {host}").startswith(b"HTTP/1.1 200 "), host
        for path in PATHS:
            assert is_refused(answered(url, f"GET {path} HTTP/1.1\r\nhost: evil.example")), path
            assert not is_refused(answered(url, f"GET {path} HTTP/1.1\r\nhost: localhost")), path
        message = b'{"message": "[echo] hi"}'
        for path in ("/api/chat", "/api/v1/chat/stream", "/api/chat/cancel"):
            assert is_refused(answered(url, f"POST {path} HTTP/1.1\r\nhost: evil.example", message)), path
        assert httpx.get(f"{emulator}/_seen").json()["messages"] == []
        assert b'"hi"' in answered(url, "POST /api/chat HTTP/1.1\r\nhost: localhost:3000", message)


@pytest.mark.parametrize(
    "hosts", ["", "\r\nhost: localhost\r\nhost: evil.example", "\r\nhost: localhost\r\nhost: localhost"]
)
def test_a_request_without_one_host_is_refused(hosts: str) -> None:
    with calling(unread()) as client:
        for version in ("1.0", "1.1"):
            answer = answered(str(client.base_url), f"GET /health HTTP/{version}{hosts}")
            assert answer.startswith(b"HTTP/1.1 400 "), version


@pytest.mark.parametrize(
    "settings",
    [
        {"trusted_hops": 1},
        {"auth": "key", "api_keys": "ann:" + "0" * 64, "conversation_keys": "x" * 32},
        {"auth": "easyauth", "conversation_keys": "x" * 32},
    ],
)
def test_behind_a_proxy_or_with_a_sign_in_any_name_is_served(settings: dict[str, Any]) -> None:
    with calling(unread(**settings)) as client:
        answer = answered(str(client.base_url), "GET /health HTTP/1.1\r\nhost: chat.example.com")
        assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("server", [("127.0.0.1", 8000), ("::1", 8000), ("::ffff:127.0.0.1", 8000), ("127.8.8.8", 80)])
def test_loopback_is_the_address_at_which_the_connection_arrived(server: tuple[str, int]) -> None:
    with pytest.raises(UnreadableRequest):
        refuse_foreign_host({"server": server, "headers": [(b"host", b"evil.example")]})
    refuse_foreign_host({"server": server, "headers": [(b"host", b"localhost:8000")]})


@pytest.mark.parametrize(
    "server", [("10.0.0.4", 8000), ("fd00::4", 8000), ("0.0.0.0", 80), ("/run/chat.sock", None), None]
)
def test_elsewhere_the_host_is_the_affair_of_what_stands_in_front(server: tuple[str, int | None] | None) -> None:
    refuse_foreign_host({"server": server, "headers": [(b"host", b"chat.example.com")]})
    refuse_foreign_host({"server": server, "headers": []})
