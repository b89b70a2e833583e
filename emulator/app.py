"""The application: routes, the checks before them (identity, api version, body) and `/_seen`."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from emulator.call import Call, Handler
from emulator.endpoints import agents, conversations, responses, runs, threads
from emulator.model import Model
from emulator.service import Service
from emulator.streaming import TRANSPORT
from emulator.wire import Json, ServiceError, azure_error, parsed

PROJECT = "/api/projects/{project}"
OPENAI = {
    ("POST", "/conversations"): conversations.create,
    ("GET", "/conversations/{conversation}"): conversations.retrieve,
    ("POST", "/conversations/{conversation}"): conversations.update,
    ("DELETE", "/conversations/{conversation}"): conversations.delete,
    ("GET", "/conversations/{conversation}/items"): conversations.list_items,
    ("POST", "/conversations/{conversation}/items"): conversations.create_items,
    ("GET", "/conversations/{conversation}/items/{item}"): conversations.retrieve_item,
    ("DELETE", "/conversations/{conversation}/items/{item}"): conversations.delete_item,
    ("POST", "/responses"): responses.create,
    ("GET", "/responses/{response}"): responses.retrieve,
    ("DELETE", "/responses/{response}"): responses.delete,
    ("POST", "/responses/{response}/cancel"): responses.cancel,
    ("GET", "/responses/{response}/input_items"): responses.list_input,
}
AGENTS = {
    ("GET", "/agents"): agents.list_agents,
    ("POST", "/agents"): agents.create,
    ("GET", "/agents/{agent}"): agents.get,
    ("POST", "/agents/{agent}"): agents.update,
    ("DELETE", "/agents/{agent}"): agents.delete,
    ("GET", "/agents/{agent}/versions"): agents.list_versions,
    ("POST", "/agents/{agent}/versions"): agents.create_version,
    ("GET", "/agents/{agent}/versions/{version}"): agents.get_version,
    ("DELETE", "/agents/{agent}/versions/{version}"): agents.delete_version,
}
CLASSIC = {
    ("GET", "/assistants/{assistant}"): threads.get_assistant,
    ("POST", "/threads"): threads.create,
    ("POST", "/threads/runs"): runs.create_with_thread,
    ("GET", "/threads/{thread}"): threads.retrieve,
    ("POST", "/threads/{thread}"): threads.update,
    ("DELETE", "/threads/{thread}"): threads.delete,
    ("GET", "/threads/{thread}/messages"): threads.list_messages,
    ("POST", "/threads/{thread}/messages"): threads.create_message,
    ("GET", "/threads/{thread}/messages/{message}"): threads.get_message,
    ("GET", "/threads/{thread}/runs"): runs.list_runs,
    ("POST", "/threads/{thread}/runs"): runs.create,
    ("GET", "/threads/{thread}/runs/{run}"): runs.retrieve,
    ("POST", "/threads/{thread}/runs/{run}/cancel"): runs.cancel,
    ("POST", "/threads/{thread}/runs/{run}/submit_tool_outputs"): runs.submit,
    ("GET", "/threads/{thread}/runs/{run}/steps"): runs.list_steps,
}
AGENT_ENDPOINT = PROJECT + "/agents/{agent}/endpoint/protocols/openai"

Endpoint = Callable[[Request], Awaitable[ASGIApp]]


class Emulator(Starlette):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope[TRANSPORT] = getattr(getattr(send, "__self__", None), "transport", None)
        await super().__call__(scope, receive, send)


def create_app(pace: float = 40.0, *, conversations: bool = True, model: Model | None = None) -> Starlette:
    """`pace` in deltas a second, 0 for as fast as it goes; without `conversations` there is no such endpoint.

    Without `model` the environment decides whether there is one.
    """
    service = Service(pace, conversations=conversations, model=model)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        yield
        await service.close()

    app = Emulator(routes=_routes(service), lifespan=lifespan)
    app.state.service = service
    return app


def _routes(service: Service) -> list[BaseRoute]:
    routes = _guarded(PROJECT + "/openai/v1", OPENAI, service)
    routes += _guarded(PROJECT, AGENTS | CLASSIC, service, versioned=True)
    routes += _guarded(AGENT_ENDPOINT, OPENAI, service, versioned=True)
    routes += _guarded("/openai/v1", OPENAI, service, keys=True)

    async def told(_: Request) -> Response:
        active = [run_id for run_id, run in service.runs.items() if run.is_active]
        return JSONResponse(service.seen.told(active))

    async def forget(_: Request) -> Response:
        service.seen.forget()
        return Response(status_code=204)

    async def nothing_here(request: Request) -> ASGIApp:
        service.seen.request(request, None)
        return azure_error(404, "404", "Resource not found").response

    every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    routes += [Route("/_seen", told), Route("/_seen", forget, methods=["DELETE"])]
    return [*routes, Route("/{path:path}", nothing_here, methods=every)]


def _guarded(
    base: str,
    handlers: Mapping[tuple[str, str], Handler],
    service: Service,
    *,
    versioned: bool = False,
    keys: bool = False,
) -> list[BaseRoute]:
    def endpoint(handler: Handler) -> Endpoint:
        async def answer(request: Request) -> ASGIApp:
            try:
                body = await _body(request, service)
                _check_identity(request, keys=keys)
                if versioned:
                    _check_version(request)
                return await handler(Call(request, service, body))
            except ServiceError as e:
                return e.response

        return answer

    return [Route(base + path, endpoint(handler), methods=[method]) for (method, path), handler in handlers.items()]


async def _body(request: Request, service: Service) -> Json:
    raw = await request.body()
    try:
        body = parsed(raw)
    except ServiceError:
        service.seen.request(request, None)
        raise
    service.seen.request(request, body)
    return body


def _check_identity(request: Request, *, keys: bool) -> None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return
    if keys and request.headers.get("api-key"):
        return
    raise azure_error(401, "401", "Access denied due to a missing or invalid token or key.")


def _check_version(request: Request) -> None:
    if request.query_params.get("api-version") != "v1":
        raise azure_error(400, "MissingApiVersionParameter", "The api-version query parameter must be v1.")
