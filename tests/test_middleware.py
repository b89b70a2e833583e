"""The middleware around every route, by itself."""

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from gateway.errors import Forbidden
from gateway.web.middleware import CommonHeaders, ErrorMiddleware


async def refusing(_: Scope, __: Receive, ___: Send) -> None:
    raise Forbidden("not you")


def sent_by(scope_type: str) -> list[Any]:
    """What the middleware around an app that refuses sends on a connection of this type."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nobody reads here")

    scope = {"type": scope_type, "scheme": "https", "headers": [], "method": "GET", "path": "/"}
    asyncio.run(CommonHeaders(ErrorMiddleware(refusing))(scope, receive, send))
    return sent


def test_an_error_is_answered_with_the_headers_of_every_answer() -> None:
    head, _ = sent_by("http")
    headers = dict(head["headers"])
    assert (head["status"], headers[b"content-type"]) == (403, b"application/problem+json")
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"strict-transport-security"]
    assert len(headers[b"x-request-id"]) == 36


@pytest.mark.parametrize("scope_type", ["websocket", "lifespan"])
def test_what_is_not_http_is_not_answered_as_if_it_were(scope_type: str) -> None:
    with pytest.raises(Forbidden):
        sent_by(scope_type)
