"""Where telemetry goes, by the settings; and what of the upstream is told in it. Imports nothing of OpenTelemetry."""

from dataclasses import dataclass

from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Destination:
    """All empty: nowhere, and nothing is loaded."""

    connection_string: str | None
    client_id: str | None
    otlp_endpoint: str | None
    to_console: bool

    def __bool__(self) -> bool:
        return bool(self.connection_string or self.otlp_endpoint or self.to_console)


@dataclass(frozen=True, slots=True)
class Answering:
    """Who answers the turns, in the words of OpenTelemetry's GenAI conventions."""

    kind: str
    operation: str
    provider: str
    agent_id: str | None = None
    model: str | None = None


def destination_of(settings: Settings) -> Destination:
    secret = settings.applicationinsights_connection_string
    return Destination(
        secret.get_secret_value() if secret else None,
        settings.azure_client_id,
        settings.otel_exporter_otlp_endpoint,
        settings.otel_traces_exporter == "console",
    )


def answering_of(settings: Settings) -> Answering:
    agent_id = settings.azure_ai_agent_id
    if agent_id:
        kind = "classic" if agent_id.startswith("asst_") else "foundry"
        return Answering(kind, "invoke_agent", "azure.ai.inference", agent_id=agent_id)
    return Answering("openai", "chat", "azure.ai.openai", model=settings.azure_openai_deployment_name)
