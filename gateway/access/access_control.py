"""Access control: authentication (AUTH), then the rate limit. Deny by default: a new route needs a sign-in until it is
named here as public.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol, TypeVar

from starlette.datastructures import Headers
from starlette.types import Scope

from gateway.access.callers import Caller, anonymous_caller_from
from gateway.access.host_check import refuse_foreign_host
from gateway.access.identity import create_identity
from gateway.access.identity.base import Identity
from gateway.errors import ShuttingDown
from gateway.settings import Settings
from gateway.single_flight import SingleFlight

_HEALTH = ("/health", "/api/health")


class RateLimits(Protocol):
    async def count(self, rate_limit_key: str) -> None:
        """Count one POST. Raises RateLimited."""
        ...

    async def aclose(self) -> None: ...


Part = TypeVar("Part", Identity, RateLimits)


class AccessControl:
    """A check of each request: who calls, and may they?

    Its parts load while the service already listens; what is off is not imported.
    """

    def __init__(self, settings: Settings, identity: Identity | None = None) -> None:
        self._settings = settings
        self._checks_host = settings.auth == "none" and not settings.trusted_hops
        self._injected = identity
        self._identity: SingleFlight[Identity] | None = None
        self._rate_limits: SingleFlight[RateLimits] | None = None

    async def authenticate(self, scope: Scope) -> Caller:
        """Return who is calling.

        Raises Unauthenticated, Forbidden; UpstreamUnavailable if a token's signing keys cannot be fetched;
        UnreadableRequest for a foreign Host.
        """
        if self._checks_host:
            refuse_foreign_host(scope)
        caller = anonymous_caller_from(scope, self._settings.trusted_hops)
        if self._settings.auth != "none" and not self._is_public(scope):
            identity = await _get(self._identity)
            subject = await identity.authenticate(Headers(scope=scope))
            caller = Caller(subject, rate_limit_key=subject)
        return caller

    async def count_post(self, caller: Caller) -> None:
        """Count a POST of this caller. Raises RateLimited."""
        if self._settings.rate_limit:
            rate_limits = await _get(self._rate_limits)
            await rate_limits.count(caller.rate_limit_key)

    def _is_public(self, scope: Scope) -> bool:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if scope["method"] not in ("GET", "HEAD"):
            return False
        return path in _HEALTH or (self._settings.public_pages and not path.startswith("/api/"))

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        """Load what is on in the background, and close it at the end."""
        warm_up = SingleFlight(self._warm_up)
        if self._settings.auth != "none":
            self._identity = SingleFlight(self._create_identity)
            warm_up.start()
        if self._settings.rate_limit:
            self._rate_limits = SingleFlight(partial(_create_rate_limits, self._settings))
            self._rate_limits.start()
        try:
            yield
        finally:
            await warm_up.aclose()
            await _close(self._identity)
            await _close(self._rate_limits)

    async def _create_identity(self) -> Identity:
        return self._injected or await create_identity(self._settings)

    async def _warm_up(self) -> None:
        await (await _get(self._identity)).warm()


async def _create_rate_limits(settings: Settings) -> RateLimits:
    create = await asyncio.to_thread(_import_rate_limits, shared=bool(settings.rate_limit_storage_uri))
    return create(settings)


def _import_rate_limits(*, shared: bool) -> Callable[[Settings], RateLimits]:
    from gateway.access.rate_limits import LocalRateLimits, SharedRateLimits  # noqa: PLC0415  not imported when off

    return SharedRateLimits if shared else LocalRateLimits


async def _get(part: SingleFlight[Part] | None) -> Part:
    """Raise ShuttingDown before `lifespan` has begun."""
    if part is None:
        raise ShuttingDown("not open")
    return await part.get()


async def _close(part: SingleFlight[Part] | None) -> None:
    if part is None:
        return
    await part.aclose()
    if part.result is not None:
        await part.result.aclose()
