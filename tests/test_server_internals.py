"""What gateway/server.py touches of uvicorn and httptools without their documentation: it is all still there."""

import asyncio
import signal
from collections.abc import Iterator
from operator import attrgetter
from types import SimpleNamespace

import pytest
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.support.environment import ROOT

DRAIN = "ends the server after a drain"
ABORT = "aborts the connections that a drain leaves with it"
CONFIGURE = "configures the server that `uvicorn main:app` made with it"
OFFERS = "reads requests that offer an upgrade with it"
DISCONNECTS = "notices a client disconnect behind queued requests with it"
TOUCHED = {
    "Server.handle_exit": "finds the running server by it, the handler of SIGTERM",
    "Server.should_exit": DRAIN,
    "Server.force_exit": DRAIN,
    "Server.server_state.connections": ABORT,
    "Server.config.http_protocol_class": CONFIGURE,
    "Server.config.timeout_keep_alive": CONFIGURE,
    "HttpToolsProtocol.transport.abort": ABORT,
    "HttpToolsProtocol.parser.feed_data": OFFERS,
    "HttpToolsProtocol.parser.should_upgrade": OFFERS,
    "HttpToolsProtocol.parser.get_method": OFFERS,
    "HttpToolsProtocol.parser.get_http_version": OFFERS,
    "HttpToolsProtocol.parser.set_dangerous_leniencies": OFFERS,
    "HttpToolsProtocol.url": OFFERS,
    "HttpToolsProtocol.headers": OFFERS,
    "HttpToolsProtocol.on_message_complete": OFFERS,
    "HttpToolsProtocol.on_headers_complete": DISCONNECTS,
    "HttpToolsProtocol.on_response_complete": DISCONNECTS,
    "HttpToolsProtocol.connection_lost": DISCONNECTS,
    "HttpToolsProtocol.pipeline": DISCONNECTS,
    "HttpToolsProtocol.flow.resume_reading": DISCONNECTS,
    "HttpToolsProtocol.cycle.response_complete": DISCONNECTS,
    "HttpToolsProtocol.cycle.disconnected": DISCONNECTS,
    "HttpToolsProtocol.cycle.message_event.set": DISCONNECTS,
    "HttpToolsProtocol.cycle.keep_alive": "closes the connection after the answer to a CONNECT with it",
    "HttpToolsProtocol.cycle.send.__self__.transport.abort": "aborts a client's connection with it",
}


@pytest.fixture
def uvicorns() -> Iterator[SimpleNamespace]:
    """A server and a protocol of uvicorn's own, behind a first request on an open connection."""
    server = uvicorn.Server(uvicorn.Config(Starlette(), lifespan="off", log_config=None, ws="none"))

    loop = asyncio.new_event_loop()
    protocol = HttpToolsProtocol(server.config, server.server_state, {}, loop)

    async def exchange() -> tuple[asyncio.Server, asyncio.StreamWriter]:
        listener = await loop.create_server(lambda: protocol, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        return listener, writer

    async def close(listener: asyncio.Server, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()
        listener.close()
        protocol.transport.abort()

    opened = loop.run_until_complete(exchange())
    yield SimpleNamespace(Server=server, HttpToolsProtocol=protocol)
    loop.run_until_complete(close(*opened))
    loop.close()


def missing(uvicorns: SimpleNamespace, touched: str, purpose: str) -> str | None:
    """Return the sentence for whoever updates uvicorn; None if all is there."""
    try:
        attrgetter(touched)(uvicorns)
    except AttributeError:
        return f"uvicorn {uvicorn.__version__} has no {touched} any more: gateway/server.py {purpose}"
    return None


@pytest.mark.parametrize(("touched", "purpose"), TOUCHED.items())
def test_uvicorn_still_has_what_the_server_touches(touched: str, purpose: str, uvicorns: SimpleNamespace) -> None:
    sentence = missing(uvicorns, touched, purpose)
    assert sentence is None, sentence


def test_what_is_gone_is_said_in_one_sentence(uvicorns: SimpleNamespace) -> None:
    del uvicorns.Server.server_state.connections
    assert missing(uvicorns, "Server.server_state.connections", ABORT) == (
        f"uvicorn {uvicorn.__version__} has no Server.server_state.connections any more: "
        "gateway/server.py aborts the connections that a drain leaves with it"
    )


def test_the_handler_of_sigterm_still_belongs_to_the_server(uvicorns: SimpleNamespace) -> None:
    with uvicorns.Server.capture_signals():
        owner = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    assert owner is uvicorns.Server, (
        f"uvicorn {uvicorn.__version__} handles SIGTERM with something else than Server.handle_exit: "
        "gateway/server.py finds the running server by it"
    )


def test_the_architecture_page_lists_what_is_touched() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    section = page.partition("## Private members of libraries")[2].partition("\n## ")[0]
    assert [touched for touched in TOUCHED if f"`{touched}`" not in section] == []
