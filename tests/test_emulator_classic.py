"""The emulator as the classic agents' service: the real azure-ai-agents 1.1.0 against it."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from azure.ai.agents import AgentsClient
from azure.ai.agents.models import AgentThreadCreationOptions, ThreadMessageOptions
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError

from emulator.app import create_app
from tests.support.azure_sdks import AllowHttp, SyncCredential
from tests.support.servers import serving

AGENT = "asst_1"
HEADERS = {"authorization": "Bearer token"}
VERSION = {"api-version": "v1"}


@pytest.fixture
def client(emulator: str) -> Iterator[AgentsClient]:
    project = f"{emulator}/api/projects/p"
    with AgentsClient(project, SyncCredential(), per_call_policies=[AllowHttp()], retry_total=0) as client:
        yield client


def user(message: str) -> ThreadMessageOptions:
    return ThreadMessageOptions(role="user", content=message)


def said(client: AgentsClient, thread_id: str, message: str) -> list[tuple[str, Any]]:
    """The events of one streamed turn: name and object."""
    with client.runs.stream(thread_id, agent_id=AGENT, additional_messages=[user(message)]) as handler:
        return [(name, what) for name, what, _ in handler]


def text_of(events: list[tuple[str, Any]]) -> str:
    return "".join(what.text for name, what in events if name == "thread.message.delta")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_streamed_answer_has_the_whole_life_cycle(client: AgentsClient) -> None:
    events = said(client, client.threads.create().id, "[echo] One two")
    assert [name for name, _ in events] == [
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.message.created",
        "thread.message.in_progress",
        "thread.message.delta",
        "thread.message.delta",
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.completed",
        "done",
    ]
    assert text_of(events) == "One two"
    assert events[-2][1].usage.completion_tokens == 2


def test_thread_and_run_in_one_request(client: AgentsClient) -> None:
    body: Any = {
        "assistant_id": AGENT,
        "stream": True,
        "thread": {"messages": [{"role": "user", "content": "Hello"}], "metadata": {"label": "x"}},
    }
    stream: Any = client.create_thread_and_run(body, stream=True)
    frames = b"".join(stream).decode().split("\n\n")
    assert [frame.partition("\n")[0] for frame in frames[:2]] == ["event: thread.created", "event: thread.run.created"]
    assert frames[-2] == "event: done\ndata: [DONE]"
    options = AgentThreadCreationOptions(messages=[user("Hello")])
    run = client.create_thread_and_run(agent_id=AGENT, thread=options)
    until(lambda: client.runs.get(run.thread_id, run.id).status == "completed")


def test_a_thread_remembers_and_lists_page_by_page(client: AgentsClient) -> None:
    thread = client.threads.create(messages=[user("My name is Zoë")], metadata={"label": "x"})
    run = client.runs.create_and_process(thread.id, agent_id=AGENT, polling_interval=0)
    assert run.status == "completed"
    assert "Earlier you said: “My name is Zoë”" in text_of(said(client, thread.id, "And now?"))
    rows = list(client.messages.list(thread.id, limit=3, order="asc"))
    assert [row.role for row in rows] == ["user", "assistant", "user", "assistant"]
    assert [row.run_id for row in client.messages.list(thread.id, run_id=run.id)] == [run.id]
    assert len(list(client.runs.list(thread.id))) == 2
    assert [step.type for step in client.run_steps.list(thread.id, run.id)] == ["message_creation"]
    assert client.threads.get(thread.id).metadata == {"label": "x"}
    assert client.threads.update(thread.id, metadata={"label": "y"}).metadata == {"label": "y"}


def test_an_empty_page_ends_a_list(emulator: str, client: AgentsClient) -> None:
    url = f"{emulator}/api/projects/p/threads/{client.threads.create().id}/messages"
    page = httpx.get(url, params=VERSION, headers=HEADERS).json()
    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_a_thread_is_locked_until_its_run_was_cancelled(emulator: str, client: AgentsClient) -> None:
    thread_id = client.threads.create().id
    with client.runs.stream(thread_id, agent_id=AGENT, additional_messages=[user("[stall]")]) as handler:
        run_id = next(iter(handler))[1].id
    active = httpx.get(f"{emulator}/_seen").json()["active_runs"]
    assert active == [run_id], "a reader who leaves does not end a classic run"
    with pytest.raises(HttpResponseError) as locked:
        said(client, thread_id, "me too")
    assert locked.value.status_code == 400
    assert "already has an active run" in locked.value.message
    with pytest.raises(HttpResponseError):
        client.messages.create(thread_id, role="user", content="me too")
    assert client.runs.cancel(thread_id, run_id).status == "cancelling"
    until(lambda: client.runs.get(thread_id, run_id).status == "cancelled")
    assert "turn 2" in text_of(said(client, thread_id, "Hello"))
    seen = httpx.get(f"{emulator}/_seen").json()
    assert seen["cancelled"] == [run_id]
    assert seen["messages"] == ["[stall]", "Hello"]


def test_a_stream_still_open_hears_of_the_cancellation(client: AgentsClient) -> None:
    thread_id = client.threads.create().id
    names = []
    with client.runs.stream(thread_id, agent_id=AGENT, additional_messages=[user("[stall]")]) as handler:
        for name, what, _ in handler:
            names.append(name)
            if name == "thread.run.in_progress":
                client.runs.cancel(thread_id, what.id)
    assert [name for name in names if name.startswith("thread.run.c")][1:] == [
        "thread.run.cancelling",
        "thread.run.cancelled",
    ]
    assert names[-1] == "done"
    assert list(client.messages.list(thread_id, order="asc"))[-1].role == "user"


@pytest.mark.parametrize(
    ("word", "last"),
    [
        ("[fail]", "thread.run.failed"),
        ("[quota]", "thread.run.failed"),
        ("[expired]", "thread.run.expired"),
        ("[cancelled]", "thread.run.cancelled"),
        ("[filtered answer]", "thread.run.incomplete"),
        ("[length]", "thread.run.incomplete"),
        ("[function]", "thread.run.requires_action"),
        ("[approval]", "thread.run.requires_action"),
        ("[refuse]", "thread.run.completed"),
        ("[unknown]", "thread.run.completed"),
        ("[bytes] [long:5]", "thread.run.completed"),
        ("[slow:0.1] [echo] slowly", "thread.run.completed"),
    ],
)
def test_words_that_end_a_stream(client: AgentsClient, word: str, last: str) -> None:
    events = said(client, client.threads.create().id, word)
    assert [name for name, _ in events[-2:]] == [last, "done"]


@pytest.mark.parametrize(
    ("word", "status"),
    [("[429]", 429), ("[filter]", 400), ("[500]", 500), ("[busy]", 400), ("[denied]", 401), ("[forbidden]", 403)],
)
def test_words_that_refuse(client: AgentsClient, word: str, status: int) -> None:
    with pytest.raises(HttpResponseError) as refused:
        said(client, client.threads.create().id, word)
    assert refused.value.status_code == status


def test_a_required_action_is_answered_and_the_run_goes_on(client: AgentsClient) -> None:
    thread_id = client.threads.create().id
    run: Any = said(client, thread_id, "[function]")[-2][1]
    call_id = run.required_action.submit_tool_outputs.tool_calls[0].id
    outputs: Any = [{"tool_call_id": call_id, "output": "no"}]
    client.runs.submit_tool_outputs(thread_id, run.id, tool_outputs=outputs)
    until(lambda: client.runs.get(thread_id, run.id).status == "completed")


def test_a_question_to_the_caller_can_be_cancelled(client: AgentsClient) -> None:
    thread_id = client.threads.create().id
    run: Any = said(client, thread_id, "[approval]")[-2][1]
    client.runs.cancel(thread_id, run.id)
    assert said(client, thread_id, "Hello")[-1][0] == "done"


def test_a_broken_stream_leaves_its_run_active(emulator: str, client: AgentsClient) -> None:
    for word in ("[drop]", "[cut]"):
        thread_id = client.threads.create().id
        url = f"{emulator}/api/projects/p/threads/{thread_id}/runs"
        body = {
            "assistant_id": AGENT,
            "stream": True,
            "additional_messages": [{"role": "user", "content": word}],
        }
        try:
            assert "done" not in httpx.post(url, params=VERSION, headers=HEADERS, json=body).text
        except httpx.TransportError:
            assert word == "[drop]"
        (run,) = client.runs.list(thread_id)
        assert run.status == "in_progress"


def test_what_is_unknown_is_404(client: AgentsClient) -> None:
    with pytest.raises(ResourceNotFoundError):
        said(client, "thread_0", "x")
    with pytest.raises(ResourceNotFoundError):
        client.get_agent("asst_missing")
    with pytest.raises(ResourceNotFoundError):
        client.runs.get(client.threads.create().id, "run_0")
    assert client.get_agent(AGENT).id == AGENT


@pytest.mark.parametrize("body", [{}, {"assistant_id": AGENT, "speed": 9}, {"assistant_id": AGENT, "thread": 1}])
def test_a_wrong_body_is_400_in_the_services_shape(emulator: str, body: dict[str, Any]) -> None:
    answer = httpx.post(f"{emulator}/api/projects/p/threads/runs", params=VERSION, headers=HEADERS, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}


def test_token_and_api_version_are_required(emulator: str) -> None:
    url = f"{emulator}/api/projects/p/threads"
    assert httpx.post(url, params=VERSION).status_code == 401
    assert httpx.post(url, headers=HEADERS).status_code == 400
    with (
        AgentsClient(f"{emulator}/api/projects/p", SyncCredential(), per_call_policies=[AllowHttp()]) as client,
        pytest.raises(ClientAuthenticationError),
    ):
        said(client, client.threads.create().id, "[denied]")


def test_a_run_goes_on_without_its_reader_at_its_own_pace() -> None:
    with serving(create_app(pace=50)) as url:
        body = {
            "assistant_id": AGENT,
            "stream": True,
            "thread": {"messages": [{"role": "user", "content": "[long:20]"}]},
        }
        with httpx.stream(
            "POST", f"{url}/api/projects/p/threads/runs", params=VERSION, headers=HEADERS, json=body
        ) as answer:
            next(answer.iter_lines())
        until(lambda: httpx.get(f"{url}/_seen").json()["streams"]["left"] != [])
        until(lambda: httpx.get(f"{url}/_seen").json()["active_runs"] == [])
