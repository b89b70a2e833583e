"""What a collector gets to count: each figure's name, unit and value, held to what callers and the emulator saw."""

from collections.abc import Iterator

import httpx
import pytest

from gateway.telemetry.names import UNITS
from tests.support.callers import Events, calling, chat, foundry
from tests.support.otlp_collector import Collector, Point
from tests.support.servers import serving


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    with serving(collector.app) as collector.url:
        yield collector


def by(points: list[Point], attribute: str) -> dict[str, float]:
    return {point.attributes[attribute]: point.value for point in points}


def deltas(events: Events) -> int:
    return sum(event["type"] == "chunk" for event in events)


def test_every_figure_has_its_name_and_unit(emulator: str, collector: Collector) -> None:
    with calling(foundry(emulator, otel_exporter_otlp_endpoint=collector.url)) as client:
        chat(client, "[429 once] Hello!")
    assert {point.name: point.unit for point in collector.points.values()} == UNITS


def test_endings_are_counted_by_what_they_were(emulator: str, collector: Collector) -> None:
    with calling(foundry(emulator, otel_exporter_otlp_endpoint=collector.url)) as client:
        for message in ("a", "b", "[length]", "[fail]", "[denied]"):
            client.post("/api/chat", json={"message": message})
        client.post("/api/v1/chat/stream", json={"message": "c"})
    accepted = httpx.get(f"{emulator}/_seen").json()["messages"]
    endings = collector.series("chat_api.turn.endings")
    counted = {(point.attributes["http.route"], point.attributes["chat_api.ending"]): point.value for point in endings}
    assert counted == {
        ("/api/chat", "stop"): 2,
        ("/api/chat", "length"): 1,
        ("/api/chat", "run_failed"): 1,
        ("/api/chat", "upstream_denied"): 1,
        ("/api/v1/chat/stream", "stop"): 1,
    }
    assert sum(counted.values()) == len(accepted) + 1  # the denied one was not accepted
    assert {point.attributes["chat_api.caller"] for point in endings} == {"anonymous"}


def test_tokens_chunks_and_times_are_those_of_the_answers(emulator: str, collector: Collector) -> None:
    with calling(foundry(emulator, otel_exporter_otlp_endpoint=collector.url)) as client:
        answers = [chat(client, message) for message in ("a", "[echo] one", "[echo] one two", "[long:500]")]
    tokens = by(collector.series("gen_ai.client.token.usage"), "gen_ai.token.type")
    usages = [answer[-1]["usage"] for answer in answers]
    assert tokens == {
        "input": sum(usage["input_tokens"] for usage in usages),
        "output": sum(usage["output_tokens"] for usage in usages),
    }
    (mean,) = collector.series("chat_api.turn.mean_gap")
    (longest,) = collector.series("chat_api.turn.longest_gap")
    assert mean.count == longest.count == sum(deltas(answer) > 1 for answer in answers)
    assert 0 < mean.value < longest.value
    (first,) = collector.series("gen_ai.client.operation.time_to_first_chunk")
    (whole,) = collector.series("gen_ai.client.operation.duration")
    assert first.count == whole.count == 4
    assert 0 < first.value < whole.value
    assert whole.attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "azure.ai.inference",
    }


def test_repeated_requests_are_counted(emulator: str, collector: Collector) -> None:
    with calling(foundry(emulator, otel_exporter_otlp_endpoint=collector.url)) as client:
        chat(client, "[429 once]")
        chat(client, "Hi")
    (retries,) = collector.series("chat_api.upstream.retries")
    assert retries.value == 1


def test_open_turns_and_prepared_conversations_are_read_while_the_service_runs(
    emulator: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    settings = foundry(emulator, otel_exporter_otlp_endpoint=collector.url, conversation_pool_size=3)
    with calling(settings) as client:
        collector.wait_until(lambda: [p.value for p in collector.series("chat_api.conversations.prepared")] == [3])
        with client.stream("POST", "/api/chat", json={"message": "[stall]"}) as got:
            lines = got.iter_lines()
            assert "metadata" in next(lines)
            collector.wait_until(lambda: [p.value for p in collector.series("chat_api.turns.open")] == [1])
        collector.wait_until(lambda: [p.value for p in collector.series("chat_api.turns.open")] == [0])


def test_a_start_is_counted_with_its_time_to_readiness(emulator: str, collector: Collector) -> None:
    with calling(foundry(emulator, otel_exporter_otlp_endpoint=collector.url)) as client:
        chat(client, "Hi")
    (start,) = collector.series("chat_api.start.duration")
    assert (start.count, start.value > 0) == (1, True)
