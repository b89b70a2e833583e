"""Who is calling: the subject that conversations belong to, and the key that rate limits count by.

Imports nothing of ours.
"""

import ipaddress
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

_EASY_AUTH = (b"x-ms-client-principal", b"x-ms-token-")


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller, for one request."""

    subject: str
    """Whom conversations belong to: a stable, unique id; "" for an anonymous caller."""
    rate_limit_key: str
    """What rate limits and the limit of open streams count by."""
    is_loopback: bool = False


def anonymous_caller_from(scope: Scope, trusted_hops: int) -> Caller:
    """Return a caller without a subject, counted by network address."""
    address = find_client_address(scope, trusted_hops)
    if address is None:
        return Caller(subject="", rate_limit_key="address:unknown")
    prefix = 64 if address.version == 6 else 32  # one IPv6 customer usually has a whole /64
    network = ipaddress.ip_network((address, prefix), strict=False)
    return Caller(subject="", rate_limit_key=f"address:{network.network_address}", is_loopback=address.is_loopback)


def get_caller(scope: Scope) -> Caller:
    """Return the caller whom `AccessMiddleware` put into the request's scope."""
    caller: Caller = scope["caller"]
    return caller


def remove_easy_auth_headers(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers without those that only Container Apps' authentication may set."""
    return [(name, value) for name, value in headers if not name.lower().startswith(_EASY_AUTH)]


def find_client_address(scope: Scope, trusted_hops: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that the outermost trusted proxy saw; None if it cannot be read.

    `X-Forwarded-For` is counted from the right: a caller may write anything to the left.
    """
    if trusted_hops:
        hops = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
        if len(hops) >= trusted_hops and (address := parse_address(hops[-trusted_hops])):
            return address
    return parse_address((scope.get("client") or ("",))[0])


def parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse an address, also one with a port, as some proxies write it."""
    text = text.strip()
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    host = host.partition(":")[0] if host.count(":") == 1 else host
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
