"""AUTH=key: programs that hold an API key. The service knows names and SHA-256 digests alone."""

import hashlib
import hmac

from starlette.datastructures import Headers

from gateway.access.identity.base import read_bearer_token, unauthenticated_error
from gateway.settings import Settings


class ApiKeys:
    def __init__(self, settings: Settings) -> None:
        self._digests = settings.api_keys

    async def authenticate(self, headers: Headers) -> str:
        key = headers.get("x-api-key") or read_bearer_token(headers)
        if not key:
            raise unauthenticated_error("no key", given=False)
        sent = [hashlib.sha256(form).digest() for form in _list_forms(key)]
        # Compares with every digest: the time does not tell which one fits.
        names = [name for name, known in self._digests for digest in sent if hmac.compare_digest(digest, known)]
        if not names:
            raise unauthenticated_error("unknown key")
        return f"key:{names[0]}"

    async def warm(self) -> None: ...
    async def aclose(self) -> None: ...


def _list_forms(key: str) -> set[bytes]:
    """Return the bytes that were sent, and those that the text has in UTF-8 if it was sent in Latin-1.

    curl sends what the terminal gives it, fetch and urllib send Latin-1; headers are decoded as Latin-1.
    """
    return {key.encode("latin-1"), key.encode()}
