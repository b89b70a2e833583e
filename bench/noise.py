"""Whether the machine was ours while we measured: what others used of it, from /proc/stat."""

import os
import time
from pathlib import Path

from bench.processes import used_s

QUIET = 0.05


class Noise:
    """The CPU of everybody else, in cores, from here on."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._machine_s = _machine_s()
        self._ours_s = used_s()

    def cores(self) -> float:
        others_s = (_machine_s() - self._machine_s) - (used_s() - self._ours_s)
        return max(others_s / (time.monotonic() - self._began), 0.0)


def _machine_s() -> float:
    """Busy time of all cores, that of other guests of the host (steal) with it."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle, waiting = ticks[3], ticks[4]
    return (sum(ticks) - idle - waiting) / os.sysconf("SC_CLK_TCK")
