"""Streams that no upstream would send, and the bytes in which they come: strategies for hypothesis."""

import json

from hypothesis import strategies as st

Said = tuple[str, object]  # an event's name and its data, as it is on the wire

texts = st.text(st.characters(codec="utf-8"), max_size=8)
halves = st.sampled_from(["\ud83d", "\ude80", "a\ud83d", "\ude80b"])
nested = st.sampled_from([[], {}, [1], [{}], {"x": []}, [[["x"]]], {"x": {"y": [None]}}])  # none can be a key
ids = st.one_of(*[st.sampled_from(["x_1", "x_2", None, 7, ""])] * 3, nested)
numbers = st.one_of(st.integers(), st.sampled_from([0.5, 1e300, float("inf"), float("nan"), 10**400]))
junk = st.one_of(st.none(), st.booleans(), numbers, texts, nested)
codes = st.sampled_from(["server_error", "rate_limit_exceeded", "insufficient_quota", "content_filter", "?", None, 5])
errors = st.one_of(
    junk,
    st.fixed_dictionaries({"code": codes, "message": texts}),
    st.fixed_dictionaries(
        {"code": st.one_of(codes, junk)},
        optional={"message": junk, "type": junk, "param": junk, "details": st.lists(junk), "innererror": junk},
    ),
)
reasons = st.sampled_from(["max_output_tokens", "content_filter", "max_completion_tokens", "moon_phase", None])
usages = st.one_of(
    junk,
    st.just({"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}),
    st.fixed_dictionaries({f"{side}_tokens": junk for side in ("input", "output", "prompt", "completion", "total")}),
)

items = st.one_of(
    st.just({"type": "function_call", "call_id": "1"}),
    st.just({"type": "message"}),
    st.fixed_dictionaries(
        {"type": st.one_of(junk, st.sampled_from(["function_call", "mcp_approval_request", "tool_search_call"]))},
        optional={"id": ids, "call_id": ids, "execution": junk},
    ),
)

runs = st.fixed_dictionaries(
    {"status": st.one_of(junk, st.just("in_progress"))}, optional={"id": ids, "metadata": junk}
)

RESPONSE_DONE = ("response.completed", "response.incomplete")
CLASSIC_DONE = ("thread.run.completed", "thread.run.incomplete")


def named(kind: str, body: dict[str, object]) -> Said:
    return kind, {"type": kind, **body}


@st.composite
def response_events(draw: st.DrawFn) -> Said:
    text_kinds = ["response.output_text.delta", "response.refusal.delta"]
    kind = draw(
        st.sampled_from(
            [*text_kinds * 4, "response.created", "response.in_progress", "response.output_text.done", "response.new",
             "response.failed", "response.cancelled", "response.output_item.done", "error", *RESPONSE_DONE, "[DONE]"]
        )
    )  # fmt: skip
    if kind == "[DONE]":
        return "", "[DONE]"
    status = {"response.incomplete": "incomplete", "response.completed": "completed"}.get(kind, "in_progress")
    output = draw(st.one_of(junk, st.lists(items, max_size=2)))
    response = {"id": draw(ids), "status": status, "error": draw(errors), "usage": draw(usages), "output": output}
    if status == "incomplete":
        response["incomplete_details"] = draw(st.one_of(junk, st.fixed_dictionaries({"reason": reasons})))
    item = draw(st.one_of(junk, items))
    text = draw(st.one_of(texts, halves, junk))
    more = {"item_id": draw(ids), "delta": text, "text": text, "item": item, "error": draw(errors)}
    body: dict[str, object] = {"response": draw(st.one_of(junk, st.just(response), st.just(response))), **more}
    return named(kind, body) if draw(st.integers(0, 9)) else ("a kind of another type", {"type": draw(junk), **body})


@st.composite
def classic_events(draw: st.DrawFn) -> Said:
    kind = draw(
        st.sampled_from(
            ["thread.message.delta"] * 6
            + ["thread.created", "thread.run.created", "thread.run.queued", "thread.run.in_progress", "thread.new"]
            + ["thread.message.completed", "thread.message.incomplete", "thread.run.step.completed", "done", "error"]
            + ["thread.run.failed", "thread.run.expired", "thread.run.cancelled", "thread.run.requires_action"]
            + [*CLASSIC_DONE]
        )
    )
    if kind == "done":
        return kind, "[DONE]"
    text = draw(st.one_of(texts, halves, junk))
    part = st.one_of(junk, st.just({"type": "text", "text": {"value": text}}), st.fixed_dictionaries({"text": junk}))
    content = draw(st.one_of(junk, st.just([{"type": "text", "text": {"value": text}}]), st.lists(part, max_size=2)))
    body = {
        "id": draw(ids),
        "thread_id": draw(ids),
        "delta": draw(st.one_of(junk, st.just({"content": content}))),
        "content": content,
        "last_error": draw(errors),
        "error": draw(errors),
        "incomplete_details": draw(st.one_of(junk, st.fixed_dictionaries({"reason": reasons}))),
        "usage": draw(usages),
    }
    return kind, body


STARTS: dict[str, Said] = {
    "responses": named("response.created", {"response": {"id": "resp_1"}}),
    "classic": ("thread.run.created", {"id": "run_1", "thread_id": "thread_1"}),
}
garbage = st.sampled_from([("", "{"), ("thread.run.created", "[1]"), ("", "nothing"), ("x", "")])


@st.composite
def streams(draw: st.DrawFn, kind: str) -> tuple[list[Said], list[bytes]]:
    """Events, and the same as bytes in pieces; often with a good start, sometimes cut."""
    event = response_events() if kind == "responses" else classic_events()
    said = draw(st.lists(st.one_of(event, event, event, event, garbage), max_size=12))
    if draw(st.integers(0, 3)):
        said.insert(0, STARTS[kind])
    line_end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    raw = b"".join(on_wire(*one, line_end) for one in said)
    if not draw(st.integers(0, 3)):
        raw = raw[: draw(st.integers(0, len(raw)))]
    size = draw(st.sampled_from([1, 3, 17, 200, 100_000]))
    return said, [raw[i : i + size] for i in range(0, len(raw), size)]


def on_wire(name: str, data: object, line_end: str = "\n") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    opening = f"event: {name}{line_end}" if name else ""
    return f"{opening}: a comment{line_end}data: {text}{line_end}{line_end}".encode()
