"""Values in the azd environment that runs the hooks."""

import hashlib
import subprocess

MADE_HERE = "CONVERSATION_KEYS_MADE_HERE"
"""The fingerprint of a key that make_keys.py made and that was never deployed from this environment."""


def set_value(name: str, value: str) -> None:
    """As one argument, `NAME=value`: azd takes an argument that begins with `-` for an option."""
    subprocess.run(["azd", "env", "set", f"{name}={value}"], check=True)  # noqa: S603, S607  our own words


def fingerprint(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()[:16]
