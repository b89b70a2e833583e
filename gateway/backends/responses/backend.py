"""Foundry agents and Azure OpenAI: a turn is one streamed response.

Paths and bodies are those of azure-ai-projects 2.10 and openai 3.52, held by `tests/test_upstream_requests.py`.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any, Protocol

import anyio

from gateway.backends.base import Backend
from gateway.backends.http_client import RETRY_BUDGET_S, UpstreamClient
from gateway.backends.responses.conversations import Conversations, build_continuation
from gateway.backends.responses.events import ResponseRun
from gateway.backends.upstream_errors import parse_retry_after_s
from gateway.backends.upstream_stream import UpstreamStream
from gateway.errors import ActionRequired, GatewayError
from gateway.events import BackendEvent, Thread, Turn

_log = logging.getLogger(__name__)

_PATH = "/openai/v1/responses"
_FAILURE_REASON_TIMEOUT_S = 2.0  # for the `error` event that follows a `response.failed` without a reason
_REJECT_TIMEOUT_S = 5.0
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
        await upstream.ensure_signed_in()


class ResponsesBackend(Backend):
    abilities = frozenset({"prepare"})

    def __init__(self, upstream: UpstreamClient, target: Target, pool_size: int) -> None:
        self._upstream = upstream
        self._target = target
        self._conversations = Conversations(upstream, can_chain=target.can_chain, pool_size=pool_size)

    async def answer(self, turn: Turn) -> AsyncGenerator[list[BackendEvent]]:
        loop = asyncio.get_running_loop()
        retry_deadline, run_finished = loop.time() + RETRY_BUDGET_S, loop.create_future()
        thread = await self._conversations.open(turn, retry_deadline, run_finished)
        body = {"input": turn.message, "stream": True, **self._target.body, **build_continuation(turn, thread)}
        run = ResponseRun(thread)
        try:
            async with self._upstream.open_stream(
                _PATH, body, thread_id=turn.thread_id, retry_deadline=retry_deadline
            ) as stream:
                run.retry_after_s = parse_retry_after_s(stream.headers)
                while (events := await _read_events(stream, run)) is not None:
                    yield events
        except ActionRequired:
            await self._reject_tool_calls(thread, run)
            raise
        finally:
            run_finished.set_result(None)
            if turn.thread is None:
                self._conversations.refill()

    async def check(self) -> None:
        await self._target.check(self._upstream)

    async def warm(self) -> None:
        """Fetch a token, open a connection, prepare conversations."""
        await self._upstream.ensure_signed_in()
        self._conversations.refill()
        await self._conversations.wait_until_prepared()

    def count_prepared(self) -> int:
        return self._conversations.count_prepared()

    async def aclose(self) -> None:
        await self._conversations.aclose()
        await self._upstream.aclose()

    async def _reject_tool_calls(self, thread: Thread | None, run: ResponseRun) -> None:
        """Deny what the agent asked for, so that the conversation can go on. Best effort; a chain needs none."""
        items = [rejection for item in run.pending_actions.values() if (rejection := _rejection_from(item))]
        if not items or thread is None or thread.is_chain:
            return
        try:
            with anyio.fail_after(_REJECT_TIMEOUT_S):
                await self._conversations.add_items(thread, items)
        except (GatewayError, TimeoutError) as e:
            reason = str(e) or f"no answer in {_REJECT_TIMEOUT_S:g} s"
            _log.warning("could not reject pending tool calls, the conversation may be blocked: %s", reason)


async def _read_events(stream: UpstreamStream, run: ResponseRun) -> list[BackendEvent] | None:
    """Return None after the run's completion. Raises GatewayError if it did not complete."""
    if run.failed:
        with anyio.move_on_after(_FAILURE_REASON_TIMEOUT_S):
            while await stream.read_events(run.translate) is not None:
                pass
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
