"""ASGI middleware around every route, outermost first: security headers, request ids, CORS, unhandled exceptions."""

import logging
import re
import uuid
from collections.abc import Awaitable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import InternalError, UnreadableRequest
from gateway.server import abort
from gateway.telemetry import place_of, request_id
from gateway.web.problems import problem

_log = logging.getLogger(__name__)

_ALWAYS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
_OVER_TLS = (b"strict-transport-security", b"max-age=31536000")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class SafeHeaders:
    """What every answer says to browsers, whatever it is. https://owasp.org/www-project-secure-headers/"""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added = [*_ALWAYS, _OVER_TLS] if _is_secure(scope) else _ALWAYS

        def send_with_headers(message: Message) -> Awaitable[Any]:
            if message["type"] == "http.response.start":
                message["headers"] = _completed(message.get("headers", []), added)
            return send(message)

        await self._app(scope, receive, send_with_headers)


class RequestIds:
    """Gives each request an id (the caller's own, where it is one), its answer the same in `x-request-id`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        this_id = given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = this_id
            await send(message)

        token = request_id.set(this_id)
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            request_id.reset(token)


class Cors(CORSMiddleware):
    """Refuses a preflight with a problem, as everything else is refused."""

    def preflight_response(self, request_headers: Any) -> Any:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        refusal = problem(UnreadableRequest(public_message="This origin, method or header is not allowed (CORS)."))
        refusal.headers["vary"] = response.headers.get("vary", "Origin")
        return refusal


class Bugs:
    """A bug of ours is a problem, too, and inside CORS; once the answer has begun, it breaks off visibly."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watched_send(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except Exception as e:  # noqa: BLE001  nothing of it may reach a caller, or a log with its words
            _log.error("a bug: %s", place_of(e))
            if begun:
                abort(scope)
            else:
                await problem(InternalError())(scope, receive, send)


def _completed(headers: list[tuple[bytes, bytes]], added: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """What an answer says itself stays."""
    said = {name.lower() for name, _ in headers}
    return [*headers, *(header for header in added if header[0] not in said)]


def _is_secure(scope: Scope) -> bool:
    """Ingress ends TLS. A caller who claims it without TLS gets a header that browsers then ignore."""
    return scope["scheme"] == "https" or Headers(scope=scope).get("x-forwarded-proto", "").lower() == "https"
