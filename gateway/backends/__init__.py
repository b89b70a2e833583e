"""Which upstream answers, by the settings alone: a Foundry agent, a classic agent, or an Azure OpenAI deployment."""

import asyncio
import logging
from collections.abc import Callable

from gateway.backends.base import Backend
from gateway.errors import NotConfigured
from gateway.settings import Settings

_log = logging.getLogger(__name__)


async def create_backend(settings: Settings) -> Backend:
    """Create the backend, which the caller closes. Raises NotConfigured, saying which setting is missing."""
    if missing := describe_missing_setting(settings):
        raise NotConfigured(public_message=f"{missing} `make run` runs without Azure.")
    _log_choice(settings)
    # In a thread, so that the service answers meanwhile: these imports take longer than all the rest of the start.
    create = await asyncio.to_thread(_import_factory, settings.upstream_endpoint or "")
    return create(settings)


def _import_factory(endpoint: str) -> Callable[[Settings], Backend]:
    from gateway.backends import factory, token_cache  # noqa: PLC0415

    token_cache.import_identity(endpoint)
    return factory.create_backend


def _log_choice(settings: Settings) -> None:
    agent, deployment = settings.azure_ai_agent_id, settings.azure_openai_deployment_name
    if agent:
        _log.info("upstream: the %s agent %s, because AZURE_AI_AGENT_ID is set", settings.upstream_kind, agent)
    else:
        _log.info("upstream: the Azure OpenAI deployment %s, because no agent is set", deployment)


def describe_missing_setting(settings: Settings) -> str | None:
    """Return a sentence that names the setting that is missing; None if an upstream is configured."""
    if settings.azure_openai_endpoint and not settings.azure_ai_agent_id:
        return None if settings.azure_openai_deployment_name else "AZURE_OPENAI_DEPLOYMENT_NAME is not set."
    if settings.project_endpoint:
        return None if settings.azure_ai_agent_id else "AZURE_AI_AGENT_ID is not set."
    if settings.azure_ai_endpoint:
        return "AZURE_AI_PROJECT_NAME is not set."
    return "AZURE_AI_PROJECT_ENDPOINT is not set."
