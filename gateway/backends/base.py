"""The port: what the service asks of whichever upstream answers."""

from collections.abc import AsyncGenerator
from typing import Protocol, runtime_checkable

from gateway.events import BackendEvent, Turn


class Backend(Protocol):
    def answer(self, turn: Turn) -> AsyncGenerator[list[BackendEvent]]:
        """The run, in batches: what arrived together is yielded together, so that it leaves together.

        An empty batch is a sign of life with nothing to say. Raises only GatewayError. The caller closes it
        (`aclosing`); closing it early ends the run upstream, as far as the upstream can.
        """
        ...

    async def check(self) -> None:
        """Raises the GatewayError that a turn would meet now."""
        ...

    async def cancel(self, thread_id: str) -> bool:
        """Stops the thread's active run; False where nothing runs, or nothing can be stopped."""
        ...

    async def warm(self) -> None:
        """Whatever makes the first turn come sooner. Raises only GatewayError."""
        ...

    async def aclose(self) -> None: ...


@runtime_checkable
class Stocked(Protocol):
    """A backend that makes conversations ahead."""

    def ahead(self) -> int: ...
