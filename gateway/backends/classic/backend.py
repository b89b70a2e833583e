"""Classic agents (`asst_…`, retired on 2027-03-31): threads and runs, one round trip a turn.

Paths and bodies are those of azure-ai-agents 1.1.0, held by `tests/test_upstream_requests.py`. A classic run goes on
when its client disconnects, and keeps its thread locked: so whatever ends a turn early also cancels the run.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import anyio

from gateway.backends.base import Backend
from gateway.backends.classic.events import ClassicRun
from gateway.backends.http_client import RETRY_BUDGET_S, UpstreamClient
from gateway.backends.json_values import as_object, as_string
from gateway.backends.upstream_errors import parse_retry_after_s
from gateway.errors import (
    ConversationBusy,
    ConversationNotFound,
    GatewayError,
    NoActiveRun,
    UpstreamRunFailed,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gateway.events import BackendEvent, Thread, ThreadId, Turn

_log = logging.getLogger(__name__)

_VERSION = "api-version=v1"
_ACTIVE = {"queued", "in_progress", "requires_action", "cancelling"}
_CANCEL_TIMEOUT_S = 5.0
_CANCEL_WAIT_S = 1.0  # so that the next turn finds the thread free; a slower cancel goes on in the background


class ClassicBackend(Backend):
    abilities = frozenset({"cancel"})

    def __init__(self, upstream: UpstreamClient, assistant_id: str) -> None:
        self._upstream = upstream
        self._assistant_id = assistant_id
        self._background_tasks: set[asyncio.Task[None]] = set()

    async def answer(self, turn: Turn) -> AsyncGenerator[list[BackendEvent]]:
        turn_id = uuid.uuid4().hex
        run, is_accepted = ClassicRun(), False
        try:
            async with self._upstream.open_stream(
                *_build_request(turn, self._assistant_id, turn_id),
                thread_id=turn.thread_id,
                retry_deadline=asyncio.get_running_loop().time() + RETRY_BUDGET_S,
            ) as stream:
                is_accepted = True
                run.retry_after_s = parse_retry_after_s(stream.headers)
                while (events := await stream.read_events(run.translate)) is not None:
                    yield events
                if not stream.completed:
                    raise run.premature_end_error()
        except GatewayError as e:
            # A run may have started although its answer was lost.
            may_have_started = is_accepted or isinstance(e, UpstreamUnavailable | UpstreamTimeout)
            await self._stop(run, turn.thread_id if may_have_started else None, turn_id)
            raise
        except BaseException:  # client disconnect or deadline
            await self._stop(run, turn.thread_id, turn_id)
            raise

    async def check(self) -> None:
        await self._upstream.request_json("GET", f"/assistants/{self._assistant_id}?{_VERSION}")

    async def cancel(self, thread: Thread) -> None:
        """Cancel the thread's newest run: only that one can be active. Keeps no state, so that any replica can do it.

        Its stream ends by the run's own event, wherever it is. Raises NoActiveRun, and what a request raises.
        """
        active = await self._list_active_runs(thread.id, 1)
        if not active:
            raise NoActiveRun("no active run")
        try:
            await self._cancel_run(thread.id, str(active[0].get("id")))
        except (UpstreamRunFailed, ConversationBusy, ConversationNotFound) as e:  # refused: it may have just ended
            still_active = await self._list_active_runs(thread.id, 1)
            if not still_active or still_active[0].get("id") != active[0].get("id"):
                raise NoActiveRun("ended before it could be cancelled") from e
            if still_active[0].get("status") != "cancelling":
                raise

    async def warm(self) -> None:
        await self.check()

    async def aclose(self) -> None:
        await asyncio.gather(*self._background_tasks)
        await self._upstream.aclose()

    async def _stop(self, run: ClassicRun, thread_id: ThreadId | None = None, turn_id: str = "") -> None:
        """Cancel the run upstream: best effort, shielded from cancellation, waited for up to 1 s.

        `turn_id` finds a run whose id was not received yet.
        """
        if run.has_ended:
            return
        task = asyncio.create_task(self._find_and_cancel_run(run, thread_id, turn_id))
        self._background_tasks.add(task)
        task.add_done_callback(self._background_tasks.discard)
        with anyio.CancelScope(shield=True):
            await asyncio.wait({task}, timeout=_CANCEL_WAIT_S)

    async def _find_and_cancel_run(self, run: ClassicRun, thread_id: ThreadId | None, turn_id: str) -> None:
        with anyio.move_on_after(_CANCEL_TIMEOUT_S), suppress(GatewayError):
            if run.run_id:
                await self._cancel_run(run.thread_id, run.run_id)
            elif thread_id:
                for other in await self._list_active_runs(thread_id, 5):
                    if as_object(other.get("metadata")).get("turn_id") == turn_id:
                        await self._cancel_run(thread_id, str(other.get("id")))

    async def _list_active_runs(self, thread_id: ThreadId, limit: int) -> list[dict[str, Any]]:
        """Return the active ones among the newest `limit` runs."""
        page = await self._upstream.request_json(
            "GET", f"/threads/{thread_id}/runs?{_VERSION}&limit={limit}&order=desc", thread_id=thread_id
        )
        runs = page.get("data")
        objects = map(as_object, runs if isinstance(runs, list) else [])
        return [run for run in objects if as_string(run.get("status")) in _ACTIVE]

    async def _cancel_run(self, thread_id: ThreadId, run_id: str) -> None:
        await self._upstream.request_json(
            "POST", f"/threads/{thread_id}/runs/{run_id}/cancel?{_VERSION}", thread_id=thread_id
        )


def _build_request(turn: Turn, assistant_id: str, turn_id: str) -> tuple[str, dict[str, Any]]:
    messages = [{"role": "user", "content": turn.message}]
    run = {"assistant_id": assistant_id, "stream": True, "metadata": {"turn_id": turn_id}}
    if turn.thread_id:
        return f"/threads/{turn.thread_id}/runs?{_VERSION}", {**run, "additional_messages": messages}
    thread = {"messages": messages, "metadata": {"conversation_id": turn.conversation_id}}
    return f"/threads/runs?{_VERSION}", {**run, "thread": thread}
