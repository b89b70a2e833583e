"""What sends telemetry away: to Application Insights, to any OpenTelemetry collector, to the terminal.

Each exports from a thread of its own, in batches, out of bounded queues: what does not fit is dropped.
"""

import os
from dataclasses import dataclass

from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

from gateway.telemetry.destination import Destination


@dataclass(frozen=True, slots=True)
class Exporters:
    spans: list[SpanProcessor]
    metrics: list[MetricExporter]


def exporters_for(destination: Destination) -> Exporters:
    made = Exporters([], [])
    if destination.connection_string:
        _add_application_insights(made, destination.connection_string, destination.client_id)
    if destination.otlp_endpoint:
        _add_otlp(made, destination.otlp_endpoint)
    if destination.to_console:
        from gateway.telemetry.console import Terminal  # noqa: PLC0415

        made.spans.append(SimpleSpanProcessor(Terminal()))
    return made


def _add_application_insights(made: Exporters, connection_string: str, client_id: str | None) -> None:
    for what in (
        "STATSBEAT_DISABLED_ALL",
        "SDKSTATS_DISABLED",
        "CONTROLPLANE_DISABLED",
        "OPENTELEMETRY_RESOURCE_METRIC_DISABLED",
    ):
        os.environ.setdefault(f"APPLICATIONINSIGHTS_{what}", "true")  # figures about the exporter itself, to Microsoft
    from azure.monitor.opentelemetry.exporter import (  # noqa: PLC0415  0.2 s, and it reads these
        AzureMonitorMetricExporter,
        AzureMonitorTraceExporter,
    )

    how = {
        "connection_string": connection_string,
        "disable_offline_storage": True,  # dropped rather than kept on the disk of a replica that goes away
        **_identity(client_id),
    }
    made.spans.append(BatchSpanProcessor(AzureMonitorTraceExporter(**how)))
    made.metrics.append(AzureMonitorMetricExporter(**how))


def _identity(client_id: str | None) -> dict[str, object]:
    """In Azure the managed identity (Monitoring Metrics Publisher); elsewhere the connection string's key alone."""
    if not os.environ.get("IDENTITY_ENDPOINT"):
        return {}
    from azure.identity import ManagedIdentityCredential  # noqa: PLC0415

    # The endpoint is on this machine: a proxy would get the request, and its secret header.
    return {"credential": ManagedIdentityCredential(client_id=client_id, use_env_settings=False)}


def _add_otlp(made: Exporters, endpoint: str) -> None:
    """Headers, time-outs and the like: the standard's OTEL_EXPORTER_OTLP_* in the process's environment."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    made.spans.append(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")))
    made.metrics.append(OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics"))
