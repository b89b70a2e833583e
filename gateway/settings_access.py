"""The settings of access control: who may call, in which conversation, how often. A part of `settings.Settings`.

Whatever would leave the service open by mistake is refused here: half a configuration, or one without effect.
"""

import hashlib
import os
import re
from typing import Annotated, Literal, get_args

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode

from gateway.settings_addresses import REDIS_FORM, is_redis_address

Auth = Literal["none", "easyauth", "entra", "key"]

GUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
_API_KEY = re.compile(r"([A-Za-z0-9._-]{1,64}):([0-9a-fA-F]{64})")
RATE = re.compile(r"([1-9]\d{0,8})/(?:([1-9]\d{0,5}) ?)?(second|minute|hour|day)")
"""Groups: how many, in how many units (None: one), the unit."""

_DIGEST_OF_NOTHING = hashlib.sha256(b"").hexdigest()
_KEY_BYTES = 32
EVERY_ROLE = "*"
"""AUTH_ROLE: every valid access token of the tenant for the audience, of a person or a program."""

_ONLY_WITH: dict[str, tuple[Auth, ...]] = {
    "auth_tenant_id": ("entra",),
    "auth_audience": ("entra",),
    "auth_scope": ("entra",),
    "auth_role": ("entra",),
    "api_keys": ("key",),
}
_NEEDED: dict[str, tuple[Auth, ...]] = {
    "auth_tenant_id": ("entra",),
    "auth_audience": ("entra",),
    "api_keys": ("key",),
    "conversation_keys": tuple(auth for auth in get_args(Auth) if auth != "none"),
}


class AccessSettings(BaseSettings):
    auth: Auth = Field(
        "none",
        description="who may talk: `none` everybody; `easyauth` whom Container Apps signed in; "
        "`entra` bearer tokens of one tenant; `key` programs with an API key",
    )
    auth_tenant_id: str | None = Field(None, validate_default=True, description="`entra`: the tenant's id")
    auth_audience: Annotated[tuple[str, ...], NoDecode] = Field(
        (), validate_default=True, description="`entra`: for whom tokens are made, comma-separated"
    )
    auth_scope: str | None = Field(None, pattern=r"^\S+$", description="`entra`: the scope a person's token needs")
    auth_role: str | None = Field(
        None,
        pattern=r"^\S+$",
        validate_default=True,
        description="`entra`: the app role a token needs; `*` takes every access token of the tenant for the audience",
    )
    api_keys: Annotated[tuple[tuple[str, bytes], ...], NoDecode] = Field(
        (), validate_default=True, repr=False, description="`key`: `name:SHA-256 in hex` of each key, comma-separated"
    )
    conversation_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        validate_default=True,
        description="secrets of 32 bytes or more that sign each `thread_id` for its owner, newest first",
    )
    rate_limit: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="POSTs of one caller: `20/minute`, or several limits, comma-separated"
    )
    rate_limit_storage_uri: SecretStr | None = Field(
        None, description="`redis://…` or `rediss://…`: one count for all replicas"
    )
    max_streams_per_caller: int | None = Field(
        None, gt=0, description="most answers at a time for one caller on one replica"
    )
    trusted_hops: int = Field(
        default_factory=lambda: 1 if os.environ.get("CONTAINER_APP_NAME") else 0,
        ge=0,
        description="proxies in front whose `X-Forwarded-For` entries are believed, counted from the right",
    )
    docs: bool = Field(False, description="serve `/docs` and `/openapi.json`")
    public_pages: bool = Field(False, description="`/ready`, the page and the docs are served without authentication")

    @field_validator("auth_audience", "conversation_keys", "rate_limit", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        return _split_entries(value) if isinstance(value, str) else value

    @field_validator("api_keys", mode="before")
    @classmethod
    def _parse_digests(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        found = [_API_KEY.fullmatch(entry) for entry in _split_entries(value)]
        if not all(found):
            raise ValueError("must be name:SHA-256 pairs, the digest in 64 hexadecimal digits")
        if any(match and match[2].lower() == _DIGEST_OF_NOTHING for match in found):
            raise ValueError("has the digest of an empty key: the variable that it was made from was not set")
        return tuple((match[1], bytes.fromhex(match[2])) for match in found if match)

    @field_validator("conversation_keys")
    @classmethod
    def _check_key_length(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key.get_secret_value().encode()) < _KEY_BYTES for key in keys):
            raise ValueError(f"needs at least {_KEY_BYTES} bytes in each: `openssl rand -hex 32` makes one")
        return keys

    @field_validator("auth_tenant_id")
    @classmethod
    def _check_tenant(cls, tenant: str | None) -> str | None:
        if tenant and not GUID.fullmatch(tenant.lower()):
            raise ValueError("must be the tenant's id, 8-4-4-4-12 hexadecimal digits")
        return tenant and tenant.lower()

    @field_validator("auth_role")
    @classmethod
    def _require_scope_or_role(cls, role: str | None, info: ValidationInfo) -> str | None:
        """Raise ValueError: every app registration of a tenant can get a token for every audience in it."""
        if info.data.get("auth") == "entra" and not (role or info.data.get("auth_scope")):
            raise ValueError(
                "must be set with AUTH=entra, unless AUTH_SCOPE is: without either, every program of the tenant could "
                "get in (AUTH_ROLE=* allows that)"
            )
        return role

    @field_validator("rate_limit")
    @classmethod
    def _check_rates(cls, rates: tuple[str, ...]) -> tuple[str, ...]:
        if not all(RATE.fullmatch(rate) for rate in rates):
            raise ValueError("must be like 20/minute, of second, minute, hour, day; several with commas")
        return rates

    @field_validator("rate_limit_storage_uri")
    @classmethod
    def _check_redis_uri(cls, uri: SecretStr | None) -> SecretStr | None:
        if uri and not is_redis_address(uri.get_secret_value()):
            raise ValueError(f"must be {REDIS_FORM}")
        return uri

    @field_validator(*dict.fromkeys((*_ONLY_WITH, *_NEEDED)))
    @classmethod
    def _check_fits_auth(cls, value: object, info: ValidationInfo) -> object:
        auth, name = info.data.get("auth", "none"), str(info.field_name)
        if value and auth not in _ONLY_WITH.get(name, (auth,)):
            raise ValueError(f"has no effect with AUTH={auth}: it needs AUTH={_ONLY_WITH[name][0]}")
        if not value and auth in _NEEDED.get(name, ()):
            raise ValueError(f"is needed with AUTH={auth}")
        return value


def _split_entries(value: str) -> tuple[str, ...]:
    return tuple(entry.strip() for entry in value.split(",") if entry.strip())
