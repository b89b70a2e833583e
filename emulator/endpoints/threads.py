"""Classic `/threads`, their messages, and `/assistants`, as azure-ai-agents 1.1.0 calls them."""

from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from emulator.call import Call
from emulator.classic_run import message
from emulator.conversation import Conversation
from emulator.service import Service
from emulator.wire import Json, metadata_of, new_id, now, only_known, openai_error, page

THREAD = frozenset({"messages", "metadata", "tool_resources"})
MESSAGE = frozenset({"role", "content", "metadata", "attachments"})


def found(service: Service, thread_id: str) -> Conversation:
    thread = service.threads.get(thread_id)
    if thread is None:
        raise openai_error(404, f"No thread found with id '{thread_id}'.")
    return thread


def shown(thread: Conversation) -> Json:
    return {
        "id": thread.id,
        "object": "thread",
        "created_at": thread.created_at,
        "metadata": thread.metadata,
        "tool_resources": {},
    }


def new_thread(body: Json) -> Conversation:
    """Not yet in the service's memory."""
    only_known(body, THREAD)
    thread = Conversation(new_id("thread"), metadata_of(body))
    thread.items = messages_of(body.get("messages"), thread.id, "messages")
    return thread


def messages_of(given: object, thread_id: str, param: str) -> list[Json]:
    if given is None:
        return []
    if not isinstance(given, list):
        raise openai_error(400, f"Invalid '{param}': expected messages.", code="invalid_type", param=param)
    return [_message_of(one, thread_id) for one in given]


def _message_of(given: object, thread_id: str) -> Json:
    if not isinstance(given, dict):
        raise openai_error(400, "Invalid type for a message: expected an object.", code="invalid_type")
    only_known(given, MESSAGE)
    if given.get("role") not in {"user", "assistant"}:
        raise openai_error(400, f"Invalid value: '{given.get('role')}'.", code="invalid_value", param="role")
    made = message(thread_id, given["role"], _text(given.get("content")))
    return made | {"metadata": metadata_of(given), "attachments": given.get("attachments") or []}


def _text(content: object) -> str:
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    if not isinstance(content, str) or not content:
        raise openai_error(400, "Message content must be non-empty.", code="invalid_type", param="content")
    return content


def _existing(call: Call) -> Conversation:
    return found(call.service, call.path("thread"))


async def create(call: Call) -> ASGIApp:
    thread = new_thread(call.body)
    call.service.threads[thread.id] = thread
    call.service.count(thread.items)
    return JSONResponse(shown(thread))


async def retrieve(call: Call) -> ASGIApp:
    return JSONResponse(shown(_existing(call)))


async def update(call: Call) -> ASGIApp:
    only_known(call.body, THREAD)
    thread = _existing(call)
    thread.metadata = metadata_of(call.body)
    return JSONResponse(shown(thread))


async def delete(call: Call) -> ASGIApp:
    thread = _existing(call)
    del call.service.threads[thread.id]
    return JSONResponse({"id": thread.id, "object": "thread.deleted", "deleted": True})


async def create_message(call: Call) -> ASGIApp:
    thread = _existing(call)
    made = _message_of(call.body, thread.id)
    if thread.active:
        raise openai_error(400, f"Can't add messages to {thread.id} while a run {thread.active} is active.")
    thread.items.append(made)
    call.service.count([made])
    return JSONResponse(made)


async def list_messages(call: Call) -> ASGIApp:
    run_id = call.request.query_params.get("run_id")
    rows = [item for item in _existing(call).items if run_id in {None, item["run_id"]}]
    return page(rows, call.request.query_params)


async def get_message(call: Call) -> ASGIApp:
    for item in _existing(call).items:
        if item["id"] == call.path("message"):
            return JSONResponse(item)
    raise openai_error(404, f"No message found with id '{call.path('message')}'.")


def check_assistant(assistant_id: object) -> str:
    if not isinstance(assistant_id, str) or not assistant_id:
        raise openai_error(
            400, "Missing required parameter: 'assistant_id'.", code="missing_required_parameter", param="assistant_id"
        )
    if not assistant_id.startswith("asst_") or assistant_id.startswith("asst_missing"):
        raise openai_error(404, f"No assistant found with id '{assistant_id}'.")
    return assistant_id


async def get_assistant(call: Call) -> ASGIApp:
    assistant = {
        "id": check_assistant(call.path("assistant")),
        "object": "assistant",
        "created_at": now(),
        "name": "Emulated",
        "description": None,
        "model": "gpt-emulated",
        "instructions": "You are the emulator's agent.",
        "tools": [],
        "tool_resources": {},
        "temperature": 1,
        "top_p": 1,
        "response_format": "auto",
        "metadata": {},
    }
    return JSONResponse(assistant)
