"""The interface of a backend: what the service asks of whichever upstream answers."""

from collections.abc import AsyncGenerator
from typing import Literal, Protocol

from gateway.events import BackendEvent, Thread, Turn

Ability = Literal["cancel", "prepare"]
"""What only some backends can do: `cancel` a run from any replica; `prepare` conversations (`count_prepared`)."""


class Backend(Protocol):
    """A backend, which inherits this class."""

    abilities: frozenset[Ability] = frozenset()
    """Which of the last methods may be called."""

    def answer(self, turn: Turn) -> AsyncGenerator[list[BackendEvent]]:
        """Yield the run's events in batches: what arrived together is yielded together, so that it is sent together.

        An empty batch says that the upstream is alive. Raises only GatewayError. The caller closes it
        (`aclosing`); closing it early ends the run upstream, as far as the upstream can.
        """
        ...

    async def check(self) -> None:
        """Raise the GatewayError that a turn would meet now."""

    async def warm(self) -> None:
        """Do whatever makes the first turn faster. Raises only GatewayError."""

    async def aclose(self) -> None: ...

    async def cancel(self, thread: Thread) -> None:
        """Stop the conversation's active run. Raises NoActiveRun."""
        raise AssertionError("without the ability `cancel`")

    def count_prepared(self) -> int:
        """Return how many conversations are prepared, or being created."""
        raise AssertionError("without the ability `prepare`")
