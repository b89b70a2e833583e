"""Reads a request's body: a JSON object in UTF-8, of bounded size, in bounded time, within the replica's budget."""

import asyncio
from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable
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
from gateway.web.body_budget import HeldBody
from gateway.web.content_type import has_json_body
from gateway.web.state import get_state

BODY_TIMEOUT_S = 30.0
_PART_OVERHEAD_BYTES = 64  # what Python keeps beside each part: a caller may send a body byte by byte

Body = TypeVar("Body", bound=BaseModel)


def read_body(model: type[Body]) -> Callable[[Request], Awaitable[Body]]:
    """Return a FastAPI dependency that reads the body as `model`. Its bytes count in the replica's budget until then.

    It raises UnsupportedMediaType, MessageTooLarge, RequestTimeout, Overloaded, UnreadableRequest, InvalidRequest,
    ClientDisconnect.
    """

    async def read(request: Request) -> Body:
        if not has_json_body(request.headers):
            raise UnsupportedMediaType()
        state = get_state(request)
        with state.body_budget.hold_body() as held:
            return _parse(await _read_bytes(request, held, state.settings.max_body_bytes), model)

    return read


def _parse(raw: bytes, model: type[Body]) -> Body:
    try:  # orjson refuses lone surrogates, other encodings and a thousand levels of nesting
        value = orjson.loads(raw.removeprefix(BOM_UTF8))
    except orjson.JSONDecodeError as e:
        raise UnreadableRequest("not JSON") from e
    try:
        return model.model_validate(value)
    except ValidationError as e:
        errors = e.errors(include_url=False, include_context=False, include_input=False)
        raise InvalidRequest(errors=[{**error, "loc": ["body", *error["loc"]]} for error in errors]) from e


async def _read_bytes(request: Request, held: HeldBody, max_bytes: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal():
        if int(announced) > max_bytes:
            raise MessageTooLarge(f"{announced} bytes announced")
        held.check_room(int(announced))  # before the caller sends it all for nothing
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.stream():
                size += len(part)
                if size > max_bytes:
                    raise MessageTooLarge(f"more than {max_bytes} bytes")
                held.grow(len(part) + _PART_OVERHEAD_BYTES)
                parts.append(part)
    except TimeoutError as e:
        raise RequestTimeout(f"{size} bytes in {BODY_TIMEOUT_S} s") from e
    return b"".join(parts)
