"""Addresses among the settings: what an upstream's endpoint, a Redis and an origin must be. No I/O.

An address that can never work is refused at the start: in a turn it would look like a missing agent.
"""

import ipaddress
import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

PROJECT_FORM = "a project's endpoint, https://<resource>.services.ai.azure.com/api/projects/<project>"
RESOURCE_FORM = "a Foundry resource's address, https://<resource>.services.ai.azure.com"
OPENAI_FORM = "an Azure OpenAI resource's address, https://<resource>.openai.azure.com"

REDIS_FORM = (
    "redis://<host>:<port>/<database>, or rediss:// for TLS; special characters of a password percent-encoded, "
    "and only options that the client knows"
)
_ORIGIN_FORM = "must be origins such as https://example.com, comma-separated, or *"

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_DEFAULT_PORTS = {"http": 80, "https": 443}

_AZURE_RESOURCE = re.compile(r"(.+)\.(services\.ai|cognitiveservices|openai)(\.azure\.(?:com|us|cn))", re.IGNORECASE)
_PORTALS = ("ai.azure.com", "oai.azure.com", "portal.azure.com")
_NAMES = "responses|conversations|chat|completions|embeddings|models|deployments|assistants|threads|files|vector_stores"
_OPENAI_TAIL = rf"/openai(?:/v1)?(?:/(?:{_NAMES})(?:/[^?]*)?)?"
_QUERY = r"(?:\?api-version=[\w.-]+)?"  # a request's address, copied whole
_PROJECT = re.compile(
    r"(?P<prefix>.*?)/api/projects/(?P<name>[a-z0-9][a-z0-9._-]*)"
    rf"(?:(?:{_OPENAI_TAIL}|/(?:agents|assistants|threads|deployments|connections)(?:/[^?]*)?){_QUERY})?",
    re.IGNORECASE,
)
_RESOURCE = re.compile(
    rf"(?P<prefix>.*?)(?:(?:{_OPENAI_TAIL}|/models(?:/[^?]*)?){_QUERY}|/api(?:/projects)?)?", re.IGNORECASE
)
_OPENAI = re.compile(rf"(?P<prefix>.*?)(?:{_OPENAI_TAIL}{_QUERY})?", re.IGNORECASE)
_PREFIX = re.compile(r"(?!.*/api/projects(?:/|$))(?:/(?!\.\.?(?:/|$))[\w.~-]+)*", re.IGNORECASE | re.ASCII)
_NO_PREFIX = re.compile(
    r".*/(?:openai|v\d+|responses|conversations|completions|embeddings"
    r"|(?:projects|agents|models|deployments|assistants|threads)(?:/[^/]*)?)",
    re.IGNORECASE,
)
"""A path that ends like one of Azure's own, and not like what a gateway puts before it."""

_REDIS_OPTIONS = {
    "db": r"\d{1,5}",
    "protocol": r"[23]",
    "username": r".+",
    "password": r".+",
    "socket_timeout": r"(?=.*[1-9])\d{1,2}(\.\d+)?",
    "socket_connect_timeout": r"(?=.*[1-9])\d{1,2}(\.\d+)?",
    "ssl_ca_certs": r".+",
    "ssl_cert_reqs": r"none|optional|required",
    "ssl_check_hostname": r"true|false",
}


def split_address(value: str) -> SplitResult | None:
    """Return the parts of a URL whose host and port are possible ones; None for anything else."""
    if re.search(r"[\s\x00-\x1f\\]", value):  # urlsplit would drop some of these
        return None
    try:
        url = urlsplit(value)
        host, port = encode_host(url.hostname or ""), url.port
    except ValueError:
        return None
    return url if host and port != 0 else None


def encode_host(host: str) -> str:
    """Return the host as it is looked up, IPv6 in brackets; "" if it cannot be one. Raises ValueError, too."""
    if ":" in host:
        return f"[{ipaddress.IPv6Address(host)}]"
    host = host if host.isascii() else host.encode("idna").decode()
    return host if _HOST.fullmatch(host) and len(host) < 254 else ""


def project_endpoint_from(url: str, project: str | None) -> str:
    """Return the endpoint of the project that the URL names, or of `project` in the resource that it names.

    A request's path behind it is taken off. Raises ValueError.
    """
    base, path = _split_path(url)
    match = _PROJECT.fullmatch(path)
    if match and _PREFIX.fullmatch(match["prefix"]):
        return f"{base}{match['prefix']}/api/projects/{match['name']}"
    if project is None:
        raise ValueError(f"must be {PROJECT_FORM}")
    try:
        return join_project(resource_endpoint_from(url), project)
    except ValueError:
        raise ValueError(f"must be {PROJECT_FORM}") from None


def join_project(resource: str, project: str) -> str:
    return f"{resource}/api/projects/{project}"


def resource_endpoint_from(url: str) -> str:
    """Return the address before `/api/projects/`: a Foundry resource's, or a gateway's. Raises ValueError."""
    base, path = _split_path(url)
    match = _RESOURCE.fullmatch(path)
    host = urlsplit(base).hostname or ""
    resource = _AZURE_RESOURCE.fullmatch(host)
    if match and resource and not match["prefix"] and resource[2].lower() != "openai":
        return re.sub(re.escape(host), f"{resource[1]}.services.ai{resource[3]}", base, flags=re.IGNORECASE)
    if match and not resource and _is_gateway(host, path, match["prefix"]):
        return base + match["prefix"]
    raise ValueError(f"must be {RESOURCE_FORM}")


def openai_endpoint_from(url: str) -> str:
    """Return the address before `/openai/v1`: an Azure OpenAI resource's, or a gateway's. Raises ValueError."""
    base, path = _split_path(url)
    match = _OPENAI.fullmatch(path)
    host = urlsplit(base).hostname or ""
    is_resource = _AZURE_RESOURCE.fullmatch(host) is not None
    if match and (not match["prefix"] if is_resource else _is_gateway(host, path, match["prefix"])):
        return base + match["prefix"]
    raise ValueError(f"must be {OPENAI_FORM}")


def _split_path(url: str) -> tuple[str, str]:
    """Return scheme and host, and the path with its query, without empty segments."""
    parts = urlsplit(url)
    path = re.sub(r"/{2,}", "/", parts.path).rstrip("/")
    return f"{parts.scheme}://{parts.netloc}", path + (f"?{parts.query}" if parts.query else "")


def _is_gateway(host: str, path: str, prefix: str) -> bool:
    """Return whether something other than Azure may stand there. Where nothing was taken off, the path is looked at."""
    is_whole = path == prefix
    if host in _PORTALS or not _PREFIX.fullmatch(prefix):
        return False
    return not (is_whole and _NO_PREFIX.fullmatch(prefix))


def is_redis_address(uri: str) -> bool:
    """Return whether a Redis client can use it: host, port, database, and options that it knows."""
    url = split_address(uri)
    if (
        url is None
        or url.scheme not in ("redis", "rediss")
        or url.fragment
        or not re.fullmatch(r"(/\d{0,5})?", url.path)
    ):
        return False
    try:
        options = parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query))
    except ValueError:
        return False
    return all(
        re.fullmatch(_REDIS_OPTIONS.get(name, r"(?!)"), value)
        and (url.scheme == "rediss" or not name.startswith("ssl_"))
        for name, value in options
    )


def parse_origin(text: str) -> str:
    """Return the origin as browsers send it. Raises ValueError for what they never send, and for `null`."""
    url = split_address(text.rstrip("/").lower())
    if text.lower() == "null":
        raise ValueError(f"cannot have null, which every sandboxed frame and local file sends: {_ORIGIN_FORM}")
    if "*" in text:
        raise ValueError(f"cannot have a wildcard in an origin: {_ORIGIN_FORM}")
    if url is None or not url.scheme or url.path or url.query or url.fragment or "@" in url.netloc:
        raise ValueError(_ORIGIN_FORM)
    port = "" if url.port in (None, _DEFAULT_PORTS.get(url.scheme)) else f":{url.port}"
    return f"{url.scheme}://{encode_host(url.hostname or '')}{port}"
