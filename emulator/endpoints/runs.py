"""Classic runs: created, streamed, listed, cancelled, answered, as azure-ai-agents 1.1.0 calls them."""

from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from emulator.call import Call
from emulator.classic_run import Run, text_of
from emulator.conversation import Conversation
from emulator.endpoints import threads
from emulator.scenario import orders_of
from emulator.streaming import EventStream, Part
from emulator.wire import Json, metadata_of, new_id, now, only_known, openai_error, page

PARAMETERS = frozenset({
    "assistant_id", "stream", "model", "instructions", "additional_instructions", "additional_messages", "tools",
    "tool_resources", "temperature", "top_p", "max_prompt_tokens", "max_completion_tokens", "truncation_strategy",
    "tool_choice", "response_format", "parallel_tool_calls", "metadata", "thread",
})  # fmt: skip
TOOL_ANSWER = "[the answer to what I asked for]"


async def create_with_thread(call: Call) -> ASGIApp:
    only_known(call.body, PARAMETERS - {"additional_messages", "additional_instructions"})
    given = call.body.get("thread") or {}
    if not isinstance(given, dict):
        raise openai_error(400, "Invalid type for 'thread'.", code="invalid_type", param="thread")
    thread = threads.new_thread(given)
    messages, thread.items = thread.items, []
    run = _new_run(call, thread, messages)
    call.service.threads[thread.id] = thread
    return _started(call, run, [("thread.created", threads.shown(thread))])


async def create(call: Call) -> ASGIApp:
    only_known(call.body, PARAMETERS - {"thread"})
    thread = threads.found(call.service, call.path("thread"))
    messages = threads.messages_of(call.body.get("additional_messages"), thread.id, "additional_messages")
    return _started(call, _new_run(call, thread, messages), [])


def _new_run(call: Call, thread: Conversation, messages: list[Json]) -> Run:
    """The run of a thread that now holds `messages`, or the refusal of both."""
    state = _blank(thread.id, threads.check_assistant(call.body.get("assistant_id")), metadata_of(call.body))
    if thread.active:
        raise openai_error(400, f"Thread {thread.id} already has an active run {thread.active}.")
    said = [text_of(item) for item in (*thread.items, *messages) if item["role"] == "user"]
    is_new = any(item["role"] == "user" for item in messages)
    orders = call.service.accept(said[-1], counted=is_new) if said else orders_of("")
    if "busy" in orders:
        raise openai_error(400, f"Thread {thread.id} already has an active run {new_id('run')}.")
    thread.items += messages
    thread.active = state["id"]
    run = Run(call.service.tasks, thread, state, orders)
    call.service.runs[state["id"]] = run
    return run


def _started(call: Call, run: Run, opening: list[Part]) -> ASGIApp:
    dialogue = [{"role": item["role"], "content": text_of(item)} for item in run.thread.items]
    said = [turn["content"] for turn in dialogue if turn["role"] == "user"] or [""]
    run.start(opening, call.service.steps(run.orders, said, dialogue), read=call.wants_stream)
    return _told(call, run)


def _told(call: Call, run: Run) -> ASGIApp:
    if not call.wants_stream:
        return JSONResponse(run.state)
    return EventStream(run.state["id"], run.events(), run.orders, call.service.seen, at_end=run.detach)


def _blank(thread_id: str, assistant_id: str, metadata: dict[str, str]) -> Json:
    unset = (
        "required_action last_error started_at completed_at cancelled_at failed_at incomplete_details usage "
        "max_prompt_tokens max_completion_tokens"
    )
    return {
        "id": new_id("run"),
        "object": "thread.run",
        "created_at": now(),
        "expires_at": now() + 600,
        "thread_id": thread_id,
        "assistant_id": assistant_id,
        "status": "queued",
        "model": "gpt-emulated",
        "instructions": "You are the emulator's agent.",
        "tools": [],
        "tool_resources": {},
        "temperature": 1,
        "top_p": 1,
        "truncation_strategy": {"type": "auto", "last_messages": None},
        "tool_choice": "auto",
        "response_format": "auto",
        "parallel_tool_calls": True,
        "metadata": metadata,
    } | dict.fromkeys(unset.split())


def _existing(call: Call) -> Run:
    thread = threads.found(call.service, call.path("thread"))
    run = call.service.runs.get(call.path("run"))
    if run is None or run.thread is not thread:
        raise openai_error(404, f"No run found with id '{call.path('run')}'.")
    return run


async def retrieve(call: Call) -> ASGIApp:
    return JSONResponse(_existing(call).state)


async def list_runs(call: Call) -> ASGIApp:
    thread = threads.found(call.service, call.path("thread"))
    rows = [run.state for run in call.service.runs.values() if run.thread is thread]
    return page(rows, call.request.query_params)


async def list_steps(call: Call) -> ASGIApp:
    return page(_existing(call).steps, call.request.query_params)


async def cancel(call: Call) -> ASGIApp:
    run = _existing(call)
    if not run.is_active:
        raise openai_error(400, f"Cannot cancel run with status '{run.state['status']}'.")
    run.cancel()
    call.service.seen.cancelled.append(run.state["id"])
    return JSONResponse(run.state)


async def submit(call: Call) -> ASGIApp:
    only_known(call.body, frozenset({"tool_outputs", "tool_approvals", "stream"}))
    run = _existing(call)
    action = run.state["required_action"]
    if action is None:
        message = f"Runs in status '{run.state['status']}' do not accept tool outputs."
        raise openai_error(400, message)
    given = call.body.get("tool_outputs") or call.body.get("tool_approvals") or []
    wanted = {tool["id"] for tool in action[action["type"]]["tool_calls"]}
    if {answer.get("tool_call_id") for answer in given if isinstance(answer, dict)} != wanted:
        raise openai_error(400, f"Expected tool outputs for call_ids {sorted(wanted)}.")
    run.state |= {"status": "queued", "required_action": None}
    run.steps[-1] |= {"status": "completed", "completed_at": now()}
    run.orders = orders_of("")
    run.start([], call.service.steps(run.orders, [TOOL_ANSWER], []), read=call.wants_stream)
    return _told(call, run)
