"""Whatever an upstream says, in whatever pieces: callers get the contract's grammar, and `done` only where it was."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.backends.base import Backend
from gateway.backends.classic.backend import ClassicBackend
from gateway.backends.http_client import UpstreamClient
from gateway.backends.responses.backend import Deployment, FoundryAgent, ResponsesBackend
from gateway.backends.upstream_errors import error_from_response
from gateway.backends.upstream_stream import UpstreamStream
from gateway.errors import AgentNotFound, GatewayError
from gateway.events import Event, Handle, Thread, ThreadId, Turn, TurnRequest, TurnStarted
from gateway.protocols.native import JsonAnswer, NativeEncoder
from gateway.protocols.simple import SimpleEncoder
from gateway.telemetry.upstream_calls import UpstreamCall
from gateway.turns.run_turn import TurnTimeout, run_turn
from tests.support.callers import calling, classic, foundry
from tests.support.raw_socket_upstream import Wire, bare_upstream
from tests.support.strategies import (
    CLASSIC_DONE,
    RESPONSE_DONE,
    STARTS,
    Said,
    errors,
    junk,
    on_wire,
    runs,
    streams,
)
from tests.support.stream_grammar import Ending, native_ending, simple_ending

TURN = Turn("hi", None, "c")
ASKED = TurnRequest("hi", None, "c")


class Played:
    """As much of aiohttp's response as a stream reads of it."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.headers: dict[str, str] = {}
        self.content = self
        self._rest = iter(pieces)

    async def readany(self) -> bytes:
        return next(self._rest, b"")

    def close(self) -> None: ...


class PlayedUpstream:
    """`listed`: what it answers where a list of runs is asked for."""

    def __init__(self, pieces: list[bytes], *, conversations: bool, listed: object = ()) -> None:
        self._pieces = pieces
        self._listed = listed
        self._conversations = conversations

    async def request_json(self, _: str, path: str, *__: Any, **___: Any) -> dict[str, Any]:
        if path.endswith("/conversations") and not self._conversations:
            raise AgentNotFound("404")
        return {"id": "conv_1", "data": self._listed}

    @asynccontextmanager
    async def open_stream(self, *_: Any, **__: Any) -> AsyncGenerator[UpstreamStream]:
        stream = UpstreamStream(cast("Any", Played(self._pieces)), UpstreamCall("POST", "", 0))
        try:
            yield stream
        finally:
            await stream.aclose()


def foundry_backend(pieces: list[bytes]) -> Backend:
    return ResponsesBackend(
        cast("UpstreamClient", PlayedUpstream(pieces, conversations=True)), FoundryAgent("agent"), 0
    )


def openai_backend(pieces: list[bytes]) -> Backend:
    return ResponsesBackend(cast("UpstreamClient", PlayedUpstream(pieces, conversations=False)), Deployment("gpt"), 0)


def classic_backend(pieces: list[bytes]) -> Backend:
    return ClassicBackend(cast("UpstreamClient", PlayedUpstream(pieces, conversations=False)), "asst_1")


async def events_of(backend: Backend, turn: Turn = TURN) -> list[Event] | GatewayError:
    """The error where nothing was said before it."""
    events: list[Event] = []
    try:
        async for batch in run_turn(backend, turn, TurnTimeout(5), lambda thread: Handle(thread.id)):
            assert batch
            events += batch
    except GatewayError as e:
        assert not events
        return e
    return events


def check_grammar(events: list[Event]) -> Ending:
    native, simple, whole = NativeEncoder(ASKED, "r"), SimpleEncoder(), JsonAnswer(ASKED)
    ending = native_ending(b"".join(map(native.encode, events)).decode())
    other = simple_ending(b"".join(map(simple.encode, events)).decode())
    code = None
    try:
        for event in events:
            whole.take(event)
    except GatewayError as e:
        code = e.code
    assert other == ending
    assert [type(event) for event in events].index(TurnStarted) == 0
    assert code == ending.code
    assert whole.text == ending.text
    return ending


def check_truth(said: list[Said], outcome: list[Event] | GatewayError, finals: tuple[str, ...]) -> None:
    if isinstance(outcome, GatewayError):
        assert outcome.code != "internal_error", outcome
        return
    ending = check_grammar(outcome)
    assert ending.code != "internal_error", ending
    if ending.code is None:
        assert any(name in finals for name, _ in said), "done, but the upstream never said so"
        failures = ("error", "response.failed", "response.cancelled", "thread.run.failed", "thread.run.expired")
        names = [name for name, _ in said]
        first = min(names.index(final) for final in finals if final in names)
        assert not any(name in failures for name in names[:first]), "done, but it had failed"


many = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
few = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


@many
@given(streams("responses"))
def test_whatever_a_foundry_agent_says(stream: tuple[list[Said], list[bytes]]) -> None:
    said, pieces = stream
    check_truth(said, asyncio.run(events_of(foundry_backend(pieces))), RESPONSE_DONE)


@many
@given(streams("responses"))
def test_whatever_a_deployment_says(stream: tuple[list[Said], list[bytes]]) -> None:
    said, pieces = stream
    check_truth(said, asyncio.run(events_of(openai_backend(pieces))), RESPONSE_DONE)


@many
@given(streams("classic"))
def test_whatever_a_classic_agent_says(stream: tuple[list[Said], list[bytes]]) -> None:
    said, pieces = stream
    check_truth(said, asyncio.run(events_of(classic_backend(pieces))), CLASSIC_DONE)


def test_the_same_through_http() -> None:
    """Fewer, on a socket each: the transport adds nothing and loses nothing."""
    pieces: list[bytes] = []

    async def play(wire: Wire, _: str) -> None:
        await wire.head()
        for piece in pieces:
            await wire.send(piece)
        await wire.end()

    with bare_upstream(play) as upstream:
        for kind, settings_of in (("responses", foundry), ("classic", classic)):
            with calling(settings_of(upstream.url)) as client:

                @few
                @given(streams(kind))
                def through_http(stream: tuple[list[Said], list[bytes]]) -> None:
                    pieces[:] = stream[1]
                    answer = client.post("/api/chat", json={"message": "hi", "conversation_id": "c"})
                    if answer.status_code == 200:
                        assert native_ending(answer.text).code != "internal_error"
                    else:
                        assert answer.json()["code"] != "internal_error"

                through_http()


BACKENDS = pytest.mark.parametrize(
    ("backend_of", "kind"),
    [(foundry_backend, "responses"), (openai_backend, "responses"), (classic_backend, "classic")],
)
DEEP = 100_000
DEEP_JSON = ["[" * DEEP, '{"type": "new", "x": ' + "[" * DEEP, '{"type": "new", "x": ' + "[" * DEEP + "]" * DEEP + "}"]


@BACKENDS
@pytest.mark.parametrize("has_started", [False, True])
@pytest.mark.parametrize("data", DEEP_JSON, ids=["never closed", "never closed, in an object", "closed"])
def test_json_as_deep_as_no_parser_goes_is_told_as_the_upstreams_fault(
    backend_of: Callable[[list[bytes]], Backend], kind: str, has_started: bool, data: str
) -> None:
    pieces = [on_wire(*STARTS[kind])] if has_started else []
    outcome = asyncio.run(events_of(backend_of([*pieces, on_wire("thread.new", data)])))
    code = outcome.code if isinstance(outcome, GatewayError) else check_grammar(outcome).code
    assert code == "upstream_unavailable"


@BACKENDS
@pytest.mark.parametrize("count", ["Infinity", "-Infinity", "NaN", "1e999", "1" + "0" * 400, "[]", "{}", '"x"', "null"])
def test_counts_of_tokens_that_are_none_spoil_no_answer(
    backend_of: Callable[[list[bytes]], Backend], kind: str, count: str
) -> None:
    """Infinity and NaN are no JSON, but Python reads and writes them."""
    usage = ", ".join(f'"{side}_tokens": {count}' for side in ("input", "output", "prompt", "completion", "total"))
    name, body = {
        "responses": (
            "response.completed",
            '{"type": "response.completed", "response": {"id": "resp_1", "usage": {%s}}}',
        ),
        "classic": ("thread.run.completed", '{"id": "run_1", "thread_id": "thread_1", "usage": {%s}}'),
    }[kind]
    outcome = asyncio.run(events_of(backend_of([on_wire(*STARTS[kind]), on_wire(name, body % usage)])))
    assert not isinstance(outcome, GatewayError)
    assert check_grammar(outcome).code is None


@many
@given(
    st.sampled_from([400, 401, 404, 409, 413, 418, 422, 423, 429, 500]),
    st.one_of(errors, st.fixed_dictionaries({"error": errors})),
)
@example(400, {"error": {"param": ["conversation"]}})
@example(400, {"error": {"innererror": {"code": ["x"]}}})
def test_a_refusal_of_any_shape_is_one_of_the_upstreams(status: int, body: object) -> None:
    for thread_id in (None, ThreadId("conv_1")):
        error = error_from_response(status, {}, json.dumps(body).encode(), thread_id)
        assert error.code != "internal_error"


@many
@given(st.one_of(junk, st.lists(st.one_of(junk, runs), max_size=3)))
def test_a_list_of_runs_of_any_shape_has_one_to_stop_or_none(listed: object) -> None:
    backend = ClassicBackend(cast("UpstreamClient", PlayedUpstream([], conversations=False, listed=listed)), "asst_1")
    thread = Thread(ThreadId("thread_1"))
    with suppress(GatewayError):
        asyncio.run(backend.cancel(thread))
    outcome = asyncio.run(events_of(backend, Turn("hi", thread, "c")))
    assert isinstance(outcome, GatewayError)
    assert outcome.code == "upstream_unavailable"
