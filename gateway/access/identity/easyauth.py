"""AUTH=easyauth: Container Apps has signed the caller in and says so in headers.

It takes such headers away from callers while its authentication is on, and only then:
https://learn.microsoft.com/azure/container-apps/authentication
"""

from starlette.datastructures import Headers

from gateway.access.identity.base import unauthenticated_error
from gateway.settings import Settings

_MAX_CHARS = 256


class EasyAuth:
    def __init__(self, _: Settings) -> None: ...

    async def authenticate(self, headers: Headers) -> str:
        principal = _read_single_header(headers, "x-ms-client-principal-id")
        provider = _read_single_header(headers, "x-ms-client-principal-idp")
        if not principal:
            raise unauthenticated_error("no principal", given=False)
        if "/" in provider:
            raise unauthenticated_error("a provider with a slash")  # two pairs of the two could be one owner
        return f"easyauth:{provider}/{principal}"

    async def warm(self) -> None: ...
    async def aclose(self) -> None: ...


def _read_single_header(headers: Headers, name: str) -> str:
    """Return the header's only value, "" if there is none. Raises Unauthenticated for one that cannot be an id."""
    values = headers.getlist(name) or [""]
    if len(values) > 1 or len(values[0]) > _MAX_CHARS or not (values[0] == "" or values[0].isprintable()):
        raise unauthenticated_error(f"invalid {name}")
    return values[0]
