"""Microsoft's own server of the Responses protocol (azure-ai-agentserver-responses), with the emulator's words.

Started as a process of its own: `python tests/agent_server/server.py PORT`, in the environment that
`tests/agent_server/requirements.txt` names. It stands for an Azure OpenAI endpoint without conversations.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

from azure.ai.agentserver.responses import (
    InMemoryResponseProvider,
    ResponseContext,
    ResponseEventStream,
    ResponsesAgentServerHost,
)

from emulator.scenario import FEW, Orders, orders_of, script_for

ACTIONS = ("function", "approval")
FAILURES = {"fail": "server_error", "expired": "server_error", "quota": "rate_limit_exceeded"}
CUT_SHORT = {"length": "max_output_tokens", "filtered answer": "content_filter"}


async def answer(request: Any, context: ResponseContext, _: asyncio.Event) -> AsyncIterator[Any]:
    """Yield the events of one response: what the last message orders (the table: emulator/__init__.py)."""
    stream = ResponseEventStream(response_id=context.response_id, request=request)
    message = await context.get_input_text()
    said = [*said_in(await context.get_history()), message]
    orders = orders_of(message)
    yield stream.emit_created()
    yield stream.emit_in_progress()
    for event in action(stream, orders) if any(word in orders for word in ACTIONS) else text(stream, orders, said):
        yield event
        await asyncio.sleep(0)  # each event is written by itself
    yield ending(stream, orders, said)


def said_in(history: Any) -> list[str]:
    """The person's messages so far, oldest first."""
    messages = [item for item in history if item["type"] == "message" and item["role"] == "user"]
    return ["".join(part["text"] for part in message["content"]) for message in messages]


def action(stream: ResponseEventStream, orders: Orders) -> Iterator[Any]:
    if "function" in orders:
        yield from stream.output_item_function_call("get_weather", "call_1", '{"location":"San Francisco"}')
    else:
        yield from stream.output_item_mcp_approval_request("zip1", "create_short_url", "{}")


def text(stream: ResponseEventStream, orders: Orders, said: list[str]) -> Iterator[Any]:
    if "quota" in orders:
        return
    pieces = list(script_for(orders, said))
    item = stream.add_output_item_message()
    yield item.emit_added()
    part = item.add_text_content()
    yield part.emit_added()
    for piece in pieces[:FEW] if any(word in orders for word in (*FAILURES, *CUT_SHORT)) else pieces:
        yield part.emit_delta(piece)
    yield part.emit_text_done()
    yield part.emit_done()
    yield item.emit_done()


def ending(stream: ResponseEventStream, orders: Orders, said: list[str]) -> Any:
    for word, code in FAILURES.items():
        if word in orders:
            return stream.emit_failed(code=code, message="As ordered.")
    for word, reason in CUT_SHORT.items():
        if word in orders:
            return stream.emit_incomplete(reason=reason)
    counts = {"input_tokens": len(said), "output_tokens": 2, "total_tokens": len(said) + 2}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    return stream.emit_completed(usage={**counts, **details})


if __name__ == "__main__":
    host = ResponsesAgentServerHost(prefix="/openai/v1", store=InMemoryResponseProvider())
    host.response_handler(answer)
    host.run("127.0.0.1", int(sys.argv[1]))
