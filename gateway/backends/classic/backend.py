"""Classic agents (`asst_…`, retired on 2027-03-31): threads and runs, one round trip a turn.

Paths and bodies are those of azure-ai-agents 1.1.0, held by `tests/test_upstream_requests.py`. A classic run goes on
when its reader leaves, and keeps its thread locked: so whatever ends a turn early also cancels the run.
"""

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import anyio

from gateway.backends.classic.events import ClassicRun
from gateway.backends.http_client import PATIENCE_S, Upstream
from gateway.backends.upstream_errors import retry_after_s
from gateway.errors import Cancelled, GatewayError, UpstreamRunFailed, UpstreamTimeout, UpstreamUnavailable
from gateway.events import BackendEvent, Turn

_log = logging.getLogger(__name__)

_VERSION = "api-version=v1"
_ACTIVE = {"queued", "in_progress", "requires_action", "cancelling"}
_CANCEL_S = 5.0
_CANCEL_WAIT_S = 1.0  # so that the next turn finds the thread free; a slower answer is not waited for


class ClassicBackend:
    def __init__(self, upstream: Upstream, assistant_id: str) -> None:
        self._upstream = upstream
        self._assistant_id = assistant_id
        self._cancelled: deque[str] = deque(maxlen=1_000)  # runs that a caller stopped here, not someone else
        self._stopping: set[asyncio.Task[None]] = set()

    async def answer(self, turn: Turn) -> AsyncGenerator[list[BackendEvent]]:
        turn_id = uuid.uuid4().hex
        run = ClassicRun()
        try:
            async with self._upstream.stream(
                *_request(turn, self._assistant_id, turn_id),
                thread_id=turn.thread_id,
                until=asyncio.get_running_loop().time() + PATIENCE_S,
            ) as stream:
                run.wait_s = retry_after_s(stream.headers)
                while (events := await stream.next(run.translate)) is not None:
                    yield events
                if not stream.completed:
                    raise run.ended()
        except UpstreamRunFailed as e:
            if run.run_id in self._cancelled:
                raise Cancelled() from e
            raise
        except GatewayError as e:
            lost = isinstance(e, UpstreamUnavailable | UpstreamTimeout)  # then it may have been accepted all the same
            await self._stop(run, turn.thread_id if lost else None, turn_id)
            raise
        except BaseException:  # the reader left, or the time is up
            await self._stop(run, turn.thread_id, turn_id)
            raise

    async def check(self) -> None:
        await self._upstream.ask("GET", f"/assistants/{self._assistant_id}?{_VERSION}")

    async def cancel(self, thread_id: str) -> bool:
        """Stateless: the thread's newest run is the only one that can be active."""
        with suppress(GatewayError):
            for run in await self._newest_runs(thread_id, 1):
                self._cancelled.append(str(run.get("id")))
                await self._cancel_run(thread_id, str(run.get("id")))
                return True
        return False

    async def warm(self) -> None:
        await self.check()

    async def aclose(self) -> None:
        await asyncio.gather(*self._stopping)
        await self._upstream.aclose()

    async def _stop(self, run: ClassicRun, thread_id: str | None = None, turn_id: str = "") -> None:
        """Best effort, and not to be cancelled itself. `turn_id` finds a run that has not told its id yet."""
        if run.over:
            return
        stopping = asyncio.create_task(self._cancel_of(run, thread_id, turn_id))
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)
        with anyio.CancelScope(shield=True):
            await asyncio.wait({stopping}, timeout=_CANCEL_WAIT_S)

    async def _cancel_of(self, run: ClassicRun, thread_id: str | None, turn_id: str) -> None:
        with anyio.move_on_after(_CANCEL_S), suppress(GatewayError):
            if run.run_id:
                await self._cancel_run(run.thread_id, run.run_id)
            elif thread_id:
                for other in await self._newest_runs(thread_id, 5):
                    if (other.get("metadata") or {}).get("turn_id") == turn_id:
                        await self._cancel_run(thread_id, str(other.get("id")))

    async def _newest_runs(self, thread_id: str, limit: int) -> list[dict[str, Any]]:
        """The active ones among the newest."""
        page = await self._upstream.ask(
            "GET", f"/threads/{thread_id}/runs?{_VERSION}&limit={limit}&order=desc", thread_id=thread_id
        )
        runs = page.get("data")
        return [run for run in runs if run.get("status") in _ACTIVE] if isinstance(runs, list) else []

    async def _cancel_run(self, thread_id: str, run_id: str) -> None:
        await self._upstream.ask("POST", f"/threads/{thread_id}/runs/{run_id}/cancel?{_VERSION}", thread_id=thread_id)


def _request(turn: Turn, assistant_id: str, turn_id: str) -> tuple[str, dict[str, Any]]:
    said = [{"role": "user", "content": turn.message}]
    run = {"assistant_id": assistant_id, "stream": True, "metadata": {"turn_id": turn_id}}
    if turn.thread_id:
        return f"/threads/{turn.thread_id}/runs?{_VERSION}", {**run, "additional_messages": said}
    thread = {"messages": said, "metadata": {"conversation_id": turn.conversation_id}}
    return f"/threads/runs?{_VERSION}", {**run, "thread": thread}
