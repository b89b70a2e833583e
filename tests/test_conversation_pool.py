"""The conversation pool: what becomes of one that is just being created."""

import asyncio

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
