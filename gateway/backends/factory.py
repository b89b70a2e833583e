"""Puts a backend together. Imported late: azure-core and aiohttp take longer to import than all else to start."""

from typing import assert_never

from pydantic import SecretStr

from gateway.backends.base import Backend
from gateway.backends.classic.backend import ClassicBackend
from gateway.backends.http_client import UpstreamClient
from gateway.backends.responses.backend import Deployment, FoundryAgent, ResponsesBackend
from gateway.backends.token_cache import create_credential
from gateway.backends.upstream_auth import ApiKeyAuth, BearerAuth, UpstreamAuth
from gateway.settings import Settings

_AGENTS_SCOPE = "https://ai.azure.com/.default"
_OPENAI_SCOPE = "https://cognitiveservices.azure.com/.default"


def create_backend(settings: Settings) -> Backend:
    """Create it for settings in which nothing is missing (`describe_missing_setting`)."""
    agent_id, deployment = str(settings.azure_ai_agent_id), str(settings.azure_openai_deployment_name)
    pool_size = settings.conversation_pool_size
    match settings.upstream_kind:
        case "foundry":
            return ResponsesBackend(_create_client(settings, _AGENTS_SCOPE), FoundryAgent(agent_id), pool_size)
        case "classic":
            return ClassicBackend(_create_client(settings, _AGENTS_SCOPE), agent_id)
        case "openai":
            client = _create_client(settings, _OPENAI_SCOPE, settings.azure_openai_api_key)
            return ResponsesBackend(client, Deployment(deployment), pool_size)
        case kind:
            assert_never(kind)


def _create_client(settings: Settings, scope: str, key: SecretStr | None = None) -> UpstreamClient:
    """`scope`: of the token, if there is no key."""
    endpoint = settings.upstream_endpoint
    assert endpoint
    return UpstreamClient(endpoint, _create_auth(settings, endpoint, scope, key), settings.upstream_idle_timeout_s)


def _create_auth(settings: Settings, endpoint: str, scope: str, key: SecretStr | None) -> UpstreamAuth:
    if key:
        return ApiKeyAuth(key.get_secret_value())
    return BearerAuth(create_credential(endpoint, settings.azure_client_id, scope))
