"""The conversations of an endpoint of the Responses API: created, labelled, prepared; or chains, where it has none."""

import asyncio
import logging
import time
from typing import Any

from gateway.backends.http_client import UpstreamClient
from gateway.backends.json_values import as_string
from gateway.backends.responses.conversation_pool import ConversationPool
from gateway.errors import AgentNotFound, GatewayError, UpstreamUnavailable
from gateway.events import Thread, ThreadId, Turn

_log = logging.getLogger(__name__)

_PATH = "/openai/v1/conversations"
_LABELS_TIMEOUT_S = 2.0
_CHECK_AGAIN_S = 60.0


class Conversations:
    """The conversations of one endpoint. `can_chain`: it may have none; then each response follows the one before."""

    def __init__(self, upstream: UpstreamClient, *, can_chain: bool, pool_size: int) -> None:
        self._upstream = upstream
        self._can_chain = can_chain
        self._exist = None if can_chain else True
        """Whether the endpoint has conversations; None: not known before the first was created, or refused."""
        self._check_again_at = 0.0
        self._pool = ConversationPool(pool_size, self._create, self._delete)
        self._background_tasks: set[asyncio.Task[None]] = set()  # labels being written during their runs

    async def open(self, turn: Turn, retry_deadline: float, run_finished: asyncio.Future[None]) -> Thread | None:
        """Return the conversation that the turn continues, or a new one; None if its response begins a chain.

        `run_finished`: the caller sets it when the run is over.
        """
        if turn.thread:
            # Where there are no conversations, a handle without a marker is a chain's, from before those had one.
            return Thread(turn.thread.id, is_chain=True) if self._exist is False else turn.thread
        if thread_id := await self._pool.take():
            task = asyncio.create_task(self._write_label(thread_id, turn, run_finished))
            self._background_tasks.add(task)
            task.add_done_callback(self._background_tasks.discard)
            return Thread(thread_id)
        if self._exist is False:
            return None
        try:
            return Thread(await self._create(_label_from(turn), retry_deadline))
        except AgentNotFound:
            if not self._can_chain:
                raise
            return None

    def refill(self) -> None:
        """Prepare the conversations of the next new turns, in the background."""
        if self._exist is False and time.monotonic() >= self._check_again_at:
            self._exist = None  # a proxy or a restart may have answered that 404
        if self._exist is not False:
            self._pool.refill()

    async def wait_until_prepared(self) -> None:
        await self._pool.wait_until_filled()

    def count_prepared(self) -> int:
        return len(self._pool)

    async def add_items(self, thread: Thread, items: list[dict[str, Any]]) -> None:
        """Append items to a conversation; a chain takes none."""
        await self._upstream.request_json("POST", f"{_PATH}/{thread.id}/items", {"items": items})

    async def aclose(self) -> None:
        """Delete what was prepared and not used, and wait for labels. Best effort, bounded."""
        await self._pool.aclose()
        if self._background_tasks:
            _, unwritten = await asyncio.wait(self._background_tasks, timeout=_LABELS_TIMEOUT_S)
            for task in unwritten:
                task.cancel()

    async def _create(self, label: dict[str, str] | None = None, retry_deadline: float = 0) -> ThreadId:
        body = {"metadata": label} if label else {}
        try:
            created = await self._upstream.request_json("POST", _PATH, body, retry_deadline=retry_deadline)
        except AgentNotFound:
            if self._exist is None:
                self._exist = False
                self._check_again_at = time.monotonic() + _CHECK_AGAIN_S
            raise
        self._exist = True
        thread_id = as_string(created.get("id"))
        if not thread_id:
            raise UpstreamUnavailable("a conversation without an id")
        return ThreadId(thread_id)

    async def _delete(self, thread_id: ThreadId) -> None:
        await self._upstream.request_json("DELETE", f"{_PATH}/{thread_id}")

    async def _write_label(self, thread_id: ThreadId, turn: Turn, run_finished: asyncio.Future[None]) -> None:
        """Write it during the run; if that fails, after it: an upstream may lock a conversation meanwhile."""
        if await self._try_write_label(thread_id, turn) is None:
            return
        await asyncio.shield(run_finished)  # cancelling this task must not cancel the turn's own future
        if error := await self._try_write_label(thread_id, turn):
            _log.warning("could not write the conversation's label: %s", error)

    async def _try_write_label(self, thread_id: ThreadId, turn: Turn) -> GatewayError | None:
        """Return the error if it could not be written."""
        try:
            await self._upstream.request_json("POST", f"{_PATH}/{thread_id}", {"metadata": _label_from(turn)})
        except GatewayError as e:
            return e
        return None


def build_continuation(turn: Turn, thread: Thread | None) -> dict[str, Any]:
    """Return what a response's request says of its conversation. `thread`: what `Conversations.open` returned."""
    if thread is None:
        return {"metadata": _label_from(turn)}
    return {"previous_response_id" if thread.is_chain else "conversation": thread.id}


def _label_from(turn: Turn) -> dict[str, str]:
    return {"conversation_id": turn.conversation_id}
