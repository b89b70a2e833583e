"""All that can stand behind the one contract: three generations on the emulator, and Microsoft's own server."""

import os
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Settings
from tests.support.callers import classic, foundry, openai
from tests.support.environment import ROOT, bare_environment
from tests.support.processes import running

ON_EMULATOR: dict[str, Callable[..., Settings]] = {"foundry": foundry, "classic": classic, "openai": openai}
AGENT_SERVER = "agent_server"
PYTHON = ROOT / ".venv-agent-server" / "bin" / "python"


@dataclass(frozen=True)
class Upstream:
    name: str
    url: str

    def settings(self, **more: Any) -> Settings:
        settings_for: Callable[..., Settings] = ON_EMULATOR.get(self.name, openai)
        return settings_for(self.url, **more)


@contextmanager
def serving_agent_server() -> Generator[str]:
    """The base URL of Microsoft's server of the Responses protocol, which has no conversations."""
    if not PYTHON.exists() and not os.environ.get("CI"):
        pytest.skip(f"no {PYTHON.relative_to(ROOT)}: `make test` makes it")
    script = [str(Path("tests") / "agent_server" / "server.py")]
    with running(
        script, bare_environment(), path="/readiness", python=str(PYTHON), output=subprocess.DEVNULL
    ) as process:
        yield process.url
