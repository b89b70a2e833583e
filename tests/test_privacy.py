"""A marker goes every way that words can take: no log has it, and no answer that is not about it."""

import asyncio
import io
import json
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from gateway.app import create_app
from gateway.backends.base import Backend
from gateway.events import BackendEvent, RunStarted, TextDelta, Thread, ThreadId, Turn
from gateway.settings import Settings
from gateway.telemetry import configure_logs
from tests.support.callers import calling, calling_app, classic, foundry, openai, unread
from tests.support.faults import ON_EMULATOR
from tests.support.raw_socket_callers import begin, read_until
from tests.support.raw_socket_upstream import Wire, bare_upstream
from tests.support.waiting import eventually
from tests.support.wire_formats import Classic, Responses

MARK = "mArKeR"
SAID, ANSWERED, UPSTREAM, KEY = f"{MARK}-said", f"{MARK}-answered", f"{MARK}-upstream", f"{MARK}-key"

UPSTREAMS: list[Callable[..., Settings]] = [foundry, classic, openai]


@pytest.fixture(params=["json", "text"])
def logs(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """All that the service writes, at its most talkative."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    configure_logs("DEBUG", request.param)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # that is the caller
    written = io.StringIO()
    ours = next(handler for handler in root.handlers if handler.get_name() == "chat-api")
    assert isinstance(ours, logging.StreamHandler)
    ours.setStream(written)
    yield written
    root.handlers, root.level = before
    for name in ("gateway", "httpx"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def dialect_of(wire: Wire) -> Responses | Classic:
    return Responses(UPSTREAM) if isinstance(wire.wire_format, Responses) else Classic(UPSTREAM)


async def error_body(wire: Wire, status: str) -> None:
    error = {"code": f"{UPSTREAM} is no code", "message": UPSTREAM, "innererror": {"a": UPSTREAM}}
    text = json.dumps({"error": error}).encode()
    head = f"HTTP/1.1 {status}\r\nx-detail: {UPSTREAM}\r\nconnection: close\r\ncontent-length: {len(text)}\r\n\r\n"
    await wire.raw(head.encode() + text)


async def play(wire: Wire, message: str) -> None:
    """What is ordered stands behind the marker in the message."""
    order = message.partition(" ")[2]
    if order.startswith("HTTP "):
        return await error_body(wire, order.removeprefix("HTTP "))
    if order == "no HTTP":
        return await wire.raw(f"{UPSTREAM}\r\n\r\n".encode())
    speak = dialect_of(wire)
    await wire.head(x_detail=UPSTREAM)
    if order == "failed first":
        return await wire.send(speak.failed("server_error"))
    await wire.send(speak.started, speak.delta(ANSWERED))
    frames = {
        "failed": speak.failed("server_error"),
        "error": speak.error("server_error"),
        "failed in words": speak.failed(f"{UPSTREAM} is no code"),
        "incomplete": speak.incomplete(f"{UPSTREAM} is no reason"),
        "not JSON": f"data: {UPSTREAM}\n\n".encode(),
        "half": speak.delta(UPSTREAM)[:-4],
        "unknown": f'event: x\ndata: {{"type": "x", "y": "{UPSTREAM}"}}\n\n'.encode() + speak.finished,
    }
    await wire.send(frames.get(order, speak.finished))
    return await wire.end()


STATUSES = (400, 401, 403, 404, 409, 413, 418, 429, 500, 503)
ORDERS = [f"HTTP {status} X" for status in STATUSES]
ORDERS += [
    "no HTTP",
    "failed first",
    "failed",
    "error",
    "failed in words",
    "incomplete",
    "not JSON",
    "half",
    "unknown",
    "well",
]


def ask_all_ways(client: httpx.Client, message: str) -> str:
    """The answers, without the message that JSON mode repeats."""
    headers = {"authorization": f"Bearer {KEY}", "cookie": f"a={KEY}", "x-request-id": f"{KEY} not one"}
    native = client.post(f"/api/chat?token={KEY}", json={"message": message}, headers=headers).text
    simple = client.post("/api/v1/chat/stream", json={"message": message}, headers=headers).text
    whole = client.post("/api/chat", json={"message": message, "stream": False}, headers=headers).json()
    whole.pop("message", None)
    return native + simple + str(whole)


@pytest.mark.parametrize("settings", UPSTREAMS)
def test_no_words_of_an_upstream_a_person_or_an_agent_are_logged(
    settings: Callable[..., Settings], logs: io.StringIO
) -> None:
    with bare_upstream(play) as upstream, calling(settings(upstream.url, **key_of(settings))) as client:
        for order in ORDERS:
            answers = ask_all_ways(client, f"{SAID} {order}")
            assert not [mark for mark in (SAID, UPSTREAM, KEY) if mark in answers], order
    assert len(upstream.said) == 3 * len(ORDERS)
    assert_nothing_told(logs)


def key_of(settings: Callable[..., Settings]) -> dict[str, str]:
    return {"azure_openai_api_key": KEY} if settings is openai else {}


def assert_nothing_told(logs: io.StringIO) -> None:
    told = logs.getvalue()
    assert told, "something was logged"
    assert MARK not in told, [line for line in told.splitlines() if MARK in line]


@pytest.mark.slow
def test_no_words_are_logged_under_the_emulators_faults(emulator: str, logs: io.StringIO) -> None:
    with ExitStack() as stack:
        for settings in UPSTREAMS:
            client = stack.enter_context(calling(settings(emulator, upstream_idle_timeout_s=0.3)))
            for fault in ON_EMULATOR:
                client.post("/api/chat", json={"message": f"{SAID} {fault}"})
    assert_nothing_told(logs)


HOSTILE: list[tuple[str, bytes, dict[str, str]]] = [
    ("/api/chat", f'{{"message": "{MARK}'.encode(), {}),
    ("/api/chat", f'{{"message": {{"{MARK}": "{MARK}"}}}}'.encode(), {}),
    ("/api/chat", f'{{"message": "hi", "stream": "{MARK}"}}'.encode(), {}),
    ("/api/chat", f'{{"message": "hi", "thread_id": "{MARK}/.."}}'.encode(), {}),
    ("/api/chat", f'{{"message": "hi", "conversation_id": "{MARK * 50}"}}'.encode(), {}),
    ("/api/chat", f'{{"{MARK}": "hi"}}'.encode(), {}),
    ("/api/chat", f'["{MARK}"]'.encode(), {}),
    ("/api/chat", f'{{"message": "{MARK}\\u0000"}}'.encode(), {}),
    ("/api/chat", MARK.encode() * 50_000, {}),
    ("/api/chat", MARK.encode(), {"content-type": f"text/{MARK}"}),
    ("/api/chat/cancel", f'{{"thread_id": "{MARK}.."}}'.encode(), {}),
    (f"/{MARK}", b"{}", {}),
]


@pytest.mark.parametrize(("path", "body", "headers"), HOSTILE)
def test_what_a_refused_request_said_is_not_repeated(
    path: str, body: bytes, headers: dict[str, str], emulator: str, logs: io.StringIO
) -> None:
    with calling(foundry(emulator)) as client:
        answer = client.post(path, content=body, headers={"content-type": "application/json", **headers})
        well = client.post("/api/chat", json={"message": "[echo] hi"})  # not every refusal is logged
    assert 400 <= answer.status_code < 500
    assert MARK not in answer.text
    assert well.headers["x-request-id"] in logs.getvalue()
    assert_nothing_told(logs)


class Buggy(Backend):
    """Raises the person's words, in the place that the message names."""

    abilities = frozenset({"cancel"})

    async def answer(self, turn: Turn) -> AsyncGenerator[list[BackendEvent]]:
        if "later" in turn.message:
            yield [RunStarted(Thread(ThreadId("t")), "r"), TextDelta("x")]
        if "task" in turn.message:
            asyncio.get_running_loop().call_soon(self._raise, turn.message)
            self.forgotten = asyncio.create_task(self._fail(turn.message))
            await asyncio.sleep(0.01)
            del self.forgotten
        self._raise(turn.message)

    def _raise(self, words: str) -> None:
        raise ValueError(words)

    async def _fail(self, words: str) -> None:
        self._raise(words)

    async def check(self) -> None:
        self._raise(SAID)

    async def cancel(self, thread: Thread) -> None:
        raise ValueError(SAID)

    async def warm(self) -> None: ...

    async def aclose(self) -> None: ...


def test_an_unhandled_exception_is_logged_with_its_location_and_without_its_message(logs: io.StringIO) -> None:
    with calling_app(create_app(unread(), Buggy())) as client:
        for message in (SAID, f"{SAID} later", f"{SAID} task"):
            answers = ask_all_ways(client, message)
            assert "internal_error" in answers
            assert SAID not in answers
        stopped = client.post("/api/chat/cancel", json={"thread_id": "t"})
        assert (stopped.status_code, stopped.json()["code"]) == (500, "internal_error")
        ready = client.get("/ready")
        assert (ready.status_code, ready.json()["code"]) == (503, "internal_error")
    assert_nothing_told(logs)
    assert "ValueError at test_privacy.py" in logs.getvalue()


def test_who_disconnects_or_does_not_read_is_not_repeated(emulator: str, logs: io.StringIO) -> None:
    def over() -> bool:
        streams = httpx.get(f"{emulator}/_seen").json()["streams"]
        return len(streams["left"]) == len(streams["opened"]) == 2

    with calling(foundry(emulator, send_timeout_s=0.3)) as client:
        with begin(str(client.base_url), f"[stall] {SAID}") as connection:
            read_until(connection, b"chunk")
        with begin(str(client.base_url), f"[long:1000000] {SAID}", buffer=4_096):
            eventually(over, "both are left")
    assert logs.getvalue().count("/api/chat: client_disconnect") == 2, "both turns were logged"
    assert_nothing_told(logs)
