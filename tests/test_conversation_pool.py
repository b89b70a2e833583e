"""Conversations made ahead: what becomes of one that is just being made."""

import asyncio

from gateway.backends.responses.conversation_pool import Stock


def test_one_that_is_being_made_is_given_back_though_nobody_waits_for_it_any_more() -> None:
    async def closed_early() -> list[str]:
        may_go_on, dropped = asyncio.Event(), list[str]()

        async def make() -> str:
            await may_go_on.wait()
            return "conv_1"

        async def drop(thread_id: str) -> None:
            dropped.append(thread_id)

        stock = Stock(1, make, drop)
        stock.refill()
        waiting = asyncio.create_task(stock.ready())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        may_go_on.set()
        await stock.aclose()
        return dropped

    assert asyncio.run(closed_early()) == ["conv_1"]
