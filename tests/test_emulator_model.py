"""A model behind the emulator: another server that speaks `/chat/completions`, here one of ten lines."""

import json
from collections.abc import AsyncIterator

import openai
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from emulator.app import create_app
from emulator.model import Model
from tests.support.servers import serving


async def completions(request: Request) -> Response:
    """Says back what the model was given, word by word; fails for the word "fail"."""
    told = await request.json()
    assert request.headers["authorization"] == "Bearer key"
    words = [told["model"], *(f" {turn['role']}:{turn['content']}" for turn in told["messages"])]
    if "fail" in words[-1]:
        return Response(status_code=500)

    async def chunks() -> AsyncIterator[str]:
        for word in words:
            yield f"data: {json.dumps({'choices': [{'delta': {'content': word}}]})}\n\n"
        if "broken" not in words[-1]:
            yield 'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
            yield "data: [DONE]\n\n"

    return StreamingResponse(chunks(), media_type="text/event-stream")


def test_a_models_words_arrive_in_the_services_events() -> None:
    server = Starlette(routes=[Route("/v1/chat/completions", completions, methods=["POST"])])
    with (
        serving(server) as model,
        serving(create_app(model=Model(f"{model}/v1", "tiny", "key"))) as url,
        openai.OpenAI(base_url=f"{url}/openai/v1", api_key="token", max_retries=0) as client,
    ):
        first = client.responses.create(model="gpt", input="One")
        assert first.output_text == "tiny user:One"
        second = client.responses.create(model="gpt", input="Two", previous_response_id=first.id)
        assert second.output_text == "tiny user:One assistant:tiny user:One user:Two"
        for failing in ("fail", "broken"):
            assert client.responses.create(model="gpt", input=failing).status == "failed"
        assert client.responses.create(model="gpt", input="[echo] mine").output_text == "mine"


def test_a_model_server_that_is_not_there_makes_the_run_fail() -> None:
    with (
        serving(create_app(model=Model("http://127.0.0.1:9/v1", "tiny", None))) as url,
        openai.OpenAI(base_url=f"{url}/openai/v1", api_key="token", max_retries=0) as client,
    ):
        assert client.responses.create(model="gpt", input="Hello").status == "failed"


def test_the_environment_names_the_model() -> None:
    assert Model.from_environment({}) is None
    model = Model.from_environment({"EMULATOR_MODEL_URL": "http://127.0.0.1:11434/v1/", "EMULATOR_MODEL": "tiny"})
    assert model is not None
    assert (model.url, model.name, model.headers) == ("http://127.0.0.1:11434/v1", "tiny", {})
