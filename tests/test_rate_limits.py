"""How often: RATE_LIMIT in a process and over two, streams per caller, and whose address counts."""

import asyncio
import hashlib
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from gateway.access.callers import anonymous_caller_from, find_client_address
from gateway.access.rate_limits import FixedWindows, SharedRateLimits, limit_from_rate
from tests.support.callers import calling, foundry, unread
from tests.test_request_body import refused

CHAT = {"message": "[echo] hi", "stream": False}


def test_over_the_limit_is_told_when_to_come_again(emulator: str) -> None:
    with calling(foundry(emulator, rate_limit="3/day, 100/day")) as client:
        assert [client.post("/api/chat", json=CHAT).status_code for _ in range(3)] == [200] * 3
        answer = client.post("/api/chat", json=CHAT)
        assert refused(answer) == (429, "rate_limited")
        assert answer.json()["retryable"] is True
        assert 86_000 < int(answer.headers["retry-after"]) <= 86_400
        policies = '"3 per 1 day";q=3;w=86400, "100 per 1 day";q=100;w=86400'
        assert answer.headers["ratelimit-policy"] == policies
        assert answer.headers["ratelimit"] == f'"3 per 1 day";r=0;t={answer.headers["retry-after"]}'
        assert refused(client.post("/api/chat/cancel", json={"thread_id": "x"})) == (429, "rate_limited")
        assert client.get("/health").status_code == client.get("/ready").status_code == 200


def test_each_caller_has_a_count_of_their_own(emulator: str) -> None:
    with calling(foundry(emulator, rate_limit="1/day", trusted_hops=1)) as client:
        first = {"x-forwarded-for": "6.6.6.6, 203.0.113.1"}
        assert client.post("/api/chat", json=CHAT, headers=first).status_code == 200
        forged = {"x-forwarded-for": "7.7.7.7, 203.0.113.1"}
        assert refused(client.post("/api/chat", json=CHAT, headers=forged)) == (429, "rate_limited")
        assert client.post("/api/chat", json=CHAT, headers={"x-forwarded-for": "203.0.113.2"}).status_code == 200


CROSS_SITE = {"origin": "https://evil.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
NOT_JSON = [
    {"content-type": "text/plain"},
    {"content-type": "text/plain; x=application/json"},
    {"content-type": "application/x-www-form-urlencoded"},
    {"content-type": "multipart/form-data; boundary=x"},
    {"content-type": "application/json; charset=utf-16"},
    {"content-type": ""},
    {},
]


def test_a_post_that_another_site_can_make_a_browser_send_burns_no_quota(emulator: str) -> None:
    """Without a preflight it cannot send JSON, and what is not JSON is a 415: it must not use up the person's limit."""
    with calling(foundry(emulator, rate_limit="2/day")) as client:
        for path in ("/api/chat", "/api/v1/chat/stream", "/api/chat/cancel"):
            for headers in NOT_JSON:
                answer = client.post(path, content=b'{"message": "[echo] hi"}', headers={**CROSS_SITE, **headers})
                assert refused(answer) == (415, "unsupported_media_type"), (path, headers)
        assert [client.post("/api/chat", json=CHAT).status_code for _ in range(3)] == [200, 200, 429]


def test_whoever_may_send_json_is_counted_whatever_it_asks_for(emulator: str) -> None:
    wrong = [("/api/chat", "{"), ("/api/chat", "{}"), ("/api/chat/cancel", "{}"), ("/nothing", "{}"), ("/health", "{}")]
    with calling(foundry(emulator, rate_limit=f"{len(wrong)}/day")) as client:
        json_type = {"content-type": "application/json; charset=utf-8;"}
        statuses = [client.post(path, content=body, headers=json_type).status_code for path, body in wrong]
        assert statuses == [400, 422, 422, 404, 405]
        assert client.post("/api/chat", json=CHAT).status_code == 429


def test_a_stranger_is_told_so_before_anything_about_the_body(emulator: str) -> None:
    digest = hashlib.sha256(b"key-of-ann").hexdigest()
    access = {"auth": "key", "api_keys": f"ann:{digest}", "conversation_keys": "x" * 32}
    with calling(foundry(emulator, rate_limit="1/day", **access)) as client:
        for headers in (*NOT_JSON, {"content-type": "application/json"}):
            answer = client.post("/api/chat", content=b"{}", headers=headers)
            assert refused(answer) == (401, "unauthenticated")
        known = {"x-api-key": "key-of-ann"}
        assert client.post("/api/chat", content=b"{}", headers=known).status_code == 415
        assert client.post("/api/chat", json=CHAT, headers=known).status_code == 200
        assert client.post("/api/chat", json=CHAT, headers=known).status_code == 429


@pytest.mark.parametrize(
    ("hops", "forwarded", "address"),
    [
        (0, "203.0.113.1", "10.0.0.1"),
        (1, "203.0.113.1", "203.0.113.1"),
        (1, "1.1.1.1, 203.0.113.1", "203.0.113.1"),
        (2, "1.1.1.1, 203.0.113.1, 10.0.0.7", "203.0.113.1"),
        (2, "203.0.113.1", "10.0.0.1"),
        (1, "", "10.0.0.1"),
        (1, "nonsense", "10.0.0.1"),
        (1, "203.0.113.1:4711", "203.0.113.1"),
        (1, "[2001:db8::1]:4711", "2001:db8::1"),
        (1, "::ffff:203.0.113.1", "203.0.113.1"),
    ],
)
def test_the_address_is_what_the_outermost_trusted_proxy_saw(hops: int, forwarded: str, address: str) -> None:
    scope = {"client": ("10.0.0.1", 1), "headers": [(b"x-forwarded-for", forwarded.encode())] if forwarded else []}
    assert str(find_client_address(scope, hops)) == address


def test_a_line_with_many_ipv6_addresses_is_one_caller() -> None:
    one, other = ({"client": (f"2001:db8:1:2::{end}", 1), "headers": []} for end in (1, 99))
    assert anonymous_caller_from(one, 0) == anonymous_caller_from(other, 0)


def test_one_caller_may_not_hold_every_stream(emulator: str) -> None:
    settings = foundry(emulator, trusted_hops=1, ping_s=0)
    ann, ben = {"x-forwarded-for": "203.0.113.1"}, {"x-forwarded-for": "203.0.113.2"}

    async def held() -> None:
        async with httpx.AsyncClient(base_url=str(client.base_url), timeout=20) as many:
            async with asyncio.timeout(60):
                requests = [many.build_request("POST", "/api/chat", json={"message": "[stall]"}, headers=ann)] * 8
                open_ones = [await many.send(request, stream=True) for request in requests]
                refusal = await many.post("/api/chat", json=CHAT, headers=ann)
                assert refused(refusal) == (429, "rate_limited")
                assert refusal.headers["retry-after"] == "1"
                assert (await many.post("/api/chat", json=CHAT, headers=ben)).status_code == 200
                await open_ones[0].aclose()
                for _ in range(1_000):
                    if (await many.post("/api/chat", json=CHAT, headers=ann)).status_code == 200:
                        break
                    await asyncio.sleep(0.02)
                else:
                    raise AssertionError("the place of a stream that was left is not free")
                for answer in open_ones:
                    await answer.aclose()

    with calling(settings) as client:
        asyncio.run(held())


class Redis:
    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for_port(self.port, self._process)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def end(self) -> None:
        self._process.kill()
        self._process.wait(10)


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    pause = threading.Event()
    for _ in range(600):
        assert process.poll() is None, "it did not start"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            pause.wait(0.05)
        else:
            return
    raise AssertionError("it did not listen in 30 s")


@pytest.fixture
def redis(tmp_path: Path) -> Generator[Redis]:
    if shutil.which("redis-server") is None:
        assert os.environ.get("CI") != "true", "CI must have redis-server: apt-get install redis-server"
        pytest.skip("there is no redis-server here: Debian's package redis-server has it")
    server = Redis(tmp_path)
    try:
        yield server
    finally:
        server.end()


@contextmanager
def a_process(emulator: str, redis: Redis, rate: str) -> Generator[httpx.Client]:
    """The service as the image starts it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME")},
        "AZURE_AI_PROJECT_ENDPOINT": f"{emulator}/api/projects/p",
        "AZURE_AI_AGENT_ID": "agent",
        "RATE_LIMIT": rate,
        "RATE_LIMIT_STORAGE_URI": redis.url,
        "PORT": str(port),
    }
    process = subprocess.Popen([sys.executable, "-m", "gateway"], env=environment, stderr=subprocess.PIPE)
    try:
        wait_for_port(port, process)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
    finally:
        process.terminate()
        try:
            process.communicate(timeout=20)
        finally:
            process.kill()


def posted(clients: list[httpx.Client], times: int) -> Counter[int]:
    return Counter(clients[n % len(clients)].post("/api/chat", json=CHAT).status_code for n in range(times))


def test_two_processes_share_one_count(emulator: str, redis: Redis) -> None:
    with a_process(emulator, redis, "20/day") as one, a_process(emulator, redis, "20/day") as other:
        assert posted([one, other], 40) == {200: 20, 429: 20}


def test_when_redis_ends_callers_are_served_and_counted_by_each_process(emulator: str, redis: Redis) -> None:
    with a_process(emulator, redis, "20/day") as one, a_process(emulator, redis, "20/day") as other:
        assert posted([one, other], 10) == {200: 10}
        redis.end()
        assert posted([one, other], 40) == {200: 40}
        assert posted([one, other], 10) == {429: 10}


def test_when_redis_hangs_nobody_waits_for_it_for_long(emulator: str, redis: Redis) -> None:
    with a_process(emulator, redis, "1000/day") as one:
        assert posted([one], 2) == {200: 2}
        redis.freeze()
        began = time.monotonic()
        assert posted([one], 1) == {200: 1}
        assert time.monotonic() - began < 5, "the first message after it"
        began = time.monotonic()
        assert posted([one], 40) == {200: 40}
        assert time.monotonic() - began < 5, "a quarter of a second for each of them would be ten"


def test_a_window_ends_and_the_wait_that_was_told_holds() -> None:
    windows = FixedWindows(60)
    assert windows.count("ann", 1000.0) == (1, 60.0)
    assert windows.count("ann", 1059.5) == (2, 0.5)
    assert windows.count("ben", 1059.5) == (1, 60.0)
    assert windows.count("ann", 1060.0) == (1, 60.0)
    assert windows.count("ben", 1060.0) == (2, 59.5)


def test_windows_that_have_ended_are_forgotten() -> None:
    windows = FixedWindows(60)
    for n in range(1000):
        windows.count(f"caller {n}", n)
    assert len(windows) == 60
    windows.count("ann", 2000.0)
    windows.count("ben", 2000.0)
    assert len(windows) == 58, "a few at a time"


def test_too_many_callers_are_not_kept_and_the_newest_still_count() -> None:
    windows = FixedWindows(86_400, max_callers=1000)
    for n in range(3000):
        windows.count(f"caller {n}", float(n))
    assert len(windows) == 1000
    assert windows.count("caller 2999", 3000.0)[0] == 2
    assert windows.count("caller 0", 3000.0)[0] == 1


def test_a_count_costs_the_same_however_many_callers_were_seen() -> None:
    """It runs on the loop that relays the streams. A walk over all callers would make it a hundred times as dear."""

    def seconds_of_a_count(callers: int) -> float:
        windows, took = FixedWindows(86_400, max_callers=callers // 2), []
        for n in range(callers):
            windows.count(f"address:{n}", n / callers)
        for n in range(2_000):
            began = time.perf_counter()
            windows.count(f"address:{n + callers // 2}", 1.0)  # half of them new: somebody else is forgotten
            windows.count(f"another:{n}", 1.0)
            took.append(time.perf_counter() - began)
        return statistics.median(took)

    assert seconds_of_a_count(100_000) < 10 * seconds_of_a_count(1_000)


def test_rates_are_read_as_they_are_written() -> None:
    limits = [limit_from_rate(rate) for rate in ("20/minute", "5/10 minutes", "3/2hour", "1/day", "2/30 second")]
    assert [(limit.amount, limit.window_s) for limit in limits] == [(20, 60), (5, 600), (3, 7200), (1, 86_400), (2, 30)]
    assert [limit.name for limit in limits[:2]] == ["20 per 1 minute", "5 per 10 minute"]


def test_the_same_limit_written_twice_counts_once(emulator: str) -> None:
    with calling(foundry(emulator, rate_limit="2/day,2/day")) as client:
        assert [client.post("/api/chat", json=CHAT).status_code for _ in range(3)] == [200, 200, 429]


def test_no_key_stays_in_redis_for_ever(emulator: str, redis: Redis) -> None:
    with a_process(emulator, redis, "2/minute, 9/day") as one:
        assert posted([one], 3) == {200: 2, 429: 1}
    with socket.create_connection(("127.0.0.1", redis.port), 5) as connection, connection.makefile("rwb") as wire:
        wire.write(b"EVAL \"return {#redis.call('keys','*'), redis.call('ttl',redis.call('keys','*')[1])}\" 0\r\n")
        wire.flush()
        assert [wire.readline() for _ in range(2)] == [b"*2\r\n", b":2\r\n"]
        assert 0 < int(wire.readline()[1:]) <= 86_400


def test_an_unavailable_redis_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def count() -> None:
        rates = SharedRateLimits(unread(rate_limit="9/day", rate_limit_storage_uri="redis://127.0.0.1:9/0"))
        for _ in range(5):
            await rates.count("ann")
            rates._redis_paused_until = 0.0  # as if time had passed
        await rates.aclose()

    asyncio.run(count())
    assert [record.getMessage() for record in caplog.records] == [
        "Redis unavailable, rate limits are per replica: ConnectionError"
    ]
