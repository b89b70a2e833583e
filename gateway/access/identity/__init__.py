"""Authentication, by the setting AUTH. What is off is not imported."""

import asyncio
from collections.abc import Callable
from typing import assert_never

from gateway.access.identity.base import Identity
from gateway.settings import Settings
from gateway.settings_access import Auth


async def create_identity(settings: Settings) -> Identity:
    """Create it for every AUTH but `none`. The caller closes it."""
    create = await asyncio.to_thread(_import_identity, settings.auth)
    return create(settings)


def _import_identity(auth: Auth) -> Callable[[Settings], Identity]:
    match auth:
        case "easyauth":
            from gateway.access.identity.easyauth import EasyAuth  # noqa: PLC0415

            return EasyAuth
        case "entra":
            from gateway.access.identity.entra import Entra  # noqa: PLC0415

            return Entra
        case "key":
            from gateway.access.identity.api_key import ApiKeys  # noqa: PLC0415

            return ApiKeys
        case "none":
            raise AssertionError("AUTH=none has no authentication")
        case _:
            assert_never(auth)
