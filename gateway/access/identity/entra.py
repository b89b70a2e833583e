"""AUTH=entra: a bearer token of one Entra tenant, checked here.

https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-tokens
"""

from typing import Any

import jwt
from starlette.datastructures import Headers

from gateway.access.identity.base import read_bearer_token, unauthenticated_error
from gateway.access.identity.jwks import SigningKeys
from gateway.errors import Forbidden
from gateway.settings import Settings
from gateway.settings_access import EVERY_ROLE

AUTHORITY = "https://login.microsoftonline.com"

_ALGORITHM = "RS256"  # and no other: never what the token asks for
_SKEW_S = 60
_REQUIRED = ["exp", "iss", "aud"]


class Entra:
    def __init__(self, settings: Settings, authority: str = AUTHORITY) -> None:
        self._tenant = tenant = settings.auth_tenant_id
        self._issuers = [f"{authority}/{tenant}/v2.0", f"https://sts.windows.net/{tenant}/"]  # of v2 and v1 tokens
        self._audience = list(settings.auth_audience)
        self._scope = settings.auth_scope
        self._role = settings.auth_role
        self._keys = SigningKeys(f"{authority}/{tenant}/discovery/v2.0/keys")

    async def authenticate(self, headers: Headers) -> str:
        token = read_bearer_token(headers)
        if token is None:
            raise unauthenticated_error("no bearer token", given=False)
        key = await self._keys.find_key(_read_key_id(token))
        if key is None:
            raise unauthenticated_error("unknown signing key")
        claims = self._decode(token, key)
        _refuse_id_token(claims)
        self._allow(claims)
        return f"entra:{self._tenant}/{_read_person(claims)}"

    async def warm(self) -> None:
        await self._keys.warm()

    async def aclose(self) -> None:
        await self._keys.aclose()

    def _decode(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                audience=self._audience,
                issuer=self._issuers,
                leeway=_SKEW_S,
                options={"require": _REQUIRED, "enforce_minimum_key_length": True},
            )
        except jwt.PyJWTError as e:
            raise unauthenticated_error(type(e).__name__) from e

    def _allow(self, claims: dict[str, Any]) -> None:
        """Raise Forbidden. If both are required, one is enough: a person's token has scopes, a program's has roles."""
        if self._role == EVERY_ROLE:
            return
        has_scope = self._scope is not None and self._scope in _split_claim(claims.get("scp"))
        has_role = self._role is not None and self._role in _split_claim(claims.get("roles"))
        if not (has_scope or has_role):
            challenge = 'Bearer realm="chat-api", error="insufficient_scope"'
            raise Forbidden("neither scope nor role", headers={"www-authenticate": challenge})


def _refuse_id_token(claims: dict[str, Any]) -> None:
    """Raise Unauthenticated: an access token names the client that asked for it (v2 `azp`, v1 `appid`).

    An ID token has the client for its audience, and may have roles: it says who somebody is, not what may be done here.
    """
    if not any(isinstance(claims.get(name), str) and claims[name] for name in ("azp", "appid")):
        raise unauthenticated_error("an ID token")


def _read_key_id(token: str) -> str:
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as e:
        raise unauthenticated_error(type(e).__name__) from e
    key_id = header.get("kid")
    if header.get("alg") != _ALGORITHM or not isinstance(key_id, str):
        raise unauthenticated_error("not RS256, or no key id")
    return key_id


def _read_person(claims: dict[str, Any]) -> str:
    """Return `oid`, which is the same for a person in all of a tenant's apps; `sub` if there is none."""
    person = claims.get("oid") or claims.get("sub")
    if not isinstance(person, str):
        raise unauthenticated_error("neither oid nor sub")
    return person


def _split_claim(claim: object) -> list[str]:
    """Split a claim: scopes come as one string, roles as a list."""
    if isinstance(claim, str):
        return claim.split()
    return [word for word in claim if isinstance(word, str)] if isinstance(claim, list) else []
