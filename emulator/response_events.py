"""One answer in the events of the Responses API, one by one as real streams have them (tests/recordings)."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from emulator import responses_wire
from emulator.items import words_in
from emulator.scenario import Ask, Break, Comment, Ending, Refusal, Step, Text, Unknown, joined
from emulator.streaming import Frame, Part
from emulator.wire import Json, new_id, now

OBFUSCATION = "VLMdSoETMf5wXn9kQa"
ARGUMENTS = '{"location":"San Francisco"}'


class Answer:
    """Grows `response` while its events are made. `succeeded`: it stays in the conversation."""

    def __init__(self, response: Json, given: list[Json], *, obfuscated: bool) -> None:
        self.response = response
        self.given = given
        self.obfuscated = obfuscated
        self.succeeded = False
        self._sequence = -1
        self._pieces: list[str] = []
        self._item: Json | None = None
        self._kind = "output_text"

    async def parts(self, steps: AsyncGenerator[Step]) -> AsyncGenerator[Part]:
        yield self._numbered(responses_wire.created(self.response))
        yield self._numbered(responses_wire.status_reached(self.response))
        async with aclosing(steps):
            async for step in steps:
                if isinstance(step, Comment | Break):
                    yield step
                    continue
                for event in self._events(step):
                    yield self._numbered(event)

    def _numbered(self, event: Json) -> Frame:
        self._sequence += 1
        return event["type"], {"type": event["type"], "sequence_number": self._sequence, **event}

    def _events(self, step: Step) -> Iterator[Json]:
        match step:
            case Text(piece):
                yield from self._spoken("output_text", piece)
            case Refusal(piece):
                yield from self._spoken("refusal", piece)
            case Ask(what):
                yield from self._function_call() if what == "function" else self._approval_request()
            case Unknown():
                yield {"type": "response.moon_phase.changed", "phase": "waxing"}
                yield {"type": "response.output_text.sparkle", "item_id": "x", "delta": {"not": "text"}}
            case Ending():
                yield from self._ended(step)

    def _spoken(self, kind: str, piece: str) -> Iterator[Json]:
        if self._item is None:
            yield from self._message_opened(kind)
        self._pieces.append(piece)
        event = responses_wire.delta(kind, self._place(), piece)
        if self.obfuscated:
            event["obfuscation"] = OBFUSCATION[: 1 + len(self._pieces) % 16]
        yield event

    def _place(self) -> Json:
        item_id = self._item["id"] if self._item else ""
        return {"item_id": item_id, "output_index": len(self.response["output"]), "content_index": 0}

    def _message_opened(self, kind: str) -> Iterator[Json]:
        self._kind = kind
        item = {"id": new_id("msg"), "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
        self._item = item
        yield responses_wire.output_item("added", len(self.response["output"]), item)
        yield responses_wire.content_part("added", kind, self._place(), "")

    def _message_closed(self, status: str) -> Iterator[Json]:
        if self._item is None:
            return
        text = joined(self._pieces)
        yield responses_wire.done(self._kind, self._place(), text)
        yield responses_wire.content_part("done", self._kind, self._place(), text)
        self._item = {**self._item, "status": status, "content": [responses_wire.content(self._kind, text)]}
        yield from self._item_done(self._item)

    def _item_done(self, item: Json) -> Iterator[Json]:
        index = len(self.response["output"])
        self.response["output"] = [*self.response["output"], item]
        yield responses_wire.output_item("done", index, item)

    def _function_call(self) -> Iterator[Json]:
        item = {"id": new_id("fc"), "type": "function_call", "status": "in_progress", "arguments": ""}
        item |= {"call_id": new_id("call"), "name": "weather"}
        place: Json = {"item_id": item["id"], "output_index": 0}
        yield responses_wire.output_item("added", 0, item)
        for piece in ('{"', "location", '":"', "San", " Francisco", '"}'):
            yield responses_wire.delta("function_call_arguments", place, piece)
        yield responses_wire.done("function_call_arguments", place, ARGUMENTS)
        yield from self._item_done({**item, "status": "completed", "arguments": ARGUMENTS})

    def _approval_request(self) -> Iterator[Json]:
        tools = {"id": new_id("mcpl"), "type": "mcp_list_tools", "server_label": "links", "tools": []}
        place: Json = {"output_index": 0, "item_id": tools["id"]}
        yield responses_wire.output_item("added", 0, tools)
        yield responses_wire.mcp_list_tools("in_progress", place)
        yield responses_wire.mcp_list_tools("completed", place)
        yield from self._item_done(tools)
        item = {"id": new_id("mcpr"), "type": "mcp_approval_request", "arguments": '{"url":"https://example.com/"}'}
        item |= {"name": "create_short_url", "server_label": "links"}
        yield responses_wire.output_item("added", 1, item)
        yield from self._item_done(item)

    def _ended(self, ending: Ending) -> Iterator[Json]:
        if ending.status == "quota":
            yield from self._out_of_quota(ending)
            return
        status = "failed" if ending.status == "expired" else ending.status
        if status in {"completed", "incomplete"}:
            yield from self._message_closed(status)
        self.succeeded = status in {"completed", "incomplete"}
        self.response |= {"status": status, "completed_at": now() if status == "completed" else None}
        if status == "failed":
            self.response["error"] = {"code": ending.code, "message": ending.message}
        if status == "incomplete":
            self.response["incomplete_details"] = {"reason": ending.code}
        self.response["usage"] = self._usage()
        yield responses_wire.status_reached(self.response)

    def _out_of_quota(self, ending: Ending) -> Iterator[Json]:
        """As Foundry was seen to do it: a failure without a reason, then the reason."""
        self.response["status"] = "failed"
        yield responses_wire.status_reached(self.response)
        error = {"type": "too_many_requests", "code": ending.code, "message": ending.message, "param": None}
        yield responses_wire.error(error)

    def _usage(self) -> Json:
        given, made = words_in(self.given), len(joined(self._pieces).split())
        return {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": made,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": given + made,
        }
