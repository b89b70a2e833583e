"""The conversation pool: what becomes of one that is just being created, and of one that is old."""

import asyncio
from collections import deque

from gateway.backends.responses.conversation_pool import ConversationPool
from gateway.events import ThreadId


def test_one_that_is_being_created_goes_back_to_the_pool_if_its_waiter_is_cancelled() -> None:
    async def closed_early() -> list[str]:
        may_go_on, dropped = asyncio.Event(), list[str]()

        async def make() -> ThreadId:
            await may_go_on.wait()
            return ThreadId("conv_1")

        async def drop(thread_id: str) -> None:
            dropped.append(thread_id)

        pool = ConversationPool(1, make, drop)
        pool.refill()
        waiting = asyncio.create_task(pool.wait_until_filled())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        may_go_on.set()
        await pool.aclose()
        return dropped

    assert asyncio.run(closed_early()) == ["conv_1"]


def test_one_that_a_cancelled_first_turn_waited_for_is_there_for_the_next() -> None:
    async def taken_next() -> ThreadId | None:
        may_go_on = asyncio.Event()

        async def make() -> ThreadId:
            await may_go_on.wait()
            return ThreadId("conv_1")

        pool = ConversationPool(1, make, _keep)
        pool.refill()
        waiting = asyncio.create_task(pool.take())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        may_go_on.set()
        return await pool.take()

    assert asyncio.run(taken_next()) == "conv_1"


def test_one_that_is_older_than_an_hour_is_not_used() -> None:
    """It may have been deleted upstream: its turn would fail as one of an unknown conversation."""

    async def taken() -> list[ThreadId | None]:
        made = iter(("conv_1", "conv_2"))

        async def make() -> ThreadId:
            return ThreadId(next(made))

        pool = ConversationPool(1, make, _keep)
        found = list[ThreadId | None]()
        for seconds in (3_590, 3_601):
            pool.refill()
            _grow_old(pool, seconds)
            found.append(await pool.take())
        return found

    assert asyncio.run(taken()) == ["conv_1", None]


async def _keep(_: ThreadId) -> None: ...


def _grow_old(pool: ConversationPool, seconds: float) -> None:
    """Make what is prepared as old as if so much time had passed."""
    pool._prepared = deque((created_at - seconds, task) for created_at, task in pool._prepared)
