"""Every way in which an upstream goes wrong (or ends), and what a caller has to see.

`docs/reliability.md` has the same rows.
"""

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from tests.support.raw_socket_upstream import Wire
from tests.support.wire_formats import Responses


@dataclass(frozen=True)
class Status:
    """Nothing was said yet: a status with a problem, the same for a stream and for JSON."""

    status: int
    code: str
    retry_after: str | None = None


@dataclass(frozen=True)
class Error:
    """Something was said: one `error` event; in JSON `status`, and the thread's id."""

    status: int
    code: str
    text: bool = True


@dataclass(frozen=True)
class Done:
    finish_reason: str = "stop"


Expected = Status | Error | Done

ON_EMULATOR: dict[str, Expected] = {
    "[echo] all is well": Done(),
    "[unknown]": Done(),
    "[surrogate]": Done(),
    "[crlf]": Done(),
    "[bytes]": Done(),
    "[refuse]": Done(),
    "[length]": Done("length"),
    "[filtered answer]": Done("content_filter"),
    "[429:30]": Status(429, "upstream_rate_limited", "30"),
    "[filter]": Status(400, "content_filtered"),
    "[busy]": Status(409, "conversation_busy"),
    "[denied]": Status(502, "upstream_denied"),
    "[forbidden]": Status(502, "upstream_denied"),
    "[500]": Status(502, "upstream_unavailable"),
    "[html]": Status(502, "upstream_unavailable"),
    "[empty]": Status(502, "upstream_unavailable"),
    "[reset]": Status(502, "upstream_unavailable"),
    "[silent]": Status(504, "upstream_timeout"),
    "[comments]": Status(504, "upstream_timeout"),
    "[quota]": Error(429, "upstream_rate_limited", text=False),
    "[function]": Error(502, "action_required", text=False),
    "[approval]": Error(502, "action_required", text=False),
    "[fail]": Error(502, "run_failed"),
    "[expired]": Error(502, "run_failed"),
    "[cancelled]": Error(499, "cancelled"),
    "[stall]": Error(504, "upstream_timeout"),
    "[stall] [comments]": Error(504, "upstream_timeout"),
    "[drop]": Error(502, "upstream_unavailable"),
    "[cut]": Error(502, "upstream_unavailable"),
}
"""By the message that orders it."""

Act = Callable[[Wire], Awaitable[None]]


async def _begun(wire: Wire) -> None:
    await wire.head()
    await wire.send(wire.wire_format.started, wire.wire_format.delta("Hello"))
    await wire.pause(0.05)  # aiohttp gives nothing away that is still unread when the connection breaks


async def _closed_before_the_head(_: Wire) -> None:
    pass


async def _half_a_head(wire: Wire) -> None:
    await wire.raw(b"HTTP/1.1 200 OK\r\ncontent-ty")


async def _not_http(wire: Wire) -> None:
    await wire.raw(b"SSH-2.0-OpenSSH_9.6\r\n")


async def _never_a_head(wire: Wire) -> None:
    await wire.left()


async def _closed_after_the_head(wire: Wire) -> None:
    await wire.head()
    await wire.end()


async def _reset_after_the_head(wire: Wire) -> None:
    await wire.head()
    await wire.reset()


async def _html_and_200(wire: Wire) -> None:
    await wire.head(kind="text/html")
    await wire.send(b"<html><body>Sign in</body></html>")
    await wire.end()


async def _no_content(wire: Wire) -> None:
    await wire.raw(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")


async def _redirected(wire: Wire) -> None:
    await wire.raw(b"HTTP/1.1 302 Found\r\nconnection: close\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n")


async def _half_a_refusal(wire: Wire) -> None:
    await wire.raw(b'HTTP/1.1 500 Oops\r\ncontent-length: 500\r\n\r\n{"error": ')


def _refuses(status: str, error: dict[str, object] | None, **headers: str) -> Act:
    """With this body, whole."""

    async def act(wire: Wire) -> None:
        body = json.dumps({"error": error}).encode()
        await wire.head(status, "application/json", content_length=str(len(body)), **headers)
        await wire.raw(body)

    return act


def _refuses_in_half(status: str, *, hangs: bool = False, **headers: str) -> Act:
    """With a body that is cut off, or never comes."""

    async def act(wire: Wire) -> None:
        await wire.head(status, "application/json", content_length="500", **headers)
        if hangs:
            await wire.left()
        else:
            await wire.raw(b'{"error": {"code": "some')

    return act


async def _refuses_without_end(wire: Wire) -> None:
    await wire.head("403 Forbidden", "application/json")
    with suppress(ConnectionError):
        for _ in range(1_000):
            await wire.send(b" " * 65_536)


def _fails(code: str, *, by_event: bool = False) -> Act:
    """In mid-run: the run failed, or an `error` event came."""

    async def act(wire: Wire) -> None:
        await _begun(wire)
        await wire.send(wire.wire_format.error(code) if by_event else wire.wire_format.failed(code))
        await wire.end()

    return act


_TOO_LONG = "This model's maximum context length is 128000 tokens. However, your messages resulted in 131283 tokens."


async def _failed_first(wire: Wire) -> None:
    await wire.head()
    await wire.send(wire.wire_format.failed("server_error"))
    await wire.end()


async def _quota_first(wire: Wire) -> None:
    await wire.head(retry_after="7")
    await wire.send(wire.wire_format.error("rate_limit_exceeded"))
    await wire.end()


async def _closed_in_mid_frame(wire: Wire) -> None:
    await _begun(wire)
    await wire.send(wire.wire_format.delta(" half")[:-9])


async def _reset_in_mid_frame(wire: Wire) -> None:
    await _begun(wire)
    await wire.send(wire.wire_format.delta(" half")[:-9])
    await wire.reset()


async def _ended_in_mid_frame(wire: Wire) -> None:
    await _begun(wire)
    await wire.send(wire.wire_format.incomplete("content_filter")[:-1])
    await wire.end()


def _sends(data: str) -> Act:
    """A delta with this data."""

    async def act(wire: Wire) -> None:
        await _begun(wire)
        await wire.send(f"event: {wire.wire_format.delta_name}\ndata: {data}\n\n".encode())
        await wire.left()

    return act


def _beats(*heartbeats: str) -> Act:
    """Between two deltas, frames that say nothing."""

    async def act(wire: Wire) -> None:
        await _begun(wire)
        await wire.send(*(beat.encode() + b"\n\n" for beat in heartbeats))
        await wire.send(wire.wire_format.delta(" again"), wire.wire_format.finished)
        await wire.end()

    return act


def _breaks(frame: str) -> Act:
    """A frame that is an error, in a form that no documentation has."""

    async def act(wire: Wire) -> None:
        await _begun(wire)
        await wire.send(frame.encode() + b"\n\n")
        await wire.left()

    return act


async def _unknown_reason(wire: Wire) -> None:
    await _begun(wire)
    await wire.send(wire.wire_format.incomplete("moon_phase"))
    await wire.end()


async def _null_error_then_the_real_one(wire: Wire) -> None:
    await _begun(wire)
    if isinstance(wire.wire_format, Responses):
        await wire.send(wire.wire_format.failed_without_reason)
    await wire.send(wire.wire_format.error("rate_limit_exceeded"))
    await wire.end()


async def _null_error_alone(wire: Wire) -> None:
    await _begun(wire)
    failed = (
        wire.wire_format.failed_without_reason
        if isinstance(wire.wire_format, Responses)
        else wire.wire_format.failed("")
    )
    await wire.send(failed)
    await wire.left()


async def _more_after_the_end(wire: Wire) -> None:
    await _begun(wire)
    more = wire.wire_format.finished + wire.wire_format.delta(" more") + wire.wire_format.failed("server_error")
    await wire.send(more, wire.wire_format.started)
    await wire.end()


async def _reset_after_the_end(wire: Wire) -> None:
    await _begun(wire)
    await wire.send(wire.wire_format.finished)
    await wire.reset()


async def _never_closed_after_the_end(wire: Wire) -> None:
    await _begun(wire)
    await wire.send(wire.wire_format.finished)
    await wire.left()


ON_BARE_SOCKET: dict[str, tuple[Act, Expected]] = {
    "closed before the head": (_closed_before_the_head, Status(502, "upstream_unavailable")),
    "half a head": (_half_a_head, Status(502, "upstream_unavailable")),
    "not HTTP": (_not_http, Status(502, "upstream_unavailable")),
    "never a head": (_never_a_head, Status(504, "upstream_timeout")),
    "closed after the head": (_closed_after_the_head, Status(502, "upstream_unavailable")),
    "reset after the head": (_reset_after_the_head, Status(502, "upstream_unavailable")),
    "HTML and 200": (_html_and_200, Status(502, "upstream_unavailable")),
    "204": (_no_content, Status(502, "upstream_unavailable")),
    "a redirect": (_redirected, Status(502, "upstream_unavailable")),
    "half a refusal": (_half_a_refusal, Status(502, "upstream_unavailable")),
    "a 400 `context_length_exceeded`": (
        _refuses("400 Bad Request", {"code": "context_length_exceeded", "message": "upstream words"}),
        Status(400, "conversation_too_long"),
    ),
    "a 400 `string_above_max_length`": (
        _refuses("400 Bad Request", {"code": "string_above_max_length", "param": "input"}),
        Status(400, "conversation_too_long"),
    ),
    "a 400 that tells the context's length in words alone": (
        _refuses("400 Bad Request", {"code": None, "type": "invalid_request_error", "message": _TOO_LONG}),
        Status(400, "conversation_too_long"),
    ),
    "a 400 `invalid_prompt`": (
        _refuses("400 Bad Request", {"code": "invalid_prompt", "message": "upstream words"}),
        Status(400, "content_filtered"),
    ),
    "a 400 of a code that nobody knows": (
        _refuses("400 Bad Request", {"code": "moon_phase", "message": "upstream words"}),
        Status(502, "run_failed"),
    ),
    "a 422": (_refuses("422 Unprocessable Entity", {"code": "moon_phase"}), Status(502, "run_failed")),
    "a 408": (_refuses("408 Request Timeout", None), Status(502, "upstream_unavailable")),
    "a 429 whose body is cut off": (
        _refuses_in_half("429 Too Many Requests", retry_after="30"),
        Status(429, "upstream_rate_limited", "30"),
    ),
    "a 429 whose body never comes": (
        _refuses_in_half("429 Too Many Requests", retry_after="30", hangs=True),
        Status(429, "upstream_rate_limited", "30"),
    ),
    "a 403 whose body is cut off": (_refuses_in_half("403 Forbidden"), Status(502, "upstream_denied")),
    "a 403 whose body has no end": (_refuses_without_end, Status(502, "upstream_denied")),
    "a 404 whose body is cut off": (_refuses_in_half("404 Not Found"), Status(502, "agent_not_found")),
    "a 413 whose body never comes": (
        _refuses_in_half("413 Payload Too Large", hangs=True),
        Status(413, "message_too_large"),
    ),
    "failed as the first event": (_failed_first, Status(502, "run_failed")),
    "a quota as the first event": (_quota_first, Status(429, "upstream_rate_limited", "7")),
    "closed in mid-frame": (_closed_in_mid_frame, Error(502, "upstream_unavailable")),
    "reset in mid-frame": (_reset_in_mid_frame, Error(502, "upstream_unavailable")),
    "a clean end in mid-frame": (_ended_in_mid_frame, Error(502, "upstream_unavailable")),
    "a frame that is not JSON": (_sends("{not json}"), Error(502, "upstream_unavailable")),
    "a frame that is no object": (_sends("[1]"), Error(502, "upstream_unavailable")),
    "a frame that is nested too deep": (_sends("[" * 100_000), Error(502, "upstream_unavailable")),
    "heartbeats of every kind": (
        _beats(
            "data:", "data: ", "event: ping\ndata:", "event: ping\ndata: pong", "event: keepalive\ndata: 1", "retry: 5"
        ),
        Done(),
    ),
    "an `error` event with an unlisted code": (_fails("moon_phase", by_event=True), Error(502, "run_failed")),
    "an error without a type": (
        _breaks('data: {"error": {"code": 429, "message": "upstream words"}}'),
        Error(429, "upstream_rate_limited"),
    ),
    "an error as a text": (_breaks('data: {"error": "upstream words"}'), Error(502, "run_failed")),
    "an `error` event whose type is another": (
        _breaks('event: error\ndata: {"type": "invalid_request_error", "message": "upstream words"}'),
        Error(502, "run_failed"),
    ),
    "incomplete for an unknown reason": (_unknown_reason, Error(502, "run_failed")),
    "a quota used up for good": (_fails("insufficient_quota"), Error(429, "upstream_rate_limited")),
    "the content filter in mid-run": (_fails("content_filter", by_event=True), Error(400, "content_filtered")),
    "the context's length in mid-run": (_fails("context_length_exceeded"), Error(400, "conversation_too_long")),
    "the context's length as an `error` event": (
        _fails("string_above_max_length", by_event=True),
        Error(400, "conversation_too_long"),
    ),
    "`invalid_prompt` in mid-run": (_fails("invalid_prompt"), Error(400, "content_filtered")),
    "`invalid_prompt` as an `error` event": (_fails("invalid_prompt", by_event=True), Error(400, "content_filtered")),
    "a refused image in mid-run": (_fails("invalid_image_format"), Error(502, "run_failed")),
    "a null error, then the real one": (_null_error_then_the_real_one, Error(429, "upstream_rate_limited")),
    "a null error alone": (_null_error_alone, Error(502, "run_failed")),
    "more after the end": (_more_after_the_end, Done()),
    "a reset after the end": (_reset_after_the_end, Done()),
    "never closed after the end": (_never_closed_after_the_end, Done()),
}
"""By the message that the bare upstream gets."""

NOT_WORTH_TRYING_AGAIN = {
    "a 400 `context_length_exceeded`",
    "a 400 `string_above_max_length`",
    "a 400 that tells the context's length in words alone",
    "a 400 `invalid_prompt`",
    "a 400 of a code that nobody knows",
    "a 422",
    "a 403 whose body is cut off",
    "a 403 whose body has no end",
    "a 404 whose body is cut off",
    "a 413 whose body never comes",
    "a quota used up for good",
    "the content filter in mid-run",
    "the context's length in mid-run",
    "the context's length as an `error` event",
    "`invalid_prompt` in mid-run",
    "`invalid_prompt` as an `error` event",
    "an `error` event whose type is another",
    "a refused image in mid-run",
}
"""Of those on the bare socket: the same request would end so again."""

EXPECTED: dict[str, Expected] = ON_EMULATOR | {name: expected for name, (_, expected) in ON_BARE_SOCKET.items()}


async def play(wire: Wire, message: str) -> None:
    await ON_BARE_SOCKET[message][0](wire)
