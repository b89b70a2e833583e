"""A tenant on loopback: a server of signing keys, and the tokens it signs."""

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.servers import serving

TENANT = "11111111-2222-3333-4444-555555555555"
OTHER_TENANT = "99999999-2222-3333-4444-555555555555"
AUDIENCE = "api://chat"


class Tenant:
    def __init__(self) -> None:
        self.keys = {"kid-1": _new_key()}
        self.fetched = 0
        self.is_down = False
        self.document: object = None
        """What is answered instead of the keys, unless None."""
        self.url = ""

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{tenant}/discovery/v2.0/keys", self._answer)])

    async def _answer(self, _: Request) -> Response:
        self.fetched += 1
        if self.is_down:
            return Response(status_code=503)
        if self.document is not None:
            return JSONResponse(self.document)
        return JSONResponse({"keys": [_public(kid, key) for kid, key in self.keys.items()]})

    def add_key(self, kid: str) -> None:
        self.keys[kid] = _new_key()

    def claims(self, **changed: Any) -> dict[str, Any]:
        now = int(time.time())
        issuer = f"{self.url}/{TENANT}/v2.0"
        claims = {
            "iss": issuer,
            "aud": AUDIENCE,
            "oid": "person-1",
            "azp": "client-1",
            "iat": now,
            "nbf": now,
            "exp": now + 600,
        }
        return {name: value for name, value in (claims | changed).items() if value is not None}

    def token(self, *, kid: str = "kid-1", key: RSAPrivateKey | None = None, **changed: Any) -> str:
        return jwt.encode(self.claims(**changed), key or self.keys[kid], algorithm="RS256", headers={"kid": kid})

    def unsigned(self) -> str:
        return jwt.encode(self.claims(), "", algorithm="none", headers={"kid": "kid-1"})

    def signed_with_the_public_key(self) -> str:
        """HS256, with what everybody knows for a secret. PyJWT refuses to make it, so it is made by hand."""
        public = self.keys["kid-1"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        algorithm = jwt.get_algorithm_by_name("HS256")
        head = _part({"alg": "HS256", "typ": "JWT", "kid": "kid-1"})
        signed = f"{head}.{_part(self.claims())}"
        return f"{signed}.{jwt.utils.base64url_encode(algorithm.sign(signed.encode(), public)).decode()}"


@contextmanager
def a_tenant() -> Generator[Tenant]:
    tenant = Tenant()
    with serving(tenant.app()) as url:
        tenant.url = url
        yield tenant


def strangers_key() -> RSAPrivateKey:
    return _new_key()


def _new_key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=2048)


def _public(kid: str, key: RSAPrivateKey) -> dict[str, Any]:
    return {**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig"}


def _part(value: dict[str, Any]) -> str:
    return jwt.utils.base64url_encode(json.dumps(value).encode()).decode()
