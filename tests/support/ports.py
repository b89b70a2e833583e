"""Ports that a test can count on: what is bound to port 0, and other processes of tests, never get one of them."""

import atexit
import socket
from itertools import cycle, islice

_FIRST, _END = 12_000, 32_000  # from 32768 on, Linux gives ports away itself
_PER_PROCESS = 500


def free_port() -> int:
    """A port where nothing listens, and that is not given again for long."""
    return next(port for port in islice(_turn, _PER_PROCESS) if _is_free(port))


def _reserve() -> tuple[socket.socket, range]:
    """Find ports that no other process of tests has: their first one stays bound for as long as this process lives."""
    for first in range(_FIRST, _END, _PER_PROCESS):
        guard = socket.socket()
        try:
            guard.bind(("127.0.0.1", first))
        except OSError:
            guard.close()
        else:
            return guard, range(first + 1, first + _PER_PROCESS)
    raise AssertionError("every port is another process's")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else what is in TIME_WAIT seems taken
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_guard, _own = _reserve()
atexit.register(_guard.close)
_turn = cycle(_own)
