"""Azure's own SDKs, as the tests use them: over http, and with a credential that they can look into."""

import time
from types import TracebackType
from typing import Any

from azure.ai.agents.aio import AgentsClient
from azure.ai.projects.aio import AIProjectClient
from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.policies import SansIOHTTPPolicy

SCOPE = "https://ai.azure.com/.default"


class Credential:
    """Gives the SDKs the token that ours uses on loopback, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.scopes: set[str] = set()

    async def get_token_info(self, *scopes: str, **_: Any) -> AccessTokenInfo:
        self.scopes.update(scopes)
        return AccessTokenInfo("development", int(time.time()) + 3_600)

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes.update(scopes)
        return AccessToken("development", int(time.time()) + 3_600)

    async def close(self) -> None: ...

    async def __aenter__(self) -> "Credential":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None: ...


class SyncCredential:
    """Gives a token for the agents' scope alone."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        assert scopes == (SCOPE,)
        return AccessToken("token", int(time.time()) + 3_600)

    def get_token_info(self, *scopes: str, **_: Any) -> AccessTokenInfo:
        assert scopes == (SCOPE,)
        return AccessTokenInfo("token", int(time.time()) + 3_600)

    def close(self) -> None:
        pass


class AllowHttp(SansIOHTTPPolicy[Any, Any]):
    """The SDKs refuse to send a token over http, even here."""

    def on_request(self, request: PipelineRequest[Any]) -> None:
        request.context.options["enforce_https"] = False


def projects(url: str, credential: Credential | None = None) -> AIProjectClient:
    return AIProjectClient(f"{url}/api/projects/p", credential or Credential(), per_call_policies=[AllowHttp()])


def agents(url: str, credential: Credential | None = None) -> AgentsClient:
    return AgentsClient(f"{url}/api/projects/p", credential or Credential(), per_call_policies=[AllowHttp()])
