"""A bound on the request bodies that one replica holds in memory at a time, however many callers send slowly.

Only bytes that have arrived count: who announces a large body and sends nothing takes no room from the others.
"""

from collections.abc import Generator
from contextlib import contextmanager

from gateway.errors import Overloaded

BODY_BUDGET_BYTES = 64 * 1024 * 1024
_SMALL_BODY_BYTES = 64 * 1024
_ROOM_FOR_SMALL_BYTES = 4 * 1024 * 1024  # kept free of larger bodies: ordinary messages go on beside slow large ones


class BodyBudget:
    def __init__(self) -> None:
        self.held_bytes = 0

    @contextmanager
    def hold_body(self) -> Generator["HeldBody"]:
        """Count one body's bytes until the context is left."""
        body = HeldBody(self)
        try:
            yield body
        finally:
            self.held_bytes -= body.size


class HeldBody:
    """The part of the budget that one body takes."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.size = 0

    def check_room(self, size: int) -> None:
        """Raise Overloaded if a body of `size` bytes in all has no room now. Reserves nothing."""
        is_small = size <= _SMALL_BODY_BYTES
        limit = BODY_BUDGET_BYTES if is_small else BODY_BUDGET_BYTES - _ROOM_FOR_SMALL_BYTES
        if self._budget.held_bytes - self.size + size > limit:
            raise Overloaded(f"{self._budget.held_bytes} bytes of request bodies are held")

    def grow(self, size: int) -> None:
        """Count `size` bytes that have arrived. Raises Overloaded."""
        self.check_room(self.size + size)
        self.size += size
        self._budget.held_bytes += size
