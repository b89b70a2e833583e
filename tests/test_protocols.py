"""Protocols: each is listed once, described, and served; a new one is one object and a route."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Request, Response

from gateway.app import create_app
from gateway.events import Event, RunFailed, TextDelta, TurnRequest
from gateway.protocols import PROTOCOLS
from gateway.protocols.base import ChatProtocol, StreamSchema
from gateway.protocols.requests import MessageRequest
from gateway.web.request_body import read_body
from gateway.web.routes import stream_turn
from tests.support.callers import calling_app, events_of, foundry, unread
from tests.support.waiting import eventually


class Lines:
    """A protocol of plain lines. Its encoder is itself, for it keeps no state."""

    request = MessageRequest
    headers: Mapping[str, str] = {"x-lines": "1"}
    stream = StreamSchema("Line", str, "Hello\n")

    def to_turn(self, body: MessageRequest) -> TurnRequest:
        return TurnRequest(body.message, None, "lines")

    def create_encoder(self, turn: TurnRequest, request_id: str) -> "Lines":
        return self

    def encode(self, event: Event) -> bytes:
        match event:
            case TextDelta(text):
                return f"{text}\n".encode()
            case RunFailed(error):
                return f"failed: {error.code}\n".encode()
        return b""


class Broken(Lines):
    """A protocol with a bug: it fails at the text."""

    def encode(self, event: Event) -> bytes:
        if isinstance(event, TextDelta):
            raise LookupError("a bug")
        return b"begun\n"


def serve(protocol: Lines, emulator: str, **settings: Any) -> FastAPI:
    app = create_app(foundry(emulator, **settings))

    @app.post("/api/lines")
    async def lines(request: Request, body: Annotated[MessageRequest, Depends(read_body(MessageRequest))]) -> Response:
        return stream_turn(request, protocol, body)

    return app


def test_a_new_protocol_is_one_object_and_a_route(emulator: str) -> None:
    with calling_app(serve(Lines(), emulator)) as client:
        answer = client.post("/api/lines", json={"message": "[echo] one two"})
        failed = client.post("/api/lines", json={"message": "[fail] Hello"})
        refused = client.post("/api/lines", json={"message": "[429]"})
        wrong = client.post("/api/lines", json={"message": 7})
    assert answer.text.replace("\n", "") == "one two"
    assert answer.text.endswith("\n")
    assert (answer.headers["x-lines"], answer.headers["cache-control"]) == ("1", "no-store")
    assert failed.text.endswith("failed: run_failed\n")
    assert (refused.status_code, refused.json()["code"]) == (429, "upstream_rate_limited")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_request")


def chat_status(client: httpx.Client) -> int:
    return client.post("/api/chat", json={"message": "[echo] hi"}).status_code


def test_an_encoder_with_a_bug_breaks_the_stream_off_and_keeps_no_place(emulator: str) -> None:
    with calling_app(serve(Broken(), emulator, max_streams=1)) as client:
        for _ in range(3):
            with pytest.raises(httpx.RemoteProtocolError):
                client.post("/api/lines", json={"message": "[stall]"})
            eventually(lambda: chat_status(client) == 200, "its place is free")
        seen = httpx.get(f"{emulator}/_seen").json()["streams"]
    assert len(seen["left"]) == 3


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.stream.name)
def test_each_protocol_is_described_and_its_example_is_what_it_says(protocol: ChatProtocol[Any]) -> None:
    document = create_app(unread()).openapi()
    schemas, routes = document["components"]["schemas"], json.dumps(document["paths"])
    assert {protocol.stream.name, protocol.request.__name__} <= set(schemas)
    assert f"#/components/schemas/{protocol.stream.name}" in routes
    assert f"#/components/schemas/{protocol.request.__name__}" in routes
    assert len(events_of(protocol.stream.example)) > 1


def test_every_schema_that_is_named_is_there() -> None:
    document = create_app(unread()).openapi()
    text = json.dumps(document)
    named = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert "ChatEvent" in named
    assert named <= set(document["components"]["schemas"])
