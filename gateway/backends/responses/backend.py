"""Foundry agents and Azure OpenAI: conversations and responses.

Paths and bodies are those of azure-ai-projects 2.10 and openai 3.52, held by `tests/test_upstream_requests.py`.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, Protocol

import anyio

from gateway.backends.http_client import PATIENCE_S, Upstream, UpstreamStream
from gateway.backends.json_values import as_word
from gateway.backends.responses.conversation_pool import Stock
from gateway.backends.responses.events import ResponseRun
from gateway.backends.upstream_errors import retry_after_s
from gateway.errors import ActionRequired, AgentNotFound, GatewayError, UpstreamUnavailable
from gateway.events import BackendEvent, Turn

_log = logging.getLogger(__name__)

_RESPONSES = "/openai/v1/responses"
_CONVERSATIONS = "/openai/v1/conversations"
_REASON_S = 2.0  # how long the reason may take that follows a `response.failed` without one
_REFUSAL_S = 5.0
_LABELS_S = 2.0
_REFUSAL = "This service offers no such function."


class Target(Protocol):
    """What answers behind the responses API."""

    body: dict[str, Any]
    """What names it in a request's body."""
    may_chain: bool
    """Without conversations, `previous_response_id` remembers."""

    async def check(self, upstream: Upstream) -> None: ...


class FoundryAgent:
    may_chain = False

    def __init__(self, agent_id: str) -> None:
        """`name`, whose newest version answers, or `name:version`."""
        name, _, version = agent_id.partition(":")
        reference = {"type": "agent_reference", "name": name}
        self.body = {"agent_reference": {**reference, "version": version} if version else reference}
        self._path = f"/agents/{name}" + (f"/versions/{version}" if version else "")

    async def check(self, upstream: Upstream) -> None:
        await upstream.ask("GET", f"{self._path}?api-version=v1")


class Deployment:
    """An Azure OpenAI model without an agent."""

    may_chain = True

    def __init__(self, name: str) -> None:
        self.body = {"model": name, "store": True}

    async def check(self, upstream: Upstream) -> None:
        await upstream.sign_in.ready()


class ResponsesBackend:
    def __init__(self, upstream: Upstream, target: Target, conversations_ahead: int) -> None:
        self._upstream = upstream
        self._target = target
        self._has_conversations = True
        self._stock = Stock(conversations_ahead, self._make_conversation, self._drop_conversation)
        self._behind: set[asyncio.Task[None]] = set()  # labels being written beside their runs

    async def answer(self, turn: Turn) -> AsyncGenerator[list[BackendEvent]]:
        loop = asyncio.get_running_loop()
        until, over = loop.time() + PATIENCE_S, loop.create_future()
        thread_id = turn.thread_id or await self._open_conversation(turn, until, over)
        body = {"input": turn.message, "stream": True, **self._target.body, **self._memory(turn, thread_id)}
        try:
            async with self._upstream.stream(_RESPONSES, body, thread_id=turn.thread_id, until=until) as stream:
                run = ResponseRun(None if self._is_chained(thread_id) else thread_id, retry_after_s(stream.headers))
                while (events := await _next(stream, run)) is not None:
                    yield events
        except ActionRequired:
            if thread_id and not self._is_chained(thread_id):
                await self._refuse(thread_id, run)
            raise
        finally:
            over.set_result(None)
            if turn.thread_id is None and self._has_conversations:
                self._stock.refill()

    async def check(self) -> None:
        await self._target.check(self._upstream)

    async def cancel(self, thread_id: str) -> bool:
        return False  # only background responses can be cancelled; closing the stream stops the others

    async def warm(self) -> None:
        """A token, a connection, the stock."""
        await self._upstream.sign_in.ready()
        self._stock.refill()
        await self._stock.ready()

    def ahead(self) -> int:
        return len(self._stock)

    async def aclose(self) -> None:
        await self._stock.aclose()
        if self._behind:
            _, unwritten = await asyncio.wait(self._behind, timeout=_LABELS_S)
            for task in unwritten:
                task.cancel()
        await self._upstream.aclose()

    def _is_chained(self, thread_id: str | None) -> bool:
        """Remembered by `previous_response_id`: the id's own prefix tells."""
        return thread_id is None or (self._target.may_chain and thread_id.startswith("resp_"))

    def _memory(self, turn: Turn, thread_id: str | None) -> dict[str, Any]:
        if thread_id is None:
            return {"metadata": _label(turn)}
        return {"previous_response_id" if self._is_chained(thread_id) else "conversation": thread_id}

    async def _open_conversation(self, turn: Turn, until: float, over: asyncio.Future[None]) -> str | None:
        """None where the endpoint has no conversations."""
        if thread_id := await self._stock.take():
            writing = asyncio.create_task(self._write_label(thread_id, turn, over))
            self._behind.add(writing)
            writing.add_done_callback(self._behind.discard)
            return thread_id
        if not self._has_conversations:
            return None
        try:
            return await self._make_conversation(_label(turn), until)
        except AgentNotFound:
            if self._has_conversations:
                raise
            return None

    async def _make_conversation(self, label: dict[str, str] | None = None, until: float = 0) -> str:
        body = {"metadata": label} if label else {}
        try:
            made = await self._upstream.ask("POST", _CONVERSATIONS, body, until=until)
        except AgentNotFound:
            self._has_conversations = not self._target.may_chain  # a 404 says once for all that it has none
            raise
        thread_id = as_word(made.get("id"))
        if not thread_id:
            raise UpstreamUnavailable("a conversation without an id")
        return thread_id

    async def _drop_conversation(self, thread_id: str) -> None:
        await self._upstream.ask("DELETE", f"{_CONVERSATIONS}/{thread_id}")

    async def _write_label(self, thread_id: str, turn: Turn, over: asyncio.Future[None]) -> None:
        """Beside the run; once more after it, because an upstream may lock a conversation meanwhile."""
        path, body = f"{_CONVERSATIONS}/{thread_id}", {"metadata": _label(turn)}
        with suppress(GatewayError):
            await self._upstream.ask("POST", path, body)
            return
        await asyncio.shield(over)  # cancelling this task must not cancel the turn's own future
        try:
            await self._upstream.ask("POST", path, body)
        except GatewayError as e:
            _log.warning("the conversation's label could not be written: %s", e)

    async def _refuse(self, thread_id: str, run: ResponseRun) -> None:
        """Answers what the agent asked for, so that the conversation can go on. Best effort."""
        items = [refusal for item in run.unanswered.values() if (refusal := _refusal_of(item))]
        if not items:
            return
        with anyio.move_on_after(_REFUSAL_S), suppress(GatewayError):
            await self._upstream.ask("POST", f"{_CONVERSATIONS}/{thread_id}/items", {"items": items})
            return
        _log.warning("the agent's request could not be refused: the conversation may be stuck")


def _label(turn: Turn) -> dict[str, str]:
    return {"conversation_id": turn.conversation_id}


async def _next(stream: UpstreamStream, run: ResponseRun) -> list[BackendEvent] | None:
    """None after the run's completion. Raises where it did not come to one."""
    if run.failed:
        with anyio.move_on_after(_REASON_S):
            await stream.next(run.translate)
        raise run.failed
    events = await stream.next(run.translate)
    if events is None and not stream.completed:
        raise run.ended()
    return events


def _refusal_of(item: dict[str, Any]) -> dict[str, Any] | None:
    match item.get("type"):
        case "function_call":
            return {"type": "function_call_output", "call_id": item.get("call_id"), "output": _REFUSAL}
        case "custom_tool_call":
            return {"type": "custom_tool_call_output", "call_id": item.get("call_id"), "output": _REFUSAL}
        case "mcp_approval_request":
            return {"type": "mcp_approval_response", "approval_request_id": item.get("id"), "approve": False}
    return None
