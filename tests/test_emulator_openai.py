"""The emulator as an Azure OpenAI endpoint: the real openai SDK against it, with a key and with a token."""

import asyncio

import httpx
import openai
import pytest
from openai.types.responses import Response

from emulator.app import create_app
from tests.support.servers import serving


def test_the_async_client_streams_with_memory(emulator: str) -> None:
    async def turns() -> tuple[list[str], Response]:
        async with openai.AsyncOpenAI(base_url=f"{emulator}/openai/v1", api_key="token", max_retries=0) as client:
            conversation = await client.conversations.create(metadata={"label": "x"})
            kinds: list[str] = []
            async with await client.responses.create(
                model="gpt", input="One", conversation=conversation.id, stream=True
            ) as events:
                async for event in events:
                    kinds.append(event.type)  # noqa: PERF401
            second = await client.responses.create(model="gpt", input="Two", conversation=conversation.id)
            return kinds, second

    kinds, second = asyncio.run(turns())
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert "Earlier you said: “One”" in second.output_text
    assert second.model == "gpt"


def test_a_key_is_as_good_as_a_token(emulator: str) -> None:
    body = {"model": "gpt", "input": "Hello"}
    url = f"{emulator}/openai/v1/responses"
    assert httpx.post(url, json=body, headers={"api-key": "k"}).status_code == 200
    assert httpx.post(url, json=body).status_code == 401


def test_an_unknown_deployment_is_404(emulator: str) -> None:
    with openai.OpenAI(base_url=f"{emulator}/openai/v1", api_key="token", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError) as missing:
            client.responses.create(model="missing-gpt", input="Hello")
        assert missing.value.code == "DeploymentNotFound"
        with pytest.raises(openai.BadRequestError):
            client.responses.create(input="Hello", extra_body={"model": None})


def test_an_endpoint_without_conversations_still_chains() -> None:
    with (
        serving(create_app(pace=0, conversations=False)) as url,
        openai.OpenAI(base_url=f"{url}/openai/v1", api_key="token", max_retries=0) as client,
    ):
        with pytest.raises(openai.NotFoundError):
            client.conversations.create()
        first = client.responses.create(model="gpt", input="One")
        second = client.responses.create(model="gpt", input="Two", previous_response_id=first.id)
        assert "Earlier you said: “One”" in second.output_text
