"""How much at a time, and how long. Hostile bodies: `test_request_body.py`."""

import json
import select
import socket
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from urllib.parse import urlsplit

import httpx
import pytest

from gateway.settings import Settings
from tests.support.callers import calling, chat, classic, foundry, openai
from tests.support.raw_socket_callers import begin, read_until
from tests.support.waiting import eventually
from tests.test_request_body import JSON

HEAD = "POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


def is_overloaded(answer: httpx.Response) -> bool:
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["retryable"]) == (503, "overloaded", True)
    return answer.headers["retry-after"] == "1"


def test_one_stream_too_many_is_refused_at_once_and_health_stays_fast(emulator: str) -> None:
    with calling(foundry(emulator, max_streams=3)) as client, ExitStack() as held:
        url = str(client.base_url)
        for path in ("/api/chat", "/api/v1/chat/stream"):
            read_until(held.enter_context(begin(url, "[stall]", path=path)), b"content")
        held.enter_context(begin(url, "[silent]", stream=False))
        eventually(lambda: len(httpx.get(f"{emulator}/_seen").json()["messages"]) == 3, "three turns are open")
        before = time.monotonic()
        for body in ({"message": "hi"}, {"message": "hi", "stream": False}):
            assert is_overloaded(client.post("/api/chat", json=body))
        assert is_overloaded(client.post("/api/v1/chat/stream", json={"message": "hi"}))
        assert client.get("/health").json()["status"] == "healthy"
        assert time.monotonic() - before < 5
        held.close()
        eventually(lambda: client.post("/api/chat", json={"message": "hi"}).status_code == 200, "a place is free")
    assert len(httpx.get(f"{emulator}/_seen").json()["messages"]) == 4


@pytest.mark.parametrize("message", ["hi", "[500]", "[drop]", "[denied]", "[429:30]", "[reset]"])
def test_a_turn_gives_its_place_back_however_it_ends(message: str, emulator: str) -> None:
    with calling(classic(emulator, max_streams=1)) as client:

        def got_in(*, stream: bool) -> bool:
            return client.post("/api/chat", json={"message": message, "stream": stream}).status_code != 503

        for stream in (True, False, True, False):
            eventually(partial(got_in, stream=stream), "a place is free")


@pytest.mark.parametrize("settings", [foundry, classic, openai])
@pytest.mark.parametrize("message", ["[silent]", "[comments]", "[slow]", "[long:1000000]"])
def test_json_answers_or_fails_within_its_deadline(
    settings: Callable[..., Settings], message: str, emulator: str
) -> None:
    with calling(settings(emulator, answer_deadline_s=1)) as client:
        before = time.monotonic()
        answer = client.post("/api/chat", json={"message": message, "stream": False})
        assert time.monotonic() - before < 15
        assert (answer.status_code, answer.json()["code"]) == (504, "upstream_timeout")
        assert answer.json().get("thread_id") or message in ("[silent]", "[comments]", "[slow]")
        assert chat(client, "[echo] well")[-1]["full_response"] == "well"


@pytest.mark.parametrize(("deadline_s", "asked"), [(3.5, 1), (2, 0)])
def test_the_deadline_of_a_json_answer_counts_from_the_requests_arrival(
    deadline_s: float, asked: int, emulator: str
) -> None:
    with calling(foundry(emulator, answer_deadline_s=deadline_s)) as client:
        parts = urlsplit(str(client.base_url))
        body = json.dumps({"message": "[silent]", "stream": False}).encode()
        with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
            began = time.monotonic()
            connection.sendall(f"{HEAD}content-length: {len(body)}\r\n\r\n".encode() + body[:9])
            time.sleep(2.5)  # the body takes its time
            connection.sendall(body[9:])
            answer = read_until(connection, b"}")
            assert time.monotonic() - began < 5
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert b'"code": "upstream_timeout", "retryable": true' in answer
        assert len(httpx.get(f"{emulator}/_seen").json()["messages"]) == asked


def test_a_body_that_does_not_come_is_a_408(monkeypatch: pytest.MonkeyPatch, emulator: str) -> None:
    monkeypatch.setattr("gateway.web.request_body.BODY_TIMEOUT_S", 0.3)
    with calling(foundry(emulator)) as client:
        parts = urlsplit(str(client.base_url))
        with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
            connection.sendall(f"{HEAD}content-length: 100\r\n\r\n".encode() + b'{"message"')
            answer = read_until(connection, b"}")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"code": "request_timeout", "retryable": true' in answer
        assert chat(client, "[echo] well")[-1]["full_response"] == "well"
    assert len(httpx.get(f"{emulator}/_seen").json()["messages"]) == 1


def test_a_disconnect_with_half_a_body_is_no_unhandled_exception(
    emulator: str, caplog: pytest.LogCaptureFixture
) -> None:
    with calling(foundry(emulator)) as client:
        parts = urlsplit(str(client.base_url))
        with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
            connection.sendall(f"{HEAD}content-length: 100\r\n\r\n".encode() + b'{"message"')
        assert chat(client, "[echo] well")[-1]["full_response"] == "well"
    assert "unhandled exception" not in caplog.text


@contextmanager
def unfinished_bodies(url: str, count: int, size: int, announced: int = 1_000_000) -> Generator[list[socket.socket]]:
    """Callers who each announce a body, send `size` bytes of it and then nothing more."""
    parts = urlsplit(url)
    with ExitStack() as stack:
        address = (str(parts.hostname), parts.port or 0)
        callers = [stack.enter_context(socket.create_connection(address, timeout=20)) for _ in range(count)]
        for caller in callers:
            caller.sendall(f"{HEAD}content-length: {announced}\r\n\r\n".encode() + b" " * size)
        yield callers


def answered(callers: list[socket.socket]) -> list[socket.socket]:
    readable, _, _ = select.select(callers, [], [], 0)
    return readable


def post_large(client: httpx.Client) -> int:
    return client.post("/api/chat", content=b'{"message": "' + b"x" * 1_000_000 + b'"}', headers=JSON).status_code


def test_slow_callers_with_large_bodies_are_refused_beyond_the_budget_and_hold_nobody_up(emulator: str) -> None:
    with calling(foundry(emulator)) as client, unfinished_bodies(str(client.base_url), 150, 999_999) as callers:
        eventually(lambda: len(answered(callers)) >= 150 - 67, "64 MiB are held, the others are refused")
        told = [read_until(caller, b"}") for caller in answered(callers)]
        assert 150 - 67 <= len(told) <= 150 - 59, "some 60 to 64 MiB"
        for answer in told:
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b'"code": "overloaded"' in answer
            assert b"retry-after: 1\r\n" in answer
        assert post_large(client) == 503
        assert chat(client, "[echo] well")[-1]["full_response"] == "well"
        for caller in callers:
            caller.close()
        eventually(lambda: post_large(client) == 413, "what they held is free again: it is only a long message")


def test_a_body_that_is_announced_and_not_sent_takes_no_room(emulator: str) -> None:
    with calling(foundry(emulator)) as client, unfinished_bodies(str(client.base_url), 150, 1, 1_048_576) as callers:
        assert post_large(client) == 413
        assert chat(client, "[echo] well")[-1]["full_response"] == "well"
        assert answered(callers) == []


def test_a_body_gives_its_room_back_however_it_is_answered(emulator: str) -> None:
    long = b" " * 900_000
    endings = [(400, long + b"{"), (422, long + b"{}"), (413, b'{"message": "' + b"x" * 900_000 + b'"}')]
    with calling(foundry(emulator)) as client:
        for expected, body in endings:
            statuses = {client.post("/api/chat", content=body, headers=JSON).status_code for _ in range(80)}
            assert statuses == {expected}
        answers = {
            client.post("/api/chat", content=long + b'{"message": "hi"}', headers=JSON).status_code for _ in range(80)
        }
        assert answers == {200}


def test_a_million_characters_are_refused_and_not_read_whole(emulator: str) -> None:
    with calling(foundry(emulator)) as client:
        answer = client.post("/api/chat", json={"message": "x" * 1_000_000})
        assert (answer.status_code, answer.json()["code"]) == (413, "message_too_large")
        parts = urlsplit(str(client.base_url))
        with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
            connection.sendall(f"{HEAD}content-length: 1000000000000\r\n\r\n".encode())
            assert read_until(connection, b"}").startswith(b"HTTP/1.1 413 ")


def test_a_full_replica_is_not_ready_until_a_stream_ends(emulator: str) -> None:
    with calling(foundry(emulator, max_streams=1)) as client:
        assert client.get("/ready").status_code == 200
        with client.stream("POST", "/api/chat", json={"message": "[stall]"}) as answer:
            lines = answer.iter_lines()  # httpx closes the stream with its iterator
            assert next(lines).startswith("data: ")
            full = client.get("/ready")
            assert (full.status_code, full.json()["code"]) == (503, "overloaded")
        eventually(lambda: client.get("/ready").status_code == 200, "it is ready again, and nothing was cached")
