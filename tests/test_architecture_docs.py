"""docs/architecture.md answers where things are: each file of the service stands in its table, and none that is not."""

import re

from tests.support.environment import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
SECTION = PAGE.partition("## Where is …?")[2].partition("\n## ")[0]
ROWS = [line for line in SECTION.splitlines() if line.startswith("|")]
NAMED = set(re.findall(r"`([a-z_/]+\.py)`", "\n".join(ROWS)))
FILES = {path.relative_to(ROOT / "gateway").as_posix() for path in (ROOT / "gateway").rglob("*.py")}
ONLY_A_DOCSTRING = {
    "__init__.py",
    *(f"{name}/__init__.py" for name in ("access", "telemetry", "turns", "web")),
    *(f"backends/{name}/__init__.py" for name in ("classic", "responses")),
}


def test_each_file_of_the_service_is_in_the_table() -> None:
    assert not FILES - ONLY_A_DOCSTRING - NAMED


def test_each_file_in_the_table_exists() -> None:
    assert not NAMED - FILES
