"""Handles: what callers hold as `thread_id`, and the upstream's id behind it. The only place that makes and reads them.

With CONVERSATION_KEYS a handle is base64url(upstream id) and an HMAC-SHA256 over subject and id, without a separator
(docs/decisions/0020). All of it is in the contract's alphabet for a `thread_id`, and within its 200 characters for
upstream ids of up to 117. A handle is signed, not secret: its holder can read an id that only this service's
identity can use.
"""

import base64
import hashlib
import re
from typing import Protocol

from gateway.errors import ConversationNotFound, InternalError
from gateway.settings import Settings

_RAW_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_MAX_CHARS = 200
_SIGNATURE_CHARS = 43  # 32 bytes in base64url


class Handles(Protocol):
    """A translation both ways: `thread_id` is the upstream's id, `subject` is `Caller.subject`, who owns it."""

    def to_handle(self, thread_id: str, subject: str) -> str:
        """Return what the caller gets as `thread_id`."""
        ...

    def from_handle(self, handle: str, subject: str) -> str:
        """Return the upstream's id. Raises ConversationNotFound, the same for whatever is not this owner's."""
        ...


class RawHandles:
    """A handle without CONVERSATION_KEYS is the upstream's own id, valid for whoever knows it."""

    def to_handle(self, thread_id: str, subject: str) -> str:
        return thread_id

    def from_handle(self, handle: str, subject: str) -> str:
        if not _RAW_ID.fullmatch(handle):
            raise ConversationNotFound("not an id")
        return handle


class SignedHandles:
    """A handle with CONVERSATION_KEYS is valid for its owner alone."""

    def __init__(self, keys: list[str]) -> None:
        """Take `keys` newest first: the first one signs, all of them verify."""
        from itsdangerous import Signer  # noqa: PLC0415  not imported when off

        self._signer = Signer(keys[::-1], salt="chat-api.thread", key_derivation="hmac", digest_method=hashlib.sha256)

    def to_handle(self, thread_id: str, subject: str) -> str:
        encoded = _to_base64url(thread_id.encode())
        handle = encoded + self._signer.get_signature(_build_signed_text(encoded, subject)).decode()
        if len(handle) > _MAX_CHARS:
            raise InternalError(f"an upstream id of {len(thread_id)} characters")
        return handle

    def from_handle(self, handle: str, subject: str) -> str:
        """Reject every wrong handle on the same path, without a request to the upstream."""
        encoded, signature = handle[:-_SIGNATURE_CHARS], handle[-_SIGNATURE_CHARS:]
        is_signed = self._signer.verify_signature(_build_signed_text(encoded, subject), signature)
        if not is_signed or not _is_canonical(signature):
            raise ConversationNotFound("not this caller's handle")
        return _from_base64url(encoded).decode()


def create_handles(settings: Settings) -> Handles:
    if not settings.conversation_keys:
        return RawHandles()
    return SignedHandles([key.get_secret_value() for key in settings.conversation_keys])


def _build_signed_text(encoded: str, subject: str) -> bytes:
    return f"{subject}\n{encoded}".encode()


def _is_canonical(signature: str) -> bool:
    """Return whether it is the only spelling: decoding ignores two bits of the last of the 43 characters."""
    return _to_base64url(_from_base64url(signature)) == signature


def _to_base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
