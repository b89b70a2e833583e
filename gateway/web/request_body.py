"""Reads a request's body: a JSON object in UTF-8, of bounded size, in bounded time."""

import asyncio
from codecs import BOM_UTF8
from typing import TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from gateway.errors import (
    InvalidRequest,
    MessageTooLarge,
    RequestTimeout,
    UnreadableRequest,
    UnsupportedMediaType,
)
from gateway.protocols.native import MessageRequest
from gateway.web.content_type import has_json_body

BODY_TIMEOUT_S = 30.0

Body = TypeVar("Body", bound=BaseModel)
Message = TypeVar("Message", bound=MessageRequest)


async def read_message(request: Request, model: type[Message], *, max_chars: int, max_bytes: int) -> Message:
    """Raise what `read_json` raises, and MessageTooLarge for a message of more than `max_chars`."""
    body = await read_json(request, model, max_bytes=max_bytes)
    if len(body.message.strip()) > max_chars:
        raise MessageTooLarge(f"{len(body.message)} characters")
    return body


async def read_json(request: Request, model: type[Body], *, max_bytes: int) -> Body:
    """Return the body as `model`.

    Raises UnsupportedMediaType, MessageTooLarge, RequestTimeout, UnreadableRequest, InvalidRequest, ClientDisconnect.
    """
    if not has_json_body(request.headers):
        raise UnsupportedMediaType()
    raw = await _read_bytes(request, max_bytes)
    try:
        value = orjson.loads(
            raw.removeprefix(BOM_UTF8)
        )  # refuses lone surrogates, other encodings and a thousand levels of nesting
    except orjson.JSONDecodeError as e:
        raise UnreadableRequest("not JSON") from e
    try:
        return model.model_validate(value)
    except ValidationError as e:
        errors = e.errors(include_url=False, include_context=False, include_input=False)
        raise InvalidRequest(errors=[{**error, "loc": ["body", *error["loc"]]} for error in errors]) from e


async def _read_bytes(request: Request, max_bytes: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise MessageTooLarge(f"{announced} bytes announced")
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.stream():
                size += len(part)
                if size > max_bytes:
                    raise MessageTooLarge(f"more than {max_bytes} bytes")
                parts.append(part)
    except TimeoutError as e:
        raise RequestTimeout(f"{size} bytes in {BODY_TIMEOUT_S} s") from e
    return b"".join(parts)
