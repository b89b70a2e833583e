"""Signed handles: base64url(upstream id) and an HMAC-SHA256 over owner and id, without a separator.

All of it is in the contract's alphabet for a `thread_id`, and within its 200 characters for upstream ids of up to 117.
A handle is signed, not secret: it tells its holder an id that only this service's identity can use.
"""

import hashlib

from itsdangerous import Signer
from itsdangerous.encoding import base64_decode, base64_encode

from gateway.errors import ConversationNotFound, InternalError

_MOST_CHARS = 200
_SIGNATURE_CHARS = 43  # 32 bytes in base64url


class SignedThreads:
    def __init__(self, keys: list[str]) -> None:
        """`keys` newest first: the first signs, all are good."""
        self._signer = Signer(keys[::-1], salt="chat-api.thread", key_derivation="hmac", digest_method=hashlib.sha256)

    def handle(self, thread_id: str, owner: str) -> str:
        encoded = base64_encode(thread_id).decode()
        handle = encoded + self._signer.get_signature(_bound(encoded, owner)).decode()
        if len(handle) > _MOST_CHARS:
            raise InternalError(f"an upstream id of {len(thread_id)} characters")
        return handle

    def thread_id(self, handle: str, owner: str) -> str:
        """Every wrong handle takes the same way through here, and none goes upstream."""
        encoded, signature = handle[:-_SIGNATURE_CHARS], handle[-_SIGNATURE_CHARS:]
        if not self._signer.verify_signature(_bound(encoded, owner), signature) or not _is_canonical(signature):
            raise ConversationNotFound("not this caller's handle")
        return base64_decode(encoded).decode()


def _bound(encoded: str, owner: str) -> bytes:
    return f"{owner}\n{encoded}".encode()


def _is_canonical(signature: str) -> bool:
    """The last of the 43 characters has two bits that decoding ignores: four spellings of one signature."""
    return base64_encode(base64_decode(signature)).decode() == signature
