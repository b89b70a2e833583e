"""The turns that are open on this replica: their limits (in all, and per caller), and how to find them to end them."""

import asyncio
from collections import Counter

from gateway.errors import GatewayError, Overloaded, RateLimited, ShuttingDown
from gateway.events import ThreadId
from gateway.turns.open_turn import OpenTurn

_TOO_MANY = "Too many of your answers are being written at the same time. Wait for one to end."


class TurnRegistry:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: set[OpenTurn] = set()
        self._open_by_key: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._empty.set()
        self.draining = False

    @property
    def is_full(self) -> bool:
        return len(self._open) >= self._limit

    def open(self, turn: OpenTurn, limit_per_caller: int | None = None) -> None:
        """Register a turn, which must be closed. `limit_per_caller`: how many one caller may have open, None for any.

        Raises ShuttingDown, RateLimited, Overloaded.
        """
        key = turn.caller.rate_limit_key
        if self.draining:
            raise ShuttingDown()
        if limit_per_caller is not None and self._open_by_key[key] >= limit_per_caller:
            raise RateLimited(f"{limit_per_caller} open turns of one caller", public_message=_TOO_MANY)
        if self.is_full:
            raise Overloaded(f"{self._limit} open turns")
        self._open.add(turn)
        self._open_by_key[key] += 1
        self._empty.clear()

    def close(self, turn: OpenTurn) -> None:
        """Give the turn's place back; nothing for one that was refused."""
        if turn not in self._open:
            return
        self._open.remove(turn)
        key = turn.caller.rate_limit_key
        self._open_by_key[key] -= 1
        if not self._open_by_key[key]:
            del self._open_by_key[key]
        if not self._open:
            self._empty.set()

    def find(self, owner: str, thread_id: ThreadId) -> list[OpenTurn]:
        """Return the owner's open turns in this conversation. `owner`: a caller's subject, "" for anonymous ones."""
        return [turn for turn in self._open if thread_id in turn.thread_ids and turn.caller.subject == owner]

    def end_all(self, error: GatewayError) -> None:
        for turn in self._open:
            turn.end(error)

    async def wait_until_empty(self) -> None:
        await self._empty.wait()

    def __len__(self) -> int:
        return len(self._open)
