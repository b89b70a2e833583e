"""One classic run: a task of its own, which goes on when its reader leaves, and the events that it tells of itself.

Vocabulary and shapes: azure-ai-agents 1.1.0 (AgentStreamEvent, ThreadRun, ThreadMessage, RunStep).
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from emulator.conversation import Conversation
from emulator.scenario import Ask, Break, Comment, Ending, Orders, Refusal, Step, Text, Unknown, before_first, joined
from emulator.streaming import Part
from emulator.wire import Json, new_id, now

ACTIVE = frozenset({"queued", "in_progress", "requires_action", "cancelling"})
UNREAD = 1000  # events that wait for a slow reader before the run waits for it
GOES_ON_S = 30.0  # how long a run lasts whose stream broke
WHY_HALF = {"content_filter": "content_filter", "max_output_tokens": "max_tokens"}  # of a message
WHY_SHORT = {"content_filter": "content_filter", "max_output_tokens": "max_completion_tokens"}  # of a run
STAMPS = {"completed": "completed_at", "failed": "failed_at", "cancelled": "cancelled_at"}


class Run:
    def __init__(self, tasks: set[asyncio.Task[None]], thread: Conversation, state: Json, orders: Orders) -> None:
        """`tasks`: what the emulator cancels when it ends."""
        self.tasks = tasks
        self.thread = thread
        self.state = state
        self.orders = orders
        self.steps: list[Json] = []
        self._events: asyncio.Queue[Part | None] = asyncio.Queue(UNREAD)
        self._read = False
        self._cancelled = False
        self._task: asyncio.Task[None] | None = None
        self._pieces: list[str] = []
        self._message: Json | None = None

    @property
    def is_active(self) -> bool:
        return self.state["status"] in ACTIVE

    def start(self, opening: Sequence[Part], answer: AsyncGenerator[Step], *, read: bool) -> None:
        self._read = read
        self._pieces, self._message = [], None
        self._task = asyncio.create_task(self._run(opening, answer))
        self.tasks.add(self._task)
        self._task.add_done_callback(self.tasks.discard)

    async def events(self) -> AsyncGenerator[Part]:
        while (part := await self._events.get()) is not None:
            yield part

    def detach(self) -> None:
        """The reader is gone; nobody waits for room any more."""
        self._read = False
        while not self._events.empty():
            self._events.get_nowait()

    def cancel(self) -> None:
        if self.state["status"] == "cancelling":
            return
        self._cancelled = True
        if self.state["status"] == "requires_action" or self._task is None or self._task.done():
            self._settle("cancelled")
            return
        self.state["status"] = "cancelling"
        self._task.cancel()

    async def _run(self, opening: Sequence[Part], answer: AsyncGenerator[Step]) -> None:
        try:
            async with aclosing(before_first(self.orders)) as comments:
                async for comment in comments:
                    await self._emit(comment)
            for part in opening:
                await self._emit(part)
            await self._begin()
            async with aclosing(answer) as steps:
                async for step in steps:
                    await self._take(step)
        except asyncio.CancelledError:
            if not self._cancelled:
                raise
            await self._end_cancelled()
        await self._emit(None)

    async def _emit(self, part: Part | None) -> None:
        if self._read:
            await self._events.put(part)

    async def _tell(self, event: str, what: Json) -> None:
        await self._emit((event, dict(what)))

    async def _begin(self) -> None:
        if not self.steps:
            await self._tell("thread.run.created", self.state)
        await self._tell("thread.run.queued", self.state)
        self.state |= {"status": "in_progress", "started_at": now()}
        await self._tell("thread.run.in_progress", self.state)

    async def _take(self, step: Step) -> None:
        match step:
            case Text(piece) | Refusal(piece):
                await self._spoken(piece)
            case Comment():
                await self._emit(step)
            case Unknown():
                await self._tell("thread.moon_phase.changed", {"phase": "waxing"})
                picture = {"index": 1, "type": "image_file", "image_file": {"file_id": "assistant-1"}}
                await self._tell("thread.message.delta", self._delta(picture))
            case Break():
                await self._emit(step)
                self._read = False
                await asyncio.sleep(GOES_ON_S)
                self._settle("completed")
            case Ask(what):
                await self._require_action(what)
            case Ending():
                await self._ended(step)

    async def _spoken(self, piece: str) -> None:
        if self._message is None:
            await self._open_message()
        self._pieces.append(piece)
        await self._tell("thread.message.delta", self._delta({"index": 0, "type": "text", "text": {"value": piece}}))

    def _delta(self, part: Json) -> Json:
        message_id = self._message["id"] if self._message else ""
        return {"id": message_id, "object": "thread.message.delta", "delta": {"content": [part]}}

    async def _open_message(self) -> None:
        self._message = message(self.thread.id, "assistant", "", run=self.state) | {
            "content": [],
            "status": "in_progress",
        }
        details = {"type": "message_creation", "message_creation": {"message_id": self._message["id"]}}
        await self._open_step("message_creation", details)
        await self._tell("thread.message.created", self._message)
        await self._tell("thread.message.in_progress", self._message)

    async def _open_step(self, kind: str, details: Json) -> None:
        step = {"id": new_id("step"), "object": "thread.run.step", "created_at": now(), "run_id": self.state["id"]}
        step |= {"assistant_id": self.state["assistant_id"], "thread_id": self.thread.id, "type": kind}
        step |= {"status": "in_progress", "step_details": details, "last_error": None, "metadata": {}}
        step |= {"expired_at": None, "cancelled_at": None, "failed_at": None, "completed_at": None}
        self.steps.append(step)
        await self._tell("thread.run.step.created", step)
        await self._tell("thread.run.step.in_progress", step)

    async def _close_message(self, status: str, why: str | None) -> None:
        if self._message is None:
            return
        event = "completed" if why is None else "incomplete"
        self._message |= {"status": event, "content": _content(joined(self._pieces)), f"{event}_at": now()}
        if why is not None:
            self._message["incomplete_details"] = {"reason": why}
        if status in {"completed", "incomplete"}:
            self.thread.items.append(self._message)
        await self._tell(f"thread.message.{event}", self._message)
        ended = "completed" if status == "incomplete" else status
        self.steps[-1] |= {"status": ended, STAMPS.get(ended, "expired_at"): now()}
        await self._tell(f"thread.run.step.{ended}", self.steps[-1])

    async def _require_action(self, what: str) -> None:
        call_id = new_id("call")
        if what == "function":
            function = {"name": "weather", "arguments": '{"location":"San Francisco"}'}
            call = {"id": call_id, "type": "function", "function": function}
            action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [call]}}
        else:
            call = {"id": call_id, "type": "mcp", "name": "create_short_url", "server_label": "links"}
            call["arguments"] = '{"url":"https://example.com/"}'
            action = {"type": "submit_tool_approval", "submit_tool_approval": {"tool_calls": [call]}}
        await self._open_step("tool_calls", {"type": "tool_calls", "tool_calls": [call]})
        self.state |= {"status": "requires_action", "required_action": action}
        await self._tell("thread.run.requires_action", self.state)

    async def _ended(self, ending: Ending) -> None:
        if self.state["status"] == "requires_action":
            await self._emit(("done", "[DONE]"))
            return
        status = "failed" if ending.status == "quota" else ending.status
        why = {"completed": None, "incomplete": WHY_HALF.get(ending.code or "")}.get(status, f"run_{status}")
        await self._close_message(status, why)
        if status == "failed":
            self.state["last_error"] = {"code": ending.code, "message": ending.message}
        if status == "incomplete":
            self.state["incomplete_details"] = {"reason": WHY_SHORT.get(ending.code or "")}
        await self._close(status)

    async def _end_cancelled(self) -> None:
        await self._tell("thread.run.cancelling", self.state)
        await self._close_message("cancelled", "run_cancelled")
        await self._close("cancelled")

    async def _close(self, status: str) -> None:
        self._settle(status)
        await self._tell(f"thread.run.{status}", self.state)
        await self._emit(("done", "[DONE]"))

    def _settle(self, status: str) -> None:
        given = sum(len(text_of(item).split()) for item in self.thread.items if item["role"] == "user")
        made = len(joined(self._pieces).split())
        usage = {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
        self.state |= {"status": status, "required_action": None, "usage": usage}
        if status in STAMPS:
            self.state[STAMPS[status]] = now()
        self.thread.active = None


def message(thread_id: str, role: str, text: str, *, run: Json | None = None) -> Json:
    return {
        "id": new_id("msg"),
        "object": "thread.message",
        "created_at": now(),
        "thread_id": thread_id,
        "status": "completed",
        "incomplete_details": None,
        "completed_at": None,
        "incomplete_at": None,
        "role": role,
        "content": _content(text),
        "assistant_id": run["assistant_id"] if run else None,
        "run_id": run["id"] if run else None,
        "attachments": [],
        "metadata": {},
    }


def _content(text: str) -> list[Json]:
    return [{"type": "text", "text": {"value": text, "annotations": []}}]


def text_of(item: Json) -> str:
    return "".join(part["text"]["value"] for part in item["content"] if part["type"] == "text")
