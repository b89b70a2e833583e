"""The label of a prepared conversation, which is written during its run."""

import asyncio
from typing import cast

from gateway.backends.http_client import UpstreamClient
from gateway.backends.responses.conversations import Conversations
from gateway.errors import UpstreamUnavailable
from gateway.events import ThreadId, Turn


class Locked:
    async def request_json(self, *_: object) -> None:
        raise UpstreamUnavailable("locked while its run lasts")


def test_one_given_up_while_its_run_lasts_leaves_the_run_alone() -> None:
    async def given_up() -> asyncio.Future[None]:
        conversations = Conversations(cast("UpstreamClient", Locked()), can_chain=False, pool_size=0)
        over = asyncio.get_running_loop().create_future()
        writing = asyncio.create_task(conversations._write_label(ThreadId("conv_1"), Turn("Hi", None, "c"), over))
        await asyncio.sleep(0)
        assert not writing.done()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        over.set_result(None)
        return over

    assert not asyncio.run(given_up()).cancelled()
