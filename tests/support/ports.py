"""Ports that a test can count on: what is bound to port 0, here or in another worker, never gets one of them."""

import os
import socket
from itertools import cycle, islice

_FIRST = 12_000
_PER_WORKER = 1_000  # all below 32768, where Linux begins with the ports that it gives away itself

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 20
_slice = range(_FIRST + _worker * _PER_WORKER, _FIRST + (_worker + 1) * _PER_WORKER)
_begin = os.getpid() % _PER_WORKER  # another run of the suite on this machine has the same slices
_own: list[int] = [*_slice[_begin:], *_slice[:_begin]]
_turn = cycle(_own)


def free_port() -> int:
    """A port where nothing listens, and that is not given again for long."""
    return next(port for port in islice(_turn, _PER_WORKER) if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else what is in TIME_WAIT seems taken
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
