"""What every answer says to browsers, whatever it is. https://owasp.org/www-project-secure-headers/"""

from collections.abc import Awaitable
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALWAYS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
_OVER_TLS = (b"strict-transport-security", b"max-age=31536000")


class SafeHeaders:
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


def _completed(headers: list[tuple[bytes, bytes]], added: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """What an answer says itself stays."""
    said = {name.lower() for name, _ in headers}
    return [*headers, *(header for header in added if header[0] not in said)]


def _is_secure(scope: Scope) -> bool:
    """Ingress ends TLS. A caller who claims it without TLS gets a header that browsers then ignore."""
    return scope["scheme"] == "https" or Headers(scope=scope).get("x-forwarded-proto", "").lower() == "https"
