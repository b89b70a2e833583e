"""Streams beside each other: none waits for another."""

import asyncio

import httpx

from emulator.app import create_app as create_emulator
from tests.support.callers import calling, events_of, foundry
from tests.support.servers import serving

STREAMS = 50


def test_a_second_stream_begins_while_the_first_still_runs() -> None:
    with serving(create_emulator(pace=20)) as emulator, calling(foundry(emulator)) as client:  # noqa: SIM117
        with client.stream("POST", "/api/chat", json={"message": "one"}) as first:
            first_lines = first.iter_lines()
            assert "metadata" in next(first_lines)
            with client.stream("POST", "/api/chat", json={"message": "two"}) as second:
                second_lines = second.iter_lines()
                while "chunk" not in next(second_lines):
                    pass
                rest = list(first_lines)  # an answer takes seconds: much of it is still to come
                assert sum("chunk" in line for line in rest) > 5
                assert '"done"' in rest[-2]


def test_many_streams_are_answered_whole_and_health_meanwhile() -> None:
    with serving(create_emulator(pace=40)) as emulator, calling(foundry(emulator)) as client:
        url = str(client.base_url)
        answers, healthy = asyncio.run(at_once(url))
    for events in map(events_of, answers):
        assert [events[0]["type"], events[-1]["type"]] == ["metadata", "done"]
    assert len({events_of(answer)[0]["thread_id"] for answer in answers}) == STREAMS
    assert healthy > 10


async def at_once(url: str) -> tuple[list[str], int]:
    """The answers of all streams, and how often /health was answered before the last of them."""
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=httpx.Limits(max_connections=STREAMS + 1)) as client:
        streams = [asyncio.create_task(client.post("/api/chat", json={"message": "hi"})) for _ in range(STREAMS)]
        healthy = 0
        while not all(stream.done() for stream in streams):
            async with asyncio.timeout(5):
                healthy += (await client.get("/health")).status_code == 200
        return [stream.result().text for stream in streams], healthy
