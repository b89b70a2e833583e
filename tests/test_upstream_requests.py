"""Our requests are those of the real SDKs: method, path, query, body, and the headers that matter.

The oracles: azure-ai-projects 2.10 and openai 3.52 for Foundry agents and Azure OpenAI, azure-ai-agents 1.1.0 for
classic ones. Each test has a turn of ours and the same by the SDK on one upstream, and compares what arrived.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

import openai as openai_sdk
import pytest
from azure.ai.agents.models import ThreadMessageOptions
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.backends.http_client import UpstreamClient
from gateway.backends.upstream_auth import ApiKeyAuth
from tests.support.azure_sdks import Credential, agents, projects
from tests.support.callers import calling, chat, classic, foundry, openai
from tests.support.managed_identity import identified
from tests.support.playback_upstream import recorded
from tests.support.recording_upstream import Recorder, Sent
from tests.support.servers import serving
from tests.support.wire_formats import answer, classic_framed, framed

RUN = {"id": "run_1", "object": "thread.run", "thread_id": "thread_1", "assistant_id": "asst_1", "status": "queued"}
CONVERSATION = {"id": "conv_1", "object": "conversation"}
RESPONSES: dict[str, Any] = {"/conversations": CONVERSATION, "/responses": framed(answer("Hi"))}
CLASSIC: dict[str, Any] = {
    "/runs": classic_framed([("thread.run.created", RUN), ("thread.run.completed", RUN), ("done", "[DONE]")]),
    "/cancel": RUN,
    "/asst_1": {"id": "asst_1", "object": "assistant"},
}


async def read(stream: AsyncIterator[Any]) -> None:
    async for _ in stream:
        pass


def posted(recorder: Recorder) -> list[Sent]:
    """What arrived since the last time; without the GET that warms up the service."""
    sent = [request for request in recorder.sent if request.method == "POST"]
    recorder.sent.clear()
    return sent


def posted_by(sdk: Callable[[str], Coroutine[Any, Any, None]], recorder: Recorder, url: str) -> list[Sent]:
    asyncio.run(sdk(url))
    return posted(recorder)


def test_a_first_turn_with_a_foundry_agent_is_what_the_sdk_sends() -> None:
    async def sdk(url: str) -> None:
        async with projects(url) as project, project.get_openai_client() as client:
            made = await client.conversations.create(metadata={"conversation_id": "c-1"})
            reference = {"agent_reference": {"type": "agent_reference", "name": "agent"}}
            await read(
                await client.responses.create(conversation=made.id, input="Hí", stream=True, extra_body=reference)
            )

    recorder = Recorder(RESPONSES)
    with serving(recorder.app) as url:
        with calling(foundry(url, conversation_pool_size=0)) as client:
            chat(client, "Hí", conversation_id="c-1")
        ours = posted(recorder)
        assert ours == posted_by(sdk, recorder, url)
    assert [request.path.removeprefix("/api/projects/p/openai/v1") for request in ours] == [
        "/conversations",
        "/responses",
    ]
    assert {request.authorization for request in ours} == {"Bearer development"}


def test_a_later_turn_with_a_version_of_an_agent_is_what_the_sdk_sends() -> None:
    async def sdk(url: str) -> None:
        async with projects(url) as project, project.get_openai_client() as client:
            reference = {"type": "agent_reference", "name": "agent", "version": "2"}
            stream = await client.responses.create(
                conversation="conv_7", input="Hi", stream=True, extra_body={"agent_reference": reference}
            )
            await read(stream)

    recorder = Recorder(RESPONSES)
    with serving(recorder.app) as url:
        with calling(
            foundry(url, conversation_pool_size=0).model_copy(update={"azure_ai_agent_id": "agent:2"})
        ) as client:
            chat(client, "Hi", thread_id="conv_7")
        assert posted(recorder) == posted_by(sdk, recorder, url) != []


def test_a_refused_function_call_is_answered_as_the_sdk_would() -> None:
    recorder = Recorder(
        {**RESPONSES, "/items": {"data": []}, "/responses": framed(recorded("responses-function-call"))}
    )
    with serving(recorder.app) as url:
        with calling(foundry(url, conversation_pool_size=0)) as client:
            chat(client, "Hi", thread_id="conv_7")
        ours = posted(recorder)[-1]

        async def sdk(url: str) -> None:
            async with projects(url) as project, project.get_openai_client() as client:
                await client.conversations.items.create("conv_7", items=ours.body["items"])

        assert [ours] == posted_by(sdk, recorder, url)


def test_a_first_turn_with_a_classic_agent_is_what_the_sdk_sends() -> None:
    recorder = Recorder(CLASSIC)
    with serving(recorder.app) as url:
        with calling(classic(url)) as client:
            chat(client, "Hí", conversation_id="c-1")
        ours = posted(recorder)
        label = ours[0].body["metadata"]

        async def sdk(url: str) -> None:
            thread = {"messages": [{"role": "user", "content": "Hí"}], "metadata": {"conversation_id": "c-1"}}
            body = {"assistant_id": "asst_1", "thread": thread, "stream": True, "metadata": label}
            async with agents(url) as client:
                # the generated code takes this `stream`, though its signature does not say so
                run: Any = await client.create_thread_and_run(body, stream=True)
                await read(run)

        assert ours == posted_by(sdk, recorder, url)
    assert label.keys() == {"turn_id"}


def test_a_later_turn_with_a_classic_agent_is_what_the_sdk_sends() -> None:
    recorder = Recorder(CLASSIC)
    with serving(recorder.app) as url:
        with calling(classic(url)) as client:
            chat(client, "Hi", thread_id="thread_1")
        ours = posted(recorder)

        async def sdk(url: str) -> None:
            said = [ThreadMessageOptions(role="user", content="Hi")]
            label = ours[0].body["metadata"]
            async with agents(url) as client:
                stream = client.runs.stream("thread_1", agent_id="asst_1", additional_messages=said, metadata=label)
                async with await stream as events:
                    await read(events)

        assert ours == posted_by(sdk, recorder, url)


def test_stopping_a_classic_run_is_what_the_sdk_sends() -> None:
    async def sdk(url: str) -> None:
        async with agents(url) as client:
            await client.runs.list("thread_1", limit=1, order="desc").by_page().__anext__()
            await client.runs.cancel("thread_1", "run_1")

    recorder = Recorder({"/cancel": RUN, "/runs": {"data": [RUN], "has_more": False, "last_id": None}})
    with serving(recorder.app) as url:
        with calling(classic(url)) as client:
            assert client.post("/api/chat/cancel", json={"thread_id": "thread_1"}).status_code == 202
        ours = [request for request in recorder.sent if "/threads/" in request.path]
        recorder.sent.clear()
        asyncio.run(sdk(url))
    assert ours == recorder.sent
    assert [request.method for request in ours] == ["GET", "POST"]


@pytest.mark.parametrize(
    ("agent_id", "client_of", "get"),
    [
        ("agent", projects, lambda client: client.agents.get(agent_name="agent")),
        ("agent:2", projects, lambda client: client.agents.get_version(agent_name="agent", agent_version="2")),
        ("asst_1", agents, lambda client: client.get_agent("asst_1")),
    ],
)
def test_ready_reads_the_agent_as_the_sdk_does(agent_id: str, client_of: Any, get: Any) -> None:
    async def sdk(url: str) -> None:
        async with client_of(url) as client:
            await get(client)

    recorder = Recorder({f"/{agent_id.rpartition(':')[2]}": {"id": agent_id, "object": "agent", "name": "agent"}})
    with serving(recorder.app) as url:
        with calling(
            foundry(url, conversation_pool_size=0).model_copy(update={"azure_ai_agent_id": agent_id})
        ) as client:
            assert client.get("/ready").json() == {"status": "ready"}
        ours = list(recorder.sent)
        asyncio.run(sdk(url))
    assert {request.method for request in ours} == {"GET"}
    assert all(request == recorder.sent[-1] for request in ours)
    assert len(recorder.sent) > len(ours)


@pytest.mark.parametrize("kind", [projects, agents])
def test_the_token_is_asked_for_the_scope_of_the_sdks(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def sdk(url: str, credential: Credential) -> None:
        async with kind(url, credential) as client:
            await (client.agents.get("agent") if kind is projects else client.get_agent("asst_1"))

    credential = Credential()
    recorder = Recorder({**CLASSIC, **RESPONSES, "/agent": {"id": "agent"}})
    with serving(recorder.app) as url, identified(monkeypatch) as identity:
        with calling((foundry if kind is projects else classic)(url)) as client:
            chat(client, "Hi")
        ours = posted(recorder)
        asyncio.run(sdk(url, credential))
    assert {f"{query['resource']}/.default" for query in identity.asked} == credential.scopes
    assert {request.authorization for request in ours} == {"Bearer token-of-the-identity"}


@pytest.mark.parametrize("memory", [{"conversation": "conv_7"}, {"previous_response_id": "resp_7"}])
def test_a_later_turn_with_azure_openai_is_what_the_sdk_sends_but_for_the_key(memory: dict[str, Any]) -> None:
    """The key goes where Azure documents it, `api-key`; openai's own client would send it as a bearer token."""

    async def sdk(url: str) -> None:
        async with openai_sdk.AsyncOpenAI(base_url=f"{url}/openai/v1/", api_key="key") as client:
            await read(await client.responses.create(model="gpt", input="Hi", store=True, stream=True, **memory))

    recorder = Recorder(RESPONSES)
    with serving(recorder.app) as url:
        with calling(openai(url, conversation_pool_size=0)) as client:
            chat(client, "Hi", thread_id=next(iter(memory.values())))
        (ours,) = posted(recorder)
        (theirs,) = posted_by(sdk, recorder, url)
    assert (ours.authorization, ours.api_key) == (None, "key")
    assert replace(ours, authorization="Bearer key", api_key=None) == theirs


def test_a_first_turn_with_azure_openai_makes_a_conversation_or_else_begins_a_chain() -> None:
    async def sdk(url: str) -> None:
        label = {"conversation_id": "c-1"}
        async with openai_sdk.AsyncOpenAI(base_url=f"{url}/openai/v1/", api_key="key") as client:
            with pytest.raises(openai_sdk.NotFoundError):
                await client.conversations.create(metadata=label)
            await read(await client.responses.create(model="gpt", input="Hi", store=True, stream=True, metadata=label))

    recorder = Recorder({"/responses": framed(answer("Hi"))})
    with serving(recorder.app) as url:
        with calling(openai(url, conversation_pool_size=0)) as client:
            events = chat(client, "Hi", conversation_id="c-1")
        ours = posted(recorder)
        theirs = posted_by(sdk, recorder, url)
    assert events[0]["thread_id"] == "chain-resp_1"
    assert [replace(request, authorization="Bearer key", api_key=None) for request in ours] == theirs


def test_azure_openai_without_a_key_asks_for_its_own_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    """https://learn.microsoft.com/azure/ai-foundry/openai/how-to/managed-identity"""
    recorder = Recorder(RESPONSES)
    with serving(recorder.app) as url, identified(monkeypatch) as identity:
        with calling(openai(url, conversation_pool_size=0, azure_openai_api_key=None)) as client:
            chat(client, "Hi")
        ours = posted(recorder)
    assert {query["resource"] for query in identity.asked} == {"https://cognitiveservices.azure.com"}
    assert {(request.authorization, request.api_key) for request in ours} == {("Bearer token-of-the-identity", None)}


@pytest.mark.parametrize("path", ["/agents/a%2Fb?x=a%2Bb+c&y=%7E", "/agents/%41?x=%c3%A9", "/agents/a;b,c:d@e!$'()*"])
def test_an_address_is_sent_as_it_is_written(path: str) -> None:
    """aiohttp would write it anew: `%41` as `A`."""
    targets: list[str] = []

    async def answer(request: Request) -> Response:
        targets.append((request.scope["raw_path"] + b"?" + request.scope["query_string"]).decode().rstrip("?"))
        return JSONResponse({})

    async def request(url: str) -> None:
        upstream = UpstreamClient(url, ApiKeyAuth("key"), 5)
        try:
            await upstream.request_json("GET", path)
        finally:
            await upstream.aclose()

    with serving(Starlette(routes=[Route("/{path:path}", answer)])) as url:
        asyncio.run(request(url))
    assert targets == [path]
