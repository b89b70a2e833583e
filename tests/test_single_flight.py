"""One task for all who wait: a token, signing keys, an identity, a backend."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.single_flight import SingleFlight


class Work:
    """It waits until it is let go; `fails` first as often as that. Its results are 1, 2, …"""

    def __init__(self, *, fails: int = 0) -> None:
        self.began = 0
        self.cancelled = 0
        self.go_on = asyncio.Event()
        self._fails = fails

    async def __call__(self) -> int:
        self.began += 1
        number = self.began
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if number <= self._fails:
            raise ValueError(f"failure {number}")
        return number


def running(test: Callable[[], Coroutine[Any, Any, None]]) -> list[str]:
    """What asyncio reported meanwhile."""
    reported: list[str] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))
        await test()
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(watched())
    return reported


def test_the_work_is_done_once_however_many_wait() -> None:
    async def test() -> None:
        work = Work()
        flight = SingleFlight(work)
        waiting = [asyncio.create_task(flight.run()) for _ in range(20)]
        await asyncio.sleep(0)
        assert flight.is_running
        assert flight.result is None
        work.go_on.set()
        assert await asyncio.gather(*waiting) == [1] * 20
        assert not flight.is_running
        assert flight.result == 1

    assert running(test) == []


def test_a_result_is_kept_for_who_gets_it_and_made_anew_for_who_runs_it() -> None:
    async def test() -> None:
        work = Work()
        work.go_on.set()
        flight = SingleFlight(work)
        assert [await flight.get(), await flight.get(), await flight.run(), await flight.get()] == [1, 1, 2, 2]

    assert running(test) == []


def test_a_waiter_that_leaves_does_not_stop_the_others() -> None:
    async def test() -> None:
        work = Work()
        flight = SingleFlight(work)
        leaves, stays = asyncio.create_task(flight.run()), asyncio.create_task(flight.get())
        await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.gather(leaves, return_exceptions=True)
        assert leaves.cancelled()
        work.go_on.set()
        assert await stays == 1
        assert work.cancelled == 0

    assert running(test) == []


def test_a_failure_reaches_all_who_wait_and_the_next_one_starts_anew() -> None:
    async def test() -> None:
        work = Work(fails=1)
        work.go_on.set()
        flight = SingleFlight(work)
        told = await asyncio.gather(*(flight.get() for _ in range(5)), return_exceptions=True)
        assert [str(failure) for failure in told] == ["failure 1"] * 5
        assert flight.result is None
        assert await flight.get() == 2

    assert running(test) == []


@pytest.mark.parametrize("has_left", [False, True])
def test_a_failure_for_which_nobody_waits_is_not_reported(*, has_left: bool) -> None:
    async def test() -> None:
        work = Work(fails=1)
        flight = SingleFlight(work)
        if has_left:
            leaves = asyncio.create_task(flight.run())
            await asyncio.sleep(0)
            leaves.cancel()
        else:
            flight.start()
        work.go_on.set()
        for _ in range(4):
            await asyncio.sleep(0)
        assert (work.began, flight.is_running) == (1, False)

    assert running(test) == []


def test_a_task_that_fails_by_itself_would_be_reported() -> None:
    async def fail() -> None:
        raise ValueError("nobody waits")

    async def test() -> None:
        task = asyncio.create_task(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task

    assert running(test) == ["Task exception was never retrieved"]


def test_closing_cancels_what_runs_and_leaves_a_result_alone() -> None:
    async def test() -> None:
        work = Work()
        flight = SingleFlight(work)
        await flight.aclose()
        waiting = asyncio.create_task(flight.run())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await flight.aclose()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        assert (work.began, work.cancelled, flight.is_running, flight.result) == (1, 1, False, None)
        work.go_on.set()
        assert await flight.run() == 2
        await flight.aclose()
        assert flight.result == 2

    assert running(test) == []
