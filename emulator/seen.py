"""What the emulator saw, for tests to ask: `GET /_seen`, `DELETE /_seen`."""

from collections import deque
from collections.abc import Iterable

from starlette.requests import Request

from emulator.wire import Json

KEPT = 10_000
HEADERS = (
    "accept",
    "content-type",
    "traceparent",
    "user-agent",
    "x-ms-client-request-id",
    "x-ms-user-identity",
)


class Seen:
    """Bounded lists. A stream is `opened`, then `finished`, `left` by its reader, or `broken` on our side."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.requests: deque[Json] = deque(maxlen=KEPT)
        self.messages: deque[str] = deque(maxlen=KEPT)
        self.cancelled: deque[str] = deque(maxlen=KEPT)
        self.streams: dict[str, deque[str]] = {
            state: deque(maxlen=KEPT) for state in ("opened", "finished", "left", "broken")
        }

    def request(self, request: Request, body: Json | None) -> None:
        self.requests.append(
            {
                "method": request.method,
                "path": request.url.path,
                "query": dict(request.query_params),
                "headers": _told(request),
                "body": body,
            }
        )

    def told(self, active_runs: Iterable[str]) -> Json:
        return {
            "requests": list(self.requests),
            "messages": list(self.messages),
            "streams": {state: list(ids) for state, ids in self.streams.items()},
            "cancelled": list(self.cancelled),
            "active_runs": list(active_runs),
        }


def _told(request: Request) -> Json:
    """No secret leaves: of `authorization` the scheme, of `api-key` that it was there."""
    headers: Json = {name: request.headers[name] for name in HEADERS if name in request.headers}
    headers["authorization"] = request.headers.get("authorization", "").partition(" ")[0] or None
    headers["api-key"] = "api-key" in request.headers
    return headers
