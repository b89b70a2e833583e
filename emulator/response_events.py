"""One answer in the events of the Responses API, one by one as real streams have them (tests/recordings)."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from emulator.items import words_in
from emulator.script import Ask, Break, Comment, Ending, Refusal, Step, Text, Unknown, joined
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
        self._part = {"kind": "output_text", "key": "text"}

    async def parts(self, steps: AsyncGenerator[Step]) -> AsyncGenerator[Part]:
        yield self._lifecycle("response.created")
        yield self._lifecycle("response.in_progress")
        async with aclosing(steps):
            async for step in steps:
                if isinstance(step, Comment | Break):
                    yield step
                    continue
                for frame in self._frames(step):
                    yield frame

    def _frames(self, step: Step) -> Iterator[Frame]:
        match step:
            case Text(piece):
                yield from self._spoken(piece, "output_text", "text")
            case Refusal(piece):
                yield from self._spoken(piece, "refusal", "refusal")
            case Ask(what):
                yield from self._function_call() if what == "function" else self._approval_request()
            case Unknown():
                yield self._event("response.moon_phase.changed", phase="waxing")
                yield self._event("response.output_text.sparkle", item_id="x", delta={"not": "text"})
            case Ending():
                yield from self._ended(step)

    def _event(self, kind: str, **fields: object) -> Frame:
        self._sequence += 1
        return kind, {"type": kind, "sequence_number": self._sequence, **fields}

    def _lifecycle(self, kind: str) -> Frame:
        return self._event(kind, response=dict(self.response))

    def _spoken(self, piece: str, kind: str, key: str) -> Iterator[Frame]:
        if self._item is None:
            yield from self._message_opened(kind, key)
        self._pieces.append(piece)
        more: Json = {"logprobs": []} if kind == "output_text" else {}
        if self.obfuscated:
            more["obfuscation"] = OBFUSCATION[: 1 + len(self._pieces) % 16]
        yield self._event(f"response.{kind}.delta", **self._where(), delta=piece, **more)

    def _where(self) -> Json:
        item_id = self._item["id"] if self._item else ""
        return {"item_id": item_id, "output_index": len(self.response["output"]), "content_index": 0}

    def _content(self, text: str) -> Json:
        if self._part["kind"] == "refusal":
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}

    def _message_opened(self, kind: str, key: str) -> Iterator[Frame]:
        self._part = {"kind": kind, "key": key}
        self._item = {
            "id": new_id("msg"),
            "type": "message",
            "status": "in_progress",
            "content": [],
            "role": "assistant",
        }
        index = len(self.response["output"])
        yield self._event("response.output_item.added", output_index=index, item=self._item)
        yield self._event("response.content_part.added", **self._where(), part=self._content(""))

    def _message_closed(self, status: str) -> Iterator[Frame]:
        if self._item is None:
            return
        text, kind = joined(self._pieces), self._part["kind"]
        more: Json = {"logprobs": []} if kind == "output_text" else {}
        yield self._event(f"response.{kind}.done", **self._where(), **{self._part["key"]: text}, **more)
        yield self._event("response.content_part.done", **self._where(), part=self._content(text))
        self._item = {**self._item, "status": status, "content": [self._content(text)]}
        yield from self._item_done(self._item)

    def _item_done(self, item: Json) -> Iterator[Frame]:
        index = len(self.response["output"])
        self.response["output"] = [*self.response["output"], item]
        yield self._event("response.output_item.done", output_index=index, item=item)

    def _function_call(self) -> Iterator[Frame]:
        item = {"id": new_id("fc"), "type": "function_call", "status": "in_progress", "arguments": ""}
        item |= {"call_id": new_id("call"), "name": "weather"}
        at: Json = {"item_id": item["id"], "output_index": 0}
        yield self._event("response.output_item.added", output_index=0, item=item)
        for delta in ('{"', "location", '":"', "San", " Francisco", '"}'):
            yield self._event("response.function_call_arguments.delta", **at, delta=delta)
        yield self._event("response.function_call_arguments.done", **at, arguments=ARGUMENTS)
        yield from self._item_done({**item, "status": "completed", "arguments": ARGUMENTS})

    def _approval_request(self) -> Iterator[Frame]:
        tools = {"id": new_id("mcpl"), "type": "mcp_list_tools", "server_label": "links", "tools": []}
        yield self._event("response.output_item.added", output_index=0, item=tools)
        yield self._event("response.mcp_list_tools.in_progress", output_index=0, item_id=tools["id"])
        yield self._event("response.mcp_list_tools.completed", output_index=0, item_id=tools["id"])
        yield from self._item_done(tools)
        item = {
            "id": new_id("mcpr"),
            "type": "mcp_approval_request",
            "arguments": '{"url":"https://example.com/"}',
        }
        item |= {"name": "create_short_url", "server_label": "links"}
        yield self._event("response.output_item.added", output_index=1, item=item)
        yield from self._item_done(item)

    def _ended(self, ending: Ending) -> Iterator[Frame]:
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
        yield self._lifecycle(f"response.{status}")

    def _out_of_quota(self, ending: Ending) -> Iterator[Frame]:
        """As Foundry was seen to do it: a failure without a reason, then the reason."""
        self.response["status"] = "failed"
        yield self._lifecycle("response.failed")
        error = {"type": "too_many_requests", "code": ending.code, "message": ending.message, "param": None}
        yield self._event("error", error=error)

    def _usage(self) -> Json:
        given, made = words_in(self.given), len(joined(self._pieces).split())
        return {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": made,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": given + made,
        }
