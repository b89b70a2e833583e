"""Turns an upstream's status, error code and message into an error of ours. Pure; both generations of agents.

Seen codes and shapes: docs/architecture.md, "Upstream errors". Upstream messages only decide; none is passed on.
"""

import codecs
import re
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.backends.json_values import as_object, as_string, code_for_log
from gateway.errors import (
    AgentNotFound,
    ContentFiltered,
    ConversationBusy,
    ConversationNotFound,
    ConversationTooLong,
    GatewayError,
    MessageTooLarge,
    UpstreamDenied,
    UpstreamRateLimited,
    UpstreamRunFailed,
    UpstreamUnavailable,
)
from gateway.events import ThreadId

_FILTER_CODE = re.compile(
    r"content_?(filter|policy)|ResponsibleAIPolicy|moderation_blocked|invalid_prompt$", re.IGNORECASE
)
"""`invalid_prompt` is a reasoning model's own filter."""
_TOO_LONG_CODE = re.compile(
    r"context_?(length|window)|above_?max_?length|tokens?_?limit_?reached|too_?long", re.IGNORECASE
)
_TOO_LONG = re.compile(
    r"maximum (context|prompt|input)|context[ _](window|length)|string too long|too many (input |prompt )?tokens"
    r"|maximum number of (input |prompt )?tokens|(input|prompt|message) is too long",
    re.IGNORECASE,
)
_REQUEST_CODE = re.compile(
    r"bad_?request|invalid(?!_?response)\w+|unsupported_?\w+|\w*user_?error|\w+_?not_?found|request_?too_?large"
    r"|(unknown|missing)_?(required_?)?(parameter|field|argument|model)\w*|empty_?(image|input|array|string)\w*"
    r"|(image|string|array|integer|decimal)_?(file_?)?(too|above|below|parse|not)_?\w*|failed_?to_?download\w*"
    r"|4(?!08|09|23|24|25|29|99)\d\d",
    re.IGNORECASE,
)
"""Of a run's failure, in snake or Pascal case, or an HTTP status: the request itself was refused."""
_RATE_CODE = re.compile(r"rate_?limit_?(exceeded|reached)|too_?many_?requests|429", re.IGNORECASE)
_QUOTA_CODE = re.compile(r"insufficient_?quota", re.IGNORECASE)
_NAMES = ("response.", "thread.")
"""How the events' names begin that both generations use."""
_CODE_FIELDS = ("code", "type", "status", "statusCode")
_DURATION = r"(\d+(?:\.\d+)?) *(milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)(?![a-z])"
_WAIT = re.compile(rf"(?:again|retry|wait)[^\d.]{{0,40}}((?:{_DURATION}[ ,]*(?:and )?)+)", re.IGNORECASE)
_UNITS_S = {
    "mil": 0.001,
    "ms": 0.001,
    "s": 1,
    "sec": 1,
    "m": 60,
    "min": 60,
    "h": 3_600,
    "hou": 3_600,
    "hr": 3_600,
    "hrs": 3_600,
    "d": 86_400,
    "day": 86_400,
}
_LONGEST_WAIT_S = 86_400.0
_CODE_IN_TEXT = re.compile(r'"(?:code|type)"\s*:\s*"([^"]{1,64})"')
_THREAD_PARAMS = {"conversation", "conversation.id", "conversation_id", "previous_response_id", "thread_id"}
_BUSY = re.compile(r"active run|while a run|conversation_locked|another process is currently operating", re.IGNORECASE)
_THREAD = re.compile(r"\b(conversation|thread|previous[_ ]response)", re.IGNORECASE)
_AGENT = re.compile(r"\b(agent|assistant|deployment|model)", re.IGNORECASE)


def error_from_response(
    status: int, headers: Mapping[str, str], body: bytes, thread_id: ThreadId | None
) -> GatewayError:
    """Return the error for a refused request. `thread_id`: of the conversation that was continued, if any."""
    error = _parse_error(body)
    code, message = _read_code(error), _read_message(error)
    log = f"upstream answered {status} {code_for_log(code)}"
    match status:
        case 401 | 403:
            return UpstreamDenied(log)
        case 413:
            return MessageTooLarge(log)
        case 429:
            return _rate_limit_error(error, log, parse_retry_after_s(headers))
        case 404:
            return _not_found_error(log, f"{code} {message}", thread_id)
        case _ if status >= 500 or status < 400 or status in (408, 425):
            return UpstreamUnavailable(log, retry_after_s=parse_retry_after_s(headers))
        case 409:
            return ConversationBusy(log)
    if status in (423, 424, 499):  # not about this request: a lock, a tool's server, a proxy's timeout
        return UpstreamRunFailed(log)
    return _bad_request_error(log, code, message, error, thread_id)


def error_from_run(error: Mapping[str, Any], log: str, retry_after_s: float | None = None) -> GatewayError:
    """Return the error for a failed run, by the failure's codes. `retry_after_s`: what a header said, if any.

    The message only counts for a prompt that is too long, and for a wait: classic runs report both in words alone.
    """
    codes = _read_codes(error)
    if any(_RATE_CODE.fullmatch(code) or _QUOTA_CODE.fullmatch(code) for code in codes):
        return _rate_limit_error(error, log, retry_after_s)
    if permanent := _permanent_error(error, log):
        return permanent
    own = [str(error.get(name) or "") for name in _CODE_FIELDS]
    return _rejected_request_error(log) if any(map(_REQUEST_CODE.fullmatch, own)) else UpstreamRunFailed(log)


def error_of_frame(name: str, event: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the fields of the error that a frame of a stream is, {} if it says nothing; None for any other frame.

    `name`: of its event, or "". A frame that says no type is an error if it has an `error`, or a code and a message.
    """
    if name == "error" or event.get("type") == "error":
        return _error_fields(event)
    if as_string(event.get("type")) is not None or name.startswith(_NAMES):
        return None
    is_bare = name in ("", "message") and bool(_read_codes(event) and _read_message(event))
    return _error_fields(event) if is_bare or event.get("error") else None


def _rate_limit_error(error: Mapping[str, Any], log: str, retry_after_s: float | None) -> GatewayError:
    if any(map(_QUOTA_CODE.fullmatch, _read_codes(error))):
        return UpstreamRateLimited(
            log, retryable=False, public_message="The model's quota is used up: someone has to raise it."
        )
    if retry_after_s is None:
        retry_after_s = parse_wait_s(_read_message(error))
    return UpstreamRateLimited(log, retry_after_s=retry_after_s)


def parse_retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the wait in seconds. Azure sends seconds, or milliseconds under names of its own; never seen: a date."""
    for name, unit in (("retry-after-ms", 0.001), ("x-ms-retry-after-ms", 0.001), ("retry-after", 1)):
        value = headers.get(name, "")
        if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
            return float(value) * unit
    return None


def parse_wait_s(message: str) -> float | None:
    """Return the seconds that a sentence names ("Try again in 1m30s", "retry after 60 seconds"); None if over a day."""
    found = _WAIT.search(message)
    if not found:
        return None
    durations = re.findall(_DURATION, found[1], re.IGNORECASE)
    wait_s = sum(float(number) * _UNITS_S[unit.lower()[:3]] for number, unit in durations)
    return wait_s if wait_s <= _LONGEST_WAIT_S else None


def _not_found_error(log: str, message: str, thread_id: ThreadId | None) -> GatewayError:
    about_thread = thread_id is not None and (thread_id in message or bool(_THREAD.search(message)))
    if about_thread or (thread_id is not None and not _AGENT.search(message)):
        return ConversationNotFound(log)
    return AgentNotFound(log)


def _bad_request_error(
    log: str, code: str | None, message: str, error: dict[str, Any], thread_id: ThreadId | None
) -> GatewayError:
    if permanent := _permanent_error(error, log):
        return permanent
    if _BUSY.search(f"{code} {message}"):
        return ConversationBusy(log)
    about_thread = as_string(error.get("param")) in _THREAD_PARAMS or (thread_id is not None and thread_id in message)
    if code == "previous_response_not_found" or (thread_id is not None and about_thread):
        return ConversationNotFound(log)
    return _rejected_request_error(log)


def _permanent_error(error: Mapping[str, Any], log: str) -> GatewayError | None:
    """Return the error if the caller has to change something, in a status, an event or a failed run alike."""
    codes = _read_codes(error)
    if any(map(_FILTER_CODE.search, codes)):
        return ContentFiltered(log)
    if any(map(_TOO_LONG_CODE.search, codes)) or _TOO_LONG.search(_read_message(error)):
        return ConversationTooLong(log)
    return None


def _rejected_request_error(log: str) -> GatewayError:
    """Return an error that is not retryable: the same request would be refused again."""
    return UpstreamRunFailed(
        log, retryable=False, public_message="The agent's service refused this request, and would refuse it again."
    )


def _read_code(error: Mapping[str, Any]) -> str | None:
    return next(iter(_read_codes(error)), None)


def _read_codes(error: Mapping[str, Any]) -> list[str]:
    """Return its own codes and the inner ones: Azure nests `innererror` and lists `details`. Numbers are codes, too."""
    found, inner = [error.get(name) for name in _CODE_FIELDS], error
    for _ in range(4):
        inner = as_object(inner.get("innererror") or inner.get("inner_error"))
        found.append(inner.get("code"))
    details = error.get("details")
    found += [as_object(detail).get("code") for detail in (details if isinstance(details, list) else [])]
    return [str(code)[:64] for code in found if isinstance(code, str | int) and code]


def _read_message(error: Mapping[str, Any]) -> str:
    message = error.get("message") or error.get("detail")
    return message if isinstance(message, str) else ""


def _parse_error(body: bytes) -> dict[str, Any]:
    """Return the error object of a refusal's body; {} for HTML, nothing, or JSON of another shape."""
    try:
        value = orjson.loads(body.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError:
        return _parse_error_text(body.decode(errors="replace").strip())
    if not isinstance(value, dict):
        return {}
    return _error_fields(value)


def _error_fields(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the error's own fields: they stand in `error`, or beside it where that is a text, or by themselves."""
    error = value.get("error", value)
    if isinstance(error, str):
        return {**value, "message": f"{error} {_read_message(value)}"}
    return dict(error) if isinstance(error, Mapping) else dict(value)


def _parse_error_text(text: str) -> dict[str, Any]:
    """Read plain text, or JSON that was cut off: find the codes that arrived."""
    if text.startswith("<"):
        return {}
    codes = _CODE_IN_TEXT.findall(text)
    return {"message": text, "code": codes[0] if codes else None, "details": [{"code": code} for code in codes]}
