"""What goes over the wire to a caller, to the byte."""

import re
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.callers import calling, chat, foundry, text_of
from tests.support.playback_upstream import Playback
from tests.support.raw_socket_callers import read_all
from tests.support.servers import serving
from tests.support.wire_formats import answer, completed, created, delta, framed, incomplete

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_a_native_stream_to_the_byte() -> None:
    playback = Playback(framed(answer("Hello", " thére\u2028\n")))
    with serving(playback.app) as upstream, calling(foundry(upstream)) as client:
        got = client.post("/api/chat", json={"message": " Hi ", "conversation_id": "c-1"})
    assert TIMESTAMP.sub("<time>", got.text) == (
        'data: {"type": "metadata", "conversation_id": "c-1", "thread_id": "conv_1"}\n\n'
        'data: {"type": "chunk", "content": "Hello"}\n\n'
        'data: {"type": "chunk", "content": " th\\u00e9re\\u2028\\n"}\n\n'
        'data: {"type": "done", "full_response": "Hello th\\u00e9re\\u2028\\n", "timestamp": "<time>", '
        '"finish_reason": "stop", "usage": {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11}}\n\n'
    )
    # The label comes with the conversation or, where that was made ahead, beside the run: look when all has ended.
    labels = [body for path, body in playback.posted if "/conversations" in path and body]
    assert labels == [{"metadata": {"conversation_id": "c-1"}}]
    assert [body["input"] for body in playback.posted_to("/responses")] == [" Hi "]


def test_the_head_of_a_stream() -> None:
    with serving(Playback(framed(answer("Hello"))).app) as upstream, calling(foundry(upstream)) as client:
        head = client.post("/api/chat", json={"message": "Hi"}, headers={"x-request-id": "id-1"}).headers
    assert head["content-type"] == "text/event-stream; charset=utf-8"
    assert head["cache-control"] == "no-store"
    assert head["x-accel-buffering"] == "no"
    assert head["x-request-id"] == "id-1"
    assert "connection" not in head


@pytest.mark.parametrize(("version", "asked"), [("1.1", "close"), ("1.0", ""), ("1.0", "close")])
@pytest.mark.parametrize("path", ["/api/chat", "/api/v1/chat/stream"])
def test_a_connection_that_ends_with_the_answer_says_so_alone(version: str, asked: str, path: str) -> None:
    body = b'{"message": "Hi"}'
    lines = [f"POST {path} HTTP/{version}", "host: localhost", "content-type: application/json"]
    lines += [f"content-length: {len(body)}", *([f"connection: {asked}"] if asked else [])]
    with serving(Playback(framed(answer("Hello"))).app) as upstream, calling(foundry(upstream)) as client:
        parts = urlsplit(str(client.base_url))
        with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=20) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            head = read_all(connection)[0].split(b"\r\n\r\n")[0].lower()
    assert head.startswith(b"http/1.1 200 ")
    assert [line for line in head.split(b"\r\n") if line.startswith(b"connection:")] == [b"connection: close"]


def test_the_same_as_one_json_answer() -> None:
    with serving(Playback(framed(answer("Hello", " there"))).app) as upstream, calling(foundry(upstream)) as client:
        got = client.post("/api/chat", json={"message": "Hi", "conversation_id": "c-1", "stream": False}).json()
    assert TIMESTAMP.fullmatch(got.pop("timestamp"))
    assert got == {
        "conversation_id": "c-1",
        "thread_id": "conv_1",
        "message": "Hi",
        "response": "Hello there",
        "finish_reason": "stop",
        "usage": {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11},
        "is_new_conversation": True,
    }


def test_a_simple_stream_to_the_byte() -> None:
    with serving(Playback(framed(answer("Hel", "lo"))).app) as upstream, calling(foundry(upstream)) as client:
        got = client.post("/api/v1/chat/stream", json={"message": "Hi"})
    assert got.text == 'data: {"content": "Hel"}\n\ndata: {"content": "lo"}\n\ndata: {"done": true}\n\n'


@pytest.mark.parametrize(
    ("reason", "finish_reason"), [("max_output_tokens", "length"), ("content_filter", "content_filter")]
)
def test_an_answer_cut_short_says_why(reason: str, finish_reason: str) -> None:
    stream = framed([created(), delta("Hel"), incomplete(reason)])
    with serving(Playback(stream).app) as upstream, calling(foundry(upstream)) as client:
        native = chat(client, "Hi")
        simple = client.post("/api/v1/chat/stream", json={"message": "Hi"}).text
    assert native[-1]["finish_reason"] == finish_reason
    assert "usage" not in native[-1]
    assert simple.endswith(f'data: {{"done": true, "finish_reason": "{finish_reason}"}}\n\n')


def test_a_failure_in_mid_stream_is_one_error_and_keeps_what_was_said() -> None:
    failed = {
        "type": "response.failed",
        "response": {"id": "resp_1", "error": {"code": "server_error", "message": "xx"}},
    }
    with (
        serving(Playback(framed([created(), delta("Hel"), failed])).app) as upstream,
        calling(foundry(upstream)) as client,
    ):
        got = client.post("/api/chat", json={"message": "Hi", "conversation_id": "c"}, headers={"x-request-id": "r"})
        simple = client.post("/api/v1/chat/stream", json={"message": "Hi"}).text
        whole = client.post("/api/chat", json={"message": "Hi", "stream": False})
    words = "The agent could not finish its answer. Please try again."
    assert got.text == (
        'data: {"type": "metadata", "conversation_id": "c", "thread_id": "conv_1"}\n\n'
        'data: {"type": "chunk", "content": "Hel"}\n\n'
        f'data: {{"type": "error", "error": "{words}", "code": "run_failed", "retryable": true, "request_id": "r"}}\n\n'
    )
    assert simple == f'data: {{"content": "Hel"}}\n\ndata: {{"error": "{words}", "code": "run_failed"}}\n\n'
    problem = whole.json()
    assert (whole.status_code, problem["code"], problem["thread_id"]) == (502, "run_failed", "conv_1")


@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
def test_the_upstream_may_cut_its_bytes_anywhere(size: int) -> None:
    raw = framed(answer("día ", "🎉", "日本"))
    pieces = [raw[i : i + size] for i in range(0, len(raw), size)]
    with serving(Playback(*pieces).app) as upstream, calling(foundry(upstream)) as client:
        assert text_of(chat(client, "Hi")) == "día 🎉日本"


def test_a_pair_that_two_deltas_share_is_joined() -> None:
    raw = framed([created(), delta("HALF"), delta("OTHER"), completed()])
    raw = raw.replace(b'"HALF"', rb'"a\ud83c"').replace(b'"OTHER"', rb'"\udf89b"')
    with serving(Playback(raw).app) as upstream, calling(foundry(upstream)) as client:
        got = client.post("/api/chat", json={"message": "Hi"}).text
    assert '{"type": "chunk", "content": "a"}' in got
    assert '{"type": "chunk", "content": "\\ud83c\\udf89b"}' in got


def test_a_half_that_stays_alone_is_replaced() -> None:
    raw = framed([created(), delta("HALF"), completed()]).replace(b'"HALF"', rb'"a\ud83c"')
    with serving(Playback(raw).app) as upstream, calling(foundry(upstream)) as client:
        assert text_of(chat(client, "Hi")) == "a\ufffd"


def test_text_that_came_without_deltas_is_not_lost() -> None:
    done: dict[str, Any] = {"type": "response.output_text.done", "item_id": "msg_2", "text": "whole"}
    with (
        serving(Playback(framed([created(), done, completed()])).app) as upstream,
        calling(foundry(upstream)) as client,
    ):
        assert text_of(chat(client, "Hi")) == "whole"


def test_a_refusal_is_text() -> None:
    refusal = {"type": "response.refusal.delta", "item_id": "msg_1", "delta": "I won't."}
    with (
        serving(Playback(framed([created(), refusal, completed()])).app) as upstream,
        calling(foundry(upstream)) as client,
    ):
        assert text_of(chat(client, "Hi")) == "I won't."


def test_the_first_chunk_is_there_before_the_last_is_made() -> None:
    playback = Playback(framed([created(), delta("first")]), 1.5, framed([delta("last"), completed()]))
    with serving(playback.app) as upstream, calling(foundry(upstream)) as client:  # noqa: SIM117
        with client.stream("POST", "/api/chat", json={"message": "Hi"}) as got:
            lines = got.iter_lines()
            seen = [next(lines), next(lines), next(lines)]
            assert "first" in seen[-1]
            assert "last" not in "".join(seen)
            assert "last" in "".join(lines)


def test_an_idle_stream_is_pinged() -> None:
    playback = Playback(framed([created()]), 0.7, framed([delta("x"), completed()]))
    with serving(playback.app) as upstream, calling(foundry(upstream, ping_s=0.2)) as client:
        got = client.post("/api/chat", json={"message": "Hi"}).text
    assert got.count(": ping\n\n") >= 2
    assert "\r" not in got
