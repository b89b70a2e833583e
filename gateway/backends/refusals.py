"""What an upstream's status, code and words mean to a caller of ours. Pure; both generations of agents.

Seen codes and shapes: docs/architecture.md, "What the upstream says". Upstream words only decide; none is passed on.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.errors import (
    AgentNotFound,
    ContentFiltered,
    ConversationBusy,
    ConversationNotFound,
    GatewayError,
    MessageTooLarge,
    UpstreamDenied,
    UpstreamRateLimited,
    UpstreamRunFailed,
    UpstreamUnavailable,
)

_FILTER_CODES = {"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"}
_RATE_CODES = {"rate_limit_exceeded", "too_many_requests", "RateLimitReached", "429"}
_QUOTA_CODE = "insufficient_quota"
_THREAD_PARAMS = {"conversation", "conversation.id", "conversation_id", "previous_response_id", "thread_id"}
_BUSY = re.compile(r"active run|while a run|conversation_locked|another process is currently operating", re.IGNORECASE)
_THREAD = re.compile(r"\b(conversation|thread|previous[_ ]response)", re.IGNORECASE)
_AGENT = re.compile(r"\b(agent|assistant|deployment|model)", re.IGNORECASE)


def refusal(status: int, headers: Mapping[str, str], body: bytes, thread_id: str | None) -> GatewayError:
    """`thread_id` is the one that the caller sent, if any: a 404 may be about it."""
    error = _error_of(body)
    code, words = _code(error), str(error.get("message") or "")
    log = f"upstream said {status} {code or '-'}"
    match status:
        case 401 | 403:
            return UpstreamDenied(log)
        case 413:
            return MessageTooLarge(log)
        case 429:
            return rate_limited(code, log, retry_after_s(headers))
        case 404:
            return _missing(log, f"{code} {words}", thread_id)
        case _ if status >= 500 or status < 400:
            return UpstreamUnavailable(log, retry_after_s=retry_after_s(headers))
        case 409:
            return ConversationBusy(log)
    return _rejected(log, code, words, error, thread_id)


def run_failure(code: str | None, log: str, wait_s: float | None = None) -> GatewayError:
    """A failure inside a run, by its code."""
    if code in _RATE_CODES or code == _QUOTA_CODE:
        return rate_limited(code, log, wait_s)
    if code in _FILTER_CODES:
        return ContentFiltered(log)
    return UpstreamRunFailed(log)


def rate_limited(code: str | None, log: str, wait_s: float | None) -> GatewayError:
    if code == _QUOTA_CODE:
        return UpstreamRateLimited(
            log, retryable=False, public_message="The model's quota is used up: someone has to raise it."
        )
    return UpstreamRateLimited(log, retry_after_s=wait_s)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Azure sends seconds, or milliseconds under a name of its own; the date form is not seen."""
    for name, unit in (("retry-after-ms", 0.001), ("x-ms-retry-after-ms", 0.001), ("retry-after", 1)):
        value = headers.get(name, "")
        if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
            return float(value) * unit
    return None


def _missing(log: str, words: str, thread_id: str | None) -> GatewayError:
    about_thread = thread_id is not None and (thread_id in words or bool(_THREAD.search(words)))
    if about_thread or (thread_id is not None and not _AGENT.search(words)):
        return ConversationNotFound(log)
    return AgentNotFound(log)


def _rejected(log: str, code: str | None, words: str, error: dict[str, Any], thread_id: str | None) -> GatewayError:
    inner = error.get("innererror")
    if code in _FILTER_CODES or (isinstance(inner, dict) and inner.get("code") in _FILTER_CODES):
        return ContentFiltered(log)
    if _BUSY.search(f"{code} {words}"):
        return ConversationBusy(log)
    about_thread = error.get("param") in _THREAD_PARAMS or (thread_id is not None and thread_id in words)
    if code == "previous_response_not_found" or (thread_id is not None and about_thread):
        return ConversationNotFound(log)
    return UpstreamRunFailed(log)


def _code(error: dict[str, Any]) -> str | None:
    code = error.get("code") or error.get("type")
    return str(code)[:64] if code else None


def _error_of(body: bytes) -> dict[str, Any]:
    """{} for HTML, nothing, or JSON of another shape."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    error = value.get("error", value) if isinstance(value, dict) else {}
    return error if isinstance(error, dict) else {}
