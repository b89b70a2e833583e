"""`make mutants`: does a test notice each mutant? `python -m tests.mutants jwks`: those of `jwks.py` alone.

Each is tried in a copy of the repository, never in the repository itself, with the Python that runs this.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.mutants import Mutant, read_mutants
from tests.support.environment import ROOT

AT_ONCE = 2
MOST_S = 240.0
NOT_COPIED = shutil.ignore_patterns(".git", ".venv*", ".env", "node_modules", "__pycache__", ".*_cache", ".hypothesis")


@dataclass(frozen=True)
class Run:
    """What pytest made of some tests. All counts are 0 if it did not come to its end in time."""

    passed: int
    failed: int
    errors: int
    skipped: int
    output: str


def run_tests(tests: Iterable[str], mutant: Mutant | None = None) -> Run:
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder) / "repository"
        shutil.copytree(ROOT, copy, symlinks=True, ignore=NOT_COPIED)
        if mutant:
            file = copy / mutant.file
            file.write_text(mutant.change(file.read_text("utf-8")), "utf-8")
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
        output = run_bounded(command, copy)
        return run_from(report.read_text("utf-8") if report.exists() else "<testsuite/>", output)


def run_bounded(command: list[str], folder: Path) -> str:
    """Return what it wrote. After MOST_S it is killed, with all that it started."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env = {**inherited, "PYTHONPATH": str(folder)}  # with another one the unchanged service could be imported
    pipe, merged = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=pipe, stderr=merged, text=True, start_new_session=True
    ) as process:
        try:
            return process.communicate(timeout=MOST_S)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return f"{process.communicate()[0]}\nkilled after {MOST_S:g} s"


def run_from(report: str, output: str) -> Run:
    """Read pytest's report in JUnit's form."""
    suite = next(ElementTree.fromstring(report).iter("testsuite"))  # noqa: S314  pytest's own
    tests, failed, errors, skipped = (int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped"))
    return Run(tests - failed - errors - skipped, failed, errors, skipped, output)


def try_unchanged(tests: Iterable[str]) -> str:
    """Return what is wrong with the tests on the unchanged code; "" if they can judge the mutants."""
    run = run_tests(tests)
    if run.passed and not (run.failed or run.errors or run.skipped):
        return ""
    return f"WITHOUT A MUTANT these tests do not all pass, or are skipped: they judge nothing\n{run.output}"


def try_mutant(mutant: Mutant) -> tuple[str, str]:
    """Return its fate, and what explains it: the output, unless it was killed."""
    if mutant.equivalent:
        return "equivalent", mutant.equivalent
    if not mutant.is_visible():
        return "not visible", f"needs Python {'.'.join(map(str, mutant.python))}"
    run = run_tests(mutant.tests, mutant)
    if run.failed:
        return "killed", ""
    if run.passed and not (run.errors or run.skipped):
        return "SURVIVED", " ".join(mutant.tests)
    return "NOT TRIED", run.output


def main(words: list[str]) -> int:
    mutants = [one for one in read_mutants() if not words or any(word in one.file + one.breaks for word in words)]
    for mutant in mutants:
        mutant.change((ROOT / mutant.file).read_text("utf-8"))
    tried = [mutant for mutant in mutants if not mutant.equivalent and mutant.is_visible()]
    if not tried:
        sys.exit("no such mutant, or none that shows on this Python")
    began, fates = time.monotonic(), Counter[str]()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        unchanged = pool.submit(try_unchanged, dict.fromkeys(test for mutant in tried for test in mutant.tests))
        for mutant, (fate, why) in zip(mutants, pool.map(try_mutant, mutants), strict=True):
            fates[fate] += 1
            print(f"{fate:11}  {mutant.file}: {mutant.breaks}", *why.splitlines(), sep="\n             ", flush=True)
        print(unchanged.result() or "without a mutant these tests pass")
    print(", ".join(f"{number} {fate}" for fate, number in fates.items()), f"in {time.monotonic() - began:.0f} s")
    return 1 if unchanged.result() or fates["SURVIVED"] or fates["NOT TRIED"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
