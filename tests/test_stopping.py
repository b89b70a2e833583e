"""`POST /api/chat/cancel`: it says what became of the run, and the stream says how it ended, on whichever replica."""

import hashlib
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.settings import Settings
from gateway.turns import chat_service
from tests.support.callers import Events, calling, chat, classic, events_of, foundry, openai
from tests.support.raw_socket_upstream import Wire, bare_upstream
from tests.support.servers import serving
from tests.support.waiting import eventually

RUNNING = {"id": "run_1", "status": "in_progress"}
CANNOT = {"error": {"message": "Cannot cancel run with status 'completed'.", "type": "invalid_request_error"}}


@dataclass
class Runs:
    """The runs of one thread: what each list of them shows (the last one for ever), and how a cancel is answered."""

    lists: list[list[Any]]
    cancel: tuple[int, dict[str, Any]]
    cancelled: list[str] = field(default_factory=list)

    async def list(self, _: Request) -> Response:
        return JSONResponse({"data": self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]})

    async def stop(self, request: Request) -> Response:
        self.cancelled.append(request.path_params["run"])
        status, body = self.cancel
        return JSONResponse(body, status)


@contextmanager
def stopping(runs: Runs) -> Generator[httpx.Client]:
    base = "/api/projects/p/threads/{thread}/runs"
    routes = [Route(base, runs.list), Route(base + "/{run}/cancel", runs.stop, methods=["POST"])]
    with serving(Starlette(routes=routes)) as url, calling(classic(url)) as client:
        yield client


def stop(client: httpx.Client, thread_id: str = "thread_1") -> tuple[int, str]:
    answer = client.post("/api/chat/cancel", json={"thread_id": thread_id})
    return answer.status_code, answer.json().get("code") or answer.json()["status"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (500, (502, "upstream_unavailable")),
        (403, (502, "upstream_denied")),
        (429, (429, "upstream_rate_limited")),
        (400, (502, "run_failed")),
    ],
)
def test_a_cancel_that_fails_is_the_upstreams_failure(status: int, expected: tuple[int, str]) -> None:
    runs = Runs([[RUNNING]], (status, {}))
    with stopping(runs) as client:
        assert stop(client) == expected
    assert runs.cancelled == ["run_1"]


def test_a_run_that_ended_before_the_cancel_came_is_no_active_run() -> None:
    for after in ([], [{"id": "run_1", "status": "completed"}], [{"id": "run_2", "status": "in_progress"}]):
        with stopping(Runs([[RUNNING], after], (400, CANNOT))) as client:
            assert stop(client) == (404, "no_active_run")


def test_a_run_that_is_being_cancelled_already_is_being_cancelled() -> None:
    with stopping(Runs([[RUNNING], [{"id": "run_1", "status": "cancelling"}]], (400, CANNOT))) as client:
        assert stop(client) == (202, "cancelling")


def test_rows_that_are_no_runs_are_no_active_run() -> None:
    some: list[list[Any]] = [[7, "run", None, {"status": ["in_progress"]}], [{}]]
    for rows in some:
        with stopping(Runs([rows], (200, {}))) as client:
            assert stop(client) == (404, "no_active_run")


def test_a_cancel_that_is_not_answered_is_a_timeout_before_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chat_service._CANCEL_TIMEOUT_S < 10
    monkeypatch.setattr(chat_service, "_CANCEL_TIMEOUT_S", 0.3)

    async def play(wire: Wire, _: str) -> None:
        await wire.left()

    with bare_upstream(play, cancel_hangs=True) as upstream, calling(classic(upstream.url)) as client:
        upstream.active_runs = [RUNNING]
        assert stop(client) == (504, "upstream_timeout")
    assert upstream.cancelled == ["run_1"]


def test_where_nothing_can_be_stopped_the_sentence_says_what_to_do(emulator: str) -> None:
    for settings in (classic(emulator), openai(emulator)):
        with calling(settings) as client:
            thread_id = chat(client, "[echo] hi")[0]["thread_id"]
            problem = client.post("/api/chat/cancel", json={"thread_id": thread_id}).json()
            assert problem["code"] == "no_active_run"
            assert "close its stream" in problem["detail"]


def test_a_run_stopped_through_another_replica_ends_in_cancelled(emulator: str) -> None:
    with calling(classic(emulator)) as one, calling(classic(emulator)) as other:  # noqa: SIM117
        with one.stream("POST", "/api/chat", json={"message": "[stall]"}) as answer:
            lines = answer.iter_lines()
            thread_id = events_of(next(lines) + "\n\n")[0]["thread_id"]
            assert stop(other, thread_id) == (202, "cancelling")
            rest = events_of("\n".join(list(lines)[1:]) + "\n")
    assert (rest[-1]["code"], rest[-1]["retryable"]) == ("cancelled", False)


def ended_by(frames: str) -> tuple[Events, list[str]]:
    """A classic turn's events, and which runs were cancelled: it fails while it is stopped, or has an error."""

    async def play(wire: Wire, _: str) -> None:
        await wire.head()
        await wire.send(wire.wire_format.started, wire.wire_format.delta("Hello"))
        await wire.pause(0.05)
        await wire.send(
            wire.wire_format.failed("server_error") if frames == "failed" else wire.wire_format.error(frames)
        )
        await wire.left()

    with bare_upstream(play) as upstream, calling(classic(upstream.url)) as client:
        upstream.active_runs = [{"id": "run_1", "status": "in_progress"}]
        with client.stream("POST", "/api/chat", json={"message": "hi"}) as answer:
            lines = answer.iter_lines()
            first = next(lines)
            if frames == "failed":
                assert stop(client) == (202, "cancelling")
            events = events_of("\n".join([first, *lines]) + "\n")
        eventually(lambda: not upstream.open, "the stream is closed")
        return events, upstream.cancelled


def test_a_run_that_fails_by_itself_has_failed_though_somebody_tried_to_stop_it() -> None:
    events, _ = ended_by("failed")
    assert (events[-1]["code"], events[-1]["retryable"]) == ("run_failed", True)


@pytest.mark.parametrize("code", ["server_error", "timeout", "moon_phase", ""])
def test_an_error_event_ends_the_turn_and_cancels_its_run(code: str) -> None:
    events, cancelled = ended_by(code)
    assert events[-1]["code"] == "run_failed"
    assert cancelled == ["run_1"]


@pytest.mark.parametrize("settings", [foundry, openai])
@pytest.mark.parametrize("stream", [True, False])
def test_a_run_that_this_replica_relays_is_stopped_whatever_upstream_it_has(
    settings: Callable[..., Settings], stream: bool, emulator: str
) -> None:
    with calling(settings(emulator)) as client, ThreadPoolExecutor(1) as pool:
        thread_id = chat(client, "[echo] hi")[0]["thread_id"]
        body = {"message": "[stall]", "thread_id": thread_id, "stream": stream}
        turn = pool.submit(client.post, "/api/chat", json=body)
        eventually(lambda: len(opened(emulator)) == 2, "the turn is upstream")
        eventually(lambda: stop(client, thread_id) == (202, "cancelling"), "it is stopped")
        answer = turn.result(10)
        if stream:
            last = events_of(answer.text)[-1]
            assert (last["type"], last["code"], last["retryable"]) == ("error", "cancelled", False)
        else:
            assert (answer.status_code, answer.json()["code"]) == (499, "cancelled")
            assert answer.json()["thread_id"] == thread_id
        eventually(lambda: len(left(emulator)) == 1, "the upstream's stream is closed")
        assert stop(client, thread_id) == (404, "no_active_run")
        assert chat(client, "[echo] again", thread_id=thread_id)[-1]["full_response"] == "again"


def opened(emulator: str) -> list[str]:
    seen: list[str] = httpx.get(f"{emulator}/_seen").json()["streams"]["opened"]
    return seen


def left(emulator: str) -> list[str]:
    seen: list[str] = httpx.get(f"{emulator}/_seen").json()["streams"]["left"]
    return seen


def test_either_handle_of_a_chain_stops_its_run(agent_server: str) -> None:
    """One names the response before, as the caller sent it, the other the response that is being written."""
    with calling(openai(agent_server)) as client:
        first = chat(client, "[echo] hi")[0]["thread_id"]
        for which in ("sent", "given"):
            with client.stream("POST", "/api/chat", json={"message": "[stall]", "thread_id": first}) as answer:
                lines = answer.iter_lines()
                given = events_of(next(lines) + "\n\n")[0]["thread_id"]
                assert given != first
                assert stop(client, first if which == "sent" else given) == (202, "cancelling")
                rest = events_of("\n".join(list(lines)[1:]) + "\n")
            assert rest[-1]["code"] == "cancelled"


def test_a_handle_of_an_older_key_stops_the_run_and_another_owners_does_not(emulator: str) -> None:
    old, new = "o" * 32, "n" * 32
    names = {"ann": "a", "bob": "b"}
    keys = ",".join(f"{name}:{hashlib.sha256(key.encode()).hexdigest()}" for name, key in names.items())
    ann, bob = ({"x-api-key": key} for key in names.values())
    with calling(foundry(emulator, auth="key", api_keys=keys, conversation_keys=old)) as client:
        answer = client.post("/api/chat", json={"message": "[echo] hi"}, headers=ann)
        thread_id = events_of(answer.text)[0]["thread_id"]
    rotated = foundry(emulator, auth="key", api_keys=keys, conversation_keys=f"{new},{old}")
    with calling(rotated) as client:
        body = {"message": "[stall]", "thread_id": thread_id}
        with client.stream("POST", "/api/chat", json=body, headers=ann) as stream:
            lines = stream.iter_lines()
            assert events_of(next(lines) + "\n\n")[0]["thread_id"] != thread_id
            request = {"thread_id": thread_id}
            assert client.post("/api/chat/cancel", json=request, headers=bob).json()["code"] == "conversation_not_found"
            assert client.post("/api/chat/cancel", json=request, headers=ann).status_code == 202
            rest = events_of("\n".join(list(lines)[1:]) + "\n")
    assert rest[-1]["code"] == "cancelled"
