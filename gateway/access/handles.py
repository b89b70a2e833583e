"""Handles: what callers hold as `thread_id`, and the upstream's id behind it. The only place that makes and reads them.

With CONVERSATION_KEYS a handle is base64url(upstream id) and an HMAC-SHA256 over owner and id, without a separator
(docs/decisions/0020). All of it is in the contract's alphabet for a `thread_id`, and within its 200 characters for
upstream ids of up to 117. A handle is signed, not secret: it tells its holder an id that only this service's identity
can use.
"""

import base64
import hashlib
import re
from typing import Protocol

from gateway.errors import ConversationNotFound, InternalError
from gateway.settings import Settings

_SHAPE = re.compile(r"[A-Za-z0-9_-]{1,200}")
_MOST_CHARS = 200
_SIGNATURE_CHARS = 43  # 32 bytes in base64url


class Threads(Protocol):
    """`owner` is `Caller.owner`."""

    def handle(self, thread_id: str, owner: str) -> str: ...

    def thread_id(self, handle: str, owner: str) -> str:
        """Raises ConversationNotFound, the same for whatever is not this owner's."""
        ...


class RawThreads:
    """Without CONVERSATION_KEYS: the upstream's own id, for whoever knows it."""

    def handle(self, thread_id: str, owner: str) -> str:
        return thread_id

    def thread_id(self, handle: str, owner: str) -> str:
        if not _SHAPE.fullmatch(handle):
            raise ConversationNotFound("not an id")
        return handle


class SignedThreads:
    def __init__(self, keys: list[str]) -> None:
        """`keys` newest first: the first signs, all are good."""
        from itsdangerous import Signer  # noqa: PLC0415  not imported when off

        self._signer = Signer(keys[::-1], salt="chat-api.thread", key_derivation="hmac", digest_method=hashlib.sha256)

    def handle(self, thread_id: str, owner: str) -> str:
        encoded = _to_base64url(thread_id.encode())
        handle = encoded + self._signer.get_signature(_bound(encoded, owner)).decode()
        if len(handle) > _MOST_CHARS:
            raise InternalError(f"an upstream id of {len(thread_id)} characters")
        return handle

    def thread_id(self, handle: str, owner: str) -> str:
        """Every wrong handle takes the same way through here, and none goes upstream."""
        encoded, signature = handle[:-_SIGNATURE_CHARS], handle[-_SIGNATURE_CHARS:]
        if not self._signer.verify_signature(_bound(encoded, owner), signature) or not _is_canonical(signature):
            raise ConversationNotFound("not this caller's handle")
        return _from_base64url(encoded).decode()


def threads_for(settings: Settings) -> Threads:
    if not settings.conversation_keys:
        return RawThreads()
    return SignedThreads([key.get_secret_value() for key in settings.conversation_keys])


def _bound(encoded: str, owner: str) -> bytes:
    return f"{owner}\n{encoded}".encode()


def _is_canonical(signature: str) -> bool:
    """The last of the 43 characters has two bits that decoding ignores: four spellings of one signature."""
    return _to_base64url(_from_base64url(signature)) == signature


def _to_base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
