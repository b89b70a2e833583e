"""Puts a backend together. Imported late: azure-core and aiohttp take longer to import than all else to start."""

from gateway.backends.base import Backend
from gateway.backends.classic.backend import ClassicBackend
from gateway.backends.http_client import Upstream
from gateway.backends.responses.backend import Deployment, FoundryAgent, ResponsesBackend
from gateway.backends.token_cache import credential_for
from gateway.backends.upstream_auth import ApiKey, Bearer, SignIn
from gateway.settings import Settings, is_loopback

_AGENTS_SCOPE = "https://ai.azure.com/.default"
_OPENAI_SCOPE = "https://cognitiveservices.azure.com/.default"


def open_foundry(settings: Settings, endpoint: str, agent_id: str) -> Backend:
    return ResponsesBackend(
        _upstream(settings, endpoint, _AGENTS_SCOPE), FoundryAgent(agent_id), settings.conversation_stock
    )


def open_classic(settings: Settings, endpoint: str, agent_id: str) -> Backend:
    return ClassicBackend(_upstream(settings, endpoint, _AGENTS_SCOPE), agent_id)


def open_openai(settings: Settings, endpoint: str, deployment: str) -> Backend:
    key = settings.azure_openai_api_key
    sign_in = ApiKey(key.get_secret_value()) if key else None
    return ResponsesBackend(
        _upstream(settings, endpoint, _OPENAI_SCOPE, sign_in), Deployment(deployment), settings.conversation_stock
    )


def _upstream(settings: Settings, endpoint: str, scope: str, sign_in: SignIn | None = None) -> Upstream:
    if sign_in is None:
        credential = credential_for(endpoint, settings.azure_client_id)
        sign_in = Bearer(credential, scope, plain_http=is_loopback(endpoint))
    return Upstream(endpoint, sign_in, settings.upstream_idle_timeout_s)
