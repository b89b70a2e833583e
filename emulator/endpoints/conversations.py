"""`/conversations` and their items, as openai 3.52 calls them."""

from starlette.responses import JSONResponse, Response

from emulator.call import Call
from emulator.conversation import Conversation
from emulator.items import checked
from emulator.service import Service
from emulator.wire import Json, metadata_of, only_known, openai_error, page

MAX_ITEMS = 20


def found(service: Service, conversation_id: str) -> Conversation:
    conversation = service.conversations.get(conversation_id)
    if conversation is None:
        message = f"Conversation with id '{conversation_id}' not found."
        raise openai_error(404, message, code="not_found", param="conversation")
    return conversation


def shown(conversation: Conversation) -> Json:
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": conversation.created_at,
        "metadata": conversation.metadata,
    }


def _items_of(body: Json) -> list[Json]:
    items = body.get("items") or []
    if not isinstance(items, list) or len(items) > MAX_ITEMS:
        raise openai_error(400, "Invalid 'items': a list of at most 20.", code="invalid_type", param="items")
    return [checked(item, f"items[{i}]") for i, item in enumerate(items)]


def _existing(call: Call) -> Conversation:
    return found(call.service, call.path("conversation"))


async def create(call: Call) -> Response:
    only_known(call.body, frozenset({"metadata", "items"}))
    if not call.service.has_conversations:
        raise openai_error(404, "Resource not found", code="404")
    metadata, items = metadata_of(call.body), _items_of(call.body)
    conversation = call.service.new_conversation(metadata)
    conversation.items += items
    return JSONResponse(shown(conversation))


async def retrieve(call: Call) -> Response:
    return JSONResponse(shown(_existing(call)))


async def update(call: Call) -> Response:
    only_known(call.body, frozenset({"metadata"}))
    conversation = _existing(call)
    conversation.metadata = metadata_of(call.body)
    return JSONResponse(shown(conversation))


async def delete(call: Call) -> Response:
    conversation = _existing(call)
    del call.service.conversations[conversation.id]
    return JSONResponse({"id": conversation.id, "object": "conversation.deleted", "deleted": True})


async def list_items(call: Call) -> Response:
    return page(_existing(call).items, call.request.query_params)


async def create_items(call: Call) -> Response:
    only_known(call.body, frozenset({"items"}))
    conversation = _existing(call)
    items = _items_of(call.body)
    if not items:
        raise openai_error(400, "Missing required parameter: 'items'.", code="missing_required_parameter")
    conversation.items += items
    return page(items, {"order": "asc"})


async def retrieve_item(call: Call) -> Response:
    for item in _existing(call).items:
        if item["id"] == call.path("item"):
            return JSONResponse(item)
    raise openai_error(404, f"Item with id '{call.path('item')}' not found.", code="not_found")


async def delete_item(call: Call) -> Response:
    conversation = _existing(call)
    conversation.items = [item for item in conversation.items if item["id"] != call.path("item")]
    return JSONResponse(shown(conversation))
