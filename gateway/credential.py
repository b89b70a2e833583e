"""Who we are to Azure: the managed identity in the cloud, the signed-in person on a laptop, nobody on loopback.

`ManagedIdentityCredential` does not read AZURE_CLIENT_ID on Container Apps, so it is passed. azure-identity fails
a request when a refresh past a token's half-life fails, though the token is still good: `KeptCredential` does not.
"""

import asyncio
import importlib
import logging
import os
import time
from types import TracebackType
from typing import Any, Protocol, Self

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import AzureError

from gateway.errors import GatewayError, UpstreamDenied, UpstreamTimeout
from gateway.settings import is_loopback

_log = logging.getLogger(__name__)

_UNREADABLE = (ValueError, LookupError, TypeError)  # azure-identity takes an identity endpoint's answer on trust


class TokenSource(Protocol):
    """What azure-identity's async credentials have in common."""

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo: ...
    async def close(self) -> None: ...


class DevelopmentToken:
    """For http on loopback alone: the emulator asks for a token but does not look at it."""

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        return AccessTokenInfo("development", int(time.time()) + 86_400)

    async def close(self) -> None: ...


def credential_for(endpoint: str, client_id: str | None) -> "KeptCredential":
    return KeptCredential(source_for(endpoint, client_id))


def source_for(endpoint: str, client_id: str | None) -> TokenSource:
    if not _signs_in(endpoint):
        return DevelopmentToken()
    from azure.identity import aio  # noqa: PLC0415  a third of a second that loopback need not pay

    if os.environ.get("IDENTITY_ENDPOINT"):
        return aio.ManagedIdentityCredential(client_id=client_id)
    return aio.ChainedTokenCredential(aio.AzureCliCredential(), aio.AzureDeveloperCliCredential())


def import_identity(endpoint: str) -> None:
    if _signs_in(endpoint):
        importlib.import_module("azure.identity.aio")


def _signs_in(endpoint: str) -> bool:
    """A managed identity can be tried on loopback, too; without one, nobody is asked there."""
    plain = endpoint.startswith("http:") and is_loopback(endpoint)
    return not plain or bool(os.environ.get("IDENTITY_ENDPOINT"))


class KeptCredential:
    """Keeps one token for each scope: fetched once however many ask, refreshed in the background at half its
    life, and served while it is valid even if refreshing fails.

    Raises UpstreamDenied or UpstreamTimeout when there is none.
    """

    def __init__(
        self,
        source: TokenSource,
        *,
        margin_s: float = 30,  # a token that expires sooner could do so on its way
        min_refresh_s: float = 30,
        patience_s: float = 10,  # azure-identity itself waits as long as a Retry-After says
    ) -> None:
        self._source = source
        self._margin_s = margin_s
        self._min_refresh_s = min_refresh_s
        self._patience_s = patience_s
        self._tokens: dict[str, AccessTokenInfo] = {}
        self._fetches: dict[str, asyncio.Task[AccessTokenInfo]] = {}
        self._refreshers: dict[str, asyncio.Task[None]] = {}

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        (scope,) = scopes
        token = self._tokens.get(scope)
        if token and token.expires_on - time.time() > self._margin_s:
            return token
        return await asyncio.shield(self._fetching(scope))

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **_: Any,
    ) -> AccessToken:
        """The older form of the same, part of azure-core's protocol."""
        token = await self.get_token_info(*scopes)
        return AccessToken(token.token, token.expires_on)

    def _fetching(self, scope: str) -> asyncio.Task[AccessTokenInfo]:
        fetch = self._fetches.get(scope)
        if fetch is None or fetch.done():
            fetch = self._fetches[scope] = asyncio.create_task(self._fetch(scope))
            fetch.add_done_callback(_retrieved)
        return fetch

    async def _fetch(self, scope: str) -> AccessTokenInfo:
        try:
            async with asyncio.timeout(self._patience_s):
                token = await self._source.get_token_info(scope)
        except TimeoutError as e:
            raise UpstreamTimeout(f"no token for {scope} in {self._patience_s:g} s") from e
        except (AzureError, *_UNREADABLE) as e:
            raise UpstreamDenied(
                f"no token for {scope}: {type(e).__name__}",
                public_message="The service could not sign in to Azure: check its managed identity, or run `az login`.",
            ) from e
        self._tokens[scope] = AccessTokenInfo(token.token, token.expires_on)  # no refresh_on: that is ours to do
        if scope not in self._refreshers:
            self._refreshers[scope] = asyncio.create_task(self._keep_fresh(scope))
        return self._tokens[scope]

    async def _keep_fresh(self, scope: str) -> None:
        while True:
            await asyncio.sleep(max((self._tokens[scope].expires_on - time.time()) / 2, self._min_refresh_s))
            try:
                await asyncio.shield(self._fetching(scope))
            except GatewayError as e:
                _log.warning("token refresh failed, the one at hand goes on: %s", e)

    async def close(self) -> None:
        for task in (*self._refreshers.values(), *self._fetches.values()):
            task.cancel()
        await self._source.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.close()


def _retrieved(fetch: asyncio.Task[AccessTokenInfo]) -> None:
    """So that a failure nobody waited for is not reported as forgotten."""
    if not fetch.cancelled():
        fetch.exception()
