"""The exporters of telemetry: to Application Insights, to any OpenTelemetry collector, to the terminal.

Each exports from a thread of its own, in batches, from bounded queues: what does not fit is dropped.
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


def create_exporters(destination: Destination) -> Exporters:
    exporters = Exporters([], [])
    if destination.connection_string:
        _add_application_insights(exporters, destination.connection_string, destination.client_id)
    if destination.otlp_endpoint:
        _add_otlp(exporters, destination.otlp_endpoint)
    if destination.to_console:
        from gateway.telemetry.console import create_console_exporter  # noqa: PLC0415

        exporters.spans.append(SimpleSpanProcessor(create_console_exporter()))
    return exporters


def _add_application_insights(exporters: Exporters, connection_string: str, client_id: str | None) -> None:
    for what in (
        "STATSBEAT_DISABLED_ALL",
        "SDKSTATS_DISABLED",
        "CONTROLPLANE_DISABLED",
        "OPENTELEMETRY_RESOURCE_METRIC_DISABLED",
    ):
        os.environ.setdefault(f"APPLICATIONINSIGHTS_{what}", "true")  # metrics of the exporter itself, to Microsoft
    from azure.monitor.opentelemetry.exporter import (  # noqa: PLC0415  0.2 s, and it reads these
        AzureMonitorMetricExporter,
        AzureMonitorTraceExporter,
    )

    options = {
        "connection_string": connection_string,
        "disable_offline_storage": True,  # dropped, not stored on a disk that goes with the replica
        **_build_credential_option(client_id),
    }
    exporters.spans.append(BatchSpanProcessor(AzureMonitorTraceExporter(**options)))
    exporters.metrics.append(AzureMonitorMetricExporter(**options))


def _build_credential_option(client_id: str | None) -> dict[str, object]:
    """Return the managed identity in Azure (Monitoring Metrics Publisher); elsewhere nothing."""
    if not os.environ.get("IDENTITY_ENDPOINT"):
        return {}
    from azure.identity import ManagedIdentityCredential  # noqa: PLC0415

    # The endpoint is on this machine: a proxy would get the request, and its secret header.
    return {"credential": ManagedIdentityCredential(client_id=client_id, use_env_settings=False)}


def _add_otlp(exporters: Exporters, endpoint: str) -> None:
    """Add it. Headers, timeouts and the like are the standard's OTEL_EXPORTER_OTLP_* in the process's environment."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    exporters.spans.append(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")))
    exporters.metrics.append(OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics"))
