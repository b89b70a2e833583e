"""The turns that are open on this replica: their limits (in all, and per caller), and how a drain ends them."""

import asyncio
from collections import Counter

from gateway.errors import GatewayError, Overloaded, RateLimited, ShuttingDown
from gateway.turns.run_turn import TurnTimeout

_TOO_MANY = "Too many of your answers are being written at the same time. Wait for one to end."


class TurnRegistry:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: dict[TurnTimeout, str] = {}
        self._by_caller: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._empty.set()
        self.draining = False

    def open(self, timeout: TurnTimeout, caller: str = "", caller_limit: int | None = None) -> None:
        """Register a turn, which must be closed. `caller_limit`: how many `caller` may have open, None for any number.

        Raises ShuttingDown, RateLimited, Overloaded.
        """
        if self.draining:
            raise ShuttingDown()
        if caller_limit is not None and self._by_caller[caller] >= caller_limit:
            raise RateLimited(f"{caller_limit} open turns of one caller", public_message=_TOO_MANY)
        if len(self._open) >= self._limit:
            raise Overloaded(f"{self._limit} open turns")
        self._open[timeout] = caller
        self._by_caller[caller] += 1
        self._empty.clear()

    def close(self, timeout: TurnTimeout) -> None:
        caller = self._open.pop(timeout, None)
        if caller is not None:
            self._by_caller[caller] -= 1
            if not self._by_caller[caller]:
                del self._by_caller[caller]
        if not self._open:
            self._empty.set()

    def end_all(self, error: GatewayError) -> None:
        for timeout in self._open:
            timeout.end(error)

    async def wait_until_empty(self) -> None:
        await self._empty.wait()

    def __len__(self) -> int:
        return len(self._open)
