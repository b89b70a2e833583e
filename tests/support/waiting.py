"""Waiting for what comes about elsewhere, with a bound."""

import time
from collections.abc import Callable

PATIENCE_S = 20.0


def eventually(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.02)
