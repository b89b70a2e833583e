"""One process from its start to SIGTERM: the id that a user reads out leads to a log line, and that to a trace."""

import json
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

import httpx

from tests.support.callers import events_of
from tests.support.environment import bare_environment
from tests.support.otlp_collector import Collector
from tests.support.servers import serving


def lines_of(emulator: str, chat: dict[str, str], head: dict[str, str], **settings: str) -> tuple[str, str]:
    """What a service answered, and what it had logged when it was gone."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = bare_environment(
        AZURE_AI_PROJECT_ENDPOINT=f"{emulator}/api/projects/p", AZURE_AI_AGENT_ID="agent", PORT=str(port), **settings
    )
    started = [sys.executable, "-m", "gateway"]
    with subprocess.Popen(started, env=environment, stderr=subprocess.PIPE, text=True) as service:
        try:
            answered = _posted(f"http://127.0.0.1:{port}", chat, head)
            service.send_signal(signal.SIGTERM)
            _, logged = service.communicate(timeout=30)
        finally:
            service.kill()
    return answered, logged


def _posted(url: str, chat: dict[str, str], head: dict[str, str]) -> str:
    pause = threading.Event()
    for _ in range(300):
        try:
            return httpx.post(f"{url}/api/chat", json=chat, headers=head, timeout=20).text
        except httpx.ConnectError:
            pause.wait(0.1)
    raise AssertionError("the service did not listen in 30 s")


def turn_line(logged: str) -> dict[str, Any]:
    lines = [json.loads(line) for line in logged.splitlines()]
    (turn,) = [line for line in lines if line["event"] == "turn"]
    return dict(turn)


def test_the_id_that_a_user_reads_out_leads_to_the_line_the_trace_and_the_upstreams_run(emulator: str) -> None:
    collector = Collector()
    with serving(collector.app) as url:
        head, said = {"x-request-id": "read-out"}, {"message": "[fail] Xylophone", "conversation_id": "c\n1"}
        answered, logged = lines_of(emulator, said, head, OTEL_EXPORTER_OTLP_ENDPOINT=url)
    assert events_of(answered)[-1]["request_id"] == "read-out"
    line = turn_line(logged)
    (span,) = collector.turns()
    assert (line["request_id"], line["trace_id"]) == ("read-out", span.trace_id)
    assert line["run_id"] == span.attributes["gen_ai.response.id"]
    assert "Xylophone" not in logged


def test_the_line_of_a_turn(emulator: str) -> None:
    said = {"message": "[echo] one two", "conversation_id": "c\n1"}
    answered, logged = lines_of(emulator, said, {"x-request-id": "id-1"})
    line = turn_line(logged)
    assert line.pop("run_id").startswith("resp_")
    assert len(line.pop("trace_id")) == 32
    assert line.pop("time").endswith("Z")
    assert line.pop("message").startswith("/api/chat: stop in ")
    for figure in ("first_chunk_ms", "upstream_ms", "mean_gap_ms", "longest_gap_ms", "total_ms"):
        assert 0 <= line.pop(figure) < 30_000
    usage = events_of(answered)[-1]["usage"]
    assert line == {
        "level": "INFO",
        "event": "turn",
        "logger": "gateway.telemetry.reporter",
        "request_id": "id-1",
        "upstream": "foundry",
        "route": "/api/chat",
        "caller": "anonymous",
        "conversation_id": "c\n1",
        "ending": "stop",
        "finish_reason": "stop",
        "deltas": 2,
        "characters": 7,
        "input_tokens": usage["input_tokens"],
        "output_tokens": usage["output_tokens"],
        "retries": 0,
    }


def test_lines_for_people_cannot_be_forged(emulator: str) -> None:
    said = {"message": "Hi", "conversation_id": "c\n12:00:00 ERROR forged\u2028"}
    _, logged = lines_of(emulator, said, {"x-request-id": "id-1"}, LOG_FORMAT="text")
    assert not [line for line in logged.splitlines() if line.startswith("12:00:00 ERROR")]
    (line,) = [line for line in logged.splitlines() if "/api/chat: stop" in line]
    assert r"conversation_id=c\n12:00:00 ERROR forged\u2028" in line
    assert line.endswith("[id-1]")


def test_spans_can_be_read_in_the_terminal(emulator: str) -> None:
    _, shown = lines_of(emulator, {"message": "Hi"}, {"x-request-id": "id-1"}, OTEL_TRACES_EXPORTER="console")
    (turn,) = [line for line in shown.splitlines() if line.startswith(" ● POST /api/chat")]
    assert "request id-1" in turn
    assert [line for line in shown.splitlines() if line.startswith("   └ POST /api/projects/p/openai/v1/responses")]
