"""Where telemetry goes, by the settings; and what it says about the upstream. Imports nothing of OpenTelemetry."""

from dataclasses import dataclass

from gateway.settings import Settings, UpstreamKind


@dataclass(frozen=True, slots=True)
class Destination:
    """A destination, false if it is empty: then telemetry goes nowhere, and nothing is loaded."""

    connection_string: str | None
    client_id: str | None
    otlp_endpoint: str | None
    to_console: bool

    def __bool__(self) -> bool:
        return bool(self.connection_string or self.otlp_endpoint or self.to_console)


@dataclass(frozen=True, slots=True)
class UpstreamInfo:
    """A description of who answers the turns, in the terms of OpenTelemetry's GenAI conventions."""

    kind: UpstreamKind
    operation: str
    provider: str
    agent_id: str | None = None
    model: str | None = None


def destination_from_settings(settings: Settings) -> Destination:
    secret = settings.applicationinsights_connection_string
    return Destination(
        secret.get_secret_value() if secret else None,
        settings.azure_client_id,
        settings.otel_exporter_otlp_endpoint,
        settings.otel_traces_exporter == "console",
    )


def upstream_info_from_settings(settings: Settings) -> UpstreamInfo:
    kind = settings.upstream_kind
    if kind == "openai":
        return UpstreamInfo(kind, "chat", "azure.ai.openai", model=settings.azure_openai_deployment_name)
    return UpstreamInfo(kind, "invoke_agent", "azure.ai.inference", agent_id=settings.azure_ai_agent_id)
