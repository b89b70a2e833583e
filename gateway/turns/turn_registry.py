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
        self._open_by_key: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._empty.set()
        self.draining = False

    @property
    def is_full(self) -> bool:
        return len(self._open) >= self._limit

    def open(self, timeout: TurnTimeout, rate_limit_key: str = "", limit_per_caller: int | None = None) -> None:
        """Register a turn, which must be closed. `limit_per_caller`: how many one key may have open, None for any.

        Raises ShuttingDown, RateLimited, Overloaded.
        """
        if self.draining:
            raise ShuttingDown()
        if limit_per_caller is not None and self._open_by_key[rate_limit_key] >= limit_per_caller:
            raise RateLimited(f"{limit_per_caller} open turns of one caller", public_message=_TOO_MANY)
        if self.is_full:
            raise Overloaded(f"{self._limit} open turns")
        self._open[timeout] = rate_limit_key
        self._open_by_key[rate_limit_key] += 1
        self._empty.clear()

    def close(self, timeout: TurnTimeout) -> None:
        rate_limit_key = self._open.pop(timeout, None)
        if rate_limit_key is not None:
            self._open_by_key[rate_limit_key] -= 1
            if not self._open_by_key[rate_limit_key]:
                del self._open_by_key[rate_limit_key]
        if not self._open:
            self._empty.set()

    def end_all(self, error: GatewayError) -> None:
        for timeout in self._open:
            timeout.end(error)

    async def wait_until_empty(self) -> None:
        await self._empty.wait()

    def __len__(self) -> int:
        return len(self._open)
