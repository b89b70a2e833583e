"""The keys that sign a tenant's tokens: fetched when needed, kept, and good while they cannot be fetched."""

import asyncio
import logging
import time
from typing import Any

import aiohttp
import jwt
import orjson

from gateway.errors import UpstreamUnavailable

_log = logging.getLogger(__name__)

_UNKNOWN_S = 300.0  # at most one fetch in this time for key ids that nobody knows: anyone can make them up
_RETRY_S = 5.0  # where there is no key at all
_OLD_S = 86_400.0  # then they are fetched anew, because keys are withdrawn, too
_TIMEOUT = aiohttp.ClientTimeout(total=5)


class SigningKeys:
    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: dict[str, jwt.PyJWK] = {}
        self._session: aiohttp.ClientSession | None = None
        self._fetch: asyncio.Task[None] | None = None
        self._tried = self._fetched = self._asked_for_unknown = float("-inf")

    async def key(self, key_id: str) -> jwt.PyJWK | None:
        """Raises UpstreamUnavailable where there are no keys, and none can be had."""
        if not self._keys:
            await self._fetch_at_most_every(_RETRY_S)
            if not self._keys:
                raise _unreachable()
        if key_id not in self._keys:
            await self._fetch_for_unknown()
        elif time.monotonic() - self._fetched > _OLD_S and time.monotonic() - self._tried > _UNKNOWN_S:
            self._fetching()  # in the background: the key at hand is good
        return self._keys.get(key_id)

    async def warm(self) -> None:
        await self._fetch_at_most_every(_RETRY_S)

    async def aclose(self) -> None:
        if self._fetch:
            self._fetch.cancel()
            await asyncio.gather(self._fetch, return_exceptions=True)
        if self._session:
            await self._session.close()

    async def _fetch_for_unknown(self) -> None:
        now = time.monotonic()
        if now - self._asked_for_unknown > _UNKNOWN_S:
            self._asked_for_unknown = now
            await asyncio.shield(self._fetching())
        elif self._fetch and not self._fetch.done():
            await asyncio.shield(self._fetch)

    async def _fetch_at_most_every(self, seconds: float) -> None:
        if (self._fetch and not self._fetch.done()) or time.monotonic() - self._tried > seconds:
            await asyncio.shield(self._fetching())

    def _fetching(self) -> asyncio.Task[None]:
        """One for all who wait."""
        if self._fetch is None or self._fetch.done():
            self._tried = time.monotonic()
            self._fetch = asyncio.create_task(self._fetch_all())
        return self._fetch

    async def _fetch_all(self) -> None:
        try:
            keys = _keys(await self._document())
        except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as e:
            _log.warning("the signing keys could not be fetched, %d are at hand: %s", len(self._keys), type(e).__name__)
            return
        self._keys = keys
        self._fetched = time.monotonic()

    async def _document(self) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=True, raise_for_status=True)
        async with self._session.get(self._url, allow_redirects=False) as answer:
            return orjson.loads(await answer.read())


def _keys(document: Any) -> dict[str, jwt.PyJWK]:
    """Raises ValueError where there is none for signatures."""
    listed = document.get("keys") if isinstance(document, dict) else None
    found = {}
    for key in listed if isinstance(listed, list) else []:
        if isinstance(key, dict) and key.get("kty") == "RSA" and key.get("use", "sig") == "sig" and key.get("kid"):
            try:
                found[str(key["kid"])] = jwt.PyJWK(key, algorithm="RS256")
            except jwt.PyJWTError:
                _log.warning("a signing key could not be read")
    if not found:
        raise ValueError("no keys")
    return found


def _unreachable() -> UpstreamUnavailable:
    return UpstreamUnavailable(
        "no signing keys", public_message="The service could not reach the sign-in service. Please try again."
    )
