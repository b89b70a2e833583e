"""ASGI middleware, outermost first: headers of every answer, CORS, errors, access control."""

import asyncio
import logging
import re
import uuid
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.access.access_control import AccessControl
from gateway.access.callers import remove_easy_auth_headers
from gateway.errors import GatewayError, InternalError, UnreadableRequest
from gateway.server import abort_connection
from gateway.telemetry import locate_error, request_id
from gateway.web.content_type import has_json_body
from gateway.web.problems import log_and_respond, problem_response

_log = logging.getLogger(__name__)

_ALWAYS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
_OVER_TLS = (b"strict-transport-security", b"max-age=31536000")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ARRIVED_AT = "chat-api.arrived_at"


class CommonHeaders:
    """A middleware that gives every answer its security headers, and the id that the request has in the log.

    It is the first to see a request, and notes when that was. The id is the caller's `x-request-id` if it is
    well-formed. https://owasp.org/www-project-secure-headers/
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[_ARRIVED_AT] = asyncio.get_running_loop().time()
        given = Headers(scope=scope).get("x-request-id", "")
        this_id = given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())
        added = [(b"x-request-id", this_id.encode()), *_ALWAYS, *([_OVER_TLS] if _is_secure(scope) else [])]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _add_missing(message.get("headers", []), added)
            await send(message)

        token = request_id.set(this_id)
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            request_id.reset(token)


def seconds_since_arrival(scope: Scope) -> float:
    """Return how long ago the request's head arrived: its body may take a while."""
    arrived_at: float = scope[_ARRIVED_AT]
    return asyncio.get_running_loop().time() - arrived_at


class Cors(CORSMiddleware):
    """A CORS middleware that refuses a preflight with a problem, like every other refusal."""

    def preflight_response(self, request_headers: Any) -> Any:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        refusal = problem_response(
            UnreadableRequest(public_message="This origin, method or header is not allowed (CORS).")
        )
        refusal.headers["vary"] = response.headers.get("vary", "Origin")
        return refusal


class ErrorMiddleware:
    """A middleware that answers an error that is raised below it with a problem, or aborts an answer that has begun.

    One of the few places that catch everything: our own bugs have no other handler.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_started = False

        async def send_and_track(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_track)
        except Exception as e:  # noqa: BLE001
            response = log_and_respond(e) if isinstance(e, GatewayError) else _answer_unhandled(e)
            if has_started:
                abort_connection(scope)
            else:
                await response(scope, receive, send)
            e.__traceback__ = None  # it holds the frames of the request, which hold it: until a full garbage collection


class AccessMiddleware:
    """A middleware that puts the caller into the scope (`callers.get_caller`), and counts each POST.

    But one that is no JSON: any site can make a person's browser send it, and it is refused unread.
    """

    def __init__(self, app: ASGIApp, access_control: AccessControl, *, easy_auth: bool) -> None:
        self._app = app
        self._access_control = access_control
        self._easy_auth = easy_auth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if not self._easy_auth:
                scope["headers"] = remove_easy_auth_headers(scope["headers"])
            caller = scope["caller"] = await self._access_control.authenticate(scope)
            if scope["method"] == "POST" and has_json_body(Headers(scope=scope)):
                await self._access_control.count_post(caller)
        await self._app(scope, receive, send)


def _answer_unhandled(error: Exception) -> Response:
    """Its message may hold a caller's text: it is neither answered nor logged."""
    _log.error("unhandled exception: %s", locate_error(error))
    return problem_response(InternalError())


def _add_missing(headers: list[tuple[bytes, bytes]], added: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Keep the headers that an answer has set itself."""
    present = {name.lower() for name, _ in headers}
    return [*headers, *(header for header in added if header[0] not in present)]


def _is_secure(scope: Scope) -> bool:
    """Return whether TLS is used; ingress terminates it. A false claim gets a header that browsers ignore."""
    return scope["scheme"] == "https" or Headers(scope=scope).get("x-forwarded-proto", "").lower() == "https"
