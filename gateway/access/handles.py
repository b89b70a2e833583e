"""Handles: what callers hold as `thread_id`, and the conversation behind it. The only place that makes and reads them.

A handle names a conversation by the upstream's id of it, a chain of responses by a marker and an id. It is the name
itself, or with CONVERSATION_KEYS base64url(name) and an HMAC-SHA256 over subject and name, without a separator
(docs/decisions/0020). All of it is in the contract's alphabet for a `thread_id`, and within its 200 characters for
signed names of up to 117. A handle is signed, not secret: its holder can read an id that only this service's identity
can use.
"""

import base64
import hashlib
import re
from typing import Protocol

from gateway.errors import ConversationNotFound, InternalError
from gateway.events import Handle, Thread, ThreadId
from gateway.settings import Settings

_RAW = re.compile(r"[A-Za-z0-9_-]{1,200}")
_MAX_CHARS = 200
_SIGNATURE_CHARS = 43  # 32 bytes in base64url
_CHAIN = "chain-"
_CONVERSATION = "conversation-"
_OLD_CHAIN = "resp_"  # how handles without a marker named a chain, before chains had one


class Handles(Protocol):
    """A translation both ways. `subject` is `Caller.subject`, who owns the conversation."""

    def to_handle(self, thread: Thread, subject: str) -> Handle:
        """Return what the caller gets as `thread_id`."""
        ...

    def from_handle(self, handle: Handle, subject: str) -> Thread:
        """Return the conversation. Raises ConversationNotFound, the same for whatever is not this owner's."""
        ...


class Names:
    """A translation of conversations to names, and back. `can_chain`: whether the upstream may keep responses alone."""

    def __init__(self, *, can_chain: bool) -> None:
        self._can_chain = can_chain
        self._ambiguous = (_CHAIN, _CONVERSATION, _OLD_CHAIN) if can_chain else (_CHAIN, _CONVERSATION)

    def to_name(self, thread: Thread) -> str:
        """Return the id: marked if it is a chain's, or would be read as something else than it is."""
        if thread.is_chain:
            return _CHAIN + thread.id
        return _CONVERSATION + thread.id if thread.id.startswith(self._ambiguous) else thread.id

    def from_name(self, name: str) -> Thread:
        """Return the conversation. Raises ConversationNotFound for a chain on an upstream that has none."""
        is_chain = not name.startswith(_CONVERSATION) and name.startswith(self._ambiguous)
        thread_id = name.removeprefix(_CHAIN if is_chain else _CONVERSATION)
        if not thread_id or (is_chain and not self._can_chain):
            raise ConversationNotFound("a marker without an id, or a chain on an upstream that has none")
        return Thread(ThreadId(thread_id), is_chain)


class RawHandles:
    """A handle without CONVERSATION_KEYS is the conversation's name itself, valid for whoever knows it."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def to_handle(self, thread: Thread, subject: str) -> Handle:
        return Handle(self._names.to_name(thread))

    def from_handle(self, handle: Handle, subject: str) -> Thread:
        if not _RAW.fullmatch(handle):
            raise ConversationNotFound("not an id")
        return self._names.from_name(handle)


class SignedHandles:
    """A handle with CONVERSATION_KEYS is valid for its owner alone."""

    def __init__(self, names: Names, keys: list[str]) -> None:
        """Take `keys` newest first: the first one signs, all of them verify."""
        from itsdangerous import Signer  # noqa: PLC0415  not imported when off

        self._names = names
        self._signer = Signer(keys[::-1], salt="chat-api.thread", key_derivation="hmac", digest_method=hashlib.sha256)

    def to_handle(self, thread: Thread, subject: str) -> Handle:
        encoded = _to_base64url(self._names.to_name(thread).encode())
        handle = encoded + self._signer.get_signature(_build_signed_text(encoded, subject)).decode()
        if len(handle) > _MAX_CHARS:
            raise InternalError(f"an upstream id of {len(thread.id)} characters")
        return Handle(handle)

    def from_handle(self, handle: Handle, subject: str) -> Thread:
        """Reject every wrong handle on the same path, without a request to the upstream."""
        encoded, signature = handle[:-_SIGNATURE_CHARS], handle[-_SIGNATURE_CHARS:]
        is_signed = self._signer.verify_signature(_build_signed_text(encoded, subject), signature)
        if not is_signed or not _is_canonical(signature):
            raise ConversationNotFound("not this caller's handle")
        return self._names.from_name(_from_base64url(encoded).decode())


def create_handles(settings: Settings) -> Handles:
    names = Names(can_chain=settings.upstream_kind == "openai")
    if not settings.conversation_keys:
        return RawHandles(names)
    return SignedHandles(names, [key.get_secret_value() for key in settings.conversation_keys])


def _build_signed_text(encoded: str, subject: str) -> bytes:
    return f"{subject}\n{encoded}".encode()


def _is_canonical(signature: str) -> bool:
    """Return whether it is the only spelling: decoding ignores two bits of the last of the 43 characters."""
    return _to_base64url(_from_base64url(signature)) == signature


def _to_base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
