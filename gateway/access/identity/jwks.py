"""A tenant's JSON Web Key Set (JWKS): the keys that sign its tokens, fetched when needed and cached.

A cached key stays good while the document cannot be fetched. https://www.rfc-editor.org/rfc/rfc7517
"""

import logging
import time
from typing import Any

import aiohttp
import jwt
import orjson

from gateway.errors import UpstreamUnavailable
from gateway.proxies import allows_proxy
from gateway.single_flight import SingleFlight

_log = logging.getLogger(__name__)

_UNKNOWN_KEY_INTERVAL_S = 30.0  # at most one fetch in this time for unknown key ids: anyone can invent them
_RETRY_INTERVAL_S = 5.0  # after a fetch that failed
_MAX_AGE_S = 86_400.0  # then they are fetched again: keys are also withdrawn
_TIMEOUT = aiohttp.ClientTimeout(total=5)


class SigningKeys:
    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: dict[str, jwt.PyJWK] = {}
        self._session: aiohttp.ClientSession | None = None
        self._fetch = SingleFlight(self._fetch_all)
        self._attempted_at = self._fetched_at = self._unknown_key_at = float("-inf")

    async def find_key(self, key_id: str) -> jwt.PyJWK | None:
        """Return the key, None if the tenant has none of this id.

        Raises UpstreamUnavailable for an id that is not cached while the newest fetch failed: there may be such a key.
        """
        if not self._keys:
            await self._fetch_at_most_every(_RETRY_INTERVAL_S)
        elif key_id not in self._keys:
            await self._fetch_for_unknown()
        elif (
            time.monotonic() - self._fetched_at > _MAX_AGE_S
            and time.monotonic() - self._attempted_at > _UNKNOWN_KEY_INTERVAL_S
        ):
            self._fetch.start()  # in the background: the cached key is good
        if key_id not in self._keys and self._has_failed:
            raise _unreachable_error()
        return self._keys.get(key_id)

    async def warm(self) -> None:
        await self._fetch_at_most_every(_RETRY_INTERVAL_S)

    async def aclose(self) -> None:
        await self._fetch.aclose()
        if self._session:
            await self._session.close()

    @property
    def _has_failed(self) -> bool:
        """Whether the newest fetch brought no keys."""
        return self._attempted_at > self._fetched_at

    async def _fetch_for_unknown(self) -> None:
        now = time.monotonic()
        if now - self._unknown_key_at > (_RETRY_INTERVAL_S if self._has_failed else _UNKNOWN_KEY_INTERVAL_S):
            self._unknown_key_at = now
            await self._fetch.run()
        elif self._fetch.is_running:
            await self._fetch.run()

    async def _fetch_at_most_every(self, seconds: float) -> None:
        if self._fetch.is_running or time.monotonic() - self._attempted_at > seconds:
            await self._fetch.run()

    async def _fetch_all(self) -> None:
        self._attempted_at = time.monotonic()
        try:
            keys = _keys_from(await self._fetch_document())
        except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as e:
            _log.warning(
                "could not fetch the signing keys (JWKS), %d are cached: %s", len(self._keys), type(e).__name__
            )
            return
        self._keys = keys
        self._fetched_at = time.monotonic()

    async def _fetch_document(self) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=_TIMEOUT, trust_env=allows_proxy(self._url), raise_for_status=True
            )
        async with self._session.get(self._url, allow_redirects=False) as answer:
            return orjson.loads(await answer.read())


def _keys_from(document: Any) -> dict[str, jwt.PyJWK]:
    """Return the signature keys by their id. Raises ValueError if there are none."""
    listed = document.get("keys") if isinstance(document, dict) else None
    found = {}
    for key in listed if isinstance(listed, list) else []:
        if isinstance(key, dict) and key.get("kty") == "RSA" and key.get("use", "sig") == "sig" and key.get("kid"):
            try:
                found[str(key["kid"])] = jwt.PyJWK(key, algorithm="RS256")
            except jwt.PyJWTError:
                _log.warning("could not read a signing key (JWK)")
    if not found:
        raise ValueError("no keys")
    return found


def _unreachable_error() -> UpstreamUnavailable:
    return UpstreamUnavailable(
        "no signing keys", public_message="The service could not reach the sign-in service. Please try again."
    )
