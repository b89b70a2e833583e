"""`/docs`: Swagger UI for /openapi.json, from files of our own (docs/decisions/0041-docs-page.md)."""

import base64
import hashlib
import re
from functools import partial
from pathlib import Path

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.staticfiles import StaticFiles

_SCRIPT, _STYLE = "swagger-ui-bundle.js", "swagger-ui.css"
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def create_docs_routes() -> list[BaseRoute]:
    """Addresses are relative: the page works behind a proxy that adds a prefix, too."""
    page = get_swagger_ui_html(
        title="chat-api",
        openapi_url="openapi.json",
        swagger_js_url=f"docs/{_SCRIPT}",
        swagger_css_url=f"docs/{_STYLE}",
        swagger_favicon_url="data:,",
    )
    html = bytes(page.body).decode()
    headers = {"content-security-policy": _build_policy(html), "cache-control": "no-cache"}
    files = StaticFiles(directory=Path(__file__).parent / "swagger_ui")

    async def answer_page(_: Request) -> Response:
        return HTMLResponse(html, headers=headers)

    async def answer_file(name: str, request: Request) -> Response:
        return await files.get_response(name, request.scope)

    return [
        Route("/docs", answer_page, include_in_schema=False),
        *(Route(f"/docs/{name}", partial(answer_file, name), include_in_schema=False) for name in (_SCRIPT, _STYLE)),
    ]


def _build_policy(html: str) -> str:
    """Return the page's Content-Security-Policy: it allows FastAPI's inline script by its hash, and no other."""
    digests = [hashlib.sha256(script.encode()).digest() for script in _INLINE_SCRIPT.findall(html)]
    hashes = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    return "; ".join(
        [
            "default-src 'none'",
            " ".join(["script-src 'self'", *hashes]),
            "style-src 'self'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
