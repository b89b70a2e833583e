"""What an error looks like when it is a status: RFC 9457 problem details with `code`, `retryable` and `request_id`."""

import json
import logging
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from gateway.errors import GatewayError, MethodNotAllowed, NotFound, round_up_seconds
from gateway.events import Handle
from gateway.telemetry import request_id

_log = logging.getLogger(__name__)


class Problem(BaseModel):
    """application/problem+json"""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    request_id: str
    thread_id: str | None = None
    errors: list[dict[str, Any]] | None = None


def problem_response(error: GatewayError, *, thread_id: Handle | None = None, status: int | None = None) -> Response:
    """Return the error as a response. `status`: instead of the error's own."""
    status = status or error.status
    body = Problem(
        title=error.title,
        status=status,
        detail=error.public_message,
        code=error.code,
        retryable=error.retryable,
        request_id=request_id.get(),
        thread_id=thread_id,
        errors=error.errors,
    )
    headers = {"cache-control": "no-store", **error.headers}
    if error.retryable and status in (429, 503):
        headers["retry-after"] = str(round_up_seconds(error.retry_after_s or 1))
    content = json.dumps(body.model_dump(exclude_none=True))
    return Response(content, status, headers, "application/problem+json")


def log_and_respond(error: GatewayError, *, thread_id: Handle | None = None) -> Response:
    """Log a refused request: as a warning if the fault is not the caller's."""
    level = logging.WARNING if error.status >= 500 else logging.INFO
    _log.log(level, "%s: %s", error.code, error, extra={"event": "refused", "fields": {"code": error.code}})
    return problem_response(error, thread_id=thread_id)


async def answer_routing_error(_: Request, error: Exception) -> Response:
    """Answer what Starlette's router raises, with its headers: a 405 has `Allow`."""
    assert isinstance(error, HTTPException)
    response = problem_response(MethodNotAllowed() if error.status_code == 405 else NotFound())
    response.headers.update(error.headers or {})
    return response
