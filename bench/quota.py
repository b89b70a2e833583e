"""A part of a core, as a container gets it: the kernel's quota in a control group, 100 ms at a time.

Where control groups are not ours to make: the process is stopped and let go, 1 ms of every 4 for a quarter. That adds
up to 3 ms to every delay by itself, and is said beside the figures.
"""

import os
import signal
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.processes import Running, started

_PERIOD_US = 100_000
_SLICE_S = 0.004
_V2 = Path("/sys/fs/cgroup")
_V1 = Path("/sys/fs/cgroup/cpu")


@contextmanager
def limited(running: Running, cores: float) -> Generator[str]:
    """Yields how."""
    group = _made(cores)
    if group is None:
        with started("-m", "bench.quota", str(running.pid), str(cores), port=0, service=False):
            yield "by stopping it 3 ms of every 4, for want of a control group"
        return
    before = _group_of(running.pid, group.parent)
    (group / "cgroup.procs").write_text(str(running.pid))
    try:
        yield "by the kernel's quota"
    finally:
        with suppress(OSError):
            (before / "cgroup.procs").write_text(str(running.pid))
            group.rmdir()


def _made(cores: float) -> Path | None:
    limit = int(cores * _PERIOD_US)
    parent, name, value = _V2, "cpu.max", f"{limit} {_PERIOD_US}"
    if (_V1 / "cgroup.procs").exists():
        parent, name, value = _V1, "cpu.cfs_quota_us", f"{limit}"
    group = parent / f"chat-api-bench-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        return None
    try:
        (group / name).write_text(value)
    except OSError:
        group.rmdir()
        return None
    return group


def _group_of(pid: int, root: Path) -> Path:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if ("cpu" in controllers.split(",")) if root == _V1 else not controllers:
            return root / path.lstrip("/")
    return root


def _stop_and_go(pid: int, cores: float) -> None:
    """Until it is told to end; then the process is let go for good."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        while True:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(_SLICE_S * (1 - cores))
            os.kill(pid, signal.SIGCONT)
            time.sleep(_SLICE_S * cores)
    except ProcessLookupError:
        return
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    _stop_and_go(int(sys.argv[1]), float(sys.argv[2]))
