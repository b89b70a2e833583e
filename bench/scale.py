"""How the cost grows with the streams: `python -m bench.scale [--plot docs/images/scale.svg]`. Ten minutes at most.

One full core for the service, the SDK baseline and the pipe; then a half and a quarter of a core for the service,
to say what such a replica carries.
"""

import argparse
import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench import measure
from bench.__main__ import about, prepare
from bench.contenders import Contender, Field, opened
from bench.measure import Demand, Load, quantile
from bench.noise import Noise
from bench.plot import Line, Panel, drawn
from bench.quota import limited
from bench.table import figure

STREAMS = (1, 3, 10, 30, 100, 200, 500, 1_000)
_PACE, _DELTAS = 30, 180
_LIMIT_S = 500.0


@dataclass
class Point:
    streams: int
    load: Load
    kib: float

    @property
    def p99(self) -> float:
        return quantile(self.load.delays_ms, 0.99)

    @property
    def carried(self) -> bool:
        return self.load.arrived == 1 and self.p99 <= 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description="how the cost grows with the streams")
    parser.add_argument("--plot", type=Path, help="the SVG to write")
    plot = parser.parse_args().plot
    prepare()
    noise = Noise()
    with opened() as field, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        lines = runner.run(_all(field))
    if plot:
        plot.write_text(drawn(_panels(lines)))
    print(about(noise))


async def _all(field: Field) -> dict[str, list[Point]]:
    await measure.plan(field.upstream, deltas=_DELTAS, pace=_PACE)
    until = time.monotonic() + _LIMIT_S
    lines = {
        "service": await _grown(field.service("foundry"), 1, until),
        "SDK baseline": await _grown(field.sdk_baseline(), 1, until),
        "byte pipe": await _grown(field.pipe(), 1, until),
    }
    for cores in (0.5, 0.25):
        lines[f"service, {cores} core"] = await _grown(field.service("foundry"), cores, until)
    return lines


async def _grown(contender: Contender, cores: float, until: float) -> list[Point]:
    """Ends one step after it no longer carries what is asked of it."""
    points: list[Point] = []
    print(f"\n{contender.name}, {cores:g} core\n streams  arrived   delay p50       p99  first p50     core  each")
    await measure.first_chunk_ms(contender)
    for streams in STREAMS:
        if time.monotonic() > until or (points and not points[-1].carried):
            break
        points.append(await _point(contender, streams, cores))
        print(_line(points[-1]), flush=True)
    return points


async def _point(contender: Contender, streams: int, cores: float) -> Point:
    before = contender.process.rss_kib()
    asked = Demand(streams, _DELTAS, max(streams / 125 / cores, 1), _PACE, probed=False)
    if cores == 1:
        load = await measure.load(contender, asked)
    else:
        with limited(contender.process, cores):
            load = await measure.load(contender, asked)
    return Point(streams, load, (contender.process.rss_kib() - before) / streams)


def _line(point: Point) -> str:
    load = point.load
    first, p50 = figure(quantile(load.first_ms, 0.5)), figure(quantile(load.delays_ms, 0.5))
    each = f"{load.cpu_per_delta_us:.0f} µs a delta"
    return (
        f"{point.streams:>8}{load.arrived:>9.1%}{p50:>9} ms{figure(point.p99):>7} ms{first:>8} ms"
        f"{load.cpu_share:>9.1%}  {each}"
    )


def _panels(lines: dict[str, list[Point]]) -> list[Panel]:
    full = {name: points for name, points in lines.items() if "," not in name}
    cpu = [Line(name, [(p.streams, p.load.cpu_share * 100) for p in points]) for name, points in full.items()]
    delay = [Line(name, [(p.streams, p.p99) for p in points]) for name, points in lines.items()]
    return [Panel("share of one core, %", cpu), Panel("delay of a delta, p99, ms", delay)]


if __name__ == "__main__":
    main()
