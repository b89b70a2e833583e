"""Which bodies are read: what Content-Type and Content-Encoding say of a POST. RFC 9110, 8.3 and 5.6.6"""

import re

from starlette.datastructures import Headers

_PARAMETER = re.compile(r';\s*([^\s;=]*)\s*(?:=\s*("(?:[^"\\]|\\.)*(?:"|\Z)|[^;]*))?')
"""Groups: a name, and its value (quotes and all). A quoted value may hold a semicolon."""


def has_json_body(headers: Headers) -> bool:
    """Return whether the body is JSON in UTF-8, not compressed. Whatever else it is, no route reads it.

    A page of another site cannot make a browser send such a request without asking first (a preflight).
    """
    kind, semicolon, parameters = headers.get("content-type", "").lower().partition(";")
    charsets = {_unquote(value) for name, value in _PARAMETER.findall(semicolon + parameters) if name == "charset"}
    return (
        kind.strip() == "application/json"
        and charsets <= {"utf-8", "utf8", ""}
        and headers.get("content-encoding", "").strip().lower() in ("identity", "")
    )


def _unquote(value: str) -> str:
    return value.strip().strip('"').strip()
