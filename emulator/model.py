"""A real model behind the emulator: any OpenAI-compatible server (Ollama, Foundry Local, LM Studio)."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from emulator.scenario import Ending, Step, Text
from emulator.wire import Json

if TYPE_CHECKING:
    import aiohttp

REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Model:
    """`url` is the server's base, with its `/v1`."""

    def __init__(self, url: str, name: str, key: str | None) -> None:
        self.url = url.rstrip("/")
        self.name = name
        self.headers = {"authorization": f"Bearer {key}"} if key else {}
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Model | None":
        if not (url := environ.get("EMULATOR_MODEL_URL")):
            return None
        return cls(url, environ.get("EMULATOR_MODEL") or "default", environ.get("EMULATOR_MODEL_KEY"))

    async def steps(self, dialogue: Sequence[Json]) -> AsyncGenerator[Step]:
        """`dialogue` are chat messages, oldest first. A server that fails makes a run that fails."""
        import aiohttp  # noqa: PLC0415  only who has a model behind needs it

        try:
            async with aclosing(self._steps(dialogue)) as steps:
                async for step in steps:
                    yield step
        except (aiohttp.ClientError, TimeoutError, ValueError) as e:
            yield Ending("failed", "server_error", f"The model server failed: {type(e).__name__}.")

    async def _steps(self, dialogue: Sequence[Json]) -> AsyncGenerator[Step]:
        import aiohttp  # noqa: PLC0415

        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_read=300))
        body = {"model": self.name, "messages": list(dialogue), "stream": True}
        reason = None
        async with self._session.post(f"{self.url}/chat/completions", json=body, headers=self.headers) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                choice = _choice(line)
                if text := (choice.get("delta") or {}).get("content"):
                    yield Text(text)
                reason = choice.get("finish_reason") or reason
        yield _ending(reason)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _choice(line: bytes) -> Json:
    if not line.startswith(b"data:") or (data := line[5:].strip()) == b"[DONE]":
        return {}
    chunk = json.loads(data)
    if "error" in chunk:
        raise ValueError("an error inside the stream")
    choices = chunk.get("choices") or [{}]
    return dict(choices[0])


def _ending(reason: str | None) -> Ending:
    if reason is None:
        return Ending("failed", "server_error", "The model's answer broke off.")
    return Ending("incomplete", REASONS[reason]) if reason in REASONS else Ending("completed")
