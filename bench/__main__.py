"""`make bench`: the goals of docs/performance.md, each with its figure. Under five minutes."""

import argparse
import asyncio
import os
import platform
import resource
import signal
import sys
import time
from types import FrameType

import uvloop

from bench import goals
from bench.contenders import opened
from bench.measure import Incomplete
from bench.noise import QUIET, Noise
from bench.processes import OTHER_CORES, SERVICE_CORES
from bench.table import Row, print_heading, print_row

_FILES = 8_192


def main() -> None:
    rows = _wanted()
    prepare()
    cores = f"{os.cpu_count()} cores: services on {SERVICE_CORES}, the rest on {OTHER_CORES}"
    print(f"Python {platform.python_version()}, {cores}")
    print_heading()
    began, noise = time.monotonic(), Noise()
    measured = [row for measure in rows for row in _measured(measure)]
    print_row(Row("image", "one pip layer, no compiler, .pyc compiled in: tests/test_image.py"))
    missed = sum(row.ok is False for row in measured)
    print(f"\n{time.monotonic() - began:.0f} s. {missed or 'No'} goal{'s' * (missed != 1)} missed. {about(noise)}")


def prepare() -> None:
    """Enough open files, our own core, and an orderly end when told to end."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES if most == resource.RLIM_INFINITY else min(_FILES, most), most))
    os.sched_setaffinity(0, OTHER_CORES)
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGINT, _exit)


def _measured(measure: goals.Rows) -> list[Row]:
    with opened() as field, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            rows = runner.run(measure(field))
        except Incomplete as error:
            rows = [Row(measure.__name__, "all of it", figure=str(error), ok=False)]
    for row in rows:
        print_row(row)
    return rows


def _wanted() -> list[goals.Rows]:
    names = {measure.__name__: measure for measure in goals.ALL}
    parser = argparse.ArgumentParser(prog="python -m bench", description="what the service costs, against its goals")
    parser.add_argument("only", nargs="*", choices=[[], *names], help="these alone")
    return [names[name] for name in parser.parse_args().only] or list(goals.ALL)


def about(noise: Noise) -> str:
    cores = noise.cores()
    judged = "quiet enough" if cores <= QUIET else "TOO NOISY to judge by: measure again"
    return f"Others used {cores:.2f} of a core meanwhile: {judged}."


def _exit(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
