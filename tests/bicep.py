"""What the tests read in Bicep files: enough for the style of these, no parser. CI has the compiler."""

import re
from pathlib import Path

INFRA = Path(__file__).resolve().parents[1] / "infra"


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
