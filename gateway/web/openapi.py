"""The parts of /openapi.json that FastAPI cannot see: bodies that `request_body.py` reads, and the events of a stream.

OpenAPI 3.2, because 3.1 cannot describe the items of a stream (`itemSchema`).
"""

from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, TypeAdapter

from gateway.protocols import PROTOCOLS
from gateway.protocols.base import ChatProtocol, StreamSchema
from gateway.protocols.native import ChatAnswer
from gateway.protocols.requests import CancelRequest
from gateway.web.problems import Problem

_SCHEMA_REF = "#/components/schemas/{model}"


def _build_ref(schema: str) -> dict[str, str]:
    return {"$ref": _SCHEMA_REF.format(model=schema)}


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "refused", "content": {"application/problem+json": {"schema": _build_ref("Problem")}}},
    "5XX": {"description": "failed", "content": {"application/problem+json": {"schema": _build_ref("Problem")}}},
}
_ANSWER = {"application/json": {"schema": _build_ref(ChatAnswer.__name__)}}


def describe_stream(protocol: ChatProtocol[Any]) -> dict[str, Any]:
    """Return what FastAPI's decorators take to describe a route whose answer is the protocol's stream."""
    return _describe(protocol.request, 200, "the answer", _build_stream(protocol.stream))


def describe_chat(protocol: ChatProtocol[Any]) -> dict[str, Any]:
    """The same for a route that also answers whole."""
    return _describe(protocol.request, 200, "the answer", {**_build_stream(protocol.stream), **_ANSWER})


def describe_cancel() -> dict[str, Any]:
    return _describe(CancelRequest, 202, "the run is being stopped")


def describe_ready() -> dict[str, Any]:
    return {"responses": {200: {"description": "yes"}, **_PROBLEMS}}


def _describe(
    request: type[BaseModel], status: int, description: str, content: dict[str, Any] | None = None
) -> dict[str, Any]:
    answer = {"description": description, **({"content": content} if content else {})}
    body = {"required": True, "content": {"application/json": {"schema": _build_ref(request.__name__)}}}
    return {"responses": {status: answer, **_PROBLEMS}, "openapi_extra": {"requestBody": body}}


def _build_stream(stream: StreamSchema) -> dict[str, Any]:
    return {"text/event-stream": {"itemSchema": _build_ref(stream.name), "example": stream.example}}


def add_openapi_document(app: FastAPI) -> None:
    """Give `app` its document, built at the first request for it."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            # Imported here: only the document needs it.
            from fastapi.openapi.utils import get_openapi  # noqa: PLC0415

            openapi = get_openapi(
                title=app.title,
                version=app.version,
                openapi_version="3.2.0",
                description=app.description,
                routes=app.routes,
            )
            openapi.setdefault("components", {})["schemas"] = _build_schemas()
            app.openapi_schema = openapi
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _build_schemas() -> dict[str, Any]:
    """Return the components: models and TypedDicts under their own names, each stream under its protocol's name."""
    models = {CancelRequest, ChatAnswer, Problem, *(protocol.request for protocol in PROTOCOLS)}
    types = {model.__name__: model for model in models} | {p.stream.name: p.stream.event for p in PROTOCOLS}
    mode: Literal["validation"] = "validation"
    adapters = [(name, mode, TypeAdapter(kind)) for name, kind in sorted(types.items())]
    roots, parts = TypeAdapter.json_schemas(adapters, ref_template=_SCHEMA_REF)
    named = {name: schema for (name, _), schema in roots.items() if schema != _build_ref(name)}
    return {**parts["$defs"], **named}
