"""`make bench-cold`: from the start of the process to the first `/health` and to the first chunk of a first chat.

Beside a bare FastAPI with uvicorn to its first 200, in the same run, interleaved. Files in the cache, `.pyc` there;
the managed-identity credential on a local identity endpoint; no delay upstream.
"""

import argparse
import socket
import time
from collections.abc import Iterable
from contextlib import closing

from bench.__main__ import about, prepare
from bench.client import post
from bench.contenders import KINDS, Field, environment, opened
from bench.measure import median
from bench.noise import Noise
from bench.processes import Running, free_port, started
from bench.table import figure, shown

_LIMIT_S = 20.0
_HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CHAT = post("/api/chat", '{"message": "turn 0"}')
_Start = tuple[str, tuple[str, ...], dict[str, str], bytes, bytes]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cold_start", description="what a start costs")
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    prepare()
    noise = Noise()
    with opened() as field:
        took = _measured(list(_starts(field)), runs)
    bare = median(took["bare FastAPI, /health"])
    for name, times in took.items():
        ratio = median(times) / bare
        print(f"{name:<44}{shown(times, 'ms'):<24}{ratio:>5.2f} ×  {_verdict(name, ratio)}")
    print(f"\n{runs} starts each. {about(noise)}")


def _starts(field: Field) -> Iterable[_Start]:
    """Name, how it is started, with what, what is asked of it, and what the answer has in it."""
    uvicorn = ("-m", "uvicorn", "main:app", "--port")
    yield "bare FastAPI, /health", ("-m", "uvicorn", "bench.bare:app", "--port"), {}, _HEALTH, b"healthy"
    for kind in KINDS:
        env = environment(kind, field.upstream.port)
        yield f"service, {kind}, /health", uvicorn, env, _HEALTH, b"healthy"
        yield f"service, {kind}, first chunk", uvicorn, env, CHAT, b'"chunk"'
    env = environment("foundry", field.upstream.port)
    own = ("-m", "gateway")
    yield "service, python -m gateway, /health", own, env, _HEALTH, b"healthy"
    yield "service, python -m gateway, first chunk", own, env, CHAT, b'"chunk"'
    yield "SDK baseline, first chunk", ("-m", "uvicorn", "bench.sdk_baseline:app", "--port"), env, CHAT, b'"chunk"'


def _measured(starts: list[_Start], runs: int) -> dict[str, list[float]]:
    """The first round fills the caches and is not counted."""
    took: dict[str, list[float]] = {start[0]: [] for start in starts}
    for run in range(runs + 1):
        for name, arguments, env, request, sign in starts:
            port = free_port()
            given = {**env, "PORT": str(port)}
            named = (str(port),) if arguments[-1] == "--port" else ()
            with started(*arguments, *named, port=port, service=True, env=given) as running:
                milliseconds = answered_ms(running, request, sign)
            if run:
                took[name].append(milliseconds)
    return took


def answered_ms(running: Running, request: bytes, sign: bytes) -> float:
    """Knocks every millisecond until it is let in, then asks once. Raises TimeoutError."""
    while time.monotonic() < running.began + _LIMIT_S and not running.ended():
        with closing(socket.socket()) as caller:
            if caller.connect_ex(("127.0.0.1", running.port)):
                time.sleep(0.001)
                continue
            caller.settimeout(_LIMIT_S)
            caller.sendall(request)
            received = b""
            while sign not in received:
                part = caller.recv(65_536)
                if not part:
                    raise TimeoutError(f"asked, and was told {received[:500]!r}")
                received += part
            return (time.monotonic() - running.began) * 1e3
    raise TimeoutError("never listened")


def _verdict(name: str, ratio: float) -> str:
    if not name.startswith("service"):
        return ""
    goal = 1.2 if "/health" in name else 2.0
    return f"goal ≤ {figure(goal)} ×: {'ok' if ratio <= goal else 'MISSED'}"


if __name__ == "__main__":
    main()
