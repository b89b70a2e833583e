"""The turns that are open on this replica: how many there may be, and how they end when it does."""

import asyncio
from collections import Counter

from gateway.errors import GatewayError, Overloaded, RateLimited, ShuttingDown
from gateway.turns.run_turn import Clock

_TOO_MANY = "Too many of your answers are being written at the same time. Wait for one to end."


class OpenTurns:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._clocks: dict[Clock, str] = {}
        self._by_caller: Counter[str] = Counter()
        self._none_left = asyncio.Event()
        self._none_left.set()
        self.draining = False

    def open(self, clock: Clock, caller: str = "", most: int | None = None) -> None:
        """Every opened turn is closed. `most`: of one caller. Raises ShuttingDown, RateLimited, Overloaded."""
        if self.draining:
            raise ShuttingDown()
        if most is not None and self._by_caller[caller] >= most:
            raise RateLimited(f"{most} open turns of one caller", public_message=_TOO_MANY)
        if len(self._clocks) >= self._limit:
            raise Overloaded(f"{self._limit} open turns")
        self._clocks[clock] = caller
        self._by_caller[caller] += 1
        self._none_left.clear()

    def close(self, clock: Clock) -> None:
        caller = self._clocks.pop(clock, None)
        if caller is not None:
            self._by_caller[caller] -= 1
            if not self._by_caller[caller]:
                del self._by_caller[caller]
        if not self._clocks:
            self._none_left.set()

    def end_all(self, error: GatewayError) -> None:
        for clock in self._clocks:
            clock.end(error)

    async def none_left(self) -> None:
        await self._none_left.wait()

    def __len__(self) -> int:
        return len(self._clocks)
