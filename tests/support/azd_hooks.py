"""azd's hooks under test: as azd starts them, with a stand-in for `azd` that writes down what it is told."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

HOOKS = Path(__file__).resolve().parents[2] / "infra/hooks"


class Azd:
    """An `azd` on the PATH. It keeps its words, and has a token for whoever asks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._called = folder / "called"
        program = folder / "azd"
        token = '{"token": "of-azd", "expiresOn": "2099-01-01T00:00:00Z"}'
        program.write_text(
            f"#!/bin/sh\nprintf '%s\\n' \"$*\" >> {self._called}\n[ $1 = auth ] && echo '{token}'\nexit 0\n"
        )
        program.chmod(0o755)

    @property
    def path(self) -> str:
        return f"{self.folder}:/usr/bin:/bin"

    def commands(self) -> list[str]:
        return self._called.read_text().splitlines() if self._called.exists() else []


def run_hook(name: str, azd: Azd | None, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_python([str(HOOKS / name)], azd, environment)


def run_python(
    arguments: list[str], azd: Azd | None, environment: dict[str, str], folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """With these variables alone, in `folder`."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={"PATH": azd.path if azd else "/usr/bin:/bin", **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def load_hook(name: str) -> ModuleType:
    """As a module, for its functions."""
    sys.path.insert(0, str(HOOKS))
    try:
        spec = importlib.util.spec_from_file_location(name, HOOKS / f"{name}.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(HOOKS))
    return module
