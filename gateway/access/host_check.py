"""A guard of the local service against DNS rebinding.

A web page can have its own host name resolve to this machine. For the browser the service is then the page's own site,
and the page may read its answers: only the Host header still says whose name was asked for.
https://developer.mozilla.org/docs/Web/Security/Attacks/DNS_rebinding
"""

import re

from starlette.datastructures import Headers
from starlette.types import Scope

from gateway.access.callers import parse_address
from gateway.errors import UnreadableRequest

_LOCAL_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d*)?", re.IGNORECASE)


def refuse_foreign_host(scope: Scope) -> None:
    """Raise UnreadableRequest for a Host that is not this machine's, if the server's own address is loopback."""
    server = scope.get("server")  # where the connection arrived; None for a Unix socket
    address = parse_address(server[0]) if server else None
    if address is None or not address.is_loopback:
        return
    hosts = Headers(scope=scope).getlist("host")
    if len(hosts) != 1 or not _LOCAL_HOST.fullmatch(hosts[0]):
        raise UnreadableRequest(
            "a foreign Host on a loopback address",
            public_message="This service answers here as localhost, 127.0.0.1 or [::1] alone (the Host header). "
            "Behind a proxy, set TRUSTED_HOPS.",
        )
