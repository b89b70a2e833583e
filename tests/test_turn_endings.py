"""Every fault on every upstream in every mode: one truthful ending, as a status while nothing was said."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from typing import Any

import httpx
import pytest

from emulator.app import create_app as emulator_app
from gateway.app import create_app
from gateway.backends.base import Backend
from gateway.errors import InternalError, UpstreamUnavailable
from gateway.events import BackendEvent, RunCompleted, RunStarted, TextDelta, Thread, ThreadId, Turn
from gateway.settings import Settings
from tests.support.callers import calling_app, classic, events_of, foundry, openai, unread
from tests.support.error_classes import error_classes
from tests.support.faults import (
    EXPECTED,
    NOT_WORTH_TRYING_AGAIN,
    ON_BARE_SOCKET,
    ON_EMULATOR,
    Done,
    Error,
    Expected,
    Status,
    play,
)
from tests.support.raw_socket_upstream import Wire, bare_upstream
from tests.support.servers import serving
from tests.support.stream_grammar import Ending, native_ending, simple_ending

UPSTREAMS: dict[str, Callable[..., Settings]] = {"foundry": foundry, "classic": classic, "openai": openai}
MODES = ("native", "simple", "json")
IDLE_S = 5.0

Case = tuple[str, str, str]
CASES: list[Case] = list(product(EXPECTED, UPSTREAMS, MODES))


@pytest.fixture(scope="module")
def answers() -> Iterator[dict[Case, httpx.Response]]:
    """All of them, got at the same time: many wait for a timeout."""
    with ExitStack() as stack:
        emulated = stack.enter_context(serving(emulator_app(pace=0)))
        bare = stack.enter_context(bare_upstream(play))
        services = {
            (name, where): stack.enter_context(serving(create_app(settings(where, upstream_idle_timeout_s=IDLE_S))))
            for (name, settings), where in product(UPSTREAMS.items(), (emulated, bare.url))
        }
        urls = {
            (fault, upstream, mode): services[upstream, emulated if fault in ON_EMULATOR else bare.url]
            for fault, upstream, mode in CASES
        }
        yield asyncio.run(_asked(urls))


async def _asked(urls: dict[Case, str]) -> dict[Case, httpx.Response]:
    limit = asyncio.Semaphore(100)
    async with httpx.AsyncClient(timeout=60) as client:

        async def ask(case: Case) -> httpx.Response:
            async with limit:
                return await _ask(client, urls[case], case)

        return dict(zip(urls, await asyncio.gather(*map(ask, urls)), strict=True))


async def _ask(client: httpx.AsyncClient, url: str, case: Case) -> httpx.Response:
    fault, _, mode = case
    if mode == "simple":
        return await client.post(f"{url}/api/v1/chat/stream", json={"message": fault})
    return await client.post(f"{url}/api/chat", json={"message": fault, "stream": mode == "native"})


@pytest.mark.parametrize(("fault", "upstream", "mode"), CASES)
def test_it_ends_once_and_truthfully(fault: str, upstream: str, mode: str, answers: dict[Case, httpx.Response]) -> None:
    answer = answers[fault, upstream, mode]
    expected = EXPECTED[fault]
    if isinstance(expected, Status):
        _check_problem(answer, expected.status, expected.code)
        assert answer.headers.get("retry-after") == expected.retry_after
    elif mode == "json":
        _check_json(answer, expected)
    else:
        _check_stream(answer, expected, mode)


def _check_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem = answer.json()
    assert problem["code"] == code
    assert problem["request_id"] == answer.headers["x-request-id"]


def _check_json(answer: httpx.Response, expected: Error | Done) -> None:
    if isinstance(expected, Done):
        assert answer.status_code == 200, answer.text
        assert answer.json()["finish_reason"] == expected.finish_reason
        assert answer.json()["response"]
    else:
        _check_problem(answer, expected.status, expected.code)
        assert answer.json()["thread_id"]


def _check_stream(answer: httpx.Response, expected: Error | Done, mode: str) -> None:
    assert answer.status_code == 200, answer.text
    ending = native_ending(answer.text) if mode == "native" else simple_ending(answer.text)
    if isinstance(expected, Done):
        assert (ending.code, ending.finish_reason) == (None, expected.finish_reason)
        assert ending.text
    else:
        assert ending.code == expected.code
        assert bool(ending.text) is expected.text


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_what_was_said_before_a_fault_is_kept(upstream: str, answers: dict[Case, httpx.Response]) -> None:
    for fault in ("closed in mid-frame", "reset in mid-frame", "a frame that is not JSON", "a null error alone"):
        assert native_ending(answers[fault, upstream, "native"].text).text == "Hello"


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_what_would_be_refused_again_is_not_worth_trying_again(
    upstream: str, answers: dict[Case, httpx.Response]
) -> None:
    """azure-search-openai-demo#1199, one-api#2101: a client that obeys `retryable` sent a too long message for ever."""
    for fault, (_, expected) in ON_BARE_SOCKET.items():
        if isinstance(expected, Done):
            continue
        problem = answers[fault, upstream, "json"]
        assert problem.json()["retryable"] is (fault not in NOT_WORTH_TRYING_AGAIN), fault
        if fault in NOT_WORTH_TRYING_AGAIN:
            assert "retry-after" not in problem.headers
            assert "try again" not in problem.json()["detail"], fault


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_a_failure_says_the_same_as_a_status_and_as_an_event(
    upstream: str, answers: dict[Case, httpx.Response]
) -> None:
    for fault in ("the context's length in mid-run", "a refused image in mid-run", "`invalid_prompt` in mid-run"):
        problem = answers[fault, upstream, "json"].json()
        event = events_of(answers[fault, upstream, "native"].text)[-1]
        assert (event["code"], event["error"]) == (problem["code"], problem["detail"])
        assert event["retryable"] is problem["retryable"] is False


def test_a_retry_after_of_a_quota_inside_the_run_reaches_the_caller(answers: dict[Case, httpx.Response]) -> None:
    got = answers["[quota]", "foundry", "native"].text
    assert '"code": "upstream_rate_limited", "retryable": true, "retry_after": 7' in got
    assert answers["[quota]", "foundry", "json"].headers["retry-after"] == "7"


def test_nothing_of_the_upstreams_words_is_in_any_answer(answers: dict[Case, httpx.Response]) -> None:
    words = ("upstream words", "principal", "Bad Gateway", "Sign in", "127.0.0.1", "Traceback", "gpt-emulated")
    for case, answer in answers.items():
        assert not [word for word in words if word in answer.text], case


CODES = ["moon_phase", "server_error", "timeout", "", "content_filter", "rate_limit_exceeded", "invalid_prompt"]


@pytest.mark.parametrize("code", CODES)
def test_a_classic_run_is_cancelled_after_an_error_event_of_whatever_code(code: str) -> None:
    """The event is not the run's end: it would keep its thread locked, for up to ten minutes."""

    async def fail(wire: Wire, _: str) -> None:
        await wire.head()
        await wire.send(wire.wire_format.started, wire.wire_format.delta("Hello"), wire.wire_format.error(code))
        await wire.end()

    with bare_upstream(fail) as upstream, calling_app(create_app(classic(upstream.url))) as client:
        assert native_ending(client.post("/api/chat", json={"message": "hi"}).text).code
    assert upstream.cancelled == ["run_1"]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("how", ["failed", "incomplete"])
def test_a_classic_run_that_has_ended_by_itself_is_not_cancelled(how: str, code: str) -> None:
    async def fail(wire: Wire, _: str) -> None:
        ending = wire.wire_format.failed(code) if how == "failed" else wire.wire_format.incomplete(code)
        await wire.head()
        await wire.send(wire.wire_format.started, wire.wire_format.delta("Hello"), ending)
        await wire.end()

    with bare_upstream(fail) as upstream, calling_app(create_app(classic(upstream.url))) as client:
        native_ending(client.post("/api/chat", json={"message": "hi"}).text)
    assert upstream.said == ["hi"]
    assert upstream.cancelled == []


class Broken(Backend):
    """A backend with a bug. Says `said` first."""

    def __init__(self, *said: BackendEvent, bug: Exception | None = None) -> None:
        self.said = said
        self.bug = bug

    async def answer(self, _: Turn) -> AsyncGenerator[list[BackendEvent]]:
        for event in self.said:
            yield [event]
        if self.bug:
            raise self.bug

    async def check(self) -> None: ...

    async def warm(self) -> None: ...

    async def aclose(self) -> None: ...


@contextmanager
def calling_broken(*said: BackendEvent, bug: Exception | None = None) -> Generator[httpx.Client]:
    with calling_app(create_app(unread(), Broken(*said, bug=bug))) as client:
        yield client


def endings(client: httpx.Client) -> tuple[Ending, Ending, tuple[int, str]]:
    native = client.post("/api/chat", json={"message": "hi"}).text
    simple = client.post("/api/v1/chat/stream", json={"message": "hi"}).text
    whole = client.post("/api/chat", json={"message": "hi", "stream": False})
    return native_ending(native), simple_ending(simple), (whole.status_code, whole.json()["code"])


STARTED, HELLO = RunStarted(Thread(ThreadId("t")), "r"), TextDelta("Hello")


def test_an_unhandled_exception_before_the_first_event_is_a_500() -> None:
    bodies: list[dict[str, Any]] = [{"message": "hi"}, {"message": "hi", "stream": False}]
    with calling_broken(bug=ValueError("secret")) as client:
        for body in bodies:
            answer = client.post("/api/chat", json=body)
            _check_problem(answer, 500, "internal_error")
            assert "secret" not in answer.text


def test_an_unhandled_exception_in_mid_stream_is_one_error() -> None:
    with calling_broken(STARTED, HELLO, bug=ValueError("secret")) as client:
        expected = Ending("Hello", InternalError.code)
        assert endings(client) == (expected, expected, (500, "internal_error"))


def test_a_backend_that_just_stops_has_broken_off() -> None:
    with calling_broken(STARTED, HELLO) as client:
        expected = Ending("Hello", UpstreamUnavailable.code)
        assert endings(client) == (expected, expected, (502, "upstream_unavailable"))


def test_a_backend_that_goes_on_after_the_end_is_not_heard() -> None:
    with calling_broken(STARTED, HELLO, RunCompleted("stop", None), TextDelta("more"), bug=ValueError()) as client:
        got = client.post("/api/chat", json={"message": "hi"}).text
    assert native_ending(got) == Ending("Hello", None, "stop")


def test_the_table_of_faults_speaks_of_codes_that_exist() -> None:
    def code_of(expected: Expected) -> str | None:
        return None if isinstance(expected, Done) else expected.code

    assert {code for expected in EXPECTED.values() if (code := code_of(expected))} <= {
        error.code for error in error_classes()
    }


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(("said", "logger"), [((), "gateway.web.problems"), ((STARTED,), "gateway.turns.run_turn")])
def test_the_cause_of_a_failed_turn_is_logged_once(
    caplog: pytest.LogCaptureFixture, said: tuple[BackendEvent, ...], logger: str, streamed: bool
) -> None:
    with calling_broken(*said, bug=UpstreamUnavailable("the cause")) as client:
        client.post("/api/chat", json={"message": "hi", "stream": streamed})
    told = [record.name for record in caplog.records if "the cause" in record.getMessage()]
    assert told == [logger]
