"""A caller who goes away: the upstream's stream is closed at once, a run that can be is cancelled, nothing is left."""

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from gateway.settings import Settings
from tests.support.callers import calling, chat, classic, foundry, openai
from tests.support.processes import environment, running, uvicorn
from tests.support.raw_socket_callers import begin
from tests.support.raw_socket_upstream import Wire, bare_upstream
from tests.support.waiting import eventually

UPSTREAMS = pytest.mark.parametrize("settings", [foundry, classic, openai])


def seen(emulator: str) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{emulator}/_seen").json()
    return answer


def opened(emulator: str) -> int:
    return len(seen(emulator)["streams"]["opened"])


def all_left(emulator: str, streams: int = 1) -> None:
    """A classic stream may come to its end in between: its run is cancelled at the same time."""

    def over() -> bool:
        ended = seen(emulator)["streams"]
        return len(ended["left"]) + len(ended["finished"]) == streams

    eventually(over, "the upstream's stream is left")
    eventually(lambda: not seen(emulator)["active_runs"], "no run is active")


@UPSTREAMS
def test_a_disconnect_in_mid_stream_closes_the_upstream(settings: Callable[..., Settings], emulator: str) -> None:
    with calling(settings(emulator)) as client:
        connection = begin(str(client.base_url), "[stall]")
        while b"chunk" not in connection.recv(65_536):
            pass
        connection.close()
        all_left(emulator)
    assert len(seen(emulator)["cancelled"]) == (1 if settings is classic else 0)


@UPSTREAMS
@pytest.mark.parametrize("stream", [True, False])
def test_a_disconnect_before_the_first_event_closes_the_upstream(
    settings: Callable[..., Settings], stream: bool, emulator: str
) -> None:
    with calling(settings(emulator)) as client:
        thread_id = chat(client, "[echo] hi")[0]["thread_id"]
        connection = begin(str(client.base_url), "[silent]", thread_id=thread_id, stream=stream)
        eventually(lambda: len(seen(emulator)["streams"]["opened"]) == 2, "the turn is upstream")
        connection.close()
        all_left(emulator, 2)


@UPSTREAMS
def test_a_disconnect_while_json_is_awaited_closes_the_upstream(
    settings: Callable[..., Settings], emulator: str
) -> None:
    with calling(settings(emulator)) as client:
        connection = begin(str(client.base_url), "[stall]", stream=False)
        eventually(lambda: seen(emulator)["streams"]["opened"], "the turn is upstream")
        connection.close()
        all_left(emulator)


@pytest.mark.parametrize("behind", [1, 5])
@pytest.mark.parametrize("stream", [True, False])
@UPSTREAMS
def test_a_disconnect_is_noticed_though_more_requests_are_queued_behind(
    settings: Callable[..., Settings], stream: bool, behind: int, emulator: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They come in the same packet, or while the first is being answered; none is begun, and nothing is an error."""
    caplog.set_level("INFO", logger="gateway")
    body = b'{"message": "[echo] queued"}'
    head = b"POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    queued = (head % len(body) + body) * behind
    with calling(settings(emulator)) as client:
        for turn, (at_once, later) in enumerate([(queued, b""), (b"", queued)], 1):
            connection = begin(str(client.base_url), "[stall]", behind=at_once, stream=stream)
            eventually(lambda turn=turn: opened(emulator) == turn, "the turn is upstream")  # type: ignore[misc]
            connection.sendall(later)
            client.get("/health")  # when this is answered, the service has read what came before
            connection.close()
            all_left(emulator, turn)
    assert seen(emulator)["messages"] == ["[stall]", "[stall]"]
    assert caplog.text.count("client_disconnect") == 2
    assert "unhandled exception" not in caplog.text


@UPSTREAMS
@pytest.mark.parametrize("wait_s", [0.0, 1.0])
def test_a_disconnect_without_reading_closes_the_upstream(
    settings: Callable[..., Settings], wait_s: float, emulator: str
) -> None:
    with calling(settings(emulator)) as client:
        connection = begin(str(client.base_url), "[long:1000000]")
        eventually(lambda: seen(emulator)["streams"]["opened"], "the turn is upstream")
        threading.Event().wait(wait_s)  # at once, or with all buffers full
        connection.close()
        all_left(emulator)


def test_a_run_that_has_not_told_its_id_is_found_by_its_turn() -> None:
    async def silent(wire: Wire, _: str) -> None:
        upstream.active_runs = [
            {"id": "run_other", "status": "in_progress", "metadata": {"turn_id": "someone else's"}},
            {"id": "run_ours", "status": "in_progress", "metadata": {"turn_id": upstream.turn_ids[-1]}},
        ]
        await wire.left()

    with bare_upstream(silent) as upstream, calling(classic(upstream.url)) as client:
        connection = begin(str(client.base_url), "hi", thread_id="thread_1")
        eventually(lambda: upstream.open, "the turn is upstream")
        connection.close()
        eventually(lambda: upstream.cancelled == ["run_ours"], "our run is cancelled, and no other")
        eventually(lambda: not upstream.open, "the connection is closed")


def test_a_run_whose_answer_was_lost_is_found_and_cancelled_too() -> None:
    async def reset(wire: Wire, _: str) -> None:
        upstream.active_runs = [
            {"id": "run_ours", "status": "queued", "metadata": {"turn_id": upstream.turn_ids[-1]}},
        ]
        await wire.reset()

    with bare_upstream(reset) as upstream, calling(classic(upstream.url)) as client:
        answer = client.post("/api/chat", json={"message": "hi", "thread_id": "thread_1"})
    assert (answer.status_code, answer.json()["code"]) == (502, "upstream_unavailable")
    assert upstream.cancelled == ["run_ours"]


def test_the_next_message_may_come_at_once_after_a_disconnect(emulator: str) -> None:
    with calling(classic(emulator)) as client:
        thread_id = chat(client, "[echo] hi")[0]["thread_id"]
        begin(str(client.base_url), "[stall]", thread_id=thread_id).close()
        eventually(lambda: not seen(emulator)["active_runs"], "the run is cancelled")
        assert chat(client, "[echo] again", thread_id=thread_id)[-1]["full_response"] == "again"


@pytest.mark.slow
def test_an_upstream_that_does_not_answer_the_cancelling_holds_nobody() -> None:
    async def play(wire: Wire, message: str) -> None:
        await wire.head()
        await wire.send(wire.wire_format.started, wire.wire_format.delta("Hello"))
        await (wire.left() if message == "leave" else wire.end())

    with bare_upstream(play, cancel_hangs=True) as upstream, calling(classic(upstream.url)) as client:
        connection = begin(str(client.base_url), "leave")
        connection.recv(1)
        connection.close()
        eventually(lambda: upstream.said and not upstream.open, "the stream is closed before the cancel is answered")
        assert chat(client, "cut")[-1]["code"] == "upstream_unavailable"


def test_a_stop_by_the_caller_ends_the_stream_in_cancelled(emulator: str) -> None:
    with calling(classic(emulator)) as client:  # noqa: SIM117
        with client.stream("POST", "/api/chat", json={"message": "[stall]"}) as answer:
            lines = answer.iter_lines()
            thread_id = httpx.Response(200, text=next(lines)[6:]).json()["thread_id"]
            stopped = client.post("/api/chat/cancel", json={"thread_id": thread_id})
            assert (stopped.status_code, stopped.json()) == (202, {"status": "cancelling"})
            assert '"code": "cancelled", "retryable": false' in list(lines)[-2]
    assert len(seen(emulator)["cancelled"]) == 1


def test_a_stop_in_json_mode_is_a_499(emulator: str) -> None:
    with calling(classic(emulator)) as client:
        thread_id = chat(client, "[echo] hi")[0]["thread_id"]
        answers: list[httpx.Response] = []
        body = {"message": "[stall]", "thread_id": thread_id, "stream": False}
        asking = threading.Thread(target=lambda: answers.append(client.post("/api/chat", json=body)))
        asking.start()
        eventually(lambda: seen(emulator)["active_runs"], "the run is active")
        eventually(
            lambda: client.post("/api/chat/cancel", json={"thread_id": thread_id}).status_code == 202, "it is stopped"
        )
        asking.join(20)
    problem = answers[0].json()
    assert (answers[0].status_code, problem["code"], problem["thread_id"]) == (499, "cancelled", thread_id)


@UPSTREAMS
def test_there_is_nothing_to_stop_where_nothing_runs(settings: Callable[..., Settings], emulator: str) -> None:
    with calling(settings(emulator)) as client:
        thread_id = chat(client, "[echo] hi")[0]["thread_id"]
        for other in (thread_id, "thread_unknown", "../x"):
            answer = client.post("/api/chat/cancel", json={"thread_id": other})
            assert answer.status_code == 404
            is_unknown = other == "../x" or (other == "thread_unknown" and settings is classic)
            assert answer.json()["code"] == ("conversation_not_found" if is_unknown else "no_active_run")


def test_three_hundred_classic_streams_whose_clients_disconnect(emulator: str) -> None:
    """The classic SDK leaks each of them, and hangs after a hundred."""
    with calling(classic(emulator)) as client:
        for _ in range(300):
            connection = begin(str(client.base_url), "[stall]")
            connection.recv(1)
            connection.close()
        all_left(emulator, 300)
        assert chat(client, "[echo] well")[-1]["full_response"] == "well"
    assert len(seen(emulator)["cancelled"]) == 300


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["agent", "asst_1"])
def test_disconnects_at_random_moments_leak_nothing(agent: str, emulator: str) -> None:
    env = environment(emulator, AZURE_AI_AGENT_ID=agent, MAX_STREAMS="1000", LOG_LEVEL="ERROR")
    with running(uvicorn("tests.support.instrumented_app:app"), env) as service:

        def state() -> dict[str, int]:
            held: dict[str, int] = httpx.get(f"{service.url}/_state", timeout=20).json()
            return held

        asyncio.run(_leave(service.url, 200))  # what is made once is made
        all_idle(emulator)
        before = state()
        asyncio.run(_leave(service.url, 1_000))
        all_idle(emulator)
        eventually(lambda: state()["tasks"] <= before["tasks"], "the tasks are gone")
        eventually(lambda: state()["sockets"] <= before["sockets"] + 50, "only kept connections to the upstream remain")
        assert state()["rss_kib"] - before["rss_kib"] < 16_384


def all_idle(emulator: str) -> None:
    def idle() -> bool:
        streams = seen(emulator)["streams"]
        over = sum(len(streams[state]) for state in ("finished", "left", "broken"))
        return over == len(streams["opened"]) and not seen(emulator)["active_runs"]

    eventually(idle, "every stream upstream is over")


async def _leave(url: str, count: int, at_once: int = 40) -> None:
    chance = random.Random(7)  # noqa: S311  the same moments each time
    limit = asyncio.Semaphore(at_once)

    async def leave(after_bytes: int) -> None:
        async with limit:
            await _leave_one(url, after_bytes)

    await asyncio.gather(*(leave(chance.choice([0, 1, 200, 1_000, 5_000])) for _ in range(count)))


async def _leave_one(url: str, after_bytes: int) -> None:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = b'{"message": "[long:150]"}'
    head = "POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    await reader.readexactly(after_bytes)
    writer.transport.abort()
