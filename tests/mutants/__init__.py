"""Mutants of the service: small changes that break a promise, each with the tests that must notice it.

They stand in `mutants.toml`. `make mutants` tries each of them in a copy of the repository (`__main__.py`);
`tests/test_mutants.py` holds, quickly, that each still fits the code that it names.
"""

import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "mutants.toml"


@dataclass(frozen=True)
class Mutant:
    """A change of `file`: `new` in the place of `old`, a text that stands there exactly once."""

    file: str
    old: str
    new: str
    breaks: str
    """A sentence: what a caller or an operator would suffer."""
    tests: tuple[str, ...]
    """Ids of tests, as pytest takes them. One of them has to fail."""
    python: tuple[int, ...] = ()
    """Older versions of Python than this one do not show it."""
    equivalent: str = ""
    """The reason why no test can notice it. Such a mutant is listed and not tried."""

    def change(self, source: str) -> str:
        """Return the changed source. Raises ValueError if `old` does not stand in it exactly once."""
        if (found := source.count(self.old)) != 1:
            raise ValueError(
                f"{self.file} has {found} times, instead of once: {self.old!r} ({FILE.name}: {self.breaks})"
            )
        return source.replace(self.old, self.new)

    def is_visible(self, version: tuple[int, ...] = sys.version_info[:2]) -> bool:
        return version >= self.python


def read_mutants() -> list[Mutant]:
    return [_mutant_from(**table) for table in tomllib.loads(FILE.read_text("utf-8"))["mutant"]]


def _mutant_from(*, tests: list[str] | None = None, python: str = "", **fields: Any) -> Mutant:
    return Mutant(tests=tuple(tests or ()), python=tuple(map(int, filter(None, python.split(".")))), **fields)
