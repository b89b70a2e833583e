"""The caller's connection, below all middleware: how to write to it, how to break it off. Imports nothing of ours."""

from starlette.types import Scope, Send

_KEY = "chat-api.connection"


def remember(scope: Scope, send: Send) -> None:
    """`send` as the server gave it, before any middleware: FastAPI puts some around ours."""
    scope[_KEY] = send


def body_sender(scope: Scope, send: Send) -> Send:
    """For a body's parts, once the head is sent by `send`: middleware has nothing to add, and costs with each part."""
    server_send: Send = scope.get(_KEY, send)
    return server_send


def abort(scope: Scope) -> None:
    """Breaks the connection off. A plain close would first wait for the caller to read what is buffered."""
    transport = getattr(getattr(scope.get(_KEY), "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()
