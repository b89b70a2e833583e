"""AUTH=easyauth: Container Apps has signed the caller in and says so in headers.

It takes such headers away from callers while its authentication is on, and only then:
https://learn.microsoft.com/azure/container-apps/authentication
"""

from starlette.datastructures import Headers

from gateway.access.identity import Identity, unauthenticated
from gateway.settings import Settings

_MAX_CHARS = 256


def opened(_: Settings) -> Identity:
    return EasyAuth()


class EasyAuth:
    async def owner(self, headers: Headers) -> str:
        principal = _only(headers, "x-ms-client-principal-id")
        provider = _only(headers, "x-ms-client-principal-idp")
        if not principal:
            raise unauthenticated("no principal", given=False)
        return f"easyauth:{provider}/{principal}"

    async def warm(self) -> None: ...
    async def aclose(self) -> None: ...


def _only(headers: Headers, name: str) -> str:
    given = headers.getlist(name) or [""]
    if len(given) > 1 or len(given[0]) > _MAX_CHARS or not (given[0] == "" or given[0].isprintable()):
        raise unauthenticated(f"odd {name}")
    return given[0]
