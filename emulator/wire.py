"""The HTTP side of every endpoint: bodies in; JSON, errors, pages of lists out, as Azure shapes them."""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp

Json = dict[str, Any]
MAX_METADATA_PAIRS = 16


class ServiceError(Exception):
    """An answer that is not the wanted one; raised anywhere, sent as it is."""

    def __init__(self, response: ASGIApp) -> None:
        super().__init__()
        self.response = response


def openai_error(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    retry_after: str | None = None,
) -> ServiceError:
    """The shape of responses, conversations, threads and runs."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    headers = {"retry-after": retry_after} if retry_after else None
    return ServiceError(JSONResponse({"error": error}, status, headers))


def azure_error(status: int, code: str, message: str) -> ServiceError:
    """The shape of Azure's own layers: identity, routing, agents."""
    return ServiceError(JSONResponse({"error": {"code": code, "message": message}}, status))


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"


def now() -> int:
    return int(time.time())


def parsed(raw: bytes) -> Json:
    if not raw:
        return {}
    try:
        body = json.loads(raw)
        json.dumps(body, ensure_ascii=False).encode()  # refuses half a surrogate pair
    except ValueError as e:  # bad JSON, bad UTF-8
        raise openai_error(400, "We could not parse the JSON body of your request.", code="invalid_json") from e
    if not isinstance(body, dict):
        raise openai_error(400, "Invalid type for the body: expected an object.", code="invalid_type")
    return body


def only_known(body: Json, known: frozenset[str]) -> None:
    for name in body:
        if name not in known:
            raise openai_error(400, f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)


def metadata_of(body: Json) -> dict[str, str]:
    metadata = body.get("metadata")
    if metadata is None:
        return {}
    if not isinstance(metadata, dict) or not all(_is_pair(k, v) for k, v in metadata.items()):
        raise openai_error(400, "Invalid 'metadata': strings of at most 512.", code="invalid_type", param="metadata")
    if len(metadata) > MAX_METADATA_PAIRS:
        raise openai_error(400, "Invalid 'metadata': at most 16 pairs.", code="object_above_max_properties")
    return metadata


def _is_pair(key: str, value: object) -> bool:
    return len(key) <= 64 and isinstance(value, str) and len(value) <= 512


def page(rows: Sequence[Json], query: Mapping[str, str]) -> JSONResponse:
    """`rows` oldest first. `last_id` is null on an empty page: azure-ai-agents pages on while it is not."""
    ordered = list(rows) if query.get("order", "desc") == "asc" else list(reversed(rows))
    ids = [row["id"] for row in ordered]
    if (after := query.get("after")) in ids:
        ordered = ordered[ids.index(after) + 1 :]
    if (before := query.get("before")) in ids:
        ordered = [row for row in ordered if row["id"] in ids[: ids.index(before)]]
    limit = _limit(query.get("limit", "20"))
    shown = ordered[:limit]
    ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {"first_id": None, "last_id": None}
    return JSONResponse({"object": "list", "data": shown, **ends, "has_more": len(ordered) > limit})


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise openai_error(400, f"Invalid 'limit': {text}.", code="invalid_value", param="limit")
    return int(text)
