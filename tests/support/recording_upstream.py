"""An upstream that keeps every request whole, and answers as it is told."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


@dataclass(frozen=True, slots=True)
class Sent:
    """What the upstream can tell two clients by, but for their names and ids."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    accept: str | None
    content_type: str | None
    authorization: str | None
    api_key: str | None


class Recorder:
    """`answers`: the end of a path → the stream (bytes) or JSON to answer, else 404."""

    def __init__(self, answers: Mapping[str, bytes | dict[str, Any]]) -> None:
        self.sent: list[Sent] = []
        self._answers = answers
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST", "DELETE"])])

    async def _answer(self, request: Request) -> Response:
        self.sent.append(_sent(request, await request.body()))
        for end, answer in self._answers.items():
            if request.url.path.endswith(end):
                return Response(answer, media_type="text/event-stream") if isinstance(answer, bytes) else _json(answer)
        return _json({"error": {"code": "404", "message": "Resource not found"}}, 404)


def _sent(request: Request, raw: bytes) -> Sent:
    get = request.headers.get
    return Sent(
        request.method,
        request.url.path,
        dict(request.query_params),
        json.loads(raw) if raw else None,
        get("accept"),
        get("content-type"),
        get("authorization"),
        get("api-key"),
    )


def _json(body: dict[str, Any], status: int = 200) -> JSONResponse:
    return JSONResponse(body, status)
