"""How requests to the upstream are authenticated: with a bearer token, or with an Azure OpenAI key."""

from collections.abc import Mapping
from typing import Protocol

from gateway.backends.token_cache import CachedCredential


class UpstreamAuth(Protocol):
    async def get_headers(self) -> Mapping[str, str]:
        """Return the headers of a request, fetching a token if one is needed. Raises what `CachedCredential` raises."""
        ...

    async def aclose(self) -> None: ...


class BearerAuth:
    """A bearer token. One header value is shared by all requests: copies would hold 2 KiB for each open stream."""

    def __init__(self, credential: CachedCredential) -> None:
        self._credential = credential
        self._token = ""
        self._headers: Mapping[str, str] = {}

    async def get_headers(self) -> Mapping[str, str]:
        token = (await self._credential.get_token()).token
        if token != self._token:
            self._token, self._headers = token, {"Authorization": f"Bearer {token}"}
        return self._headers

    async def aclose(self) -> None:
        await self._credential.aclose()


class ApiKeyAuth:
    def __init__(self, key: str) -> None:
        self._headers = {"api-key": key}

    async def get_headers(self) -> Mapping[str, str]:
        return self._headers

    async def aclose(self) -> None: ...
