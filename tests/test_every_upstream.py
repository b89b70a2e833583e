"""One contract, three upstreams: the same behaviour whichever answers."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from gateway.settings import Settings
from tests.support.callers import calling, chat, classic, foundry, openai, text_of

UPSTREAMS: dict[str, Callable[..., Settings]] = {"foundry": foundry, "classic": classic, "openai": openai}

each_upstream = pytest.mark.parametrize("settings_for", UPSTREAMS.values(), ids=UPSTREAMS.keys())
SettingsFor = Callable[..., Settings]


@each_upstream
def test_an_answer_is_streamed(emulator: str, settings_for: SettingsFor) -> None:
    with calling(settings_for(emulator)) as client:
        events = chat(client, "Good morning", conversation_id="c-1")
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[-1]) == ("metadata", "done")
    assert set(kinds[1:-1]) == {"chunk"}
    assert len(kinds) > 20
    assert events[0]["conversation_id"] == "c-1"
    assert "Good morning" in events[-1]["full_response"]
    assert events[-1]["full_response"] == text_of(events)
    assert events[-1]["usage"]["total_tokens"] > 0


@each_upstream
def test_the_second_turn_knows_the_first(emulator: str, settings_for: SettingsFor) -> None:
    with calling(settings_for(emulator)) as client:
        first = chat(client, "My name is Ada")
        second = chat(client, "Who am I?", thread_id=first[0]["thread_id"])
        third = client.post(
            "/api/chat", json={"message": "Again?", "thread_id": second[0]["thread_id"], "stream": False}
        ).json()
    assert "My name is Ada" in text_of(second)
    assert "My name is Ada" in third["response"]
    assert third["is_new_conversation"] is False


@each_upstream
def test_an_unknown_thread_is_not_found(emulator: str, settings_for: SettingsFor) -> None:
    with calling(settings_for(emulator)) as client:
        for thread_id in ("conv_unknown", "thread_unknown", "resp_unknown", "x"):
            answer = client.post("/api/chat", json={"message": "hi", "thread_id": thread_id})
            assert (answer.status_code, answer.json()["code"]) == (404, "conversation_not_found"), answer.text
    assert [text for text in httpx.get(f"{emulator}/_seen").json()["messages"] if text == "hi"] == []


@each_upstream
def test_the_label_is_stored_with_the_conversation(emulator: str, settings_for: SettingsFor) -> None:
    with calling(settings_for(emulator)) as client:
        chat(client, "hi", conversation_id="label-7")
    bodies = [request["body"] for request in httpx.get(f"{emulator}/_seen").json()["requests"]]
    labels = [labels_of(body) for body in bodies if isinstance(body, dict)]
    assert labels.count(["label-7"]) == 1


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
    "[cancelled]": ("run_failed", None),
    "[function]": ("action_required", None),
    "[approval]": ("action_required", None),
}


@each_upstream
@pytest.mark.parametrize("order", FAULTS)
def test_trouble_has_the_same_code_and_words(emulator: str, settings_for: SettingsFor, order: str) -> None:
    code, status = FAULTS[order]
    with calling(settings_for(emulator)) as client:
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


@each_upstream
def test_ready_says_yes(emulator: str, settings_for: SettingsFor) -> None:
    with calling(settings_for(emulator)) as client:
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


def test_the_same_bytes_ids_and_words_apart(emulator: str) -> None:
    ids = re.compile(r'"(thread_id|timestamp|request_id)": "[^"]*"|"usage": \{[^}]*\}')
    said = set()
    for settings_for in UPSTREAMS.values():
        with calling(settings_for(emulator)) as client:
            native = client.post("/api/chat", json={"message": "[echo] the same", "conversation_id": "c"}).text
            simple = client.post("/api/v1/chat/stream", json={"message": "[echo] the same"}).text
        said.add((ids.sub("<id>", native), simple))
    assert len(said) == 1
