"""Which requests may go through the proxy that HTTP_PROXY and HTTPS_PROXY name. aiohttp reads NO_PROXY."""

import ipaddress
import os
from urllib.parse import urlsplit

from gateway.settings import is_loopback

_VARIABLES = ("http_proxy", "https_proxy")


def allows_proxy(url: str) -> bool:
    """Return the `trust_env` of a session for this URL: whether a proxy is set that may see its requests.

    None may for this machine or its link: over http it would get the whole request, with its token. Without a proxy
    `trust_env` stays off: it reads the environment and ~/.netrc before each request.
    """
    return any(name.lower() in _VARIABLES for name in os.environ) and not is_loopback(url) and not _is_link_local(url)


def _is_link_local(url: str) -> bool:
    """Return whether the host is an address in 169.254.0.0/16 or fe80::/10."""
    try:
        address = ipaddress.ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_link_local
