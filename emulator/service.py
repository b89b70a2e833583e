"""What the emulator remembers while it runs, and what it does the same way for every kind of agent."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence

from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp

from emulator.classic_run import Run, text_of
from emulator.conversation import Conversation
from emulator.model import Model
from emulator.scenario import Orders, Step, from_list, orders_of, play, script_for
from emulator.seen import Seen
from emulator.streaming import Reset
from emulator.wire import Json, ServiceError, azure_error, new_id, openai_error

HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
NOT_TAKEN = (
    "429",
    "429 once",
    "filter",
    "busy",
    "denied",
    "forbidden",
)  # refused before it counts as accepted


class Service:
    def __init__(self, pace: float, *, conversations: bool = True, model: Model | None = None) -> None:
        self.pace = pace
        self.has_conversations = conversations
        self.model = model or Model.from_environment(os.environ)
        self.seen = Seen()
        self.conversations: dict[str, Conversation] = {}
        self.threads: dict[str, Conversation] = {}
        self.responses: dict[str, Json] = {}  # id → {"response", "input", "items", "previous"}
        self.runs: dict[str, Run] = {}
        self.agents: dict[str, list[Json]] = {}  # name → versions, oldest first
        self.tasks: set[asyncio.Task[None]] = set()
        self._told_once: set[str] = set()

    def new_conversation(self, metadata: dict[str, str]) -> Conversation:
        conversation = Conversation(new_id("conv"), metadata)
        self.conversations[conversation.id] = conversation
        return conversation

    def accept(self, message: str, *, counted: bool = True) -> Orders:
        """The orders of a message that is taken in and counted; raises the answer to one that is refused.

        A 5xx and a reset count too: whoever repeats such a message may have said it twice.
        """
        orders = orders_of(message)
        if counted and not self._refused_early(orders, message):
            self.seen.messages.append(message)
        if (answer := self._refusal(orders, message)) is not None:
            raise ServiceError(answer)
        return orders

    def count(self, messages: Sequence[Json]) -> None:
        """Of a thread: what people said, taken in without a run."""
        self.seen.messages.extend(text_of(message) for message in messages if message["role"] == "user")

    def _refused_early(self, orders: Orders, message: str) -> bool:
        if "429 once" in orders:
            return message not in self._told_once
        return any(word in orders for word in NOT_TAKEN)

    def _refusal(self, orders: Orders, message: str) -> ASGIApp | None:
        if "429 once" in orders and message not in self._told_once:
            self._told_once.add(message)
            return _too_many("1")
        if "429" in orders:
            return _too_many(f"{orders.number('429', 7):g}")
        return next((answer() for word, answer in REFUSALS.items() if word in orders), None)

    def steps(self, orders: Orders, said: Sequence[str], dialogue: Sequence[Json]) -> AsyncGenerator[Step]:
        """The answer to `said[-1]`. With a model behind, its words, except where the message gives orders."""
        if self.model is not None and not orders.words and orders.echo is None:
            return self.model.steps(dialogue)
        return play(orders, from_list(script_for(orders, said)), self.pace)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.model is not None:
            await self.model.close()


def _too_many(retry_after: str) -> ASGIApp:
    message = f"Too many requests. Please retry after {retry_after} seconds."
    return openai_error(429, message, code="too_many_requests", retry_after=retry_after).response


def _filtered() -> Response:
    result = {
        "jailbreak": {"filtered": True, "detected": True},
        "hate": {"filtered": False, "severity": "safe"},
    }
    error = {
        "message": "The response was filtered due to the prompt triggering the content management policy.",
        "type": "invalid_request_error",
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": result},
    }
    return JSONResponse({"error": error}, 400)


def denied() -> ASGIApp:
    message = "The principal lacks the required data action to perform this operation."
    return azure_error(401, "PermissionDenied", message).response


REFUSALS: dict[str, Callable[[], ASGIApp]] = {
    "filter": _filtered,
    "denied": denied,
    "forbidden": lambda: azure_error(403, "Forbidden", "Access to this resource is forbidden.").response,
    "500": lambda: openai_error(500, "The server had an error while processing your request.").response,
    "html": lambda: HTMLResponse(HTML, 502),
    "empty": lambda: Response(status_code=503),
    "reset": Reset,
}
