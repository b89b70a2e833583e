"""Our access tokens for Azure, cached: of the managed identity in the cloud, of the signed-in person on a laptop.

`ManagedIdentityCredential` does not read AZURE_CLIENT_ID on Container Apps, so it is passed. azure-identity fails
a request when a refresh past a token's half-life fails, though the token is still good: `CachedCredential` does not.
A sign-in that cannot be reached is `upstream_unavailable`; one that refuses is `upstream_denied`.
"""

import asyncio
import logging
import os
import random
import time
from typing import Any, Protocol

from azure.core.credentials import AccessTokenInfo
from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError, ServiceResponseError

from gateway.errors import GatewayError, UpstreamDenied, UpstreamTimeout, UpstreamUnavailable
from gateway.settings import is_loopback
from gateway.single_flight import SingleFlight
from gateway.telemetry import locate_error

_log = logging.getLogger(__name__)

_INVALID_ANSWER_ERRORS = (ValueError, LookupError, TypeError, AttributeError)  # azure-identity checks no answer
_CONNECTION_ERRORS = (ServiceRequestError, ServiceResponseError, OSError)
_ATTEMPTS = 3
_IDENTITY_OPTIONS: dict[str, Any] = {
    "use_env_settings": False,  # the endpoint is on this machine: a proxy would get the request, and its secret header
    "retry_total": 0,  # azure-core waits as long as a Retry-After says: `CachedCredential` tries again itself
}


class TokenSource(Protocol):
    """A credential, as far as azure-identity's async ones are alike."""

    async def get_token_info(self, *scopes: str) -> AccessTokenInfo: ...
    async def close(self) -> None: ...


class DevelopmentToken:
    """A token for http on loopback alone: the emulator asks for one but does not look at it."""

    async def get_token_info(self, *scopes: str) -> AccessTokenInfo:
        return AccessTokenInfo("development", int(time.time()) + 86_400)

    async def close(self) -> None: ...


def create_credential(endpoint: str, client_id: str | None, scope: str) -> "CachedCredential":
    return CachedCredential(create_token_source(endpoint, client_id), scope)


def create_token_source(endpoint: str, client_id: str | None) -> TokenSource:
    """Choose who signs in. `client_id`: of the user-assigned managed identity, if it is one."""
    if not _needs_sign_in(endpoint):
        return DevelopmentToken()
    from azure.identity import aio  # noqa: PLC0415  a third of a second that loopback need not pay

    if os.environ.get("IDENTITY_ENDPOINT"):
        return aio.ManagedIdentityCredential(client_id=client_id, **_IDENTITY_OPTIONS)
    return aio.ChainedTokenCredential(aio.AzureCliCredential(), aio.AzureDeveloperCliCredential())


def import_identity(endpoint: str) -> None:
    """Import azure-identity where it will be needed."""
    if _needs_sign_in(endpoint):
        from azure.identity import aio  # noqa: F401, PLC0415  here to be loaded, in a thread


def _needs_sign_in(endpoint: str) -> bool:
    """Return false for http on loopback, unless a managed identity is there to be tried."""
    plain = endpoint.startswith("http:") and is_loopback(endpoint)
    return not plain or bool(os.environ.get("IDENTITY_ENDPOINT"))


class CachedCredential:
    """A cache of one scope's token: fetched once however many ask, refreshed in the background at half its life, and
    served while it is valid even if refreshing fails.

    Raises UpstreamDenied, UpstreamUnavailable or UpstreamTimeout when there is none.
    """

    def __init__(
        self,
        source: TokenSource,
        scope: str,
        *,
        margin_s: float = 30,  # a token that expires sooner could do so on its way
        min_refresh_s: float = 30,
        timeout_s: float = 10,
    ) -> None:
        self._source = source
        self._scope = scope
        self._margin_s = margin_s
        self._min_refresh_s = min_refresh_s
        self._timeout_s = timeout_s
        self._token: AccessTokenInfo | None = None
        self._fetch = SingleFlight(self._fetch_token)
        self._refresher: asyncio.Task[None] | None = None

    async def get_token(self) -> AccessTokenInfo:
        token = self._token
        if token and token.expires_on - time.time() > self._margin_s:
            return token
        return await self._fetch.run()

    async def _fetch_token(self) -> AccessTokenInfo:
        try:
            async with asyncio.timeout(self._timeout_s):
                token = await self._fetch_with_retries()
        except TimeoutError as e:
            raise UpstreamTimeout(f"no token for {self._scope} in {self._timeout_s:g} s") from e
        self._token = token
        if self._refresher is None:
            self._refresher = asyncio.create_task(self._keep_fresh())
        return token

    async def _fetch_with_retries(self) -> AccessTokenInfo:
        """Ask again within a second or two: an identity endpoint that starts or is busy refuses for a moment."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                token = await self._source.get_token_info(self._scope)
                if not token.token:
                    raise ValueError("an empty token")
            except (AzureError, OSError, *_INVALID_ANSWER_ERRORS) as e:
                failure = _error_from(self._scope, e)
                if attempt == _ATTEMPTS or not failure.retryable or (failure.retry_after_s or 0) > 1:
                    raise failure from e
            else:
                return token
            await asyncio.sleep(attempt * random.uniform(0.25, 0.5))  # noqa: S311  no secret
        raise AssertionError("the last attempt returns or raises")

    async def _keep_fresh(self) -> None:
        while True:
            expires_on = self._token.expires_on if self._token else 0
            await asyncio.sleep(max((expires_on - time.time()) / 2, self._min_refresh_s))
            try:
                await self._fetch.run()
            except GatewayError as e:
                _log.warning("token refresh failed, the cached token stays in use: %s", e)
            except Exception as e:  # noqa: BLE001  nothing may end this loop: the cached token would expire
                _log.error("token refresh failed, the cached token stays in use: %s", locate_error(e))

    async def aclose(self) -> None:
        if self._refresher:
            self._refresher.cancel()
        await self._fetch.aclose()
        await self._source.close()


def _error_from(scope: str, error: Exception) -> GatewayError:
    status = error.status_code if isinstance(error, HttpResponseError) else None
    log = f"no token for {scope}: {type(error).__name__} {status or ''}".rstrip()
    if isinstance(error, _CONNECTION_ERRORS) or (status is not None and (status in (408, 429) or status >= 500)):
        wait = getattr(getattr(error, "response", None), "headers", {}).get("retry-after", "")
        return UpstreamUnavailable(
            log,
            public_message="The service could not reach its sign-in to Azure. Please try again.",
            retry_after_s=float(wait) if wait.isdecimal() else None,
        )
    return UpstreamDenied(
        log,
        public_message="The service could not sign in to Azure: check its managed identity, or run `az login`.",
    )
