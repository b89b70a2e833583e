"""Who may come in, and how often. Deny by default: a new route is behind the gate until it is named here."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, Protocol, TypeVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.access.callers import Caller, anonymous, without_easy_auth
from gateway.access.identity import Identity, open_identity
from gateway.errors import GatewayError, ShuttingDown
from gateway.settings import Settings
from gateway.web.problems import refused

Part = TypeVar("Part")

_HEALTH = ("/health", "/api/health")


class Rates(Protocol):
    async def count(self, counted: str) -> None:
        """Raises RateLimited."""
        ...

    async def aclose(self) -> None: ...


class Gate:
    """Opened with the process, behind the socket. What is off is not imported."""

    def __init__(self, settings: Settings, identity: Identity | None = None) -> None:
        self._settings = settings
        self._given = identity
        self._identity: asyncio.Task[Identity] | None = None
        self._rates: asyncio.Task[Rates] | None = None

    async def admitted(self, scope: Scope) -> Caller:
        """Raises Unauthenticated, Forbidden, RateLimited; UpstreamUnavailable where nobody can say."""
        caller = anonymous(scope, self._settings.trusted_hops)
        if self._settings.auth != "none" and not self._is_public(scope):
            identity = await _opened(self._identity)
            owner = await identity.owner(Headers(scope=scope))
            caller = Caller(owner, owner)
        if self._settings.rate_limit and scope["method"] == "POST":
            rates = await _opened(self._rates)
            await rates.count(caller.counted)
        return caller

    def _is_public(self, scope: Scope) -> bool:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if scope["method"] not in ("GET", "HEAD"):
            return False
        return path in _HEALTH or (self._settings.public_pages and not path.startswith("/api/"))

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        opening: list[asyncio.Task[Any]] = []
        if self._settings.auth != "none":
            self._identity = asyncio.create_task(self._open_identity())
            opening += [self._identity, asyncio.create_task(self._warm())]
        if self._settings.rate_limit:
            self._rates = asyncio.create_task(_open_rates(self._settings))
            opening.append(self._rates)
        try:
            yield
        finally:
            for task in opening:
                task.cancel()
            for made in await asyncio.gather(*opening, return_exceptions=True):
                if hasattr(made, "aclose"):
                    await made.aclose()

    async def _open_identity(self) -> Identity:
        return self._given or await open_identity(self._settings)

    async def _warm(self) -> None:
        await (await _opened(self._identity)).warm()


async def _open_rates(settings: Settings) -> Rates:
    module = await asyncio.to_thread(import_module, "gateway.access.rate_limits")
    rates: Rates = module.SharedRates(settings) if settings.rate_limit_storage_uri else module.LocalRates(settings)
    return rates


async def _opened(opening: asyncio.Task[Part] | None) -> Part:
    if opening is None:
        raise ShuttingDown("not open")
    return await asyncio.shield(opening)


class Gated:
    """Says who is calling (`callers.caller_of`), or sends them away."""

    def __init__(self, app: ASGIApp, gate: Gate, *, easy_auth: bool) -> None:
        self._app = app
        self._gate = gate
        self._easy_auth = easy_auth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if not self._easy_auth:
                scope["headers"] = without_easy_auth(scope["headers"])
            try:
                scope["caller"] = await self._gate.admitted(scope)
            except GatewayError as e:
                await refused(e)(scope, receive, send)
                return
        await self._app(scope, receive, send)
