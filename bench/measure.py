"""The measurements, each of one contender, each bounded in time. What they are compared to is in `goals.py`."""

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from urllib.parse import urlencode

from bench.client import Caller, call_all, get
from bench.contenders import Contender
from bench.processes import Running

_turns = count(1)
_LATE_S = 4.0
_REFILL_S = 0.08  # whatever a service makes ahead, it has made it by then


class Incomplete(Exception):
    """Not every delta arrived."""


async def plan(upstream: Running, **wanted: float) -> None:
    """From now on the upstream answers like this (bench/upstream.py)."""
    await asyncio.wait_for(get(upstream.port, f"/plan?{urlencode(wanted)}"), 5)


async def first_chunk_ms(contender: Contender, *, later: bool = False, timeout_s: float = 10) -> float:
    """Of a conversation's first turn, or of a later one."""
    (caller,) = await call_all([_caller(contender)], 0, timeout_s)
    if later:
        thread_id = caller.thread_id
        (caller,) = await call_all([_caller(contender, thread_id)], 0, timeout_s)
    await asyncio.sleep(_REFILL_S)
    if caller.first_ms is None or not caller.whole:
        raise Incomplete(f"{contender.name}, {contender.kind}: {caller.head[:300]!r}")
    return caller.first_ms


async def cpu_per_delta_us(contender: Contender, deltas: int, streams: int = 1) -> float:
    """The plan's answer has so many `deltas`."""
    before = contender.process.cpu_s()
    callers = await call_all([_caller(contender) for _ in range(streams)], 0, 30)
    used_s = contender.process.cpu_s() - before
    arrived = sum(len(caller.delays_ms) for caller in callers)
    if arrived != deltas * streams:
        raise Incomplete(f"{contender.name}, {contender.kind}: {arrived} of {deltas * streams} deltas")
    return used_s / arrived * 1e6


async def cpu_per_turn_us(contender: Contender, turns: int) -> float:
    """Later turns of one conversation, one after the other. The plan's answer has one delta."""
    (first,) = await call_all([_caller(contender)], 0, 10)
    before = contender.process.cpu_s()
    for _ in range(turns):
        (caller,) = await call_all([_caller(contender, first.thread_id)], 0, 10)
        if not caller.whole:
            raise Incomplete(f"{contender.name}, {contender.kind}: {caller.head[:300]!r}")
    return (contender.process.cpu_s() - before) / turns * 1e6


@dataclass
class Demand:
    """Streams of so many deltas, at `pace` a second each, begun over `spread_s`. `probed`: `/health` all the while."""

    streams: int
    deltas: int
    spread_s: float
    pace: float = 30
    probed: bool = True


@dataclass
class Load:
    """Many streams at a human pace. Delays: from the upstream's write to the caller's read."""

    arrived: float
    delays_ms: list[float]
    first_ms: list[float]
    health_ms: list[float]
    cpu_share: float
    cpu_per_delta_us: float


async def load(contender: Contender, asked: Demand) -> Load:
    probing = asyncio.create_task(_health_ms(contender)) if contender.relays and asked.probed else None
    before, began = contender.process.cpu_s(), time.monotonic()
    waiting = [_caller(contender) for _ in range(asked.streams)]
    callers = await call_all(waiting, asked.spread_s, asked.spread_s + asked.deltas / asked.pace + _LATE_S)
    used_s, took_s = contender.process.cpu_s() - before, time.monotonic() - began
    delays = [delay for caller in callers for delay in caller.delays_ms]
    firsts = [caller.first_ms for caller in callers if caller.first_ms is not None]
    share = len(delays) / (asked.streams * asked.deltas)
    per_delta = used_s / max(len(delays), 1) * 1e6
    return Load(share, delays, firsts, await _stopped(probing), used_s / took_s, per_delta)


async def idle_stream_kib(contender: Contender, streams: int) -> float:
    """The plan holds its answers: each stream has said something and waits for more. Opened 300 a second."""
    await call_all([_caller(contender)], 0, 0.5)
    before = contender.process.rss_kib()
    callers = [_caller(contender) for _ in range(streams)]
    opening = asyncio.create_task(call_all(callers, streams / 300, streams / 300 + 8))
    await asyncio.sleep(streams / 300 + 3)
    used = contender.process.rss_kib() - before
    are_open = sum(caller.first_ms is not None for caller in callers)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    if are_open < streams:
        raise Incomplete(f"{contender.name}: {are_open} of {streams} streams open")
    return used / streams


async def disconnect_ms(contender: Contender, upstream: Running, callers: int, rounds: int) -> list[float]:
    """From a caller's closing, after three deltas, to the upstream's connection closed. inf: not within a second."""
    await get(upstream.port, "/seen")
    left: dict[int, int] = {}
    for _ in range(rounds):
        numbers = [next(_turns) for _ in range(callers)]
        batch = [Caller(contender.port, contender.request(number), leave_after=3) for number in numbers]
        await call_all(batch, 0.1, 5)
        left |= {number: caller.left_ns for number, caller in zip(numbers, batch, strict=True)}
    await asyncio.sleep(1)
    closed: dict[str, int] = json.loads(await get(upstream.port, "/seen"))["closed_ns"]
    gaps = [closed[str(number)] - at for number, at in left.items() if at and str(number) in closed]
    return [gap / 1e6 for gap in gaps] + [float("inf")] * (len(left) - len(gaps))


def quantile(values: Sequence[float], share: float) -> float:
    """inf where there is none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("inf")


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("inf")


def _caller(contender: Contender, thread_id: str | None = None) -> Caller:
    return Caller(contender.port, contender.request(next(_turns), thread_id))


async def _health_ms(contender: Contender) -> list[float]:
    took: list[float] = []
    try:
        while True:
            began = time.monotonic()
            await get(contender.port, "/health")
            took.append((time.monotonic() - began) * 1e3)
            await asyncio.sleep(0.1)
    except (asyncio.CancelledError, OSError):
        return took


async def _stopped(probing: "asyncio.Task[list[float]] | None") -> list[float]:
    if probing is None:
        return []
    probing.cancel()
    return await probing
