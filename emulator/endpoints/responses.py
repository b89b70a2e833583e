"""`/responses`, for Foundry agents and for Azure OpenAI deployments, as openai 3.52 calls them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from emulator.call import Call
from emulator.conversation import Conversation
from emulator.endpoints import agents, conversations
from emulator.items import check_answered, dialogue, input_items, said_by_user
from emulator.response_events import Answer
from emulator.scenario import Break, Orders, before_first, orders_of
from emulator.service import Service
from emulator.streaming import EventStream, Part, Reset
from emulator.wire import Json, ServiceError, metadata_of, new_id, now, only_known, openai_error, page

PARAMETERS = frozenset({
    "agent_reference", "background", "conversation", "include", "input", "instructions", "max_output_tokens",
    "max_tool_calls", "metadata", "model", "parallel_tool_calls", "previous_response_id", "prompt_cache_key",
    "reasoning", "safety_identifier", "service_tier", "store", "stream", "stream_options", "temperature",
    "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user",
})  # fmt: skip
RELEASE_WAIT_S = 0.1  # for the turn before, whose reader left a moment ago


@dataclass(slots=True)
class Request:
    """A request for a response that may go ahead."""

    response: Json
    history: list[Json]
    given: list[Json]
    conversation: Conversation | None
    orders: Orders


async def create(call: Call) -> ASGIApp:
    only_known(call.body, PARAMETERS)
    request = await _request(call)
    options = call.body.get("stream_options")
    obfuscated = not (isinstance(options, dict) and options.get("include_obfuscation") is False)
    answer = Answer(request.response, request.history + request.given, obfuscated=obfuscated)
    parts = _answered(call.service, request, answer)
    if call.wants_stream:
        headers = {"retry-after": "7"} if "quota" in request.orders else {}
        return EventStream(
            request.response["id"], parts, request.orders, call.service.seen, lambda: _release(request), headers
        )
    return await _whole(parts, request)


async def _whole(parts: AsyncGenerator[Part], request: Request) -> ASGIApp:
    async with aclosing(parts):
        async for part in parts:
            if isinstance(part, Break):
                return Reset()
    return JSONResponse(request.response)


async def _request(call: Call) -> Request:
    service, body = call.service, call.body
    response = _blank(body) | _speaker(call)
    given = input_items(body.get("input"))
    conversation, history = await _history(service, body)
    check_answered(history, given)
    said = said_by_user(given)
    orders = service.accept(said[-1]) if said else orders_of("")
    if "busy" in orders:
        raise locked()
    if conversation is not None:
        conversation.active = response["id"]
        response["conversation"] = {"id": conversation.id}
    return Request(response, history, given, conversation, orders)


def _speaker(call: Call) -> Json:
    """Who answers: a Foundry agent on the project's base, a deployment on Azure OpenAI's."""
    body = call.body
    if not call.request.url.path.startswith("/openai/"):
        return agents.speaker(call)
    if "agent_reference" in body:
        raise openai_error(400, "Unknown parameter: 'agent_reference'.", code="unknown_parameter")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise openai_error(
            400, "Missing required parameter: 'model'.", code="missing_required_parameter", param="model"
        )
    if model.startswith("missing"):
        raise openai_error(404, "The API deployment for this resource does not exist.", code="DeploymentNotFound")
    return {"model": model}


async def _history(service: Service, body: Json) -> tuple[Conversation | None, list[Json]]:
    given, previous = body.get("conversation"), body.get("previous_response_id")
    if given is not None and previous is not None:
        message = "Mutually exclusive parameters: 'conversation' and 'previous_response_id'."
        raise openai_error(400, message, code="mutually_exclusive_parameters", param="previous_response_id")
    if previous is not None:
        return None, _chain(service, previous)
    if given is None:
        return None, []
    conversation_id = given.get("id") if isinstance(given, dict) else given
    if not isinstance(conversation_id, str):
        raise openai_error(400, "Invalid 'conversation'.", code="invalid_type", param="conversation")
    conversation = conversations.found(service, conversation_id)
    if conversation.active:
        await asyncio.sleep(RELEASE_WAIT_S)
    if conversation.active:
        raise locked()
    return conversation, list(conversation.items)


def locked() -> ServiceError:
    message = "Another process is currently operating on this conversation. Please retry in a few seconds."
    return openai_error(400, message, code="conversation_locked")


def _chain(service: Service, response_id: object) -> list[Json]:
    items: list[Json] = []
    at = response_id if isinstance(response_id, str) else ""
    if at not in service.responses:
        message = f"Previous response with id '{response_id}' not found."
        raise openai_error(404, message, code="previous_response_not_found", param="previous_response_id")
    while at in service.responses:
        stored = service.responses[at]
        items = stored["input"] + stored["response"]["output"] + items
        at = stored["response"]["previous_response_id"] or ""
    return items


async def _answered(service: Service, request: Request, answer: Answer) -> AsyncGenerator[Part]:
    """What was said enters the memory when a good answer ends, before its last event."""
    history = request.history + request.given
    said = said_by_user(history) if said_by_user(request.given) else ["[the answer to what I asked for]"]
    steps = service.steps(request.orders, said, dialogue(history))
    try:
        async with aclosing(before_first(request.orders)) as comments:
            async for comment in comments:
                yield comment
        async with aclosing(answer.parts(steps)) as parts:
            async for part in parts:
                if answer.succeeded:
                    _remember(service, request)
                yield part
    finally:
        _release(request)


def _remember(service: Service, request: Request) -> None:
    if request.response["id"] not in service.responses:
        service.responses[request.response["id"]] = {"response": request.response, "input": request.given}
        if request.conversation is not None:
            request.conversation.items += request.given + request.response["output"]
    _release(request)


def _release(request: Request) -> None:
    if request.conversation is not None and request.conversation.active == request.response["id"]:
        request.conversation.active = None


def _blank(body: Json) -> Json:
    return {
        "id": new_id("resp"),
        "object": "response",
        "created_at": now(),
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": metadata_of(body),
        "model": "gpt-emulated",
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "store": body.get("store", True),
        "temperature": 1,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1,
        "truncation": "disabled",
        "usage": None,
        "user": None,
    }


def _stored(call: Call) -> Json:
    stored: Json | None = call.service.responses.get(call.path("response"))
    if stored is None:
        raise openai_error(404, f"Response with id '{call.path('response')}' not found.", code="not_found")
    return stored


async def retrieve(call: Call) -> Response:
    return JSONResponse(_stored(call)["response"])


async def delete(call: Call) -> Response:
    _stored(call)
    del call.service.responses[call.path("response")]
    return JSONResponse({"id": call.path("response"), "object": "response", "deleted": True})


async def cancel(call: Call) -> Response:
    raise openai_error(400, f"Cannot cancel a synchronous response: '{_stored(call)['response']['id']}'.")


async def list_input(call: Call) -> Response:
    return page(_stored(call)["input"], call.request.query_params)
