"""How requests to the upstream are authenticated: with a bearer token, or with an Azure OpenAI key."""

from typing import Protocol

from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.policies import (
    AsyncBearerTokenCredentialPolicy,
    AsyncHTTPPolicy,
    HeadersPolicy,
    SansIOHTTPPolicy,
)
from azure.core.rest import AsyncHttpResponse, HttpRequest

from gateway.backends.token_cache import CachedCredential

Policy = (
    AsyncHTTPPolicy[HttpRequest, AsyncHttpResponse] | SansIOHTTPPolicy[HttpRequest, AsyncHttpResponse] | HeadersPolicy
)


class UpstreamAuth(Protocol):
    policies: list[Policy]

    async def ensure_signed_in(self) -> None:
        """Fetch a token if one is needed. Raises what `CachedCredential` raises."""
        ...

    async def aclose(self) -> None: ...


class BearerAuth:
    def __init__(self, credential: CachedCredential, scope: str, *, plain_http: bool) -> None:
        token = SharedToken(credential, scope)
        self.policies: list[Policy] = [AllowPlainHttp(), token] if plain_http else [token]
        self._credential = credential
        self._scope = scope

    async def ensure_signed_in(self) -> None:
        await self._credential.get_token_info(self._scope)

    async def aclose(self) -> None:
        await self._credential.close()


class SharedToken(AsyncBearerTokenCredentialPolicy[HttpRequest, AsyncHttpResponse]):
    """A policy that shares one header value among all requests: copies would hold 2 KiB for each open stream."""

    _authorization = ""

    async def on_request(self, request: PipelineRequest[HttpRequest]) -> None:
        await super().on_request(request)
        headers = request.http_request.headers
        if headers["Authorization"] != self._authorization:
            self._authorization = headers["Authorization"]
        headers["Authorization"] = self._authorization


class ApiKeyAuth:
    def __init__(self, key: str) -> None:
        self.policies: list[Policy] = [HeadersPolicy({"api-key": key})]

    async def ensure_signed_in(self) -> None: ...

    async def aclose(self) -> None: ...


class AllowPlainHttp(SansIOHTTPPolicy[HttpRequest, AsyncHttpResponse]):
    """A policy that allows a token over http, for loopback: the bearer policy takes this option per request only."""

    def on_request(self, request: PipelineRequest[HttpRequest]) -> None:
        request.context.options["enforce_https"] = False
