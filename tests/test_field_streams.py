"""Streams that other people met, from public reports: what they say is passed on, once, and ends truthfully."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.support.callers import calling, classic, events_of, openai
from tests.support.raw_socket_upstream import Wire, bare_upstream
from tests.support.recording_upstream import Recorder
from tests.support.servers import serving
from tests.support.stream_grammar import Ending, native_ending
from tests.support.wire_formats import classic_framed, framed

Json = dict[str, Any]

CREATED: Json = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}


def ending_of(stream: bytes, kind: str = "openai") -> Ending:
    """How a turn ends whose upstream sends these bytes."""
    recorder = Recorder({"/responses": stream, "/conversations": {"id": "conv_1"}, "/runs": stream})
    with serving(recorder.app) as url, calling((classic if kind == "classic" else openai)(url)) as client:
        return native_ending(client.post("/api/chat", json={"message": "hi"}).text)


def said(events: Iterable[Json], kind: str = "openai") -> Ending:
    return ending_of(framed([CREATED, *events]), kind)


def delta(text: str, **place: Any) -> Json:
    return {"type": "response.output_text.delta", "delta": text, **place}


def whole(text: str, **place: Any) -> Json:
    return {"type": "response.output_text.done", "text": text, **place}


def part_done(text: str, kind: str = "output_text", /, **place: Any) -> Json:
    part = {"type": kind, ("refusal" if kind == "refusal" else "text"): text}
    return {"type": "response.content_part.done", "part": part, **place}


def message(*texts: str, **more: Any) -> Json:
    content = [{"type": "output_text", "text": text} for text in texts]
    return {"type": "message", "role": "assistant", "content": content, **more}


def item_done(item: Json, **place: Any) -> Json:
    return {"type": "response.output_item.done", "item": item, **place}


def completed(*output: Json, status: Any = "completed", **more: Any) -> Json:
    return {"type": "response.completed", "response": {"id": "resp_1", "status": status, "output": output, **more}}


FIRST: Json = {"output_index": 0, "content_index": 0}
HELLO = Ending("Hello", None, "stop")


@pytest.mark.parametrize(
    "events",
    [
        [item_done(message("Hello", id="m"), output_index=0), completed(message("Hello", id="m"))],
        [item_done(message("Hello", id="m")), completed(message("Hello", id="m"))],
        [completed(message("Hello", id="m"))],
        [completed(message("Hel", "lo"))],
        [part_done("Hello", **FIRST, item_id="m"), completed()],
        [part_done("Hello", "refusal", **FIRST, item_id="m"), completed()],
        [completed({"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm"}]}, message("Hello"))],
    ],
)
def test_a_text_that_never_came_in_deltas_is_said(events: list[Json]) -> None:
    assert said(events) == HELLO


def test_each_part_of_an_item_is_said_once_whichever_event_brings_it() -> None:
    second: Json = {"output_index": 0, "content_index": 1}
    events = [
        delta("One.", **FIRST, item_id="m"),
        whole("One.", **FIRST, item_id="m"),
        whole(" Two.", **second, item_id="m"),
        part_done(" Two.", **second, item_id="m"),
        item_done(message("One.", " Two.", " Three.", id="m"), output_index=0),
        completed(message("One.", " Two.", " Three.", id="m"), message(" Four.", id="n")),
    ]
    assert said(events) == Ending("One. Two. Three. Four.", None, "stop")


def test_another_item_id_in_each_event_does_not_tell_the_answer_twice() -> None:
    """vercel/ai#18548, docker-agent#3846."""
    for content_index in ({"content_index": 0}, {}):
        place: Json = {"output_index": 1, **content_index}
        events = [
            delta("Hel", **place, item_id="a"),
            delta("lo", **place, item_id="b"),
            whole("Hello", **place, item_id="c"),
            part_done("Hello", **place, item_id="d"),
            item_done(message("Hello", id="e"), output_index=1),
            completed({"type": "reasoning", "id": "r"}, message("Hello", id="f")),
        ]
        assert said(events) == HELLO


def test_where_indexes_are_missing_the_ids_decide() -> None:
    events = [
        delta("Hello", item_id="a"),
        whole("Hello", item_id="a"),
        whole(" again", item_id="b"),
        part_done(" again", item_id="b"),
        item_done(message(" again", id="b")),
        completed(message("Hello", id="a"), message(" again", id="b")),
    ]
    assert said(events) == Ending("Hello again", None, "stop")


def test_text_deltas_by_their_other_name_are_text() -> None:
    """Two closed pull requests of other projects send `response.text.delta`."""
    events = [
        {"type": "response.text.delta", "delta": "Hello", **FIRST},
        {"type": "response.text.done", "text": "Hello", **FIRST},
        completed(),
    ]
    assert said(events) == HELLO


@pytest.mark.parametrize(
    ("final", "code"),
    [
        (completed(status="failed", error={"code": "rate_limit_exceeded"}), "upstream_rate_limited"),
        (completed(status="failed"), "run_failed"),
        (completed(status="in_progress"), "run_failed"),
        (completed(status=["completed"]), "run_failed"),
        (completed(status="cancelled"), "cancelled"),
        ({**completed(status="completed"), "type": "response.incomplete"}, "run_failed"),
        (completed(status="incomplete"), "run_failed"),
    ],
)
def test_an_end_that_is_not_completed_is_not_done(final: Json, code: str) -> None:
    assert said([delta("Hello", **FIRST), final]) == Ending("Hello", code)


HEARTBEATS: list[str] = [
    "data:",
    "data: ",
    "data:  \ndata:",
    "event: ping\ndata:",
    "event: ping",
    "event: ping\ndata: pong",
    "event: ping\ndata: {}",
    "event: keepalive\ndata: 1764170000",
    'event: heartbeat\ndata: "ok"',
    "event: heartbeat\ndata: {not json}",
    'event: ping\ndata: {"type": "ping", "error": null}',
    'event: ping\ndata: {"status": "ok", "message": "alive"}',
    "retry: 3000",
    "id: 7",
    ": comment",
    "data: keepalive",
]


@pytest.mark.parametrize("beat", HEARTBEATS)
@pytest.mark.parametrize("kind", ["openai", "classic"])
def test_heartbeats_end_no_turn(beat: str, kind: str) -> None:
    """hermes-agent#111887, openai-python#2722."""
    between = beat.encode() + b"\n\n"
    if kind == "openai":
        parts = [framed([event]) for event in (CREATED, delta("Hel", **FIRST), delta("lo", **FIRST), completed())]
    else:
        run = {"id": "run_1", "thread_id": "thread_1"}
        pieces = [{"id": "m", "delta": {"content": [{"text": {"value": text}}]}} for text in ("Hel", "lo")]
        named: list[tuple[str, Json | str]] = [
            ("thread.run.created", run),
            *(("thread.message.delta", piece) for piece in pieces),
            ("thread.run.completed", run),
        ]
        parts = [classic_framed([frame]) for frame in named]
    if beat == "event: heartbeat\ndata: {not json}":
        assert ending_of(between.join(parts), kind).code == "upstream_unavailable"  # text could be lost with it
    else:
        assert ending_of(between.join([b"", *parts, b""]), kind) == HELLO


ERRORS: list[tuple[str, str]] = [
    ('data: {"error": {"code": "rate_limit_exceeded", "message": "slow"}}', "upstream_rate_limited"),
    ('data: {"error": {"code": 429, "message": "slow"}}', "upstream_rate_limited"),
    ('data: {"error": {"type": "server_error", "status": 429, "message": "slow"}}', "upstream_rate_limited"),
    ('data: {"error": {"code": 400, "message": "bad"}}', "run_failed"),
    ('data: {"error": {"code": 500, "message": "oops"}}', "run_failed"),
    ('data: {"error": {"code": "context_length_exceeded", "message": "long"}}', "conversation_too_long"),
    ('data: {"error": {"message": "The input is too long: input is too long."}}', "conversation_too_long"),
    ('data: {"error": "something"}', "run_failed"),
    ('event: error\ndata: {"code": "content_filter", "message": "no"}', "content_filtered"),
    ('event: error\ndata: {"type": "server_error", "message": "oops"}', "run_failed"),
    ('event: error\ndata: {"error": {"code": 429}}', "upstream_rate_limited"),
    ("event: error\ndata: {}", "run_failed"),
    ('event: message\ndata: {"error": {"code": "content_filter"}}', "content_filtered"),
    ('event: failure\ndata: {"error": {"innererror": {"code": "ResponsibleAIPolicyViolation"}}}', "content_filtered"),
    (
        'data: {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 7 seconds."}',
        "upstream_rate_limited",
    ),
]


@pytest.mark.parametrize(("frame", "code"), ERRORS)
@pytest.mark.parametrize("kind", ["openai", "classic"])
def test_an_error_is_one_whatever_its_frame_lacks(frame: str, code: str, kind: str) -> None:
    """argo-proxy#91, bifrost#6783."""
    opening = framed([CREATED]) if kind == "openai" else classic_framed([("thread.run.created", RUN)])
    assert ending_of(opening + frame.encode() + b"\n\n", kind).code == code


RUN: Json = {"id": "run_1", "thread_id": "thread_1", "status": "in_progress"}


def test_a_tool_that_failed_is_no_failed_run() -> None:
    failed: Json = {"type": "response.mcp_call.failed", "output_index": 0, "item_id": "x", "error": {"code": 500}}
    assert said([failed, {**failed, "type": "tool.failed"}, delta("Hello", output_index=1), completed()]) == HELLO


def test_the_reason_of_a_failure_is_waited_for_past_events_that_say_nothing() -> None:
    async def play(wire: Wire, _: str) -> None:
        await wire.head()
        await wire.send(framed([CREATED, delta("Hello", **FIRST)]))
        await wire.send(framed([{"type": "response.failed", "response": {"id": "resp_1", "error": None}}]))
        for _number in range(3):
            await wire.pause(0.05)
            await wire.send(framed([{"type": "response.heartbeat"}]))
        await wire.send(framed([{"type": "error", "error": {"code": "insufficient_quota"}}]))
        await wire.left()

    with bare_upstream(play) as upstream, calling(openai(upstream.url)) as client:
        last = events_of(client.post("/api/chat", json={"message": "hi"}).text)[-1]
    assert (last["code"], last["retryable"]) == ("upstream_rate_limited", False)


def test_a_long_header_of_an_answer_loses_no_turn() -> None:
    """azure-sdk-for-python#27625: 8,190 bytes are aiohttp's own limit for one header."""

    async def play(wire: Wire, _: str) -> None:
        await wire.head(x_long="x" * 60_000)
        await wire.send(framed([CREATED, delta("Hello", **FIRST), completed()]))
        await wire.end()

    with bare_upstream(play) as upstream, calling(openai(upstream.url)) as client:
        assert native_ending(client.post("/api/chat", json={"message": "hi"}).text) == HELLO
    assert upstream.said == ["hi"]


ODD: list[Any] = [[], {}, [1], {"x": []}, True, 1.5, "x", None]
ODD_RESPONSES: list[Json] = [
    {"type": "response.output_text.delta", "delta": "Hello", **FIRST, "item_id": "m"},
    whole("Hello", **FIRST),
    part_done("Hello", **FIRST),
    item_done(message("x"), output_index=0),
    item_done({"type": "function_call", "call_id": "c", "id": "i", "execution": "client"}),
    item_done({"type": "mcp_approval_request", "id": "i"}),
    {"type": "error", "error": {"code": "x", "message": "y", "type": "z", "param": "p", "innererror": {"code": "v"}}},
    {"type": "response.failed", "response": {"id": "r", "error": {"code": "x", "message": "y"}}},
    completed(message("Hello", id="m"), usage={"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}, error=None),
    {
        "type": "response.incomplete",
        "response": {"id": "r", "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
    },
]
CONTENT: list[Json] = [{"index": 0, "type": "text", "text": {"value": "Hello", "annotations": []}}]
ODD_CLASSIC: list[tuple[str, Json]] = [
    ("thread.run.created", RUN),
    ("thread.message.delta", {"id": "msg_1", "delta": {"content": CONTENT}}),
    ("thread.message.completed", {"id": "msg_1", "content": CONTENT}),
    ("thread.message.incomplete", {"id": "msg_1", "incomplete_details": {"reason": "max_tokens"}}),
    ("thread.run.failed", {**RUN, "last_error": {"code": "server_error", "message": "y"}}),
    ("thread.run.incomplete", {**RUN, "incomplete_details": {"reason": "max_tokens"}}),
    ("thread.run.completed", {**RUN, "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}),
    ("error", {"error": {"code": "x", "message": "y"}}),
]


def replaced(value: Any, odd: Any) -> Iterator[Any]:
    """Copies of a JSON value in which one value, at any depth, is another."""
    yield odd
    places = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for place, inner in places:
        for other in replaced(inner, odd):
            copy = value.copy()
            copy[place] = other
            yield copy


def data_of(name: str, event: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(event)}\n\n".encode()


def codes_of(streams: Iterable[bytes], kind: str) -> list[str | None]:
    """The endings' codes, of one service."""
    answers: dict[str, Any] = {"/conversations": {"id": "conv_1"}, "/cancel": RUN}
    codes = []
    with serving(Recorder(answers).app) as url, calling((classic if kind == "classic" else openai)(url)) as client:
        for stream in streams:
            answers |= {"/responses": stream, "/runs": stream}
            answer = client.post("/api/chat", json={"message": "hi"})
            codes.append(native_ending(answer.text).code if answer.is_success else answer.json()["code"])
    return codes


@pytest.mark.parametrize("odd", ODD, ids=json.dumps)
def test_odd_json_at_any_depth_of_a_response_is_no_unhandled_exception(odd: Any) -> None:
    streams = [
        framed([CREATED]) + data_of(name, other) + framed([completed()])
        for event in ODD_RESPONSES
        for other in replaced(event, odd)
        for name in ("", event["type"])
    ]
    codes = codes_of([framed([CREATED, completed()]), *streams], "openai")
    assert codes[0] is None
    assert len(codes) > 80
    assert "internal_error" not in codes


@pytest.mark.parametrize("odd", ODD, ids=json.dumps)
def test_odd_json_at_any_depth_of_a_classic_run_is_no_unhandled_exception(odd: Any) -> None:
    start, end = ("thread.run.created", RUN), ("thread.run.completed", RUN)
    streams = [
        classic_framed([start, (name, other), end]) for name, event in ODD_CLASSIC for other in replaced(event, odd)
    ]
    codes = codes_of([classic_framed([start, end]), *streams], "classic")
    assert codes[0] is None
    assert len(codes) > 50
    assert "internal_error" not in codes
