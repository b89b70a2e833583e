"""Idle connections are kept for longer than Envoy's hour: a proxy that reuses one never finds it closed."""

import http.client
import inspect
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal
from urllib.parse import urlsplit

import pytest
import uvicorn

from gateway.app import create_app
from gateway.server import KEEP_ALIVE_S
from tests.support.callers import foundry
from tests.support.ports import free_port
from tests.support.processes import Process, environment, running
from tests.support.processes import uvicorn as by_hand

UVICORNS_DEFAULT_S = inspect.signature(uvicorn.Config).parameters["timeout_keep_alive"].default
ENVOYS_IDLE_TIMEOUT_S = 3_600


class EndsWhenStarted(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.should_exit = self.started


@pytest.mark.parametrize(("given_s", "used_s"), [(UVICORNS_DEFAULT_S, KEEP_ALIVE_S), (30, 30), (7_200, 7_200)])
@pytest.mark.parametrize("parser", ["httptools", "h11"])
def test_a_running_server_keeps_idle_connections_unless_its_command_says_otherwise(
    given_s: int, used_s: int, parser: Literal["httptools", "h11"], emulator: str
) -> None:
    config = uvicorn.Config(
        create_app(foundry(emulator)), port=free_port(), http=parser, log_config=None, timeout_keep_alive=given_s
    )
    EndsWhenStarted(config).run()
    assert config.timeout_keep_alive == used_s


def test_it_is_longer_than_envoys() -> None:
    assert KEEP_ALIVE_S > ENVOYS_IDLE_TIMEOUT_S > UVICORNS_DEFAULT_S


def by_uvicorn(upstream: str) -> AbstractContextManager[Process]:
    return running(by_hand(), environment(upstream))


def by_module(upstream: str) -> AbstractContextManager[Process]:
    port = free_port()
    return running(["-m", "gateway"], environment(upstream, PORT=str(port)), port)


@pytest.mark.slow
@pytest.mark.parametrize("start", [by_uvicorn, by_module])
def test_a_connection_that_was_idle_for_longer_than_uvicorns_default_is_still_there(
    start: Callable[[str], AbstractContextManager[Process]], emulator: str
) -> None:
    with start(emulator) as service:
        address = urlsplit(service.url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=20)
        connection.auto_open = 0  # otherwise it would open another connection
        connection.connect()
        for wait_s in (0, UVICORNS_DEFAULT_S + 1):
            time.sleep(wait_s)
            connection.request("GET", "/health")
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (200, True)
        connection.close()
