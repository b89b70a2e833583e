"""Who is measured: the upstream itself, a byte pipe, a bare relay, the SDK baseline, and ours for each upstream."""

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from bench.client import post
from bench.processes import Running, free_port, listening, started

Kind = Literal["foundry", "classic", "openai"]
KINDS: tuple[Kind, ...] = ("foundry", "classic", "openai")
_PROJECT = "/api/projects/p"
_AGENTS: dict[Kind, str] = {"foundry": "agent", "classic": "asst_1", "openai": ""}


@dataclass
class Contender:
    """`relays`: it speaks the service's contract, else the upstream's own."""

    name: str
    kind: Kind
    process: Running
    relays: bool

    @property
    def port(self) -> int:
        return self.process.port

    def request(self, turn: int, thread_id: str | None = None) -> bytes:
        if self.relays:
            thread = f', "thread_id": "{thread_id}"' if thread_id else ""
            return post("/api/chat", f'{{"message": "turn {turn}"{thread}}}')
        if self.kind == "classic":
            said = f'[{{"role": "user", "content": "turn {turn}"}}]'
            return post(
                f"{_PROJECT}/threads/thread_1/runs",
                f'{{"assistant_id": "asst_1", "stream": true, "additional_messages": {said}}}',
            )
        path = "/openai/v1/responses" if self.kind == "openai" else f"{_PROJECT}/openai/v1/responses"
        return post(path, f'{{"input": "turn {turn}", "stream": true, "conversation": "conv_1"}}')


class Field:
    """The upstream with all that stands before it, as long as the field is open."""

    def __init__(self, processes: ExitStack) -> None:
        self._processes = processes
        port = free_port()
        self.upstream = self._enter("-m", "bench.upstream", str(port), port=port, service=False)

    def direct(self, kind: Kind) -> Contender:
        return Contender("direct", kind, self.upstream, relays=False)

    def pipe(self) -> Contender:
        port = free_port()
        pipe = self._enter("-m", "bench.pipe", str(port), str(self.upstream.port), port=port, service=True)
        return Contender("byte pipe", "foundry", pipe, relays=False)

    def bare_relay(self) -> Contender:
        return Contender("bare relay", "foundry", self._served("bench.bare_relay:app", "foundry"), relays=True)

    def sdk_baseline(self) -> Contender:
        return Contender("SDK baseline", "foundry", self._served("bench.sdk_baseline:app", "foundry"), relays=True)

    def service(self, kind: Kind, **settings: str) -> Contender:
        return Contender("service", kind, self._served("main:app", kind, settings), relays=True)

    def _served(self, app: str, kind: Kind, settings: Mapping[str, str] = MappingProxyType({})) -> Running:
        port = free_port()
        arguments = ("-m", "uvicorn", app, "--port", str(port), "--no-access-log")
        return self._enter(
            *arguments, port=port, service=True, env={**environment(kind, self.upstream.port), **settings}
        )

    def _enter(self, *arguments: str, port: int, service: bool, env: dict[str, str] | None = None) -> Running:
        running = self._processes.enter_context(started(*arguments, port=port, service=service, env=env))
        return listening(running)


@contextmanager
def opened() -> Generator[Field]:
    with ExitStack() as processes:
        yield Field(processes)


def environment(kind: Kind, upstream_port: int) -> dict[str, str]:
    """As in Azure: a managed identity, here from the upstream's own process."""
    url = f"http://127.0.0.1:{upstream_port}"
    identity = {"IDENTITY_ENDPOINT": f"{url}/identity", "IDENTITY_HEADER": "h", "MAX_STREAMS": "2000", "DRAIN_S": "0"}
    if kind == "openai":
        key = {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_DEPLOYMENT_NAME": "gpt-5.1"}
        return {**identity, **key, "AZURE_OPENAI_ENDPOINT": url}
    return {**identity, "AZURE_AI_PROJECT_ENDPOINT": f"{url}{_PROJECT}", "AZURE_AI_AGENT_ID": _AGENTS[kind]}
