"""docs/reliability.md says what the tests prove: each fault of the matrix, each test by its name, and none besides."""

import re
from pathlib import Path

import pytest

from tests.support.environment import ROOT
from tests.support.faults import EXPECTED, ON_EMULATOR, Done, Expected, Status

PAGE = (ROOT / "docs" / "reliability.md").read_text()
FILES = (
    "turn_endings", "stream_grammar", "retries", "client_disconnect", "backpressure", "stream_limits", "shutdown",
    "idle_streams", "privacy", "real_clients", "envoy",
)  # fmt: skip
NAMED = set(re.findall(r"`(test_\w+)`", PAGE))


def sees(expected: Expected) -> str:
    match expected:
        case Status(status, code, None):
            return f"{status} `{code}`"
        case Status(status, code, retry_after):
            return f"{status} `{code}`, `Retry-After: {retry_after}`"
        case Done(finish_reason):
            return f"`done`, `{finish_reason}`"
    return f"`error` `{expected.code}`; as JSON {expected.status}"


def names_in(file: Path) -> set[str]:
    return set(re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE))


@pytest.mark.parametrize("fault", EXPECTED)
def test_each_fault_of_the_matrix_has_its_row(fault: str) -> None:
    name = f"`{fault}`" if fault in ON_EMULATOR else fault
    assert f"\n| {name} | {sees(EXPECTED[fault])} | " in PAGE


def test_each_test_that_is_named_exists() -> None:
    existing = {name for file in (ROOT / "tests").glob("test_*.py") for name in names_in(file)}
    assert existing >= NAMED


@pytest.mark.parametrize("file", FILES)
def test_each_test_of_these_files_is_named(file: str) -> None:
    assert names_in(ROOT / "tests" / f"test_{file}.py") <= NAMED
