"""What the agent says, and how it breaks when a message tells it to (the table: emulator/__init__.py)."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

FEW = 3  # deltas before a fault strikes
SLOW_PACE = 5.0

_ECHO = "[echo]"
_WORD = re.compile(r"\[([a-z0-9]+(?: [a-z]+)?)(?::(\d+(?:\.\d+)?))?\]")
_PIECE = re.compile(r"\s*\S+\s*?(?=\s|$)|\s+")

ANSWER = """\
## Hello from the emulator

This is turn {turn} of our conversation. {memory}
You just said: {message}

Some things that an answer may hold:

* **bold**, *italic* and `code`
* umlauts and other letters: Grüße, naïve, Ελλάδα, 日本語
* an emoji: 🚀 and one of several characters: 👩‍💻

```python
def greet(name: str) -> str:
    return f"Hello, {{name}}!"
```

1. Every word here is a delta of its own.
2. Nothing of this came from Azure. ✅
"""
REFUSAL = "I'm sorry, but I can't help with that."


@dataclass(frozen=True, slots=True)
class Text:
    piece: str


@dataclass(frozen=True, slots=True)
class Refusal:
    piece: str


@dataclass(frozen=True, slots=True)
class Ask:
    """The agent wants something from its caller: "function" or "approval"."""

    what: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Events of a kind that nobody has heard of."""


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment line: sign of life, no event."""


@dataclass(frozen=True, slots=True)
class Break:
    """The connection: "drop" (aborted in the middle of a frame) or "cut" (a clean end, too early)."""

    how: str


@dataclass(frozen=True, slots=True)
class Ending:
    """`status`: completed, incomplete, failed, quota, expired, cancelled. The rest is for a failure."""

    status: str
    code: str | None = None
    message: str | None = None


Step = Text | Refusal | Ask | Unknown | Comment | Break | Ending

ENDINGS: dict[str, Step] = {
    "fail": Ending("failed", "server_error", "Sorry, something went wrong."),
    "filtered answer": Ending("incomplete", "content_filter"),
    "length": Ending("incomplete", "max_output_tokens"),
    "expired": Ending("expired", "server_error", "The run expired."),
    "cancelled": Ending("cancelled"),
    "drop": Break("drop"),
    "cut": Break("cut"),
}
QUOTA = Ending("quota", "rate_limit_exceeded", "Rate limit is exceeded. Try again in 7 seconds.")


@dataclass(frozen=True, slots=True)
class Orders:
    """The trouble words of one message, with their numbers; `echo` is the text to repeat."""

    words: dict[str, float | None]
    echo: str | None

    def __contains__(self, word: str) -> bool:
        return word in self.words

    def number(self, word: str, default: float) -> float:
        given = self.words.get(word)
        return default if given is None else given

    @property
    def wait_s(self) -> float:
        """How long the head of a stream stands alone."""
        return self.number("slow", 2.0) if "slow" in self else 0.0

    @property
    def ending(self) -> Step | None:
        return next((step for word, step in ENDINGS.items() if word in self), None)


def orders_of(message: str) -> Orders:
    """Words after `[echo]` are text, not orders."""
    told, echo, text = message.partition(_ECHO)
    words = {word: float(number) if number else None for word, number in _WORD.findall(told)}
    return Orders(words, text.removeprefix(" ") if echo else None)


def pieces_of(text: str) -> list[str]:
    """Word-like deltas, each with the space before it, as a model's tokens have; joined they are the text."""
    return _PIECE.findall(text)


def script_for(orders: Orders, said: Sequence[str]) -> Iterable[str]:
    """The deltas of the answer to `said[-1]`; `said` are the person's messages so far."""
    if orders.echo is not None:
        return pieces_of(orders.echo)
    if "long" in orders:
        return (f"word{i} " for i in range(int(orders.number("long", 2000))))
    if "surrogate" in orders:
        return ["Half a pair: ", "\ud83d", "\ude80", ", then", " whole."]
    return pieces_of(ANSWER.format(turn=len(said), memory=_memory(said[:-1]), message=_quoted(said[-1])))


def _memory(earlier: Sequence[str]) -> str:
    if not earlier:
        return "We have not spoken before."
    return "Earlier you said: " + ", then ".join(_quoted(message) for message in earlier[-5:]) + "."


def _quoted(message: str) -> str:
    return f"“{message if len(message) <= 200 else message[:199] + '…'}”"


async def play(orders: Orders, pieces: AsyncIterator[str], pace: float) -> AsyncGenerator[Step]:
    """The steps of one answer, at their pace, up to an `Ending` or a `Break`, or to silence for ever."""
    if opening := _instead_of_text(orders):
        for step in opening:
            yield step
        return
    faulty = "stall" in orders or orders.ending is not None
    spoken = 0
    async for piece in paced(pieces, SLOW_PACE if "slow" in orders else pace):
        yield Text(piece)
        spoken += 1
        if spoken == 2 and "unknown" in orders:
            yield Unknown()
        if faulty and spoken == FEW:
            break
    if "stall" in orders:
        async with aclosing(silence(orders)) as steps:
            async for step in steps:
                yield step
    yield orders.ending or Ending("completed")


def _instead_of_text(orders: Orders) -> list[Step]:
    if "quota" in orders:
        return [QUOTA]
    for what in ("function", "approval"):
        if what in orders:
            return [Ask(what), Ending("completed")]
    if "refuse" in orders:
        return [*(Refusal(piece) for piece in pieces_of(REFUSAL)), Ending("completed")]
    return []


async def before_first(orders: Orders) -> AsyncGenerator[Comment]:
    """The time between the head of a stream and its first event; it may never end."""
    await asyncio.sleep(orders.wait_s)
    if "silent" in orders or ("comments" in orders and "stall" not in orders):
        async with aclosing(silence(orders)) as comments:
            async for comment in comments:
                yield comment


async def silence(orders: Orders) -> AsyncGenerator[Comment]:
    while True:
        await asyncio.sleep(1)
        if "comments" in orders:
            yield Comment()


async def paced(pieces: AsyncIterator[str], pace: float) -> AsyncGenerator[str]:
    """The first at once, then `pace` a second by the clock (a late one delays no other); 0: no waiting."""
    start, count = time.monotonic(), 0
    async for piece in pieces:
        await asyncio.sleep(max(0.0, start + count / pace - time.monotonic()) if pace else 0)
        yield piece
        count += 1


async def from_list(pieces: Iterable[str]) -> AsyncGenerator[str]:
    for piece in pieces:
        yield piece


def joined(pieces: Iterable[str]) -> str:
    """The text, with halves of a surrogate pair made whole."""
    return "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
