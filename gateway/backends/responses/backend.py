"""Foundry agents and Azure OpenAI: conversations and responses.

Paths and bodies are those of azure-ai-projects 2.10 and openai 3.52, held by `tests/test_upstream_requests.py`.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any, Protocol

import anyio

from gateway.backends.http_client import RETRY_BUDGET_S, UpstreamClient, UpstreamStream
from gateway.backends.json_values import as_string
from gateway.backends.responses.conversation_pool import ConversationPool
from gateway.backends.responses.events import ResponseRun
from gateway.backends.upstream_errors import parse_retry_after_s
from gateway.errors import ActionRequired, AgentNotFound, GatewayError, UpstreamUnavailable
from gateway.events import BackendEvent, Turn

_log = logging.getLogger(__name__)

_RESPONSES = "/openai/v1/responses"
_CONVERSATIONS = "/openai/v1/conversations"
_FAILURE_REASON_TIMEOUT_S = 2.0  # for the `error` event that follows a `response.failed` without a reason
_REJECT_TIMEOUT_S = 5.0
_LABELS_TIMEOUT_S = 2.0
_REJECTION = "This service offers no such function."


class Target(Protocol):
    """An agent or a model: what answers behind the Responses API."""

    body: dict[str, Any]
    """The fields that name it in a request's body."""
    can_chain: bool
    """Whether it may be an endpoint without conversations, where `previous_response_id` continues one."""

    async def check(self, upstream: UpstreamClient) -> None: ...


class FoundryAgent:
    can_chain = False

    def __init__(self, agent_id: str) -> None:
        """Take `name`, whose newest version answers, or `name:version`."""
        name, _, version = agent_id.partition(":")
        reference = {"type": "agent_reference", "name": name}
        self.body = {"agent_reference": {**reference, "version": version} if version else reference}
        self._path = f"/agents/{name}" + (f"/versions/{version}" if version else "")

    async def check(self, upstream: UpstreamClient) -> None:
        await upstream.request_json("GET", f"{self._path}?api-version=v1")


class Deployment:
    """An Azure OpenAI model without an agent."""

    can_chain = True

    def __init__(self, name: str) -> None:
        self.body = {"model": name, "store": True}

    async def check(self, upstream: UpstreamClient) -> None:
        await upstream.auth.ensure_signed_in()


class ResponsesBackend:
    def __init__(self, upstream: UpstreamClient, target: Target, pool_size: int) -> None:
        self._upstream = upstream
        self._target = target
        self._has_conversations = True
        self._pool = ConversationPool(pool_size, self._create_conversation, self._delete_conversation)
        self._background_tasks: set[asyncio.Task[None]] = set()  # labels being written during their runs

    async def answer(self, turn: Turn) -> AsyncGenerator[list[BackendEvent]]:
        loop = asyncio.get_running_loop()
        retry_deadline, run_finished = loop.time() + RETRY_BUDGET_S, loop.create_future()
        thread_id = turn.thread_id or await self._open_conversation(turn, retry_deadline, run_finished)
        body = {"input": turn.message, "stream": True, **self._target.body, **self._build_continuation(turn, thread_id)}
        try:
            async with self._upstream.open_stream(
                _RESPONSES, body, thread_id=turn.thread_id, retry_deadline=retry_deadline
            ) as stream:
                conversation = None if self._is_chained(thread_id) else thread_id
                run = ResponseRun(conversation, parse_retry_after_s(stream.headers))
                while (events := await _read_events(stream, run)) is not None:
                    yield events
        except ActionRequired:
            if thread_id and not self._is_chained(thread_id):
                await self._reject_tool_calls(thread_id, run)
            raise
        finally:
            run_finished.set_result(None)
            if turn.thread_id is None and self._has_conversations:
                self._pool.refill()

    async def check(self) -> None:
        await self._target.check(self._upstream)

    async def cancel(self, thread_id: str) -> bool:
        return False  # only background responses can be cancelled; closing the stream stops the others

    async def warm(self) -> None:
        """Fetch a token, open a connection, fill the conversation pool."""
        await self._upstream.auth.ensure_signed_in()
        self._pool.refill()
        await self._pool.wait_until_filled()

    def count_prepared(self) -> int:
        return len(self._pool)

    async def aclose(self) -> None:
        await self._pool.aclose()
        if self._background_tasks:
            _, unwritten = await asyncio.wait(self._background_tasks, timeout=_LABELS_TIMEOUT_S)
            for task in unwritten:
                task.cancel()
        await self._upstream.aclose()

    def _is_chained(self, thread_id: str | None) -> bool:
        """Return whether `previous_response_id` continues it, as the id's own prefix says."""
        return thread_id is None or (self._target.can_chain and thread_id.startswith("resp_"))

    def _build_continuation(self, turn: Turn, thread_id: str | None) -> dict[str, Any]:
        if thread_id is None:
            return {"metadata": _label_from(turn)}
        return {"previous_response_id" if self._is_chained(thread_id) else "conversation": thread_id}

    async def _open_conversation(
        self, turn: Turn, retry_deadline: float, run_finished: asyncio.Future[None]
    ) -> str | None:
        """Return a conversation's id, None if the endpoint has no conversations."""
        if thread_id := await self._pool.take():
            task = asyncio.create_task(self._write_label(thread_id, turn, run_finished))
            self._background_tasks.add(task)
            task.add_done_callback(self._background_tasks.discard)
            return thread_id
        if not self._has_conversations:
            return None
        try:
            return await self._create_conversation(_label_from(turn), retry_deadline)
        except AgentNotFound:
            if self._has_conversations:
                raise
            return None

    async def _create_conversation(self, label: dict[str, str] | None = None, retry_deadline: float = 0) -> str:
        body = {"metadata": label} if label else {}
        try:
            created = await self._upstream.request_json("POST", _CONVERSATIONS, body, retry_deadline=retry_deadline)
        except AgentNotFound:
            self._has_conversations = not self._target.can_chain  # a 404 says that this endpoint has none
            raise
        thread_id = as_string(created.get("id"))
        if not thread_id:
            raise UpstreamUnavailable("a conversation without an id")
        return thread_id

    async def _delete_conversation(self, thread_id: str) -> None:
        await self._upstream.request_json("DELETE", f"{_CONVERSATIONS}/{thread_id}")

    async def _write_label(self, thread_id: str, turn: Turn, run_finished: asyncio.Future[None]) -> None:
        """Write it during the run; if that fails, after it: an upstream may lock a conversation meanwhile."""
        if await self._try_write_label(thread_id, turn) is None:
            return
        await asyncio.shield(run_finished)  # cancelling this task must not cancel the turn's own future
        if error := await self._try_write_label(thread_id, turn):
            _log.warning("could not write the conversation's label: %s", error)

    async def _try_write_label(self, thread_id: str, turn: Turn) -> GatewayError | None:
        """Return the error if it could not be written."""
        try:
            await self._upstream.request_json("POST", f"{_CONVERSATIONS}/{thread_id}", {"metadata": _label_from(turn)})
        except GatewayError as e:
            return e
        return None

    async def _reject_tool_calls(self, thread_id: str, run: ResponseRun) -> None:
        """Deny what the agent asked for, so that the conversation can go on. Best effort."""
        items = [rejection for item in run.pending_actions.values() if (rejection := _rejection_from(item))]
        if not items:
            return
        try:
            with anyio.fail_after(_REJECT_TIMEOUT_S):
                await self._upstream.request_json("POST", f"{_CONVERSATIONS}/{thread_id}/items", {"items": items})
        except (GatewayError, TimeoutError) as e:
            reason = str(e) or f"no answer in {_REJECT_TIMEOUT_S:g} s"
            _log.warning("could not reject pending tool calls, the conversation may be blocked: %s", reason)


def _label_from(turn: Turn) -> dict[str, str]:
    return {"conversation_id": turn.conversation_id}


async def _read_events(stream: UpstreamStream, run: ResponseRun) -> list[BackendEvent] | None:
    """Return None after the run's completion. Raises GatewayError if it did not complete."""
    if run.failed:
        with anyio.move_on_after(_FAILURE_REASON_TIMEOUT_S):
            await stream.read_events(run.translate)
        raise run.failed
    events = await stream.read_events(run.translate)
    if events is None and not stream.completed:
        raise run.premature_end_error()
    return events


def _rejection_from(item: dict[str, Any]) -> dict[str, Any] | None:
    match item.get("type"):
        case "function_call":
            return {"type": "function_call_output", "call_id": item.get("call_id"), "output": _REJECTION}
        case "custom_tool_call":
            return {"type": "custom_tool_call_output", "call_id": item.get("call_id"), "output": _REJECTION}
        case "mcp_approval_request":
            return {"type": "mcp_approval_response", "approval_request_id": item.get("id"), "approve": False}
    return None
