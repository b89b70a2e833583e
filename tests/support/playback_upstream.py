"""An upstream that plays what a test gives it: the bytes of a stream, in the pieces it says."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

RECORDINGS = Path(__file__).parents[1] / "recordings"


def recorded(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDINGS / f"{name}.jsonl").read_text().splitlines()]


class Playback:
    """`pieces` are sent one TCP write at a time; a number among them is a pause in seconds."""

    def __init__(self, *pieces: bytes | float, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.pieces = pieces
        self.status = status
        self.headers = headers or {}
        self.posted: list[tuple[str, Any]] = []
        """Path and body of each POST."""
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST", "DELETE"])])

    def posted_to(self, end: str) -> list[Any]:
        """The bodies posted to paths with this end."""
        return [body for path, body in self.posted if path.endswith(end)]

    async def _answer(self, request: Request) -> Response:
        raw = await request.body()
        if request.method == "POST":
            self.posted.append((request.url.path, json.loads(raw) if raw else None))
        if request.url.path.endswith("/conversations"):
            return JSONResponse({"id": "conv_1", "object": "conversation"})
        if not request.url.path.endswith(("/responses", "/runs")):
            return JSONResponse({"id": "x", "data": []})
        if self.status != 200:
            return Response(self.pieces[0], self.status, self.headers)
        return StreamingResponse(self._stream(), 200, self.headers, "text/event-stream")

    async def _stream(self) -> AsyncGenerator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, bytes):
                yield piece
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(piece)
