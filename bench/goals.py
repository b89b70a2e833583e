"""The rows of the table: what is run for each, how the runs are interleaved, and the goal it is held against."""

import hashlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from bench import measure
from bench.contenders import KINDS, Contender, Field
from bench.measure import Demand, Load, median, quantile
from bench.quota import limited
from bench.table import COLUMNS, Row, figure, shown

Rows = Callable[[Field], Coroutine[None, None, list[Row]]]
Loads = dict[str, list[Load]]


@dataclass(frozen=True)
class Look:
    """One figure of a load. `limit` None: only shown."""

    what: str
    goal: str
    unit: str
    value: Callable[[Load], float]
    limit: float | None = None
    judged: Callable[[Sequence[float]], float] = median
    only: tuple[str, ...] = COLUMNS

    def row(self, loads: Loads) -> Row:
        figures = {name: [self.value(load) for load in runs] for name, runs in loads.items()}
        ours = self.judged(figures["service"])
        cells = {name: shown(values, self.unit) for name, values in figures.items() if name in self.only}
        ok = None if self.limit is None else ours <= self.limit
        return Row(f"  {self.what}", self.goal, cells, _with_ratio(f"{figure(ours)} {self.unit}", figures), ok)


def _with_ratio(figure_of_ours: str, figures: Mapping[str, Sequence[float]]) -> str:
    """Add how many times the bare relay's figure that is: what this service's own work costs."""
    bare = median(figures["bare relay"]) if figures.get("bare relay") else 0.0
    return f"{figure_of_ours}, {median(figures['service']) / bare:.2f} × bare" if bare else figure_of_ours


_GUARDED = {
    "AUTH": "key",
    "API_KEYS": f"bench:{hashlib.sha256(b't').hexdigest()}",  # client.py's callers all send it
    "CONVERSATION_KEYS": "k" * 32,
    "RATE_LIMIT": "1000000/minute",
    "MAX_STREAMS_PER_CALLER": "2000",
}
_RELAYS = ("bare relay", "SDK baseline", "service")
_ARRIVED = Look("deltas that did not arrive", "none", "%", lambda load: (1 - load.arrived) * 100, 0, max)
_P50 = Look("delay p50", "≤ 1 ms", "ms", lambda load: quantile(load.delays_ms, 0.5), 1)
_P99 = Look("delay p99", "≤ 20 ms", "ms", lambda load: quantile(load.delays_ms, 0.99), 20)
_QUARTER_P99 = Look("delay p99", "≤ 5 ms", "ms", lambda load: quantile(load.delays_ms, 0.99), 5)
_FIRST = Look("first chunk p50", "≤ 50 ms", "ms", lambda load: quantile(load.first_ms, 0.5), 50)
_HEALTH = Look("/health p99", "≤ 50 ms", "ms", lambda load: quantile(load.health_ms, 0.99), 50, median, _RELAYS)
_CORE = Look("share of a whole core", "", "%", lambda load: load.cpu_share * 100, None, median, COLUMNS[1:])


async def first_chunks(field: Field) -> list[Row]:
    """One caller at a time, 50 ms before each of the upstream's answers, everything warm."""
    services = [(field.service(kind), later) for kind, later in product(KINDS, (False, True))]
    sdk_baseline, pipe, bare = field.sdk_baseline(), field.pipe(), field.bare_relay()
    runs = [
        *((field.direct(kind), False) for kind in KINDS),
        (pipe, False),
        (bare, False),
        (bare, True),
        (sdk_baseline, False),
        (sdk_baseline, True),
        *services,
    ]
    await measure.plan(field.upstream, deltas=20, delay_ms=50)
    times: dict[tuple[str, str, bool], list[float]] = {}
    for turn, (contender, later) in product(range(14), runs):
        took = await measure.first_chunk_ms(contender, later=later)
        if turn >= 2:
            times.setdefault((contender.name, contender.kind, later), []).append(took)
    return [_first_chunk_row(kind, later, times) for kind, later in product(KINDS, (False, True))]


def _first_chunk_row(kind: str, later: bool, times: dict[tuple[str, str, bool], list[float]]) -> Row:
    direct, ours = times["direct", kind, False], times["service", kind, later]
    ratio = median(ours) / median(direct)
    cells = {"direct": shown(direct, "ms"), "service": shown(ours, "ms")}
    if kind == "foundry":
        cells |= {"byte pipe": shown(times["byte pipe", kind, False], "ms")}
        cells |= {name: shown(times[name, kind, later], "ms") for name in ("bare relay", "SDK baseline")}
    what = f"first chunk, {kind}, {'later turn' if later else 'first turn'}"
    against = {"bare relay": times["bare relay", "foundry", later], "service": ours}
    return Row(what, "≤ 1.10 × direct", cells, _with_ratio(f"{ratio:.3f} ×", against), ratio <= 1.10)


async def turn_start(field: Field) -> list[Row]:
    """Later turns of one delta, one caller at a time: what a turn costs before and after its text."""
    contenders = [field.pipe(), field.bare_relay(), field.sdk_baseline(), *(field.service(kind) for kind in KINDS)]
    await measure.plan(field.upstream, deltas=1)
    used: dict[tuple[str, str], list[float]] = {}
    for turn, contender in product(range(11), contenders):
        cost = await measure.cpu_per_turn_us(contender, 20 if contender.name == "SDK baseline" else 100)
        if turn:
            used.setdefault((contender.name, contender.kind), []).append(cost)
    return [_turn_row(kind, used) for kind in KINDS]


def _turn_row(kind: str, used: dict[tuple[str, str], list[float]]) -> Row:
    cells = {name: shown(costs, "µs") for (name, its), costs in used.items() if its == kind}
    against = {"bare relay": used["bare relay", "foundry"], "service": used["service", kind]}
    ours = f"{figure(median(used['service', kind]))} µs"
    return Row(f"CPU per turn of one delta, {kind}", "", cells, _with_ratio(ours, against))


async def delta_cpu(field: Field) -> list[Row]:
    """One stream as fast as it goes, 16 deltas in each of the upstream's writes; then eight at once, one in each."""
    rows = []
    contenders = [field.pipe(), field.bare_relay(), field.sdk_baseline(), *(field.service(kind) for kind in KINDS)]
    for streams, burst in ((1, 16), (8, 1)):
        used: dict[tuple[str, str], list[float]] = {}
        for turn, contender in product(range(6), contenders):
            deltas = 1_500 if contender.name == "SDK baseline" else 24_000 // streams
            await measure.plan(field.upstream, deltas=deltas, burst=burst)
            cost = await measure.cpu_per_delta_us(contender, deltas, streams)
            if turn:
                used.setdefault((contender.name, contender.kind), []).append(cost)
        rows += [_delta_row(kind, f"{streams} × {burst} a write", used) for kind in KINDS]
    return rows


def _delta_row(kind: str, how: str, used: dict[tuple[str, str], list[float]]) -> Row:
    others = {name: shown(used[name, kind], "µs") for name in COLUMNS[1:-1] if (name, kind) in used}
    ours = used["service", kind]
    cells = {**others, "service": shown(ours, "µs")}
    what, cost = f"CPU per delta, {kind}, {how}", median(ours)
    said = _with_ratio(f"{cost:.1f} µs", {"bare relay": used["bare relay", "foundry"], "service": ours})
    if how.startswith("8"):
        return Row(what, "", cells, said)  # each write wakes a relay up: the pipe's figure is the floor
    return Row(what, "≤ 5 µs", cells, said, cost <= 5)


async def many_streams(field: Field) -> list[Row]:
    """500 streams at 30 deltas/s for 8 s each, begun over 4 s: three times, the bare relay twice, others once."""
    direct, pipe, bare, sdk_baseline, service = _foundry(field)
    asked = Demand(500, 240, 4)
    await measure.plan(field.upstream, deltas=asked.deltas, pace=asked.pace)
    loads: Loads = {}
    for contender in (service, direct, pipe, bare, sdk_baseline, service, direct, bare, service):
        loads.setdefault(contender.name, []).append(await measure.load(contender, asked))
    return [Row("500 streams at 30 deltas/s"), *(look.row(loads) for look in (_ARRIVED, _P50, _P99, _HEALTH, _CORE))]


async def idle_streams(field: Field) -> list[Row]:
    """1,000 streams that wait, on a fresh process each time; 50 for the SDK baseline."""
    await measure.plan(field.upstream, deltas=2, hold=1)
    foundry = [await measure.idle_stream_kib(field.service("foundry"), 1_000) for _ in range(3)]
    classic = [await measure.idle_stream_kib(field.service("classic"), 1_000) for _ in range(3)]
    bare = [await measure.idle_stream_kib(field.bare_relay(), 1_000) for _ in range(2)]
    sdk_baseline = [await measure.idle_stream_kib(field.sdk_baseline(), 50)]
    others = {"bare relay": bare, "SDK baseline": sdk_baseline}
    return [
        _idle_row("1,000 idle streams, foundry: each", {**others, "service": foundry}),
        _idle_row("  classic", {"service": classic}),
    ]


def _idle_row(what: str, kib: dict[str, list[float]]) -> Row:
    cells = {name: shown(values, "KiB") for name, values in kib.items()}
    cost = median(kib["service"])
    return Row(what, "≤ 64 KiB", cells, _with_ratio(f"{figure(cost)} KiB", kib), cost <= 64)


async def quarter_core(field: Field) -> list[Row]:
    """50 streams at 30 deltas/s for 5 s, three times."""
    direct, pipe, bare, sdk_baseline, service = _foundry(field)
    asked = Demand(50, 150, 2)
    await measure.plan(field.upstream, deltas=asked.deltas, pace=asked.pace)
    loads: Loads = {"direct": [await measure.load(direct, asked), await measure.load(direct, asked)]}
    hows = set()
    for contender in (service, pipe, bare, sdk_baseline, service, pipe, bare, service):
        with limited(contender.process, 0.25) as how:
            hows.add(how)
            loads.setdefault(contender.name, []).append(await measure.load(contender, asked))
    head = Row(f"a quarter of a core, {hows.pop()}: 50 streams")
    return [head, *(look.row(loads) for look in (_ARRIVED, _QUARTER_P99, _FIRST, _CORE))]


async def disconnect(field: Field) -> list[Row]:
    """20 callers at a time leave after three deltas of thirty a second; 200 in all, 60 of the SDK baseline."""
    services = [field.service("foundry"), field.service("classic")]
    gaps: dict[tuple[str, str], list[float]] = {}
    await measure.plan(field.upstream, deltas=600, pace=30)
    others = ((field.direct("foundry"), 4), (field.pipe(), 4), (field.bare_relay(), 4), (field.sdk_baseline(), 3))
    for contender, rounds in others:
        gaps[contender.name, "foundry"] = await measure.disconnect_ms(contender, field.upstream, 20, rounds)
    for service in services:
        gaps[service.name, service.kind] = await measure.disconnect_ms(service, field.upstream, 20, 10)
    return [_disconnect_row(service.kind, gaps) for service in services]


def _disconnect_row(kind: str, gaps: dict[tuple[str, str], list[float]]) -> Row:
    p99 = quantile(gaps["service", kind], 0.99)
    cells = {name: f"{figure(quantile(all_gaps, 0.99))} ms" for (name, its), all_gaps in gaps.items() if its == kind}
    return Row(f"disconnect → upstream closed p99, {kind}", "≤ 20 ms", cells, f"{figure(p99)} ms", p99 <= 20)


def _foundry(field: Field) -> tuple[Contender, Contender, Contender, Contender, Contender]:
    return field.direct("foundry"), field.pipe(), field.bare_relay(), field.sdk_baseline(), field.service("foundry")


async def access(field: Field) -> list[Row]:
    """An API key, signed threads and a rate limit, against `AUTH=none`: the same service twice, interleaved."""
    services = (field.service("foundry"), field.service("foundry", **_GUARDED))
    cpu: tuple[list[float], list[float]] = ([], [])
    first: tuple[list[float], list[float]] = ([], [])
    await measure.plan(field.upstream, deltas=24_000, burst=16)
    for turn, which in product(range(9), (0, 1)):
        cost = await measure.cpu_per_delta_us(services[which], 24_000)
        if turn:
            cpu[which].append(cost)
    await measure.plan(field.upstream, deltas=20, delay_ms=50)
    for _, which in product(range(25), (0, 1)):
        first[which].append(await measure.first_chunk_ms(services[which]))
    return [_access_row("CPU per delta", "µs", cpu), _access_row("first chunk", "ms", first)]


def _access_row(what: str, unit: str, figures: tuple[list[float], list[float]]) -> Row:
    none, guarded = figures
    more = (median(guarded) / median(none) - 1) * 100
    cells = {"direct": f"none {shown(none, unit)}", "service": shown(guarded, unit)}
    return Row(f"{what} with AUTH=key and signed threads", "≤ 3 % more", cells, f"{more:+.1f} %", more <= 3)


ALL: tuple[Rows, ...] = (
    first_chunks,
    turn_start,
    delta_cpu,
    many_streams,
    idle_streams,
    quarter_core,
    disconnect,
    access,
)
