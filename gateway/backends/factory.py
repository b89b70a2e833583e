"""Puts a backend together. Imported late: azure-core and aiohttp take longer to import than all else to start."""

from typing import assert_never

from gateway.backends.base import Backend
from gateway.backends.classic.backend import ClassicBackend
from gateway.backends.http_client import UpstreamClient
from gateway.backends.responses.backend import Deployment, FoundryAgent, ResponsesBackend
from gateway.backends.token_cache import create_credential
from gateway.backends.upstream_auth import ApiKeyAuth, BearerAuth, UpstreamAuth
from gateway.settings import Settings, is_loopback

_AGENTS_SCOPE = "https://ai.azure.com/.default"
_OPENAI_SCOPE = "https://cognitiveservices.azure.com/.default"


def create_backend(settings: Settings) -> Backend:
    """Create it for settings in which nothing is missing (`describe_missing_setting`)."""
    endpoint = settings.upstream_endpoint
    assert endpoint
    agent_id, deployment = str(settings.azure_ai_agent_id), str(settings.azure_openai_deployment_name)
    match settings.upstream_kind:
        case "foundry":
            client = _create_client(settings, endpoint, _create_bearer_auth(settings, endpoint, _AGENTS_SCOPE))
            return ResponsesBackend(client, FoundryAgent(agent_id), settings.conversation_pool_size)
        case "classic":
            client = _create_client(settings, endpoint, _create_bearer_auth(settings, endpoint, _AGENTS_SCOPE))
            return ClassicBackend(client, agent_id)
        case "openai":
            client = _create_client(settings, endpoint, _create_openai_auth(settings, endpoint))
            return ResponsesBackend(client, Deployment(deployment), settings.conversation_pool_size)
        case kind:
            assert_never(kind)


def _create_client(settings: Settings, endpoint: str, auth: UpstreamAuth) -> UpstreamClient:
    return UpstreamClient(endpoint, auth, settings.upstream_idle_timeout_s)


def _create_openai_auth(settings: Settings, endpoint: str) -> UpstreamAuth:
    if key := settings.azure_openai_api_key:
        return ApiKeyAuth(key.get_secret_value())
    return _create_bearer_auth(settings, endpoint, _OPENAI_SCOPE)


def _create_bearer_auth(settings: Settings, endpoint: str, scope: str) -> UpstreamAuth:
    credential = create_credential(endpoint, settings.azure_client_id)
    return BearerAuth(credential, scope, plain_http=is_loopback(endpoint))
