"""Which upstream answers, by the settings alone: a Foundry agent, a classic agent, or an Azure OpenAI deployment."""

import asyncio
import importlib
import logging
from types import ModuleType

from gateway.backends.base import Backend
from gateway.errors import NotConfigured
from gateway.settings import Settings

_log = logging.getLogger(__name__)


async def open_backend(settings: Settings) -> Backend:
    """The caller closes it. Raises NotConfigured, saying which setting is missing."""
    endpoint, agent_id = settings.project_endpoint, settings.azure_ai_agent_id
    openai, deployment = settings.azure_openai_endpoint, settings.azure_openai_deployment_name
    if endpoint and agent_id:
        kind = "classic" if agent_id.startswith("asst_") else "foundry"
        _log.info("upstream: the %s agent %s, because AZURE_AI_AGENT_ID is set", kind, agent_id)
        return await _opened(kind, settings, endpoint, agent_id)
    if openai and deployment and not agent_id:
        _log.info("upstream: the Azure OpenAI deployment %s, because no agent is set", deployment)
        return await _opened("openai", settings, openai, deployment)
    raise NotConfigured(public_message=f"{missing_setting(settings)} `make run` runs without Azure.")


async def _opened(kind: str, settings: Settings, endpoint: str, name: str) -> Backend:
    opening = await asyncio.to_thread(_imported, endpoint)
    backend: Backend = getattr(opening, f"open_{kind}")(settings, endpoint, name)
    return backend


def _imported(endpoint: str) -> ModuleType:
    """In a thread, so that the service answers meanwhile: these take longer than all the rest of the start."""
    from gateway.backends.token_cache import import_identity  # noqa: PLC0415

    import_identity(endpoint)
    return importlib.import_module("gateway.backends.factory")


def missing_setting(settings: Settings) -> str | None:
    """The sentence that names the setting without which nobody answers; None where an upstream is configured."""
    if settings.azure_openai_endpoint and not settings.azure_ai_agent_id:
        return None if settings.azure_openai_deployment_name else "AZURE_OPENAI_DEPLOYMENT_NAME is not set."
    if settings.project_endpoint:
        return None if settings.azure_ai_agent_id else "AZURE_AI_AGENT_ID is not set."
    if settings.azure_ai_endpoint:
        return "AZURE_AI_PROJECT_NAME is not set."
    return "AZURE_AI_PROJECT_ENDPOINT is not set."
