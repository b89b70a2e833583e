"""The service as a process of its own, for what only a process shows: signals, exit codes, memory."""

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from tests.support.environment import ROOT, bare_environment
from tests.support.ports import free_port

START_S = 30.0


@dataclass
class Process:
    url: str
    popen: "subprocess.Popen[bytes]"

    def ended(self, within_s: float) -> int:
        """Its exit code."""
        return self.popen.wait(within_s)


def environment(upstream: str, **settings: str) -> dict[str, str]:
    project = {"AZURE_AI_PROJECT_ENDPOINT": f"{upstream}/api/projects/p", "AZURE_AI_AGENT_ID": "agent"}
    return bare_environment(**{**project, "LOG_LEVEL": "WARNING", **settings})


def uvicorn(app: str = "main:app") -> list[str]:
    return ["-m", "uvicorn", app, "--log-level", "warning", "--port"]


@contextmanager
def running(
    arguments: list[str],
    env: dict[str, str],
    port: int | None = None,
    path: str = "/health",
    *,
    python: str = sys.executable,
    output: int | None = None,
) -> Generator[Process]:
    """`arguments` end where the port follows, unless `port` says that something else tells it. `output`: as Popen's."""
    told = port or free_port()
    command = [python, *arguments, *([] if port else [str(told)])]
    with subprocess.Popen(command, env=env, cwd=ROOT, stdout=output, stderr=output) as popen:
        process = Process(f"http://127.0.0.1:{told}", popen)
        try:
            _wait_until_there(process, path)
            yield process
        finally:
            if popen.poll() is None:
                popen.kill()


def _wait_until_there(process: Process, path: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.popen.poll() is None, "the service did not start"
        try:
            httpx.get(process.url + path, timeout=5)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"no {path} within {START_S} s")
