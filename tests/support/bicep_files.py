"""What the tests read in Bicep files: enough for the style of these, no parser. And the real compiler, where it is."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

INFRA = Path(__file__).resolve().parents[2] / "infra"
TEMPLATES = [path.relative_to(INFRA).as_posix() for path in sorted(INFRA.rglob("*.bicep"))]

_SUBSCRIPTION, _TENANT = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000009"


def parameters(file: str) -> dict[str, str | None]:
    """Each with its default as a plain value; None where one must be given."""
    found = re.findall(r"^param (\w+) \w+(?: = (.*))?$", (INFRA / file).read_text("utf-8"), re.MULTILINE)
    return {name: default.strip("'") if default else None for name, default in found}


def outputs(file: str) -> set[str]:
    return set(re.findall(r"^output (\w+) ", (INFRA / file).read_text("utf-8"), re.MULTILINE))


def environment(file: str) -> dict[str, str]:
    """The app's variables and the expressions that they get, from `var settings`."""
    block = re.search(r"^var settings = \{\n(.*?)^\}", (INFRA / file).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert block
    return dict(re.findall(r"^  (\w+): (.*)$", block[1], re.MULTILINE))


def sources() -> str:
    return "\n".join(path.read_text("utf-8") for path in sorted(INFRA.rglob("*.bicep")))


def compiler() -> str | None:
    """The Bicep CLI: `BICEP` names it, or it is on the PATH, or azd or the Azure CLI has brought it."""
    folders = [os.environ.get("PATH", ""), str(Path.home() / ".azd/bin"), str(Path.home() / ".azure/bin")]
    return os.environ.get("BICEP") or shutil.which("bicep", path=os.pathsep.join(folders))


def run_bicep(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = compiler()
    assert program
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120, check=False)


@cache
def built(template: str) -> str:
    """The ARM template that it compiles to."""
    done = run_bicep("build", INFRA / f"{template}.bicep", "--stdout")
    assert done.returncode == 0, done.stderr
    return done.stdout


def resources(folder: Path, template: str, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """What a deployment would make, in its order, by `bicep snapshot`: modules and conditions resolved.

    Run-time values stay expressions. Secure parameters are plain ones here, because a snapshot hides all that hangs on
    them.
    """
    plain = re.sub(r'"type": "secure(s|S)tring"', '"type": "string"', built(template))
    (folder / "template.json").write_text(plain)
    given = json.loads((INFRA / f"{template}.parameters.json").read_text("utf-8"))["parameters"]
    values = {name: _expanded(entry["value"], environment) for name, entry in given.items()}
    lines = ["using 'template.json'", *(f"param {name} = '{value}'" for name, value in values.items())]
    (folder / "given.bicepparam").write_text("\n".join(lines))
    where = ["--subscription-id", _SUBSCRIPTION, "--tenant-id", _TENANT, "--location", "swedencentral"]
    done = run_bicep(
        "snapshot", folder / "given.bicepparam", "--mode", "overwrite", *where, "--resource-group", "rg-t1"
    )
    assert done.returncode == 0, done.stderr
    made: list[dict[str, Any]] = json.loads((folder / "given.snapshot.json").read_text("utf-8"))["predictedResources"]
    return made


def _expanded(value: str, environment: Mapping[str, str]) -> str:
    """As azd expands it: an empty variable has its default."""
    return re.sub(r"\$\{(\w+)(?:=([^}]*))?\}", lambda m: environment.get(m[1]) or m[2] or "", value)
