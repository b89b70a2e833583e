"""docs/observability.md explains each warning and error that the service logs, in the words that it logs."""

import re

from tests.support.environment import ROOT

TABLE = (ROOT / "docs" / "observability.md").read_text("utf-8").split("What else it writes")[1].split("\n## ")[0]
EXPLAINED = set(re.findall(r"^\| `([^`]+)` \|", TABLE, re.MULTILINE))
CODE = "".join(path.read_text("utf-8") for path in (ROOT / "gateway").rglob("*.py"))
FORMATS = re.findall(r'_log\.(?:warning|error)\(\s*"([^"%][^"]*)"', CODE)
LOGGED = {re.split(r", %|: %", words)[0] for words in FORMATS}
"""The words before the first value; a line that is nothing but values has none."""


def test_each_warning_and_error_is_explained() -> None:
    assert len(LOGGED) > 8
    assert not LOGGED - EXPLAINED


def test_each_explained_message_is_logged() -> None:
    assert [words for words in EXPLAINED if f'"{words}' not in CODE] == []
