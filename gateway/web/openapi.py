"""The parts of /openapi.json that FastAPI cannot see: bodies that `request_body.py` reads, and the events of a stream.

OpenAPI 3.2, because 3.1 cannot describe the items of a stream (`itemSchema`).
"""

from typing import Any

from fastapi import FastAPI

_SCHEMA_REF = "#/components/schemas/{model}"
_CHAT_EXAMPLE = """data: {"type": "metadata", "conversation_id": "c-1", "thread_id": "conv_1"}

data: {"type": "chunk", "content": "Hello"}

data: {"type": "chunk", "content": " there"}

data: {"type": "done", "full_response": "Hello there", "timestamp": "2026-11-21T10:00:00.000Z", "finish_reason": "stop"}

"""
_SIMPLE_EXAMPLE = 'data: {"content": "Hello"}\n\ndata: {"done": true}\n\n'


def _build_ref(schema: str) -> dict[str, str]:
    return {"$ref": _SCHEMA_REF.format(model=schema)}


def _build_body(schema: str) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": _build_ref(schema)}}}}


def _build_stream(schema: str, example: str) -> dict[str, Any]:
    return {"text/event-stream": {"itemSchema": _build_ref(schema), "example": example}}


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "refused", "content": {"application/problem+json": {"schema": _build_ref("Problem")}}},
    "5XX": {"description": "failed", "content": {"application/problem+json": {"schema": _build_ref("Problem")}}},
}
_JSON_ANSWER = {"application/json": {"schema": _build_ref("ChatAnswer")}}

BODIES = {
    "chat": _build_body("ChatRequest"),
    "simple": _build_body("MessageRequest"),
    "cancel": _build_body("CancelRequest"),
}
RESPONSES: dict[str, dict[int | str, dict[str, Any]]] = {
    "chat": {
        200: {"description": "the answer", "content": {**_build_stream("ChatEvent", _CHAT_EXAMPLE), **_JSON_ANSWER}},
        **_PROBLEMS,
    },
    "simple": {
        200: {"description": "the answer", "content": _build_stream("SimpleEvent", _SIMPLE_EXAMPLE)},
        **_PROBLEMS,
    },
    "cancel": {202: {"description": "the run is being stopped"}, **_PROBLEMS},
    "ready": {200: {"description": "yes"}, **_PROBLEMS},
}


def add_openapi_document(app: FastAPI) -> None:
    """Give `app` its document, built at the first request for it."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            # Imported here: building the schemas takes as long as half of the service's start.
            from fastapi.openapi.utils import get_openapi  # noqa: PLC0415
            from pydantic.json_schema import models_json_schema  # noqa: PLC0415

            from gateway.web.openapi_schemas import SCHEMAS  # noqa: PLC0415

            openapi = get_openapi(
                title=app.title,
                version=app.version,
                openapi_version="3.2.0",
                description=app.description,
                routes=app.routes,
            )
            _, schemas = models_json_schema([(schema, "validation") for schema in SCHEMAS], ref_template=_SCHEMA_REF)
            openapi.setdefault("components", {})["schemas"] = schemas["$defs"]
            app.openapi_schema = openapi
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to extend it
