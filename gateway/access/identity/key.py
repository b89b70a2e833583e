"""AUTH=key: programs that hold a key. The service knows names and SHA-256 digests alone."""

import hashlib
import hmac

from starlette.datastructures import Headers

from gateway.access.identity import Identity, bearer_token, unauthenticated
from gateway.settings import Settings


def opened(settings: Settings) -> Identity:
    return Keys(settings.api_keys)


class Keys:
    def __init__(self, digests: tuple[tuple[str, bytes], ...]) -> None:
        self._digests = digests

    async def owner(self, headers: Headers) -> str:
        key = headers.get("x-api-key") or bearer_token(headers)
        if not key:
            raise unauthenticated("no key", given=False)
        digest = hashlib.sha256(key.encode()).digest()
        names = [name for name, known in self._digests if hmac.compare_digest(digest, known)]  # all of them, always
        if not names:
            raise unauthenticated("unknown key")
        return f"key:{names[0]}"

    async def warm(self) -> None: ...
    async def aclose(self) -> None: ...
