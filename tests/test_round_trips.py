"""How many requests a turn costs before its first word, and on which connections."""

from collections.abc import Callable

import httpx
import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from emulator.app import create_app as create_emulator
from gateway.backends.responses import conversations
from gateway.settings import Settings
from tests.support.callers import calling, chat, classic, foundry, openai, text_of
from tests.support.playback_upstream import Playback
from tests.support.servers import serving
from tests.support.wire_formats import Classic, Responses


def asked(emulator: str) -> list[str]:
    """What was asked since the last time: method and the end of the path."""
    requests = httpx.get(f"{emulator}/_seen").json()["requests"]
    httpx.delete(f"{emulator}/_seen")
    return [f"{request['method']} {request['path'].rpartition('/')[2]}" for request in requests]


@pytest.mark.parametrize(
    ("settings_for", "first", "later"),
    [
        (foundry, ["POST conversations", "POST responses"], ["POST responses"]),
        (openai, ["POST conversations", "POST responses"], ["POST responses"]),
        (classic, ["POST runs"], ["POST runs"]),
    ],
    ids=["foundry", "openai", "classic"],
)
def test_without_a_conversation_pool(
    emulator: str, settings_for: Callable[..., Settings], first: list[str], later: list[str]
) -> None:
    with calling(settings_for(emulator, conversation_pool_size=0)) as client:
        client.get("/ready")
        asked(emulator)
        events = chat(client, "[echo] hi")
        assert asked(emulator) == first
        chat(client, "[echo] hi", thread_id=events[0]["thread_id"])
        assert asked(emulator) == later


@pytest.mark.parametrize("settings_for", [foundry, openai])
def test_with_a_conversation_pool_a_first_turn_starts_with_its_run(
    emulator: str, settings_for: Callable[..., Settings]
) -> None:
    with calling(settings_for(emulator)) as client:
        wait_for_the_pool(emulator)
        for _ in range(3):
            asked(emulator)
            with client.stream("POST", "/api/chat", json={"message": "[stall] hi"}) as answer:
                lines = answer.iter_lines()
                while "chunk" not in next(lines):
                    pass
                seen = set(asked(emulator))
            assert "POST responses" in seen
            assert "POST conversations" not in seen
            wait_for_the_pool(emulator)


def wait_for_the_pool(emulator: str) -> None:
    for _ in range(500):
        if "POST conversations" in asked(emulator):
            return
    raise AssertionError("no conversation was made ahead")


def test_where_there_are_no_conversations_responses_are_chained() -> None:
    with serving(create_emulator(pace=0, conversations=False)) as emulator, calling(openai(emulator)) as client:
        first = chat(client, "My name is Ada")
        asked(emulator)
        second = chat(client, "Who am I?", thread_id=first[0]["thread_id"])
        assert asked(emulator) == ["POST responses"]
        other = chat(client, "Hello")
        assert asked(emulator) == ["POST responses"]
        lost = client.post("/api/chat", json={"message": "hi", "thread_id": "resp_unknown"})
    assert first[0]["thread_id"].startswith("chain-resp_")
    assert second[0]["thread_id"] not in (first[0]["thread_id"], other[0]["thread_id"])
    assert "My name is Ada" in text_of(second)
    assert lost.json()["code"] == "conversation_not_found"


def test_where_there_are_no_conversations_a_handle_without_a_marker_is_a_chains() -> None:
    with serving(create_emulator(pace=0, conversations=False)) as emulator, calling(openai(emulator)) as client:
        own = chat(client, "My name is Ada")[0]["thread_id"].removeprefix("chain-")
        assert "My name is Ada" in text_of(chat(client, "Who am I?", thread_id=own))
        lost = client.post("/api/chat", json={"message": "hi", "thread_id": "conv_1"})
        assert (lost.status_code, lost.json()["code"]) == (404, "conversation_not_found")


def test_a_failed_turn_of_a_chain_gives_back_the_handle_that_stays_good() -> None:
    with serving(create_emulator(pace=0, conversations=False)) as emulator, calling(openai(emulator)) as client:
        own = chat(client, "My name is Ada")[0]["thread_id"]
        failed = client.post("/api/chat", json={"message": "[fail]", "stream": False, "thread_id": own}).json()
        assert (failed["code"], failed["thread_id"]) == ("run_failed", own)
        assert "My name is Ada" in text_of(chat(client, "Who am I?", thread_id=own))
        first = client.post("/api/chat", json={"message": "[fail]", "stream": False}).json()
        assert first["code"] == "run_failed"
        assert "thread_id" not in first
    with serving(create_emulator(pace=0)) as emulator, calling(openai(emulator)) as client:
        first = client.post("/api/chat", json={"message": "[fail]", "stream": False}).json()
        assert chat(client, "[echo] hi", thread_id=first["thread_id"])[-1]["full_response"] == "hi"


class Blip:
    """An emulator that sometimes answers 404 where conversations are created, as a proxy or a restart does."""

    def __init__(self) -> None:
        self.is_on = False
        self._emulator = create_emulator(pace=0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.is_on and scope["type"] == "http" and scope["path"].endswith("/conversations"):
            await JSONResponse({"error": {"code": "404", "message": "Resource not found"}}, 404)(scope, receive, send)
        else:
            await self._emulator(scope, receive, send)


@pytest.mark.parametrize("pool_size", [0, 1])
def test_a_404_in_between_does_not_end_the_conversations_of_an_endpoint(pool_size: int) -> None:
    upstream = Blip()
    with serving(upstream) as url, calling(openai(url, conversation_pool_size=pool_size)) as client:
        own = chat(client, "My name is Ada")[0]["thread_id"]
        upstream.is_on = True
        meanwhile = chat(client, "Hello")[0]["thread_id"], chat(client, "Hello")[0]["thread_id"]
        assert meanwhile[1].startswith("chain-")  # better than no answer
        upstream.is_on = False
        assert "My name is Ada" in text_of(chat(client, "Who am I?", thread_id=own))
        assert "Hello" in text_of(chat(client, "Again", thread_id=meanwhile[1]))


def test_a_404_at_the_start_is_not_believed_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "_CHECK_AGAIN_S", 0.0)
    upstream = Blip()
    upstream.is_on = True
    with serving(upstream) as url, calling(openai(url)) as client:
        assert chat(client, "Hello")[0]["thread_id"].startswith("chain-")
        upstream.is_on = False
        chat(client, "Hello")
        assert chat(client, "Hello")[0]["thread_id"].startswith("conv_")


def test_a_prepared_conversation_is_used_once(emulator: str) -> None:
    with calling(foundry(emulator, conversation_pool_size=2)) as client:
        threads = [chat(client, "[echo] hi")[0]["thread_id"] for _ in range(6)]
    assert len(set(threads)) == 6


def test_unused_prepared_conversations_are_deleted(emulator: str) -> None:
    with calling(foundry(emulator, conversation_pool_size=2)) as client:
        client.get("/ready")
        wait_for_the_pool(emulator)
    assert "DELETE" in {request.partition(" ")[0] for request in asked(emulator)}


@pytest.mark.parametrize("settings_for", [foundry, openai, classic])
def test_a_turn_uses_the_connection_of_the_one_before(settings_for: Callable[..., Settings]) -> None:
    """A new one costs a handshake. The upstream ends the body a moment after the last event."""
    speak = Classic() if settings_for is classic else Responses()
    upstream = Playback(speak.started, speak.delta("Hello"), speak.finished, 0.05)
    used: list[tuple[str, int]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith(("/responses", "/runs")):
            used.append(scope["client"])
        await upstream.app(scope, receive, send)

    with serving(app) as url, calling(settings_for(url, conversation_pool_size=0)) as client:
        thread_id = chat(client, "hi")[0]["thread_id"]
        chat(client, "hi", thread_id=thread_id)
        chat(client, "hi", thread_id=thread_id)
    assert len(used) == 3
    assert len(set(used)) == 1
