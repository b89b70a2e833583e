"""Everything the service reads from its environment, once. Each field says what it does; README has the same table.

Order: the process's environment, then `.env`, then the default. An empty value is an unset one.
"""

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from gateway.settings_access import AccessSettings
from gateway.settings_addresses import (
    OPENAI_FORM,
    PROJECT_FORM,
    RESOURCE_FORM,
    join_project,
    openai_endpoint_from,
    parse_origin,
    project_endpoint_from,
    resource_endpoint_from,
    split_address,
)
from gateway.settings_file import read_utf8

UpstreamKind = Literal["foundry", "classic", "openai"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_PROJECT_ENDPOINTS = ("AZURE_AI_PROJECT_ENDPOINT", "FOUNDRY_PROJECT_ENDPOINT", "PROJECT_ENDPOINT")
_AGENT_IDS = ("AZURE_AI_AGENT_ID", "AZURE_AI_AGENT_NAME")
_POOL_SIZES = ("CONVERSATION_POOL_SIZE", "CONVERSATION_STOCK")
_ALIASES = (_PROJECT_ENDPOINTS, _AGENT_IDS, _POOL_SIZES)
_COLLECTOR_FORM = "the URL of an OpenTelemetry collector, http://collector:4318"
VAULT_REFERENCE = re.compile(r"(^|,)\s*(akvs://|@Microsoft\.KeyVault\()", re.IGNORECASE)


class SettingsError(SystemExit):
    """A refusal to start, in one sentence that names the variable."""


class Settings(AccessSettings):
    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8-sig",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    azure_ai_endpoint: str | None = Field(None, description="the Foundry resource, `https://X.services.ai.azure.com`")
    azure_ai_project_name: str | None = Field(
        None, description="the project in it", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
    )
    azure_ai_project_endpoint: str | None = Field(
        None,
        validation_alias=AliasChoices(*_PROJECT_ENDPOINTS),
        description="the project endpoint whole, instead of the two above",
    )
    azure_ai_agent_id: str | None = Field(
        None,
        validation_alias=AliasChoices(*_AGENT_IDS),
        pattern=r"^[A-Za-z0-9._-]+(:[A-Za-z0-9._-]+)?$",
        description="a Foundry agent, `name` or `name:version`; or a classic one, `asst_…`",
    )
    azure_openai_endpoint: str | None = Field(
        None, description="a plain Azure OpenAI resource, where no agent is set: `https://X.openai.azure.com`"
    )
    azure_openai_deployment_name: str | None = Field(
        None, pattern=r"^[A-Za-z0-9._-]+$", description="the model's deployment in it"
    )
    azure_openai_api_key: SecretStr | None = Field(None, description="its key; without one, the managed identity")
    azure_client_id: str | None = Field(None, description="the user-assigned managed identity")
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="origins whose pages may call (CORS), comma-separated; `*` for all, without credentials",
    )
    conversation_pool_size: int = Field(
        1,
        ge=0,
        le=100,
        validation_alias=AliasChoices(*_POOL_SIZES),
        description="conversations created ahead of their first turn, so that it is one round trip; 0 for none",
    )
    max_streams: int = Field(200, gt=0, description="most answers at a time on one replica")
    max_message_chars: int = Field(32_000, gt=0, description="longest message, in characters")
    max_body_bytes: int = Field(  # at most half of what a replica holds: web/body_budget.py
        1_048_576, gt=0, le=33_554_432, description="largest request body, in bytes"
    )
    upstream_idle_timeout_s: Positive = Field(120, description="longest silence of the agent, in seconds")
    answer_deadline_s: Positive = Field(220, description='longest wait for an answer with `"stream": false`')
    send_timeout_s: Positive = Field(60, description="longest time in which a client reads nothing, in seconds")
    drain_s: float = Field(
        25, ge=0, allow_inf_nan=False, description="how long open answers may go on after SIGTERM, in seconds"
    )
    ping_s: float = Field(15, ge=0, allow_inf_nan=False, description="pause between `: ping` comments; 0 for none")
    chat_page: bool = Field(False, description="serve the chat page at `/` and the browser client at `/chat-client.js`")
    applicationinsights_connection_string: SecretStr | None = Field(
        None, description="Application Insights, where traces and metrics go"
    )
    otel_exporter_otlp_endpoint: str | None = Field(
        None, description="any OpenTelemetry collector (OTLP over HTTP), the same"
    )
    otel_traces_exporter: str | None = Field(None, description="`console` prints spans in the terminal")
    otel_instrumentation_genai_capture_message_content: bool = Field(
        False, description="true: what people and the agent say is in the spans"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="what is logged")
    log_format: Literal["json", "text"] = Field("json", description="`json` for machines, `text` for people")
    port: int = Field(8000, ge=0, le=65_535, description="where `make run` and the image listen")

    @field_validator("*", mode="before")
    @classmethod
    def _strip(cls, value: object) -> object:
        return value.strip() if isinstance(value, str) else value

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_vault_references(cls, value: object) -> object:
        """azd and Container Apps resolve these in some places; elsewhere the text itself would be the secret."""
        if isinstance(value, str) and VAULT_REFERENCE.search(value):
            raise ValueError("is a reference to a key vault that nobody resolved: set the value itself")
        return value

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(origin.strip() for origin in value.split(",") if origin.strip())

    @field_validator("allowed_origins")
    @classmethod
    def _normalize_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Return the origins as browsers send them: what a browser never sends would have no effect."""
        return tuple(origin if origin == "*" else parse_origin(origin) for origin in value)

    @field_validator("log_level", mode="before")
    @classmethod
    def _uppercase(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("azure_ai_endpoint")
    @classmethod
    def _normalize_resource(cls, value: str | None) -> str | None:
        """Return the resource's address, or the endpoint of the project that it names."""
        if value is None:
            return None
        url = check_endpoint(value, RESOURCE_FORM)
        return (
            project_endpoint_from(url, None) if "/projects/" in url.rstrip("/").lower() else resource_endpoint_from(url)
        )

    @field_validator("azure_ai_project_endpoint")
    @classmethod
    def _normalize_project(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Return the project's endpoint, also of a resource if the project is named beside it."""
        name = info.data.get("azure_ai_project_name")
        return value and project_endpoint_from(check_endpoint(value, PROJECT_FORM), name)

    @field_validator("azure_openai_endpoint")
    @classmethod
    def _normalize_openai(cls, value: str | None) -> str | None:
        return value and openai_endpoint_from(check_endpoint(value, OPENAI_FORM))

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _check_collector(cls, value: str | None) -> str | None:
        url = value and split_address(value)
        if value and (not url or url.scheme not in ("https", "http") or url.query or url.fragment):
            raise ValueError(f"must be {_COLLECTOR_FORM}")
        return value and value.rstrip("/")

    @field_validator("otel_instrumentation_genai_capture_message_content", mode="before")
    @classmethod
    def _parse_capture_mode(cls, value: object) -> object:
        """Accept the values of the OTel convention. We emit no log events, so `event_only` captures nothing."""
        modes = {"no_content": False, "event_only": False, "span_only": True, "span_and_event": True}
        return modes.get(value.lower(), value) if isinstance(value, str) else value

    @property
    def upstream_kind(self) -> UpstreamKind:
        """What these settings are for, complete or not: the id of a classic agent begins with `asst_`."""
        if self.azure_ai_agent_id is None:
            return "openai"
        return "classic" if self.azure_ai_agent_id.startswith("asst_") else "foundry"

    @property
    def upstream_endpoint(self) -> str | None:
        """The base of the upstream's addresses; None if it is not set."""
        return self.azure_openai_endpoint if self.upstream_kind == "openai" else self.project_endpoint

    @property
    def project_endpoint(self) -> str | None:
        """`https://<account>.services.ai.azure.com/api/projects/<project>`, in whichever form it was given."""
        if self.azure_ai_project_endpoint:
            return self.azure_ai_project_endpoint
        endpoint, name = self.azure_ai_endpoint, self.azure_ai_project_name
        if endpoint is None or "/api/projects/" in endpoint:
            return endpoint
        return None if name is None else join_project(endpoint, name)


def check_endpoint(value: str, form: str) -> str:
    """Return the URL. Raises ValueError with `form` for what is none: anything but loopback must be https."""
    url = split_address(value)
    if url is None or url.scheme not in ("https", "http") or url.fragment or "@" in url.netloc:
        raise ValueError(f"must be {form}")
    if url.scheme == "http" and not is_loopback(value):
        raise ValueError("must be https (http is for this machine alone)")
    return value


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def list_setting_names() -> set[str]:
    """Return each name by which a setting can be given, aliases too."""
    names: set[str] = set()
    for field, about in Settings.model_fields.items():
        alias = about.validation_alias
        names |= {str(name) for name in alias.choices} if isinstance(alias, AliasChoices) else {field.upper()}
    return names


def read_settings(env_file: str | None = ".env") -> Settings:
    """Read the environment and `env_file`. Raises SettingsError."""
    sources = (os.environ, _read_env_file(Path(env_file)) if env_file else {})
    for source in sources:
        for aliases in _ALIASES:
            _refuse_two_values(source, aliases)
    try:
        return Settings(_env_file=env_file)
    except ValidationError as error:
        raise SettingsError(f"chat-api: {_explain(error, sources)}") from None


def _read_env_file(path: Path) -> dict[str, str | None]:
    if not path.is_file():
        return {}
    try:
        return dotenv_values(stream=StringIO(read_utf8(path)))
    except ValueError as e:
        raise SettingsError(f"chat-api: {e}") from None


def _refuse_two_values(source: Mapping[str, str | None], aliases: tuple[str, ...]) -> None:
    given = {name: value for name in aliases if (value := source.get(name))}
    if len(set(given.values())) > 1:
        raise SettingsError(f"chat-api: {' and '.join(given)} name the same setting with different values.")


def _explain(error: ValidationError, sources: Iterable[Mapping[str, str | None]]) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name = str(first["loc"][0]).upper()
    aliases = next((names for names in _ALIASES if name in names), (name,))
    given = next((alias for source in sources for alias in aliases if source.get(alias)), name)
    reason = first["msg"].removeprefix("Value error, ")
    return f"{given}: {reason[:1].lower()}{reason[1:]}."
