"""Real streams, recorded: what the service makes of them."""

import pytest

from tests.support.callers import calling, chat, foundry, text_of
from tests.support.playback_upstream import Playback, recorded
from tests.support.servers import serving
from tests.support.wire_formats import framed


@pytest.mark.parametrize("name", ["text", "web-search", "code-interpreter", "file-search"])
def test_a_recorded_answer_is_relayed_whole(name: str) -> None:
    recording = recorded(f"responses-{name}")
    final = recording[-1]["response"]
    with serving(Playback(framed(recording)).app) as upstream, calling(foundry(upstream)) as client:
        events = chat(client, "hello")
    parts = [part for item in final["output"] if item["type"] == "message" for part in item["content"]]
    assert text_of(events) == "".join(part["text"] for part in parts)
    assert [event["type"] for event in events if event["type"] != "chunk"] == ["metadata", "done"]
    assert events[0]["thread_id"] == "conv_1"
    assert events[-1]["full_response"] == text_of(events)
    assert events[-1]["finish_reason"] == "stop"
    figures = ("input_tokens", "output_tokens", "total_tokens")
    assert events[-1]["usage"] == {figure: final["usage"][figure] for figure in figures}


def test_a_recorded_quota_error_is_one_error_not_to_be_retried() -> None:
    recording = framed(recorded("responses-error"))
    with serving(Playback(recording).app) as upstream, calling(foundry(upstream)) as client:
        events = chat(client, "hello")
    assert [event["type"] for event in events] == ["metadata", "error"]
    assert (events[-1]["code"], events[-1]["retryable"]) == ("upstream_rate_limited", False)


@pytest.mark.parametrize(
    ("name", "refusal"),
    [("function-call", "function_call_output"), ("mcp-approval", "mcp_approval_response")],
)
def test_what_only_a_client_could_answer_is_refused_upstream_and_said(name: str, refusal: str) -> None:
    playback = Playback(framed(recorded(f"responses-{name}")))
    with serving(playback.app) as upstream, calling(foundry(upstream)) as client:
        events = chat(client, "hello")
    assert [event["type"] for event in events] == ["metadata", "error"]
    assert (events[-1]["code"], events[-1]["retryable"]) == ("action_required", False)
    (body,) = playback.posted_to("/api/projects/p/openai/v1/conversations/conv_1/items")
    assert {item["type"] for item in body["items"]} == {refusal}
