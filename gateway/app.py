"""create_app(): the whole service put together. Knows all the others."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from gateway import __version__
from gateway.access.access_control import Gate, Gated
from gateway.access.identity import Identity
from gateway.backends.base import Backend
from gateway.server import drained_on_signals, remember
from gateway.settings import Settings, read_settings
from gateway.telemetry import configure_logs
from gateway.turns.chat_service import Service
from gateway.web.middleware import Bugs, Cors, RequestIds, SafeHeaders
from gateway.web.openapi import describe
from gateway.web.problems import answer_with_problems
from gateway.web.routes import Routes
from gateway.web.turn_response import left

_DESCRIPTION = "A streaming chat API in front of Azure AI agents."


class _App(FastAPI):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        remember(scope, send)
        await super().__call__(scope, receive, send)


def create_app(
    settings: Settings | None = None, backend: Backend | None = None, identity: Identity | None = None
) -> FastAPI:
    """Raises SettingsError where the environment has a bad value. What is given is closed with the app."""
    if settings is None:
        settings = read_settings()
        configure_logs(settings.log_level, settings.log_format)
    service = Service(settings, backend)
    gate = Gate(settings, identity)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with gate.opened(), service.opened():
            with drained_on_signals(service.turns, settings.drain_s, service.reporter.flush):
                yield

    app = _App(
        title="chat-api",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would name the Host header's host, over http
        docs_url="/docs" if settings.docs else None,
        redoc_url="/redoc" if settings.docs else None,
        openapi_url="/openapi.json" if settings.docs else None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},  # ours: telemetry/
        middleware=[
            Middleware(SafeHeaders),
            Middleware(RequestIds),
            _cors(settings),
            Middleware(Bugs),
            Middleware(Gated, gate=gate, easy_auth=settings.auth == "easyauth"),
        ],
    )
    app.include_router(Routes(service).router)
    if settings.chat_page:
        from gateway.page import page_routes  # noqa: PLC0415  off in production: nothing of it is loaded

        app.router.routes.extend(page_routes())
    answer_with_problems(app)
    app.add_exception_handler(ClientDisconnect, left)
    describe(app)
    return app


def _cors(settings: Settings) -> Middleware:
    """Credentials for origins that are named; never for `*`."""
    return Middleware(
        Cors,
        allow_origins=settings.allowed_origins,
        allow_credentials="*" not in settings.allowed_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["x-request-id", "retry-after"],
        max_age=600,
    )
