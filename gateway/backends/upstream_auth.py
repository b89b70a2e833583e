"""How a request to the upstream proves who we are: a bearer token, or an Azure OpenAI key."""

from typing import Protocol

from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.policies import (
    AsyncBearerTokenCredentialPolicy,
    AsyncHTTPPolicy,
    HeadersPolicy,
    SansIOHTTPPolicy,
)
from azure.core.rest import AsyncHttpResponse, HttpRequest

from gateway.backends.token_cache import KeptCredential

Policy = (
    AsyncHTTPPolicy[HttpRequest, AsyncHttpResponse] | SansIOHTTPPolicy[HttpRequest, AsyncHttpResponse] | HeadersPolicy
)


class SignIn(Protocol):
    policies: list[Policy]

    async def ready(self) -> None:
        """Raises UpstreamDenied where there is no way to sign in."""
        ...

    async def aclose(self) -> None: ...


class Bearer:
    def __init__(self, credential: KeptCredential, scope: str, *, plain_http: bool) -> None:
        token = SharedToken(credential, scope)
        self.policies: list[Policy] = [PlainHttp(), token] if plain_http else [token]
        self._credential = credential
        self._scope = scope

    async def ready(self) -> None:
        await self._credential.get_token_info(self._scope)

    async def aclose(self) -> None:
        await self._credential.close()


class SharedToken(AsyncBearerTokenCredentialPolicy[HttpRequest, AsyncHttpResponse]):
    """One header for all requests: a new one each time would be 2 KiB for as long as its stream is open."""

    _header = ""

    async def on_request(self, request: PipelineRequest[HttpRequest]) -> None:
        await super().on_request(request)
        headers = request.http_request.headers
        if headers["Authorization"] != self._header:
            self._header = headers["Authorization"]
        headers["Authorization"] = self._header


class ApiKey:
    def __init__(self, key: str) -> None:
        self.policies: list[Policy] = [HeadersPolicy({"api-key": key})]

    async def ready(self) -> None: ...

    async def aclose(self) -> None: ...


class PlainHttp(SansIOHTTPPolicy[HttpRequest, AsyncHttpResponse]):
    """Lets a token go over http, for loopback alone: the bearer policy takes this option per request only."""

    def on_request(self, request: PipelineRequest[HttpRequest]) -> None:
        request.context.options["enforce_https"] = False
