"""The label of a prepared conversation, which is written during its run."""

import asyncio
from collections.abc import AsyncGenerator
from typing import cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.backends.http_client import UpstreamClient
from gateway.backends.responses.conversations import Conversations
from gateway.errors import UpstreamUnavailable
from gateway.events import ThreadId, Turn
from tests.support.callers import calling, chat, foundry
from tests.support.playback_upstream import Playback
from tests.support.servers import serving
from tests.support.waiting import eventually
from tests.support.wire_formats import Responses


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


class LocksItsConversation(Playback):
    """An upstream that takes nothing in a conversation while its run lasts; the run waits for the first who tries."""

    def __init__(self) -> None:
        super().__init__(Responses.started, Responses().delta("Hello"), Responses.finished)
        self.is_locked = True
        self.tried = asyncio.Event()
        self.refused: list[object] = []
        self.stored: list[object] = []

    async def _answer(self, request: Request) -> Response:
        if not request.url.path.endswith("/conversations/conv_1") or request.method != "POST":
            return await super()._answer(request)
        self.tried.set()
        (self.refused if self.is_locked else self.stored).append((await request.json())["metadata"])
        return JSONResponse({"error": {"code": "conversation_locked"}}, 409 if self.is_locked else 200)

    async def _stream(self) -> AsyncGenerator[bytes]:
        async for piece in super()._stream():
            await self.tried.wait()
            yield piece
        self.is_locked = False


def test_a_label_that_is_refused_during_its_run_is_written_after_it() -> None:
    upstream = LocksItsConversation()
    with serving(upstream.app) as url, calling(foundry(url)) as client:
        eventually(lambda: upstream.posted_to("/conversations"), "one is prepared")
        chat(client, "hi", conversation_id="label-7")
        eventually(lambda: upstream.stored, "its label is stored")
    assert upstream.refused == upstream.stored == [{"conversation_id": "label-7"}]
