"""An accepted event stream of the upstream: aiohttp's reader → frames → batches of events."""

from collections.abc import Callable
from contextlib import suppress

import aiohttp
import anyio

from gateway.backends.sse_reader import Frame, FrameReader
from gateway.errors import GatewayError, UpstreamUnavailable
from gateway.events import BackendEvent, RunCompleted
from gateway.telemetry.upstream_calls import UpstreamCall

_END_OF_BODY_TIMEOUT_S = 1.0  # from the final event to the end of the body: then the connection can be used again


class UpstreamStream:
    """An accepted event stream, read in batches: what one read brings is translated together."""

    def __init__(self, response: aiohttp.ClientResponse, call: UpstreamCall) -> None:
        self.headers = response.headers
        self._call = call
        self._response = response
        self._content = response.content
        self._reader = FrameReader()
        self._failure: GatewayError | None = None
        self.completed = False

    async def read_events(self, translate: Callable[[Frame], list[BackendEvent]]) -> list[BackendEvent] | None:
        """Return the events of the next frames; [] if they have none, None after the end. Comments are no frames."""
        if self._failure:
            raise self._failure
        if self.completed or not (frames := await self._read_frames()):
            return None
        events: list[BackendEvent] = []
        for frame in frames:
            try:
                events += translate(frame)
            except GatewayError as e:
                if not events:
                    raise
                self._failure = e  # raised next time: the events before it are passed on first
                break
            if events and isinstance(events[-1], RunCompleted):
                self.completed = True
                break
        return events

    async def _read_frames(self) -> list[Frame]:
        """Return the next frames; [] only at the end of the body."""
        try:
            while chunk := await self._content.readany():
                if frames := self._reader.feed(chunk):
                    self._call.record_first_event()
                    return frames
        except (aiohttp.ClientError, OSError) as e:
            raise UpstreamUnavailable(type(e).__name__) from e
        return []

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            if self.completed:
                with anyio.move_on_after(_END_OF_BODY_TIMEOUT_S):
                    await self._read_rest()
            self._response.close()

    async def _read_rest(self) -> None:
        with suppress(aiohttp.ClientError, OSError):  # the answer is complete already
            while await self._content.readany():
                pass
