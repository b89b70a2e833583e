"""One authenticated HTTP client to the upstream, on aiohttp.

It raises refusals as errors, and retries only what was certainly not accepted: after a refused connection, or a 429
with a Retry-After. Redirects are not followed.
"""

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import anyio
from yarl import URL

from gateway import __version__
from gateway.backends.json_values import parse_object
from gateway.backends.upstream_auth import UpstreamAuth
from gateway.backends.upstream_errors import error_from_response
from gateway.backends.upstream_stream import UpstreamStream
from gateway.errors import (
    ConnectionRefused,
    GatewayError,
    NotConfigured,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gateway.events import ThreadId
from gateway.proxies import allows_proxy
from gateway.settings import is_loopback
from gateway.telemetry.upstream_calls import UpstreamCall

RETRY_BUDGET_S = 10.0  # the contract's: a longer wait is returned to the caller at once
_RETRIES = 2
_CONNECT_TIMEOUT_S = 5.0
_IDLE_CONNECTION_S = 90.0  # people read an answer before they write again: keep its connection that long
_ERROR_BODY_TIMEOUT_S = 5.0
_ERROR_BODY_BYTES = 65_536
_HEADER_BYTES = 65_536  # for one header of an answer: with aiohttp's 8,190 an accepted turn would be lost
_HEADERS = {
    "Accept": "application/json",  # for streams too, as Azure's own SDKs send it
    "Accept-Encoding": "identity",
    "User-Agent": f"chat-api/{__version__}",
}
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class _Request:
    """`thread_id`: of the conversation that it continues, if any."""

    method: str
    url: str
    content: bytes | None
    timeout: aiohttp.ClientTimeout
    thread_id: ThreadId | None


class UpstreamClient:
    """A client that raises only GatewayError. Create it in a running loop, and close it."""

    def __init__(self, base_url: str, auth: UpstreamAuth, idle_timeout_s: float) -> None:
        """Raise NotConfigured for http to another machine: whoever is on the way could read the token or the key."""
        if urlsplit(base_url).scheme != "https" and not is_loopback(base_url):
            raise NotConfigured(
                public_message="The upstream's endpoint must be https (http is for this machine alone)."
            )
        self._auth = auth
        self._base_url = base_url
        # Shorter than the idle timeout, which would lose a status that is already known.
        self._error_body_timeout_s = min(_ERROR_BODY_TIMEOUT_S, idle_timeout_s / 2)
        self._json_timeout = aiohttp.ClientTimeout(sock_connect=_CONNECT_TIMEOUT_S, sock_read=idle_timeout_s)
        # No read timeout here: it would count comments, too. `turns.run_turn.TurnTimeout` counts events.
        self._stream_timeout = aiohttp.ClientTimeout(sock_connect=_CONNECT_TIMEOUT_S)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_CONNECTION_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            skip_auto_headers=("Content-Type",),
            max_field_size=_HEADER_BYTES,
            max_line_size=_HEADER_BYTES,
            trust_env=allows_proxy(base_url),
        )

    async def ensure_signed_in(self) -> None:
        """Fetch a token if one is needed. Raises what `CachedCredential` raises."""
        await self._auth.get_headers()

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
        request = _Request(method, self._base_url + path, _encode(body), self._json_timeout, thread_id)
        response, call = await self._send_with_retries(request, retry_deadline)
        with call:
            answer = parse_object(await _read_body(response))
        if answer is None:
            raise UpstreamUnavailable("an answer that is not a JSON object")
        return answer

    @asynccontextmanager
    async def open_stream(
        self, path: str, body: dict[str, Any], *, thread_id: ThreadId | None, retry_deadline: float
    ) -> AsyncGenerator[UpstreamStream]:
        """Send a request whose answer is an event stream.

        Leaving the context before the final event closes the connection at once.
        """
        request = _Request("POST", self._base_url + path, _encode(body), self._stream_timeout, thread_id)
        response, call = await self._send_with_retries(request, retry_deadline)
        stream = UpstreamStream(response, call)
        del request  # an open stream need not hold the message
        with call:
            try:
                yield stream
            finally:
                await stream.aclose()

    async def aclose(self) -> None:
        await self._session.close()
        await self._auth.aclose()

    async def _send_with_retries(
        self, request: _Request, retry_deadline: float
    ) -> tuple[aiohttp.ClientResponse, UpstreamCall]:
        """Return an accepted response, and the record of its call, which the caller of this ends."""
        for attempt in range(_RETRIES + 1):
            call = UpstreamCall(request.method, request.url, attempt)
            try:
                with call.end_on_error():
                    return await self._send_once(request, call), call
            except (ConnectionRefused, UpstreamRateLimited) as e:
                wait_s = _choose_retry_delay_s(e, attempt)
                now = asyncio.get_running_loop().time()
                if attempt == _RETRIES or wait_s is None or now + wait_s > retry_deadline:
                    raise
            await asyncio.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    async def _send_once(self, request: _Request, call: UpstreamCall) -> aiohttp.ClientResponse:
        headers = {**await self._auth.get_headers(), **call.headers, **(_JSON if request.content else {})}
        try:
            response = await self._session.request(
                request.method,
                URL(request.url, encoded=True),  # as it is written: yarl would quote it anew
                headers=headers,
                data=request.content,
                timeout=request.timeout,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError, ValueError) as e:  # ValueError: an id of the upstream's with a newline
            raise _error_from_aiohttp(e) from e
        call.status = response.status
        if response.status < 300:
            return response
        try:
            body = await _read_error_body(response, self._error_body_timeout_s)
        finally:
            response.close()
        raise error_from_response(response.status, response.headers, body, request.thread_id)


def _encode(body: dict[str, Any] | None) -> bytes | None:
    """Return the JSON; not by orjson, whose bytes keep 4 KiB for as long as the stream is open."""
    return None if body is None else json.dumps(body).encode()


def _error_from_aiohttp(error: Exception) -> GatewayError:
    log = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError):
        return ConnectionRefused(log)
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
        return UpstreamTimeout(log)
    return UpstreamUnavailable(log)


def _choose_retry_delay_s(error: GatewayError, attempt: int) -> float | None:
    """Return how long to wait before the next attempt; None for no retry."""
    if isinstance(error, ConnectionRefused):
        return 0.25 * (attempt + 1) * random.uniform(0.5, 1.5)  # noqa: S311  no secret
    if not error.retryable or error.retry_after_s is None:
        return None
    return error.retry_after_s + random.uniform(0, 0.25)  # noqa: S311


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    try:
        return await response.read()
    except (aiohttp.ClientError, OSError) as e:
        raise _error_from_aiohttp(e) from e
    finally:
        response.close()


async def _read_error_body(response: aiohttp.ClientResponse, wait_s: float) -> bytes:
    """Return what arrives in time, up to 64 KiB: for the rest, status and headers decide."""
    body = b""
    with suppress(aiohttp.ClientError, OSError), anyio.move_on_after(wait_s):
        while len(body) < _ERROR_BODY_BYTES and (part := await response.content.readany()):
            body += part
    return body[:_ERROR_BODY_BYTES]
