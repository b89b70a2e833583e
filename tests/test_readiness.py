"""GET /ready: probes come often, so the upstream's answer is kept; a good one for 60 s, a failure for 5 s."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from gateway.app import create_app
from gateway.backends.base import Backend
from gateway.errors import GatewayError, UpstreamUnavailable
from gateway.events import BackendEvent, Turn
from gateway.turns.readiness import Readiness
from tests.support.callers import calling_app, unread


class Checked(Backend):
    """Counts how often it is checked. `error`: what is wrong with it, if anything."""

    def __init__(self, error: GatewayError | None) -> None:
        self.error = error
        self.checks = 0

    async def answer(self, _: Turn) -> AsyncGenerator[list[BackendEvent]]:
        raise AssertionError("no probe starts a turn")
        yield []

    async def check(self) -> None:
        self.checks += 1
        if self.error:
            raise self.error

    async def warm(self) -> None: ...

    async def aclose(self) -> None: ...


DOWN = UpstreamUnavailable("down")


@pytest.mark.parametrize(("error", "status"), [(None, 200), (DOWN, 503)])
def test_many_probes_ask_the_upstream_once(error: GatewayError | None, status: int) -> None:
    backend = Checked(error)
    with calling_app(create_app(unread(), backend)) as client:
        assert [client.get("/ready").status_code for _ in range(5)] == [status] * 5
    assert backend.checks == 1


@pytest.mark.parametrize(("error", "kept_s"), [(None, 60), (DOWN, 5)])
def test_the_answer_is_kept_for_so_long_and_then_asked_for_again(error: GatewayError | None, kept_s: int) -> None:
    async def checks() -> list[int]:
        backend, readiness, counted = Checked(error), Readiness(), []
        for passes_s in (0, kept_s - 2, 2):
            readiness._expires_at -= passes_s  # as if time had passed
            await asyncio.gather(*(readiness.check(backend, 5) for _ in range(10)), return_exceptions=True)
            counted.append(backend.checks)
        return counted

    assert asyncio.run(checks()) == [1, 1, 2]
