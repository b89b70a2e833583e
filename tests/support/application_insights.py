"""Application Insights' end of the wire: takes what the Azure Monitor exporter sends, and says that all is well."""

import gzip
import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


class Insights:
    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[bytes] = []
        self.items: list[dict[str, Any]] = []
        self.app = Starlette(routes=[Route("/{path:path}", self._track, methods=["POST"])])

    def of(self, kind: str) -> list[dict[str, Any]]:
        """`Request`, `RemoteDependency`, `Metric`, `Message`."""
        return [item["data"]["baseData"] for item in self.items if item["name"].endswith(f".{kind}")]

    async def _track(self, request: Request) -> JSONResponse:
        body = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.bodies.append(body)
        items = json.loads(body)
        self.items += items
        return JSONResponse({"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []})
