"""The interface of a backend: what the service asks of whichever upstream answers."""

from collections.abc import AsyncGenerator
from typing import Protocol, runtime_checkable

from gateway.events import BackendEvent, Turn


class Backend(Protocol):
    def answer(self, turn: Turn) -> AsyncGenerator[list[BackendEvent]]:
        """Yield the run's events in batches: what arrived together is yielded together, so that it is sent together.

        An empty batch says that the upstream is alive. Raises only GatewayError. The caller closes it
        (`aclosing`); closing it early ends the run upstream, as far as the upstream can.
        """
        ...

    async def check(self) -> None:
        """Raise the GatewayError that a turn would meet now."""
        ...

    async def cancel(self, thread_id: str) -> bool:
        """Stop the thread's active run. False if nothing runs, or nothing can be stopped."""
        ...

    async def warm(self) -> None:
        """Do whatever makes the first turn faster. Raises only GatewayError."""
        ...

    async def aclose(self) -> None: ...


@runtime_checkable
class HasConversationPool(Protocol):
    """A backend that creates conversations ahead of their first turn."""

    def count_prepared(self) -> int:
        """Return how many are ready, or being created."""
        ...
