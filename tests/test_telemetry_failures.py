"""What telemetry costs callers when its collector is slow, away or nowhere: nothing."""

import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from tests.support.callers import calling, chat, foundry
from tests.support.environment import bare_environment
from tests.support.ports import free_port

LOADED = """
import sys
from starlette.testclient import TestClient
from gateway.app import create_app
with TestClient(create_app()) as client:
    assert client.get("/health").status_code == 200
    if {chats}:
        assert '"done"' in client.post("/api/chat", json={{"message": "Hi"}}).text
    late = ("opentelemetry.sdk", "opentelemetry.exporter", "azure.monitor", "gateway.telemetry.otel", "google.protobuf")
    print([name for name in sys.modules if name.startswith(late)])
"""


@contextmanager
def listener_that_never_answers() -> Generator[str]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as never:
        yield f"http://127.0.0.1:{never.getsockname()[1]}"


def loaded(upstream: str, *, chats: bool = True, **settings: str) -> str:
    environment = bare_environment(
        AZURE_AI_PROJECT_ENDPOINT=f"{upstream}/api/projects/p", AZURE_AI_AGENT_ID="agent", DRAIN_S="0", **settings
    )
    run = [sys.executable, "-c", LOADED.format(chats=chats)]
    told = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stderr
    return told.stdout.strip()


def test_without_a_destination_nothing_of_opentelemetrys_sdk_is_loaded(emulator: str) -> None:
    assert loaded(emulator) == "[]"


def test_fastapis_own_exporter_stays_off_even_where_its_variable_is_set(emulator: str) -> None:
    assert loaded(emulator, FASTAPI_OTEL_AUTO_CONFIGURE="true") == "[]"


def test_it_is_loaded_after_the_service_listens_and_is_warm() -> None:
    with listener_that_never_answers() as upstream:
        assert loaded(upstream, chats=False, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9") == "[]"


@pytest.mark.parametrize("trouble", ["down", "hangs"])
def test_a_collector_in_trouble_costs_no_turn(trouble: str, emulator: str) -> None:
    with listener_that_never_answers() as hanging:
        url = hanging if trouble == "hangs" else f"http://127.0.0.1:{free_port()}"
        with calling(foundry(emulator, otel_exporter_otlp_endpoint=url, drain_s=1)) as client:
            endings = [chat(client, "Hi")[-1]["type"] for _ in range(20)]
    assert endings == ["done"] * 20


def test_a_connection_string_that_nobody_can_read_is_an_error_in_the_log_alone(
    emulator: str, caplog: pytest.LogCaptureFixture
) -> None:
    with calling(foundry(emulator, applicationinsights_connection_string="InstrumentationKey=oops")) as client:
        assert chat(client, "Hi")[-1]["type"] == "done"
    assert [r.getMessage().partition(":")[0] for r in caplog.records if r.name.endswith("reporter")] == [
        "telemetry disabled"
    ]
