"""The clients that people really use: curl, Python's httpx, Node's fetch, and two npm packages (tests/npm_clients)."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.browsers import absent, program
from tests.support.callers import Events, calling, events_of, foundry, text_of
from tests.support.processes import environment, running, uvicorn

CLIENTS = Path(__file__).parent / "npm_clients"
NO_NODE = "No Node was found: `apt-get install nodejs npm`, or any Node from 18 on."
NO_CURL = "No curl was found: `apt-get install curl`."

Read = Callable[[str, str], Events]


def by_curl(url: str, message: str) -> Events:
    command = [program("curl", NO_CURL), "--no-buffer", "--silent", "--show-error", "--fail", url]
    body = ["-H", "content-type: application/json", "-d", json.dumps({"message": message})]
    return events_of(_said(command + body))


def by_httpx(url: str, message: str) -> Events:
    with httpx.stream("POST", url, json={"message": message}, timeout=60) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def by_fetch(url: str, message: str) -> Events:
    return _by_node("fetch", url, message)


def by_fetch_event_source(url: str, message: str) -> Events:
    _install()
    return _by_node("fetch-event-source", url, message)


def by_eventsource_parser(url: str, message: str) -> Events:
    _install()
    return _by_node("eventsource-parser", url, message)


def _by_node(client: str, url: str, message: str) -> Events:
    events: Events = json.loads(_said([program("node", NO_NODE), str(CLIENTS / "read.mjs"), client, url, message]))
    return events


def _said(command: list[str]) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _install() -> None:
    """Into tests/npm_clients/node_modules, once; git ignores it."""
    if (CLIENTS / "node_modules" / "eventsource-parser").is_dir():
        return
    npm = [program("npm", NO_NODE), "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    ran = subprocess.run(npm, cwd=CLIENTS, capture_output=True, text=True, timeout=300, check=False)
    if ran.returncode:
        absent("npm could not install tests/npm_clients/package.json: is a registry reachable?")


READERS = pytest.mark.parametrize(
    "read", [by_curl, by_httpx, by_fetch, by_fetch_event_source, by_eventsource_parser], ids=lambda read: read.__name__
)

HARD = '[echo] día \u2028 🎉 日本\r\n\t"quoted" \\ data: x : ping'


@READERS
def test_it_reads_a_whole_answer(read: Read, emulator: str) -> None:
    with calling(foundry(emulator, ping_s=0.05)) as client:
        events = read(f"{client.base_url}/api/chat", HARD)
    assert text_of(events) == HARD.removeprefix("[echo] ")
    assert [event["type"] for event in events if event["type"] != "chunk"] == ["metadata", "done"]


@READERS
def test_it_is_not_disturbed_by_pings_and_sees_how_it_failed(read: Read, emulator: str) -> None:
    with calling(foundry(emulator, ping_s=0.05, upstream_idle_timeout_s=2)) as client:
        events = read(f"{client.base_url}/api/chat", "[stall]")
    assert [event["type"] for event in events if event["type"] != "chunk"] == ["metadata", "error"]
    assert events[-1]["code"] == "upstream_timeout"


def test_a_stream_that_broke_off_is_an_error_to_them(emulator: str) -> None:
    """As when the process is killed: what ends without `done` or `error` must not look whole."""
    with (
        running(uvicorn(), environment(emulator)) as service,
        httpx.stream("POST", f"{service.url}/api/chat", json={"message": "[stall]"}, timeout=30) as answer,
    ):
        lines = answer.iter_lines()
        assert "metadata" in next(lines)
        service.popen.kill()
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)
