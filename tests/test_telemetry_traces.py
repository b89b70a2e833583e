"""What a collector gets to see of turns: the tree of spans, and that the upstream is told of the trace."""

import hashlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from gateway.settings import Settings
from gateway.telemetry.names import SPAN_ATTRIBUTES
from tests.support.callers import calling, chat, classic, events_of, foundry, openai
from tests.support.otlp_collector import Collector, Span
from tests.support.servers import serving

API_KEY = "0123456789abcdef0123456789abcdef"
MARKER = "Xylophone-4711"
TRACE_ID, CALLERS_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{CALLERS_SPAN}-00"  # not sampled: a caller does not decide that


@contextmanager
def observed(
    upstream: str, settings: Callable[..., Settings], **more: Any
) -> Generator[tuple[httpx.Client, Collector]]:
    """A service that sends its telemetry to the collector; all of it is there when this is left."""
    collector = Collector()
    with serving(collector.app) as url:
        how = {"otel_exporter_otlp_endpoint": url, "conversation_pool_size": 0, **more}
        with calling(settings(upstream, **how)) as client:
            yield client, collector


def seen(upstream: str) -> Any:
    return httpx.get(f"{upstream}/_seen").json()


def only(spans: list[Span]) -> Span:
    (span,) = spans
    return span


def outcomes(spans: list[Span]) -> list[tuple[str, int | None, str | None]]:
    """Name, status, error of each, in their order."""
    told = [(s.name, s.attributes.get("http.response.status_code"), s.attributes.get("error.type")) for s in spans]
    return [(name.replace("/api/projects/p", ""), status, error) for name, status, error in told]


def test_a_good_turn_is_a_server_span_with_a_client_span_for_each_upstream_request(emulator: str) -> None:
    with observed(emulator, foundry) as (client, collector):
        head = {"traceparent": TRACEPARENT, "x-request-id": "id-1"}
        body = {"message": "[echo] one two three", "conversation_id": "c-1"}
        text = client.post("/api/chat", json=body, headers=head).text
    assert text.count('"chunk"') == 3
    turn = only(collector.turns())
    assert (turn.name, turn.trace_id, turn.parent_id) == ("POST /api/chat", TRACE_ID, CALLERS_SPAN)
    assert (turn.events, turn.failed) == (["chat_api.first_chunk"], False)
    calls = collector.below(turn)
    assert outcomes(calls) == [
        ("POST /openai/v1/conversations", 200, None),
        ("POST /openai/v1/responses", 200, None),
    ]
    assert {(call.kind, call.trace_id) for call in calls} == {("CLIENT", TRACE_ID)}
    assert all(call.seconds <= turn.seconds for call in calls)


def test_a_turns_span_tells_the_turn_in_the_conventions_words(emulator: str) -> None:
    with observed(emulator, foundry) as (client, collector):
        head = {"x-request-id": "id-1"}
        body = {"message": "[echo] one two three", "conversation_id": "c-1"}
        events = client.post("/api/chat", json=body, headers=head)
    told = only(collector.turns()).attributes
    run_id = told.pop("gen_ai.response.id")
    thread_id = told.pop("gen_ai.conversation.id")
    assert run_id.startswith("resp_")
    assert f'"thread_id": "{thread_id}"' in events.text
    for figure in ("first_chunk_ms", "upstream_ms", "mean_gap_ms", "longest_gap_ms"):
        assert 0 <= told.pop(f"chat_api.{figure}") < 20_000
    tokens = told.pop("gen_ai.usage.input_tokens"), told.pop("gen_ai.usage.output_tokens")
    assert f'"input_tokens": {tokens[0]}, "output_tokens": {tokens[1]}' in events.text
    assert told == {
        "http.request.method": "POST",
        "http.route": "/api/chat",
        "url.path": "/api/chat",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "azure.ai.inference",
        "gen_ai.agent.id": "agent",
        "gen_ai.response.finish_reasons": ["stop"],
        "chat_api.request_id": "id-1",
        "chat_api.conversation_id": "c-1",
        "chat_api.upstream": "foundry",
        "chat_api.caller": "anonymous",
        "chat_api.ending": "stop",
        "chat_api.deltas": 3,
        "chat_api.characters": 13,
        "chat_api.retries": 0,
    }
    assert collector.resource["service.name"] == "chat-api"


def test_the_upstream_is_told_which_span_asks_it(emulator: str) -> None:
    with observed(emulator, foundry) as (client, collector):
        chat(client, "Hi")
    carried = {request["headers"].get("traceparent") for request in seen(emulator)["requests"]}
    calls = [span for span in collector.spans if span.kind == "CLIENT"]
    assert carried == {f"00-{call.trace_id}-{call.span_id}-01" for call in calls}
    assert len(carried) == 2


def test_without_a_destination_the_upstream_is_told_of_no_trace(emulator: str) -> None:
    with calling(foundry(emulator)) as client:
        chat(client, "Hi")
    assert not [r for r in seen(emulator)["requests"] if "traceparent" in r["headers"]]


def test_a_turn_that_fails_in_its_midst_is_a_failed_span_that_says_why(emulator: str) -> None:
    with observed(emulator, foundry) as (client, collector):
        assert chat(client, "[fail]")[-1]["code"] == "run_failed"
    turn = only(collector.turns())
    assert turn.failed
    assert turn.attributes["error.type"] == turn.attributes["chat_api.ending"] == "run_failed"
    assert (turn.attributes["http.response.status_code"], turn.attributes["chat_api.deltas"]) == (200, 3)
    assert outcomes(collector.below(turn))[-1] == ("POST /openai/v1/responses", 200, "run_failed")


def test_a_refused_turn_has_its_status_and_is_the_callers_own_fault_where_it_is(emulator: str) -> None:
    with observed(emulator, foundry) as (client, collector):
        assert client.post("/api/chat", json={"message": "[denied]"}).status_code == 502
        assert client.post("/api/chat", json={"message": "[filter]"}).status_code == 400
    denied, filtered = collector.turns()
    assert (denied.attributes["error.type"], denied.failed) == ("upstream_denied", True)
    assert (filtered.attributes["error.type"], filtered.failed) == ("content_filtered", False)
    assert outcomes(collector.below(denied))[-1] == ("POST /openai/v1/responses", 401, "upstream_denied")


def test_a_repeated_request_is_a_span_of_its_own(emulator: str) -> None:
    with observed(emulator, foundry) as (client, collector):
        chat(client, "[429 once]")
    turn = only(collector.turns())
    assert turn.attributes["chat_api.retries"] == 1
    refused, accepted = collector.below(turn)[-2:]
    assert outcomes([refused, accepted]) == [
        ("POST /openai/v1/responses", 429, "upstream_rate_limited"),
        ("POST /openai/v1/responses", 200, None),
    ]
    assert accepted.attributes["http.request.resend_count"] == 1


def test_a_reader_who_leaves_is_no_failure(emulator: str) -> None:
    with observed(emulator, foundry) as (client, collector):  # noqa: SIM117
        with client.stream("POST", "/api/chat", json={"message": "[stall]"}) as got:
            lines = got.iter_lines()
            assert "metadata" in next(lines)
    turn = only(collector.turns())
    assert (turn.attributes["chat_api.ending"], turn.failed) == ("client_disconnect", False)
    assert outcomes(collector.below(turn))[-1] == ("POST /openai/v1/responses", 200, None)


def test_a_cancelled_turn_is_cancelled_and_the_cancelling_is_a_trace_of_its_own(emulator: str) -> None:
    with observed(emulator, classic) as (client, collector):  # noqa: SIM117
        with client.stream("POST", "/api/chat", json={"message": "[stall]"}) as got:
            lines = got.iter_lines()
            thread_id = next(lines).partition('"thread_id": "')[2].partition('"')[0]
            while "chunk" not in next(lines):
                pass
            assert client.post("/api/chat/cancel", json={"thread_id": thread_id}).status_code == 202
            rest = "".join(lines)
    assert '"code": "cancelled"' in rest
    turn = only(collector.turns())
    assert (turn.attributes["chat_api.ending"], turn.failed) == ("cancelled", False)
    cancel = only([span for span in collector.spans if span.name.endswith("/cancel")])
    assert cancel.name.endswith("/threads/{id}/runs/{id}/cancel")
    assert cancel.trace_id != turn.trace_id


def test_an_azure_openai_turn_is_a_chat_with_a_model(emulator: str) -> None:
    with observed(emulator, openai) as (client, collector):
        chat(client, "Hi")
    told = only(collector.turns()).attributes
    assert (told["gen_ai.operation.name"], told["gen_ai.provider.name"]) == ("chat", "azure.ai.openai")
    assert (told["gen_ai.request.model"], told["chat_api.upstream"]) == ("gpt", "openai")


def test_prepared_conversations_belong_to_no_turn(emulator: str) -> None:
    with observed(emulator, foundry, conversation_pool_size=2) as (client, collector):
        chat(client, "Hi")
    turn = only(collector.turns())
    ahead = [span for span in collector.spans if span.name.endswith("/conversations") and not span.parent_id]
    assert len(ahead) >= 2
    assert turn.trace_id not in {span.trace_id for span in ahead}


def test_no_text_of_any_message_is_exported(emulator: str) -> None:
    with observed(emulator, foundry) as (client, collector):
        for orders in ("", "[fail] ", "[filter] ", "[quota] ", "[500] ", "[function] "):
            client.post("/api/chat", json={"message": f"{orders}[echo] {MARKER} and more {MARKER}"})
            client.post("/api/v1/chat/stream", json={"message": f"{orders}{MARKER}"})
        client.post("/api/chat", json={"massage": MARKER})
        client.get(f"/{MARKER}")
    assert len(collector.turns()) == 12
    assert not [body for body in collector.bodies if MARKER.encode() in body]
    assert {name for span in collector.spans for name in span.attributes} <= SPAN_ATTRIBUTES


@pytest.mark.parametrize("asked", ["true", "SPAN_ONLY", "span_and_event"])
def test_text_is_exported_where_the_operator_asks_for_it(asked: str, emulator: str) -> None:
    setting = {"otel_instrumentation_genai_capture_message_content": asked}
    with observed(emulator, foundry, **setting) as (client, collector):
        chat(client, f"[echo] {MARKER}")
    told = only(collector.turns()).attributes
    assert f'"content": "[echo] {MARKER}"' in told["gen_ai.input.messages"]
    assert f'"content": "{MARKER}"' in told["gen_ai.output.messages"]


def test_what_callers_hold_is_not_exported_but_what_kind_of_caller_it_was_is(emulator: str) -> None:
    keys = {
        "auth": "key",
        "api_keys": f"quillfeather:{hashlib.sha256(API_KEY.encode()).hexdigest()}",
        "conversation_keys": "k" * 32,
    }
    with observed(emulator, foundry, **keys) as (client, collector):
        head = {"x-api-key": API_KEY}
        first = events_of(client.post("/api/chat", json={"message": "Hi"}, headers=head).text)
        handle = first[0]["thread_id"]
        again = client.post("/api/chat", json={"message": "Hi", "thread_id": handle}, headers=head)
        assert again.status_code == 200
    began, continued = collector.turns()
    assert began.attributes["gen_ai.conversation.id"] == continued.attributes["gen_ai.conversation.id"]
    assert began.attributes["gen_ai.conversation.id"].startswith("conv_")
    assert {turn.attributes["chat_api.caller"] for turn in (began, continued)} == {"key"}
    secrets = [API_KEY, handle, "quillfeather"]
    assert not [secret for secret in secrets for body in collector.bodies if secret.encode() in body]
