"""The mutants fit the code and the tests that they name, and trying them tells the truth. `make mutants` tries all."""

import ast

import pytest

from tests.mutants import Mutant, read_mutants
from tests.mutants.__main__ import Run, run_from, try_mutant, try_unchanged
from tests.support.environment import ROOT

MUTANTS = read_mutants()
SOME_FILE = "gateway/__init__.py"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.breaks)
def test_each_mutant_fits_the_code_that_it_names(mutant: Mutant) -> None:
    source = (ROOT / mutant.file).read_text("utf-8")
    assert ast.dump(ast.parse(mutant.change(source))) != ast.dump(ast.parse(source))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.breaks)
def test_each_mutant_names_tests_that_exist_or_says_why_there_can_be_none(mutant: Mutant) -> None:
    assert bool(mutant.tests) is not bool(mutant.equivalent)
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}" in (ROOT / file).read_text("utf-8")


@pytest.mark.parametrize(("source", "times"), [("", 0), ("a b a", 2)])
def test_a_mutant_of_code_that_moved_is_refused_and_never_counted_as_killed(source: str, times: int) -> None:
    with pytest.raises(ValueError, match=f"file has {times} times, instead of once: 'a'"):
        Mutant("file", "a", "b", "A sentence.", ("test",)).change(source)


def test_a_mutant_shows_from_its_python_on() -> None:
    mutant = Mutant("file", "a", "b", "A sentence.", ("test",), python=(3, 12))
    assert [mutant.is_visible((3, minor)) for minor in (9, 11, 12, 13)] == [False, False, True, True]


@pytest.mark.slow
@pytest.mark.parametrize(("new", "fate"), [("is_new = ", "SURVIVED"), ("raise ImportError\n", "NOT TRIED")])
def test_what_no_test_noticed_is_not_said_to_be_killed(new: str, fate: str) -> None:
    before = (ROOT / SOME_FILE).read_text("utf-8")
    mutant = Mutant(SOME_FILE, "__version__ = ", f"{new}__version__ = ", "A sentence.", ("tests/test_errors.py",))
    assert try_mutant(mutant)[0] == fate
    assert (ROOT / SOME_FILE).read_text("utf-8") == before


def test_tests_that_do_not_pass_without_a_mutant_are_told() -> None:
    assert "test_that_nobody_wrote" in try_unchanged(["tests/test_errors.py::test_that_nobody_wrote"])


def test_failures_are_told_from_errors_and_from_what_was_skipped() -> None:
    report = '<testsuites><testsuite tests="9" failures="1" errors="2" skipped="3"/></testsuites>'
    assert run_from(report, "words") == Run(3, 1, 2, 3, "words")
    assert run_from("<testsuite/>", "") == Run(0, 0, 0, 0, "")
