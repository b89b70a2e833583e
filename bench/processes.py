"""The programs that are measured: each on its core, what it has used so far, and ended by its own id."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
_READY_S = 30.0
_ENDING_S = 5.0

_CORES = sorted(os.sched_getaffinity(0))
SERVICE_CORES = {_CORES[-1]}
OTHER_CORES = set(_CORES[:-1]) or SERVICE_CORES


class Running:
    def __init__(self, process: "subprocess.Popen[bytes]", port: int, began: float) -> None:
        self.pid = process.pid
        self.port = port
        self.began = began
        self._process = process

    def cpu_s(self) -> float:
        """Of all its threads, to the nanosecond: the clock that clock_getcpuclockid(3) names."""
        return time.clock_gettime(~self.pid << 3 | 2)

    def rss_kib(self) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return float(status.partition("VmRSS:")[2].split()[0])

    def ended(self) -> bool:
        return self._process.poll() is not None


@contextmanager
def started(*arguments: str, port: int, service: bool, env: dict[str, str] | None = None) -> Generator[Running]:
    """`python <arguments>`, not waited for. What it prints is shown when it ends by itself."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryDirectory() as nowhere:
        began = time.monotonic()
        with _pinned(SERVICE_CORES if service else OTHER_CORES):
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=nowhere,  # where no .env can change what is measured
                env={**_environment(), **(env or {})},
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to pass on
            )
        try:
            yield Running(process, port, began)
            if process.poll() is not None:
                raise RuntimeError(_words(said.fileno()))
        finally:
            _end(process)


def listening(running: Running) -> Running:
    """Waits for its port. Raises RuntimeError."""
    while time.monotonic() < running.began + _READY_S and not running.ended():
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", running.port)) == 0:
                return running
        time.sleep(0.005)
    raise RuntimeError(f"nothing listens on port {running.port}")


def used_s() -> float:
    """CPU of this process and of all that it started and has ended."""
    return sum(os.times()[:4])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def _pinned(cores: set[int]) -> Generator[None]:
    """A child begins on its parent's cores."""
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, OTHER_CORES)


def _environment() -> dict[str, str]:
    """Without anybody's settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT)}


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _words(said: int) -> str:
    os.lseek(said, 0, os.SEEK_SET)
    return os.read(said, 20_000).decode(errors="replace")[-2_000:]
