"""The emulator as Foundry: the real azure-ai-projects and its OpenAI client against it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from azure.ai.projects import AIProjectClient

from tests.support.azure_sdks import SyncCredential

AGENT = {"agent_reference": {"type": "agent_reference", "name": "agent"}}
HEADERS = {"authorization": "Bearer token"}


@pytest.fixture
def client(emulator: str) -> Iterator[openai.OpenAI]:
    with (
        AIProjectClient(f"{emulator}/api/projects/p", SyncCredential()) as project,
        project.get_openai_client(max_retries=0) as client,
    ):
        yield client


def said(client: openai.OpenAI, message: str, **more: Any) -> list[Any]:
    """The events of one streamed turn."""
    with client.responses.create(input=message, stream=True, extra_body=AGENT, **more) as events:
        return list(events)


def test_a_streamed_answer_has_the_whole_life_cycle(client: openai.OpenAI) -> None:
    events = said(client, "[echo] One two")
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(10))
    assert [event.delta for event in events[4:6]] == ["One", " two"]
    assert events[-1].response.output_text == "One two"
    assert events[-1].response.usage.output_tokens == 2


def test_a_conversation_remembers_and_says_so(client: openai.OpenAI) -> None:
    conversation = client.conversations.create(metadata={"label": "x"})
    client.responses.create(input="My name is Zoë", conversation=conversation.id, extra_body=AGENT)
    second = client.responses.create(input="And now?", conversation={"id": conversation.id}, extra_body=AGENT)
    assert "turn 2" in second.output_text
    assert "Earlier you said: “My name is Zoë”" in second.output_text
    assert second.conversation is not None
    assert second.conversation.id == conversation.id
    items = list(client.conversations.items.list(conversation.id, limit=3, order="asc"))
    assert [getattr(item, "role", None) for item in items] == ["user", "assistant", "user", "assistant"]
    assert client.conversations.retrieve(conversation.id).metadata == {"label": "x"}
    assert client.conversations.update(conversation.id, metadata={"label": "y"}).metadata == {"label": "y"}


def test_responses_chain_without_a_conversation(client: openai.OpenAI) -> None:
    first = client.responses.create(input="One", extra_body=AGENT)
    second = client.responses.create(input="Two", previous_response_id=first.id, extra_body=AGENT)
    assert "Earlier you said: “One”" in second.output_text
    assert client.responses.retrieve(second.id).previous_response_id == first.id
    assert len(client.responses.input_items.list(second.id).data) == 1
    with pytest.raises(openai.NotFoundError) as unknown:
        client.responses.create(input="Two", previous_response_id="resp_0", extra_body=AGENT)
    assert unknown.value.code == "previous_response_not_found"
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(second.id)


def test_what_is_unknown_is_404(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.responses.create(input="x", conversation="conv_0", extra_body=AGENT)
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve("conv_0")
    missing = {"agent_reference": {"type": "agent_reference", "name": "missing-agent"}}
    with pytest.raises(openai.NotFoundError):
        client.responses.create(input="x", extra_body=missing)


@pytest.mark.parametrize(
    "body",
    [
        AGENT,
        {"input": "", **AGENT},
        {"input": [], **AGENT},
        {"input": [{"role": "nobody", "content": "x"}], **AGENT},
        {"input": "x"},
        {"input": "x", "agent": {"type": "agent_reference", "name": "agent"}},
        {"input": "x", "agent_reference": {"name": "agent"}},
        {"input": "x", "model": "gpt", **AGENT},
        {"input": "x", "conversation": "conv_0", "previous_response_id": "resp_0", **AGENT},
        {"input": "x", "metadata": {"n": 1}, **AGENT},
        {"input": "\ud800", **AGENT},
    ],
)
def test_a_wrong_body_is_400_in_the_services_shape(emulator: str, body: dict[str, Any]) -> None:
    url = f"{emulator}/api/projects/p/openai/v1/responses"
    answer = httpx.post(url, content=json.dumps(body), headers=HEADERS)
    assert answer.status_code == 400
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}


def test_no_bearer_token_is_401(emulator: str) -> None:
    for headers in ({}, {"api-key": "k"}, {"authorization": "Basic eDp5"}):
        answer = httpx.post(f"{emulator}/api/projects/p/openai/v1/conversations", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "401"


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("[429]", 429),
        ("[filter]", 400),
        ("[500]", 500),
        ("[html]", 502),
        ("[empty]", 503),
        ("[busy]", 400),
        ("[denied]", 401),
        ("[forbidden]", 403),
    ],
)
def test_words_that_refuse(client: openai.OpenAI, word: str, status: int) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        said(client, f"please {word}")
    assert refused.value.status_code == status


def test_a_quota_says_when_to_come_back(client: openai.OpenAI) -> None:
    for word, seconds in (("[429]", "7"), ("[429:300]", "300"), ("[429 once]", "1")):
        with pytest.raises(openai.RateLimitError) as refused:
            said(client, word)
        assert refused.value.response.headers["retry-after"] == seconds
    assert said(client, "[429 once]")[-1].type == "response.completed"


@pytest.mark.parametrize(
    ("word", "last"),
    [
        ("[fail]", "response.failed"),
        ("[expired]", "response.failed"),
        ("[cancelled]", "response.cancelled"),
        ("[filtered answer]", "response.incomplete"),
        ("[length]", "response.incomplete"),
        ("[cut]", "response.output_text.delta"),
        ("[refuse]", "response.completed"),
        ("[unknown]", "response.completed"),
        ("[crlf] [bytes] [long:5]", "response.completed"),
        ("[slow:0.1] [echo] slowly", "response.completed"),
    ],
)
def test_words_that_end_a_stream(client: openai.OpenAI, word: str, last: str) -> None:
    assert said(client, word)[-1].type == last


def test_a_quota_inside_a_run_fails_without_a_reason_and_then_gives_it(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError) as quota:
        said(client, "[quota]")
    assert quota.value.code == "rate_limit_exceeded"


def test_broken_connections_are_broken(client: openai.OpenAI) -> None:
    for word in ("[drop]", "[reset]"):
        with pytest.raises((openai.APIConnectionError, openai.APIError)):
            said(client, word)


@pytest.mark.parametrize("word", ["[silent]", "[comments]"])
def test_silence_after_the_head_is_silence(emulator: str, word: str) -> None:
    url, body = f"{emulator}/api/projects/p/openai/v1/responses", {"input": word, "stream": True, **AGENT}
    with httpx.stream("POST", url, json=body, headers=HEADERS, timeout=1.5) as answer:
        assert answer.status_code == 200
        told = answer.iter_raw()
        if word == "[comments]":
            assert next(told) == b": keepalive\n\n"
        else:
            with pytest.raises(httpx.ReadTimeout):
                next(told)


def test_half_a_surrogate_pair_in_each_of_two_deltas(client: openai.OpenAI) -> None:
    events = said(client, "[surrogate]")
    assert "\ud83d" in [getattr(event, "delta", None) for event in events]
    assert events[-1].response.output_text == "Half a pair: 🚀, then whole."


@pytest.mark.parametrize(
    ("word", "kind", "answer"),
    [
        ("[function]", "function_call", {"type": "function_call_output", "output": "no"}),
        ("[approval]", "mcp_approval_request", {"type": "mcp_approval_response", "approve": False}),
    ],
)
def test_a_question_to_the_caller_bars_the_conversation_until_answered(
    client: openai.OpenAI, word: str, kind: str, answer: Any
) -> None:
    conversation = client.conversations.create()
    asked: Any = said(client, word, conversation=conversation.id)[-1].response.output[-1]
    assert asked.type == kind
    with pytest.raises(openai.BadRequestError):
        said(client, "go on", conversation=conversation.id)
    whom = {"call_id": asked.call_id} if kind == "function_call" else {"approval_request_id": asked.id}
    client.conversations.items.create(conversation.id, items=[answer | whom])
    assert said(client, "go on", conversation=conversation.id)[-1].type == "response.completed"


def test_a_failed_answer_leaves_nothing(client: openai.OpenAI) -> None:
    conversation = client.conversations.create()
    said(client, "[fail]", conversation=conversation.id)
    assert list(client.conversations.items.list(conversation.id)) == []
    assert "turn 1" in said(client, "Hello", conversation=conversation.id)[-1].response.output_text


def test_a_stream_left_early_is_seen_and_frees_its_conversation(emulator: str, client: openai.OpenAI) -> None:
    conversation = client.conversations.create()
    with client.responses.create(
        input="[stall]", conversation=conversation.id, stream=True, extra_body=AGENT
    ) as events:
        response_id = next(iter(events)).response.id  # type: ignore[union-attr]
        with pytest.raises(openai.BadRequestError) as locked:
            said(client, "me too", conversation=conversation.id)
        assert locked.value.code == "conversation_locked"
    assert said(client, "Hello", conversation=conversation.id)[-1].type == "response.completed"
    seen = httpx.get(f"{emulator}/_seen").json()
    assert seen["streams"]["left"] == [response_id]
    assert seen["messages"] == ["[stall]", "Hello"]
    assert seen["requests"][0]["headers"]["authorization"] == "Bearer"
    httpx.delete(f"{emulator}/_seen")
    assert httpx.get(f"{emulator}/_seen").json()["requests"] == []


def test_a_reader_who_leaves_before_the_first_event_frees_the_conversation(client: openai.OpenAI) -> None:
    conversation = client.conversations.create()
    for _ in range(20):
        client.responses.create(input="[silent]", conversation=conversation.id, stream=True, extra_body=AGENT).close()
    assert said(client, "Hello", conversation=conversation.id)[-1].type == "response.completed"


def test_an_agents_own_endpoint_needs_no_reference(emulator: str) -> None:
    with (
        AIProjectClient(f"{emulator}/api/projects/p", SyncCredential(), allow_preview=True) as project,
        project.get_openai_client(agent_name="agent") as client,
    ):
        assert "turn 1" in client.responses.create(input="Hello").output_text


def test_a_taken_port_is_one_sentence(emulator: str) -> None:
    port = emulator.rpartition(":")[2]
    ended = subprocess.run(
        [sys.executable, "-m", "emulator", "--port", port], check=False, capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert f"127.0.0.1:{port}" in ended.stderr
