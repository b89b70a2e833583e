"""One authenticated HTTP client to the upstream: azure-core's pipeline on aiohttp.

It raises refusals as errors, and retries only what was certainly not accepted: after a refused connection, or a 429
with a Retry-After.
"""

import asyncio
import json
import os
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import anyio
from azure.core import AsyncPipelineClient
from azure.core.exceptions import (
    AzureError,
    ServiceRequestError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import AsyncHttpResponse, HttpRequest

from gateway import __version__
from gateway.backends.json_values import parse_object
from gateway.backends.sse_reader import Frame, FrameReader
from gateway.backends.upstream_auth import UpstreamAuth
from gateway.backends.upstream_errors import error_from_response
from gateway.errors import (
    ConnectionRefused,
    GatewayError,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gateway.events import BackendEvent, RunCompleted, ThreadId
from gateway.settings import is_loopback
from gateway.telemetry.upstream_calls import UpstreamCall

RETRY_BUDGET_S = 10.0  # the contract's: a longer wait is returned to the caller at once
_RETRIES = 2
_CONNECT_TIMEOUT_S = 5.0
_IDLE_CONNECTION_S = 90.0  # people read an answer before they write again: keep its connection that long
_END_OF_BODY_TIMEOUT_S = 1.0  # from the final event to the end of the body: then the connection can be used again
_ERROR_BODY_TIMEOUT_S = 5.0
_ERROR_BODY_BYTES = 65_536
_HEADER_BYTES = (
    65_536  # for one header of an answer: with aiohttp's 8,190 an accepted turn would be lost for a long one
)
_HEADERS = {
    "Accept": "application/json",  # for streams too, as Azure's own SDKs send it
    "Accept-Encoding": "identity",
    "User-Agent": f"chat-api/{__version__}",
}


class UpstreamClient:
    """A client that raises only GatewayError. Create it in a running loop, and close it."""

    def __init__(self, base_url: str, auth: UpstreamAuth, idle_timeout_s: float) -> None:
        self.auth = auth
        self._base_url = base_url
        # Shorter than the idle timeout, which would lose a status that is already known.
        self._error_body_timeout_s = min(_ERROR_BODY_TIMEOUT_S, idle_timeout_s / 2)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_CONNECTION_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            max_field_size=_HEADER_BYTES,
            max_line_size=_HEADER_BYTES,
            trust_env=_has_proxy(base_url),
        )
        transport = AioHttpTransport(
            session=self._session,
            connection_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=idle_timeout_s,
        )
        self._client: AsyncPipelineClient[HttpRequest, AsyncHttpResponse] = AsyncPipelineClient(
            base_url, policies=auth.policies, transport=transport
        )

    async def request_json(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        thread_id: ThreadId | None = None,
        retry_deadline: float = 0,
    ) -> dict[str, Any]:
        """Return the answer's JSON object. No retry begins after `retry_deadline` (loop time)."""
        response, call = await self._send_with_retries(
            self._build_request(method, path, body), thread_id, retry_deadline
        )
        with call:
            async with response:
                answer = parse_object(await _read_body(response))
        if answer is None:
            raise UpstreamUnavailable("an answer that is not a JSON object")
        return answer

    @asynccontextmanager
    async def open_stream(
        self, path: str, body: dict[str, Any], *, thread_id: ThreadId | None, retry_deadline: float
    ) -> AsyncGenerator["UpstreamStream"]:
        """Send a request whose answer is an event stream.

        Leaving the context before the final event closes the connection at once.
        """
        # No read timeout here: it would count comments, too. `turns.run_turn.TurnTimeout` counts events.
        request = self._build_request("POST", path, body)
        response, call = await self._send_with_retries(request, thread_id, retry_deadline, read_timeout=None)
        stream = UpstreamStream(response.internal_response, call)  # type: ignore[attr-defined]
        del request, response  # with headers and context: 8 KiB that an open stream need not hold
        with call:
            try:
                yield stream
            finally:
                await stream.aclose()

    async def aclose(self) -> None:
        await self._client.close()
        await self._session.close()
        await self.auth.aclose()

    def _build_request(self, method: str, path: str, body: dict[str, Any] | None) -> HttpRequest:
        if body is None:
            return HttpRequest(method, self._base_url + path, headers=dict(_HEADERS))
        headers = {**_HEADERS, "Content-Type": "application/json"}
        content = json.dumps(body).encode()  # not orjson, whose bytes keep 4 KiB for as long as the stream is open
        return HttpRequest(method, self._base_url + path, headers=headers, content=content)

    async def _send_with_retries(
        self, request: HttpRequest, thread_id: ThreadId | None, retry_deadline: float, **options: Any
    ) -> tuple[AsyncHttpResponse, UpstreamCall]:
        """Return an accepted response, and the record of its call, which the caller of this ends."""
        for attempt in range(_RETRIES + 1):
            call = UpstreamCall(request.method, request.url, attempt)
            try:
                with call.end_on_error():
                    return await self._send_once(request, thread_id, call, options), call
            except (ConnectionRefused, UpstreamRateLimited) as e:
                wait_s = _choose_retry_delay_s(e, attempt)
                now = asyncio.get_running_loop().time()
                if attempt == _RETRIES or wait_s is None or now + wait_s > retry_deadline:
                    raise
            await asyncio.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    async def _send_once(
        self, request: HttpRequest, thread_id: ThreadId | None, call: UpstreamCall, options: dict[str, Any]
    ) -> AsyncHttpResponse:
        request.headers.update(call.headers)
        try:
            response = await self._client.send_request(request, stream=True, **options)
        except AzureError as e:
            raise _error_from_azure(e) from e
        call.status = response.status_code
        if response.status_code < 300:
            return response
        async with response:
            body = await _read_error_body(response.internal_response, self._error_body_timeout_s)  # type: ignore[attr-defined]
            raise error_from_response(response.status_code, response.headers, body, thread_id)


class UpstreamStream:
    """An accepted event stream, read in batches: what one read brings is translated together.

    It reads aiohttp's response itself: azure-core's two generators around that cost more than reading a delta does.
    """

    def __init__(self, response: aiohttp.ClientResponse, call: UpstreamCall) -> None:
        self.headers = response.headers
        self._call = call
        self._response = response
        self._content = response.content
        self._reader = FrameReader()
        self._failure: GatewayError | None = None
        self.completed = False

    async def read_events(self, translate: Callable[[Frame], list[BackendEvent]]) -> list[BackendEvent] | None:
        """Return the events of the next frames; [] if they have none, None after the end. Comments are no frames."""
        if self._failure:
            raise self._failure
        if self.completed or not (frames := await self._read_frames()):
            return None
        events: list[BackendEvent] = []
        for frame in frames:
            try:
                events += translate(frame)
            except GatewayError as e:
                if not events:
                    raise
                self._failure = e  # raised next time: the events before it are passed on first
                break
            if events and isinstance(events[-1], RunCompleted):
                self.completed = True
                break
        return events

    async def _read_frames(self) -> list[Frame]:
        """Return the next frames; [] only at the end of the body."""
        try:
            while chunk := await self._content.readany():
                if frames := self._reader.feed(chunk):
                    self._call.record_first_event()
                    return frames
        except (aiohttp.ClientError, OSError) as e:
            raise UpstreamUnavailable(type(e).__name__) from e
        return []

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            if self.completed:
                with anyio.move_on_after(_END_OF_BODY_TIMEOUT_S):
                    await self._read_rest()
            self._response.close()

    async def _read_rest(self) -> None:
        with suppress(aiohttp.ClientError, OSError):  # the answer is complete already
            while await self._content.readany():
                pass


def _has_proxy(base_url: str) -> bool:
    """Return whether a proxy is set. Never on loopback: over http it would get the whole request, with its token."""
    names = ("http_proxy", "https_proxy", "all_proxy")
    return not is_loopback(base_url) and any(name.lower() in names for name in os.environ)


def _error_from_azure(error: AzureError) -> GatewayError:
    log = f"{type(error).__name__} {type(error.inner_exception).__name__}"
    if isinstance(error, ServiceResponseTimeoutError):
        return UpstreamTimeout(log)
    if isinstance(error, ServiceRequestError) and isinstance(error.inner_exception, aiohttp.ClientConnectorError):
        return ConnectionRefused(log)
    return UpstreamUnavailable(log)


def _choose_retry_delay_s(error: GatewayError, attempt: int) -> float | None:
    """Return how long to wait before the next attempt; None for no retry."""
    if isinstance(error, ConnectionRefused):
        return 0.25 * (attempt + 1) * random.uniform(0.5, 1.5)  # noqa: S311  no secret
    if not error.retryable or error.retry_after_s is None:
        return None
    return error.retry_after_s + random.uniform(0, 0.25)  # noqa: S311


async def _read_body(response: AsyncHttpResponse) -> bytes:
    try:
        return await response.read()
    except AzureError as e:
        raise _error_from_azure(e) from e


async def _read_error_body(response: aiohttp.ClientResponse, wait_s: float) -> bytes:
    """Return what arrives in time, up to 64 KiB: for the rest, status and headers decide."""
    body = b""
    with suppress(aiohttp.ClientError, OSError), anyio.move_on_after(wait_s):
        while len(body) < _ERROR_BODY_BYTES and (part := await response.content.readany()):
            body += part
    return body[:_ERROR_BODY_BYTES]
