"""`python -m bench.telemetry`: what it costs to be watched. The same service with a collector and without, interleaved.

The collector (`python -m bench.telemetry PORT`) takes all that comes and keeps nothing.
"""

import asyncio
import sys
from itertools import product

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench import measure
from bench.__main__ import about, prepare
from bench.cold_start import CHAT, answered_ms
from bench.contenders import Contender, Field, environment, opened
from bench.measure import Demand, median
from bench.noise import Noise
from bench.processes import free_port, listening, started
from bench.table import shown

Costs = dict[str, dict[str, list[float]]]

_STARTS = 9
_FIRST = 25


def main() -> None:
    prepare()
    noise, port = Noise(), free_port()
    with started("-m", "bench.telemetry", str(port), port=port, service=False) as collector, opened() as field:
        listening(collector)
        watched = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
        services = {"off": field.service("foundry"), "on": field.service("foundry", **watched)}
        costs = asyncio.run(_warm(field, services))
        costs["start to the first chunk, ms"] = _starts(field, {"off": {}, "on": watched})
    for what, by in costs.items():
        more = (median(by["on"]) / median(by["off"]) - 1) * 100
        print(f"{what:<44}off {shown(by['off'], ''):<22} on {shown(by['on'], ''):<22} {more:+.1f} %")
    print(f"\n{about(noise)}")


async def _warm(field: Field, services: dict[str, Contender]) -> Costs:
    await asyncio.sleep(3)  # the SDK is loaded by now
    costs: Costs = {}
    for streams, burst in ((1, 16), (8, 1)):
        by = costs[f"CPU per delta, {streams} × {burst} a write, µs"] = _none()
        await measure.plan(field.upstream, deltas=24_000 // streams, burst=burst)
        for turn, (name, service) in product(range(9), services.items()):
            cost = await measure.cpu_per_delta_us(service, 24_000 // streams, streams)
            if turn:
                by[name].append(cost)
    await measure.plan(field.upstream, deltas=150, pace=30)
    by = costs["share of a core, 200 streams at 30/s, %"] = _none()
    for _, (name, service) in product(range(3), services.items()):
        load = await measure.load(service, Demand(200, 150, 2))
        by[name].append(load.cpu_share * 100)
    await measure.plan(field.upstream, deltas=20, delay_ms=50)
    by = costs["first chunk behind 50 ms, ms"] = _none()
    for _, (name, service) in product(range(_FIRST), services.items()):
        by[name].append(await measure.first_chunk_ms(service))
    return costs


def _none() -> dict[str, list[float]]:
    return {"off": [], "on": []}


def _starts(field: Field, settings: dict[str, dict[str, str]]) -> dict[str, list[float]]:
    took = _none()
    for run, (name, more) in product(range(_STARTS + 1), settings.items()):
        port = free_port()
        env = {**environment("foundry", field.upstream.port), **more}
        with started("-m", "uvicorn", "main:app", "--port", str(port), port=port, service=True, env=env) as running:
            milliseconds = answered_ms(running, CHAT, b'"chunk"')
        if run:
            took[name].append(milliseconds)
    return took


async def _dropped(request: Request) -> Response:
    await request.body()
    return Response(b"")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        dropping = Starlette(routes=[Route("/{path:path}", _dropped, methods=["POST"])])
        uvicorn.run(dropping, port=int(sys.argv[1]), log_level="error")
    else:
        main()
