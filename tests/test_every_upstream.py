"""One contract, four upstreams: the same behaviour whichever answers."""

import re
from collections.abc import Callable
from itertools import product
from typing import Any

import httpx
import pytest

from gateway.settings import Settings
from tests.support.callers import calling, chat, classic, foundry, text_of
from tests.support.upstreams import AGENT_SERVER, ON_EMULATOR, Upstream

SettingsFor = Callable[..., Settings]


def test_an_answer_is_streamed(upstream: Upstream) -> None:
    with calling(upstream.settings()) as client:
        events = chat(client, "Good morning", conversation_id="c-1")
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[-1]) == ("metadata", "done")
    assert set(kinds[1:-1]) == {"chunk"}
    assert len(kinds) > 20
    assert events[0]["conversation_id"] == "c-1"
    assert "Good morning" in events[-1]["full_response"]
    assert events[-1]["full_response"] == text_of(events)
    assert events[-1]["usage"]["total_tokens"] > 0


def test_the_second_turn_knows_the_first(upstream: Upstream) -> None:
    with calling(upstream.settings()) as client:
        first = chat(client, "My name is Ada")
        second = chat(client, "Who am I?", thread_id=first[0]["thread_id"])
        third = client.post(
            "/api/chat", json={"message": "Again?", "thread_id": second[0]["thread_id"], "stream": False}
        ).json()
    assert "My name is Ada" in text_of(second)
    assert "My name is Ada" in third["response"]
    assert third["is_new_conversation"] is False


def test_an_unknown_thread_is_not_found(upstream: Upstream) -> None:
    with calling(upstream.settings()) as client:
        chat(client, "Hello")  # whether the endpoint has conversations is known then
        for thread_id in ("conv_unknown", "thread_unknown", "resp_unknown", "chain-resp_unknown", "x"):
            answer = client.post("/api/chat", json={"message": "hi", "thread_id": thread_id})
            assert (answer.status_code, answer.json()["code"]) == (404, "conversation_not_found"), answer.text
    if upstream.name != AGENT_SERVER:
        assert [text for text in httpx.get(f"{upstream.url}/_seen").json()["messages"] if text == "hi"] == []


def test_the_label_is_stored_with_the_conversation(upstream: Upstream) -> None:
    with calling(upstream.settings()) as client:
        thread_id = chat(client, "hi", conversation_id="label-7")[0]["thread_id"]
    assert stored_labels(upstream, thread_id) == ["label-7"]


def stored_labels(upstream: Upstream, thread_id: str) -> list[str]:
    """Every label in what the upstream got; from Microsoft's server, in what it keeps."""
    if upstream.name == AGENT_SERVER:
        path = f"/openai/v1/responses/{thread_id.removeprefix('chain-')}"
        return labels_of(httpx.get(upstream.url + path).json())
    bodies = [request["body"] for request in httpx.get(f"{upstream.url}/_seen").json()["requests"]]
    return [label for body in bodies if isinstance(body, dict) for label in labels_of(body)]


def labels_of(body: dict[str, Any]) -> list[str]:
    return re.findall(r"'conversation_id': '([^']+)'", str(body))


FAULTS = {
    "[fail]": ("run_failed", None),
    "[429]": ("upstream_rate_limited", 429),
    "[quota]": ("upstream_rate_limited", None),
    "[filter]": ("content_filtered", 400),
    "[500]": ("upstream_unavailable", 502),
    "[html]": ("upstream_unavailable", 502),
    "[empty]": ("upstream_unavailable", 502),
    "[busy]": ("conversation_busy", 409),
    "[denied]": ("upstream_denied", 502),
    "[forbidden]": ("upstream_denied", 502),
    "[drop]": ("upstream_unavailable", None),
    "[cut]": ("upstream_unavailable", None),
    "[reset]": ("upstream_unavailable", 502),
    "[expired]": ("run_failed", None),
    "[cancelled]": ("cancelled", None),
    "[function]": ("action_required", None),
    "[approval]": ("action_required", None),
}


ON_AGENT_SERVER = ("[fail]", "[quota]", "[expired]", "[function]", "[approval]")
"""What an agent can do there: the others are of the layers around it."""


@pytest.mark.parametrize(
    ("upstream", "order"),
    [*product(ON_EMULATOR, FAULTS), *product([AGENT_SERVER], ON_AGENT_SERVER)],
    indirect=["upstream"],
)
def test_trouble_has_the_same_code_and_words(upstream: Upstream, order: str) -> None:
    code, status = FAULTS[order]
    with calling(upstream.settings()) as client:
        answer = client.post("/api/chat", json={"message": f"please {order}"})
        said = answer.json() if answer.status_code != 200 else None
        if said is None:
            frames = answer.text.strip().split("\n\n")
            assert sum('"type": "error"' in frame for frame in frames) == 1
            assert '"type": "error"' in frames[-1]
        assert (said or {}).get("code", code) == code
        assert f'"code": "{code}"' in answer.text
        if status:
            assert answer.status_code == status


def test_ready_says_yes(upstream: Upstream) -> None:
    with calling(upstream.settings()) as client:
        assert client.get("/ready").json() == {"status": "ready"}


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (foundry("http://127.0.0.1:9"), "upstream_unavailable"),
        (classic("http://127.0.0.1:9"), "upstream_unavailable"),
    ],
    ids=["foundry", "classic"],
)
def test_ready_says_what_a_turn_would_meet(settings: Settings, code: str) -> None:
    with calling(settings) as client:
        answer = client.get("/ready")
        assert (answer.status_code, answer.json()["code"]) == (503, code)


@pytest.mark.parametrize(("agent", "settings_for"), [("missing-agent", foundry), ("asst_missing", classic)])
def test_a_missing_agent_is_named_by_ready_and_chat(emulator: str, agent: str, settings_for: SettingsFor) -> None:
    with calling(settings_for(emulator).model_copy(update={"azure_ai_agent_id": agent})) as client:
        assert client.get("/ready").json()["code"] == "agent_not_found"
        answer = client.post("/api/chat", json={"message": "hi"})
        assert (answer.status_code, answer.json()["code"]) == (502, "agent_not_found")


def test_the_same_bytes_ids_and_words_apart(emulator: str, agent_server: str) -> None:
    ids = re.compile(r'"(thread_id|timestamp|request_id)": "[^"]*"|"usage": \{[^}]*\}')
    said = set()
    for upstream in (*(Upstream(name, emulator) for name in ON_EMULATOR), Upstream(AGENT_SERVER, agent_server)):
        with calling(upstream.settings()) as client:
            native = client.post("/api/chat", json={"message": "[echo] the same", "conversation_id": "c"}).text
            simple = client.post("/api/v1/chat/stream", json={"message": "[echo] the same"}).text
        said.add((ids.sub("<id>", native), simple))
    assert len(said) == 1
