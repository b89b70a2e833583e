"""create_app(): the assembly of the service. Knows all the others."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from gateway import __version__
from gateway.access.access_control import AccessControl
from gateway.access.identity.base import Identity
from gateway.backends.base import Backend
from gateway.server import configure_uvicorn, drain_on_signals, freeze_startup_objects, remember_connection
from gateway.settings import Settings, read_settings
from gateway.telemetry import configure_logs
from gateway.turns.chat_service import ChatService
from gateway.web.middleware import AccessMiddleware, CommonHeaders, Cors, ErrorMiddleware
from gateway.web.openapi import add_openapi_document
from gateway.web.problems import answer_routing_error
from gateway.web.routes import router
from gateway.web.state import State
from gateway.web.turn_response import answer_client_disconnect

_DESCRIPTION = "A streaming chat API in front of Azure AI agents."


class _App(FastAPI):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        remember_connection(scope, send)
        await super().__call__(scope, receive, send)


def create_app(
    settings: Settings | None = None, backend: Backend | None = None, identity: Identity | None = None
) -> FastAPI:
    """Create the app. `backend` and `identity` are closed with it.

    Raises SettingsError for a bad value in the environment.
    """
    if settings is None:
        settings = read_settings()
        configure_logs(settings.log_level, settings.log_format)
    chat_service = ChatService(settings, backend, on_warm=freeze_startup_objects)
    access_control = AccessControl(settings, identity)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        configure_uvicorn()
        async with access_control.lifespan(), chat_service.lifespan():
            with drain_on_signals(chat_service.turns, settings.drain_s, chat_service.reporter.flush):
                yield

    app = _App(
        title="chat-api",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would name the Host header's host, over http
        docs_url=None,  # ours: web/api_docs.py
        redoc_url=None,
        openapi_url="/openapi.json" if settings.docs else None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},  # ours: telemetry/
        middleware=[
            Middleware(CommonHeaders),
            _create_cors(settings),
            Middleware(ErrorMiddleware),
            Middleware(AccessMiddleware, access_control=access_control, easy_auth=settings.auth == "easyauth"),
        ],
    )
    app.state.gateway = State(chat_service)
    app.include_router(router)
    if settings.chat_page:
        from gateway.page import create_page_routes  # noqa: PLC0415  off in production: nothing of it is loaded

        app.router.routes.extend(create_page_routes())
    if settings.docs:
        from gateway.web.api_docs import create_docs_routes  # noqa: PLC0415  off in production, too

        app.router.routes.extend(create_docs_routes())
    app.add_exception_handler(HTTPException, answer_routing_error)
    app.add_exception_handler(ClientDisconnect, answer_client_disconnect)
    add_openapi_document(app)
    return app


def _create_cors(settings: Settings) -> Middleware:
    """Allow credentials for origins that are named; never for `*`."""
    return Middleware(
        Cors,
        allow_origins=settings.allowed_origins,
        allow_credentials="*" not in settings.allowed_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["x-request-id", "retry-after"],
        max_age=600,
    )
