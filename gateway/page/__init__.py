"""The chat page and the browser client: static files, served as they are. No build step.

Files are read at their first request: the page does not slow a cold start.
"""

import hashlib
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

_HERE = Path(__file__).parent
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".ts": "text/plain; charset=utf-8",  # to be read and copied; .ts has another meaning among media types
}
_FILES = {
    "/": "index.html",
    "/chat-client.js": "chat-client.js",
    "/chat-client.d.ts": "chat-client.d.ts",
    "/page/chat.css": "chat.css",
    "/page/chat.js": "chat.js",
    "/page/answer.js": "answer.js",
    "/page/markdown.js": "markdown.js",
    "/page/conversation.js": "conversation.js",
    "/page/icon.svg": "icon.svg",
    "/page/vendor/marked.esm.js": "vendor/marked.esm.js",
    "/page/vendor/purify.min.js": "vendor/purify.min.js",
}
# What an agent writes cannot run, load or send anything, even if the sanitizer had a hole.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types dompurify",
    ]
)


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    headers: dict[str, str]


def create_page_routes() -> list[BaseRoute]:
    return [Route(path, partial(_answer, name), include_in_schema=False) for path, name in _FILES.items()]


async def _answer(name: str, request: Request) -> Response:
    file = _read(name)
    if _matches_etag(request.headers.get("if-none-match", ""), file.headers["etag"]):
        return Response(status_code=304, headers=file.headers)
    return Response(file.content, headers=file.headers)


def _matches_etag(if_none_match: str, etag: str) -> bool:
    return etag in (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))


@cache
def _read(name: str) -> _File:
    content = (_HERE / name).read_bytes()
    headers = {
        "content-type": _TYPES[Path(name).suffix],
        "cache-control": "no-cache",  # cached, but revalidated each time: a new version is seen at once
        "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        "x-content-type-options": "nosniff",
    }
    if name.endswith(".html"):
        headers |= {"content-security-policy": CONTENT_SECURITY_POLICY, "referrer-policy": "no-referrer"}
    return _File(content, headers)
