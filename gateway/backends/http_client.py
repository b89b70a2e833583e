"""One authenticated HTTP client to the upstream: azure-core's pipeline on aiohttp, frames in, refusals as errors.

Nothing is sent twice but what was certainly not accepted: a refused connection, or a 429 that says when.
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
import orjson
from azure.core import AsyncPipelineClient
from azure.core.exceptions import (
    AzureError,
    ServiceRequestError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import AsyncHttpResponse, HttpRequest

from gateway import __version__
from gateway.backends.sse_reader import Frame, FrameReader
from gateway.backends.upstream_auth import SignIn
from gateway.backends.upstream_errors import refusal
from gateway.errors import GatewayError, UpstreamRateLimited, UpstreamTimeout, UpstreamUnavailable
from gateway.events import BackendEvent, RunCompleted
from gateway.settings import is_loopback
from gateway.telemetry.upstream_calls import UpstreamCall

PATIENCE_S = 10.0  # the contract's: longer waits are told to the caller at once
_RETRIES = 2
_CONNECT_S = 5.0
_IDLE_CONNECTION_S = 90.0  # people read an answer before they write again: keep its connection that long
_ENDING_S = 1.0  # from the final event to the end of the response, so that its connection can be used again
_REFUSAL_S = 5.0  # for the body of a refusal
_REFUSAL_BYTES = 65_536
_HEADERS = {
    "Accept": "application/json",  # for streams too, as Azure's own SDKs say it
    "Accept-Encoding": "identity",
    "User-Agent": f"chat-api/{__version__}",
}


class Refused(UpstreamUnavailable):
    """No connection: nothing was sent, so that trying again is safe."""


class Upstream:
    """Raises only GatewayError. Open it in a running loop, and close it."""

    def __init__(self, base_url: str, sign_in: SignIn, idle_timeout_s: float) -> None:
        self.sign_in = sign_in
        self._base_url = base_url
        self._refusal_s = min(_REFUSAL_S, idle_timeout_s / 2)  # a status that is known is not lost to that timeout
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_CONNECTION_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=_is_reached_by_proxy(base_url),
        )
        transport = AioHttpTransport(
            session=self._session,
            connection_timeout=_CONNECT_S,
            read_timeout=idle_timeout_s,
        )
        self._client: AsyncPipelineClient[HttpRequest, AsyncHttpResponse] = AsyncPipelineClient(
            base_url, policies=sign_in.policies, transport=transport
        )

    async def ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        thread_id: str | None = None,
        until: float = 0,
    ) -> dict[str, Any]:
        """The answer's JSON. `until` (loop time): how long a retry may be waited for."""
        response, call = await self._accepted(self._request(method, path, body), thread_id, until)
        with call:
            async with response:
                return _json(await _whole(response))

    @asynccontextmanager
    async def stream(
        self, path: str, body: dict[str, Any], *, thread_id: str | None, until: float
    ) -> AsyncGenerator["UpstreamStream"]:
        """Leaving it before the final event closes the connection at once."""
        # No read timeout here: `stream.Clock` counts the events, where this would count comments as well.
        request = self._request("POST", path, body)
        response, call = await self._accepted(request, thread_id, until, read_timeout=None)
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
        await self.sign_in.aclose()

    def _request(self, method: str, path: str, body: dict[str, Any] | None) -> HttpRequest:
        if body is None:
            return HttpRequest(method, self._base_url + path, headers=dict(_HEADERS))
        headers = {**_HEADERS, "Content-Type": "application/json"}
        content = json.dumps(body).encode()  # not orjson, whose bytes keep 4 KiB for as long as the stream is open
        return HttpRequest(method, self._base_url + path, headers=headers, content=content)

    async def _accepted(
        self, request: HttpRequest, thread_id: str | None, until: float, **options: Any
    ) -> tuple[AsyncHttpResponse, UpstreamCall]:
        """Whoever takes the call ends it."""
        for attempt in range(_RETRIES + 1):
            call = UpstreamCall(request.method, request.url, attempt)
            try:
                with call.unless_accepted():
                    return await self._sent(request, thread_id, call, options), call
            except (Refused, UpstreamRateLimited) as e:
                wait_s = _wait_s(e, attempt)
                now = asyncio.get_running_loop().time()
                if attempt == _RETRIES or wait_s is None or now + wait_s > until:
                    raise
            await asyncio.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    async def _sent(
        self, request: HttpRequest, thread_id: str | None, call: UpstreamCall, options: dict[str, Any]
    ) -> AsyncHttpResponse:
        request.headers.update(call.headers)
        try:
            response = await self._client.send_request(request, stream=True, **options)
        except AzureError as e:
            raise _lost(e) from e
        call.status = response.status_code
        if response.status_code < 300:
            return response
        async with response:
            body = await _refusal_body(response.internal_response, self._refusal_s)  # type: ignore[attr-defined]
            raise refusal(response.status_code, response.headers, body, thread_id)


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

    async def next(self, translate: Callable[[Frame], list[BackendEvent]]) -> list[BackendEvent] | None:
        """The events of the next frames; [] when they say nothing, None after the end. Comments are no frames."""
        if self._failure:
            raise self._failure
        if self.completed or not (frames := await self._frames()):
            return None
        events: list[BackendEvent] = []
        for frame in frames:
            try:
                events += translate(frame)
            except GatewayError as e:
                if not events:
                    raise
                self._failure = e  # what was said before it is passed on first
                break
            if events and isinstance(events[-1], RunCompleted):
                self.completed = True
                break
        return events

    async def _frames(self) -> list[Frame]:
        """[] at the end alone."""
        try:
            while chunk := await self._content.readany():
                if frames := self._reader.feed(chunk):
                    self._call.event_seen()
                    return frames
        except (aiohttp.ClientError, OSError) as e:
            raise UpstreamUnavailable(type(e).__name__) from e
        return []

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            if self.completed:
                with anyio.move_on_after(_ENDING_S):
                    await self._rest()
            self._response.close()

    async def _rest(self) -> None:
        with suppress(aiohttp.ClientError, OSError):  # it was all said before
            while await self._content.readany():
                pass


def _is_reached_by_proxy(base_url: str) -> bool:
    """Never on loopback: over http a proxy would get the whole request, with its token."""
    names = ("http_proxy", "https_proxy", "all_proxy")
    return not is_loopback(base_url) and any(name.lower() in names for name in os.environ)


def _lost(error: AzureError) -> GatewayError:
    log = f"{type(error).__name__} {type(error.inner_exception).__name__}"
    if isinstance(error, ServiceResponseTimeoutError):
        return UpstreamTimeout(log)
    if isinstance(error, ServiceRequestError) and isinstance(error.inner_exception, aiohttp.ClientConnectorError):
        return Refused(log)
    return UpstreamUnavailable(log)


def _wait_s(error: GatewayError, attempt: int) -> float | None:
    """None: do not wait."""
    if isinstance(error, Refused):
        return 0.25 * (attempt + 1) * random.uniform(0.5, 1.5)  # noqa: S311  spreads load, hides nothing
    if not error.retryable or error.retry_after_s is None:
        return None
    return error.retry_after_s + random.uniform(0, 0.25)  # noqa: S311


async def _whole(response: AsyncHttpResponse) -> bytes:
    try:
        return await response.read()
    except AzureError as e:
        raise _lost(e) from e


async def _refusal_body(response: aiohttp.ClientResponse, wait_s: float) -> bytes:
    """What comes of it in time: status and headers decide where the rest is cut off, too long or never there."""
    body = b""
    with suppress(aiohttp.ClientError, OSError), anyio.move_on_after(wait_s):
        while len(body) < _REFUSAL_BYTES and (part := await response.content.readany()):
            body += part
    return body[:_REFUSAL_BYTES]


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as e:
        raise UpstreamUnavailable("an answer that is not JSON") from e
    if not isinstance(value, dict):
        raise UpstreamUnavailable("an answer that is not a JSON object")
    return value
