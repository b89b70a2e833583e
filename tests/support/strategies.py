"""Streams that no upstream would send, and the bytes in which they come: strategies for hypothesis."""

import json

from hypothesis import strategies as st

Said = tuple[str, object]  # an event's name and its data, as it is on the wire

texts = st.text(st.characters(codec="utf-8"), max_size=8)
halves = st.sampled_from(["\ud83d", "\ude80", "a\ud83d", "\ude80b"])
ids = st.sampled_from(["x_1", "x_2", None, 7, ""])
junk = st.one_of(st.none(), st.booleans(), st.integers(), texts, st.just([]), st.just([{}]), st.just({}))
codes = st.sampled_from(["server_error", "rate_limit_exceeded", "insufficient_quota", "content_filter", "?", None, 5])
errors = st.one_of(junk, st.fixed_dictionaries({"code": codes, "message": texts}))
reasons = st.sampled_from(["max_output_tokens", "content_filter", "max_completion_tokens", "moon_phase", None])
usages = st.one_of(junk, st.just({"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}))

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
    response = {"id": draw(ids), "status": status, "error": draw(errors), "usage": draw(usages), "output": draw(junk)}
    if status == "incomplete":
        response["incomplete_details"] = draw(st.one_of(junk, st.fixed_dictionaries({"reason": reasons})))
    item = draw(st.one_of(junk, st.just({"type": "function_call", "call_id": "1"}), st.just({"type": "message"})))
    text = draw(st.one_of(texts, halves, junk))
    more = {"item_id": draw(ids), "delta": text, "text": text, "item": item, "error": draw(errors)}
    return named(kind, {"response": draw(st.one_of(junk, st.just(response), st.just(response))), **more})


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
    content = draw(st.one_of(junk, st.just([{"type": "text", "text": {"value": text}}])))
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
