"""The queries of the workbook, the alerts and docs/observability.md ask for what the service really sends."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.telemetry.logs import JsonFormatter
from gateway.telemetry.names import UNITS
from tests.support.application_insights import Insights
from tests.support.callers import calling, chat, foundry
from tests.support.environment import ROOT
from tests.support.error_classes import error_classes
from tests.support.servers import serving

QUERIES = {path.stem: path.read_text("utf-8") for path in sorted((ROOT / "infra/queries").glob("*.kql"))}
DOCS = (ROOT / "docs/observability.md").read_text("utf-8")
WATCHING = (ROOT / "infra/modules/watching.bicep").read_text("utf-8")
MARKER = "Xylophone-4711"

# The columns that the queries may use, of https://learn.microsoft.com/azure/azure-monitor/reference/tables-index
COLUMNS = {
    "requests": {"timestamp", "name", "operation_Id", "duration", "resultCode", "itemType", "customDimensions"},
    "dependencies": {"timestamp", "name", "type", "success", "duration", "resultCode", "operation_Id", "itemType"},
    "customMetrics": {"timestamp", "name", "valueSum", "valueCount", "valueMax", "cloud_RoleInstance"},
    "ContainerAppConsoleLogs": {"TimeGenerated", "Log"},
}
CLASSIC_COLUMN = re.compile(r"\b(?:timestamp|itemType|customDimensions|cloud_\w+|operation_\w+|value[A-Z]\w+)\b")


@pytest.fixture
def insights() -> Iterator[Insights]:
    insights = Insights()
    with serving(insights.app) as insights.url:
        yield insights


def connection_string(insights: Insights) -> str:
    key = "12345678-1234-1234-1234-123456789012"
    return f"InstrumentationKey={key};IngestionEndpoint={insights.url}/"


def asked(pattern: str) -> set[str]:
    return {name for query in QUERIES.values() for name in re.findall(pattern, query)}


def test_what_the_queries_ask_for_arrives_in_application_insights(emulator: str, insights: Insights) -> None:
    setting = {"applicationinsights_connection_string": connection_string(insights)}
    with calling(foundry(emulator, **setting)) as client:
        chat(client, "[429 once]")
        chat(client, "[fail]")
        client.post("/api/chat", json={"message": "[denied]"})
    dimensions = {name for turn in insights.of("Request") for name in turn["properties"]}
    assert asked(r'customDimensions\["([^"]+)"\]') - dimensions == set()
    metrics = {metric["name"] for item in insights.of("Metric") for metric in item["metrics"]}
    assert metrics == UNITS.keys()
    assert asked(r'\| where name == "([^"]+)"') - metrics == set()
    assert {turn["name"] for turn in insights.of("Request")} == {"POST /api/chat"}
    assert {call["type"] for call in insights.of("RemoteDependency")} == {"HTTP"}


def test_no_text_of_any_message_arrives_in_application_insights(emulator: str, insights: Insights) -> None:
    setting = {"applicationinsights_connection_string": connection_string(insights)}
    with calling(foundry(emulator, **setting)) as client:
        for orders in ("", "[fail] ", "[filter] ", "[500] "):
            client.post("/api/chat", json={"message": f"{orders}[echo] {MARKER}"})
    assert len(insights.of("Request")) == 4
    assert not [body for body in insights.bodies if MARKER.encode() in body]


def test_what_the_queries_ask_of_the_log_is_in_its_lines(emulator: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="gateway")
    with calling(foundry(emulator)) as client:
        chat(client, "[fail]")
        client.post("/api/chat", json={})
    lines: list[dict[str, Any]] = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    assert {"turn", "refused"} <= {line["event"] for line in lines}
    assert asked(r"\bline\.(\w+)") - {field for line in lines for field in line} == set()
    assert asked(r'line\.event == "(\w+)"') <= {"turn", "refused", "log"}


@pytest.mark.parametrize("name", QUERIES)
def test_queries_use_the_columns_of_their_table(name: str) -> None:
    tables = [
        table for table in COLUMNS if re.search(rf"^(?:let \w+ = |union .*)?{table}\b", QUERIES[name], re.MULTILINE)
    ]
    columns = set().union(*(COLUMNS[table] for table in tables))
    assert set(CLASSIC_COLUMN.findall(QUERIES[name])) - columns == set()


def test_the_alert_on_errors_knows_every_code_that_is_not_the_callers_fault() -> None:
    ours = {error.code for error in error_classes() if error.status >= 500} | {"upstream_rate_limited"}
    (listed,) = re.findall(r"ending in \(([^)]*)\)", QUERIES["alert_errors"])
    assert set(re.findall(r'"(\w+)"', listed)) == ours
    assert 'ending"] == "upstream_denied"' in QUERIES["alert_denied"]
    assert {*re.findall(r"column: '(\w+)'", WATCHING)} == {"error_share", "first_chunk_p95_ms"}


@pytest.mark.parametrize("name", QUERIES)
def test_the_documentation_shows_the_query_as_it_is(name: str) -> None:
    assert f"```kusto\n{QUERIES[name].rstrip()}\n```\n" in DOCS


def test_every_query_of_the_templates_exists_and_every_metric_is_documented() -> None:
    used = re.findall(r"loadTextContent\('\.\./queries/(\w+)\.kql'\)", WATCHING)
    assert set(used) == QUERIES.keys() - {"one_request", "one_request_log", "refused"}
    table = dict(re.findall(r"^\| `([a-z_.]+)` \| (\S+) \|", DOCS.split("## Metrics")[1], re.MULTILINE))
    assert table == UNITS
