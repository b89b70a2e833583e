"""`make soak`: minutes of mixed turns, faults and disconnects against the emulator.

Ends with 1 if a stream lied or something leaked.
Each upstream has a service of its own process, which tells what it holds (`tests/support/instrumented_app.py`); one
more service relays a single stream that is quiet for five minutes (or half of the time). What a caller has to see is
the table of `tests/support/faults.py`.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field

import aiohttp
import httpx

from tests.support.faults import ON_EMULATOR, Done, Error, Expected, Status
from tests.support.processes import Process, environment, running, uvicorn
from tests.support.raw_socket_upstream import Wire, bare_upstream
from tests.support.stream_grammar import Ending, native_ending

QUIET_S = 300.0
SETTLE_S = 15.0
GROWTH_KIB = 32 * 1024
KEPT_SOCKETS = 100  # idle connections to the upstream, kept for the next turn

WELL: dict[str, Expected] = {"[echo] all is well": Done(), "[long:200]": Done(), "Hello!": Done()}


@dataclass
class Tally:
    turns: int = 0
    faults: int = 0
    left: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    lies: list[str] = field(default_factory=list)

    def note(self, message: str, expected: Expected, status: int, body: str) -> None:
        """Not called for a stream that was left."""
        try:
            seen = _seen(status, body)
            _check(message, expected, status, seen)
        except (AssertionError, ValueError, KeyError) as e:
            self.lies.append(f"{message}: {type(e).__name__} {e} in {status} {body[-300:]!r}")
            return
        self.endings[f"{status} {seen.code or seen.finish_reason}"] += 1


def _seen(status: int, body: str) -> Ending:
    return native_ending(body) if status == 200 else Ending("", json.loads(body)["code"])


def _check(message: str, expected: Expected, status: int, seen: Ending) -> None:
    """A busy machine may meet the idle timeout, which is no lie; the words must be right in any case."""
    if seen.code == "upstream_timeout":
        return
    match expected:
        case Status():
            assert (status, seen.code) == (expected.status, expected.code)
        case Error():
            assert (status, seen.code) == (200, expected.code)
        case Done():
            assert (status, seen.code, seen.finish_reason) == (200, None, expected.finish_reason)
    if message.startswith("[echo] "):
        assert seen.text == message.removeprefix("[echo] ")


async def callers(urls: list[str], until: float, count: int, tally: Tally) -> None:
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(_caller(session, urls[number % len(urls)], until, tally) for number in range(count)))


async def _caller(session: aiohttp.ClientSession, url: str, until: float, tally: Tally) -> None:
    chance = random.Random()  # noqa: S311
    while time.monotonic() < until:
        fault = chance.random() < 0.4
        message, expected = chance.choice(list((ON_EMULATOR if fault else WELL).items()))
        tally.turns += 1
        tally.faults += fault and expected != Done()
        try:
            async with session.post(f"{url}/api/chat", json={"message": message}) as answer:
                if chance.random() < 0.2:
                    await answer.content.read(chance.choice([1, 300, 2_000]))
                    tally.left += 1
                    answer.close()
                else:
                    tally.note(message, expected, answer.status, await answer.text())
        except aiohttp.ClientError as e:
            tally.lies.append(f"{message}: {type(e).__name__}")


async def quiet(url: str, tally: Tally) -> None:
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(f"{url}/api/chat", json={"message": "hi"}) as answer,
    ):
        tally.turns += 1
        tally.note("[echo] late", Done(), answer.status, await answer.text())


def state(service: Process) -> dict[str, int]:
    held: dict[str, int] = httpx.get(f"{service.url}/_state", timeout=30).json()
    return held


def services(stack: ExitStack, emulator: str, quiet_upstream: str) -> tuple[dict[str, Process], Process]:
    common = {"UPSTREAM_IDLE_TIMEOUT_S": "8", "PING_S": "1", "LOG_LEVEL": "ERROR"}
    openai = {
        "AZURE_AI_PROJECT_ENDPOINT": "",
        "AZURE_AI_AGENT_ID": "",
        "AZURE_OPENAI_ENDPOINT": emulator,
        "AZURE_OPENAI_DEPLOYMENT_NAME": "gpt",
        "AZURE_OPENAI_API_KEY": "key",
    }
    kinds = {"foundry": {}, "classic": {"AZURE_AI_AGENT_ID": "asst_1"}, "openai": openai}
    watched = {
        kind: stack.enter_context(
            running(uvicorn("tests.support.instrumented_app:app"), environment(emulator, **common, **more))
        )
        for kind, more in kinds.items()
    }
    patient = environment(quiet_upstream, **(common | {"UPSTREAM_IDLE_TIMEOUT_S": "600"}))
    return watched, stack.enter_context(running(uvicorn(), patient))


async def soak(watched: dict[str, Process], patient: Process, seconds: float, count: int) -> Tally:
    tally = Tally()
    urls = [service.url for service in watched.values()]
    await asyncio.gather(
        callers(urls, time.monotonic() + seconds, count, tally),
        quiet(patient.url, tally),
    )
    return tally


def report(tally: Tally, before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]) -> bool:
    """Whether all is well."""
    print(f"turns {tally.turns} · faults injected {tally.faults} · left by their reader {tally.left}")
    for ending, times in tally.endings.most_common():
        print(f"  {times:>7}  {ending}")
    print(f"lies {len(tally.lies)}")
    for lie in tally.lies[:10]:
        print(f"  {lie}")
    fine = not tally.lies
    for kind, held in after.items():
        tasks = max(0, held["tasks"] - before[kind]["tasks"])
        sockets = max(0, held["sockets"] - before[kind]["sockets"] - KEPT_SOCKETS)
        rss = f"{before[kind]['rss_kib'] / 1024:.1f} MiB at start, {held['rss_kib'] / 1024:.1f} MiB at end"
        print(f"{kind}: leaked tasks {tasks} · leaked sockets {sockets} · RSS {rss}")
        fine &= tasks == sockets == 0 and held["rss_kib"] - before[kind]["rss_kib"] < GROWTH_KIB
    return fine


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="mixed turns, faults and disconnects")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--callers", type=int, default=60, help="at a time")
    options = parser.parse_args()
    seconds = options.minutes * 60

    async def pause(wire: Wire, _: str) -> None:
        await wire.head()
        await wire.send(wire.wire_format.started)
        await wire.pause(min(QUIET_S, seconds / 2))
        await wire.send(wire.wire_format.delta("late"), wire.wire_format.finished)
        await wire.end()

    with ExitStack() as stack:
        emulating = ["-m", "emulator", "--pace", "100", "--port"]
        emulator = stack.enter_context(running(emulating, environment("http://127.0.0.1:9"), path="/_seen"))
        watched, patient = services(stack, emulator.url, stack.enter_context(bare_upstream(pause)).url)
        asyncio.run(callers([service.url for service in watched.values()], time.monotonic() + 5, 30, Tally()))
        time.sleep(SETTLE_S)
        before = {kind: state(service) for kind, service in watched.items()}
        print(f"{options.minutes:g} minutes, {options.callers} callers, three upstreams", flush=True)
        tally = asyncio.run(soak(watched, patient, seconds, options.callers))
        time.sleep(SETTLE_S)
        after = {kind: state(service) for kind, service in watched.items()}
    sys.exit(0 if report(tally, before, after) else 1)


if __name__ == "__main__":
    main()
