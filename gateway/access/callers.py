"""Who is calling, and from where. Imports nothing of ours."""

import ipaddress
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

_EASY_AUTH = (b"x-ms-client-principal", b"x-ms-token-")


@dataclass(frozen=True, slots=True)
class Caller:
    """`owner` is whom conversations belong to, "" for nobody in particular; `counted` is what limits count by."""

    owner: str
    counted: str
    is_local: bool = False


def anonymous(scope: Scope, trusted_hops: int) -> Caller:
    address = client_address(scope, trusted_hops)
    if address is None:
        return Caller("", "address:unknown")
    whole = ipaddress.ip_network((address, 64 if address.version == 6 else 32), strict=False)  # a line has a /64
    return Caller("", f"address:{whole.network_address}", address.is_loopback)


def caller_of(scope: Scope) -> Caller:
    caller: Caller = scope["caller"]
    return caller


def without_easy_auth(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Without what only Container Apps' authentication may say."""
    return [(name, value) for name, value in headers if not name.lower().startswith(_EASY_AUTH)]


def client_address(scope: Scope, trusted_hops: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """What the outermost trusted proxy saw. Never from the left: a caller may write anything there."""
    if trusted_hops:
        hops = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
        if len(hops) >= trusted_hops and (address := _address(hops[-trusted_hops])):
            return address
    return _address((scope.get("client") or ("",))[0])


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Also with a port, as some proxies write it."""
    text = text.strip()
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    host = host.partition(":")[0] if host.count(":") == 1 else host
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
