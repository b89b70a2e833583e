"""Whatever an upstream says, in whatever pieces: callers get the contract's grammar, and `done` only where it was."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

from hypothesis import HealthCheck, given, settings

from gateway.backends.base import Backend
from gateway.backends.classic.backend import ClassicBackend
from gateway.backends.http_client import UpstreamClient, UpstreamStream
from gateway.backends.responses.backend import Deployment, FoundryAgent, ResponsesBackend
from gateway.errors import AgentNotFound, GatewayError
from gateway.events import Event, Handle, Turn, TurnStarted
from gateway.protocols.native import JsonAnswer, NativeEncoder
from gateway.protocols.simple import SimpleEncoder
from gateway.telemetry.upstream_calls import UpstreamCall
from gateway.turns.run_turn import TurnTimeout, run_turn
from tests.support.callers import calling, classic, foundry
from tests.support.raw_socket_upstream import Wire, bare_upstream
from tests.support.strategies import CLASSIC_DONE, RESPONSE_DONE, Said, streams
from tests.support.stream_grammar import Ending, native_ending, simple_ending

TURN = Turn("hi", None, "c")


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
    def __init__(self, pieces: list[bytes], *, conversations: bool) -> None:
        self._pieces = pieces
        self._conversations = conversations

    async def request_json(self, _: str, path: str, *__: Any, **___: Any) -> dict[str, Any]:
        if path.endswith("/conversations") and not self._conversations:
            raise AgentNotFound("404")
        return {"id": "conv_1", "data": []}

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


async def events_of(backend: Backend) -> list[Event] | GatewayError:
    """The error where nothing was said before it."""
    events: list[Event] = []
    try:
        async for batch in run_turn(backend, TURN, TurnTimeout(5), lambda thread: Handle(thread.id)):
            assert batch
            events += batch
    except GatewayError as e:
        assert not events
        return e
    return events


def check_grammar(events: list[Event]) -> Ending:
    native, simple, whole = NativeEncoder(TURN, "r"), SimpleEncoder(), JsonAnswer(TURN, None)
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
    assert whole.body["response"] == ending.text
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
                        native_ending(answer.text)
                    else:
                        assert answer.json()["code"] != "internal_error"

                through_http()
