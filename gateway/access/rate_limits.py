"""How often: RATE_LIMIT, counted in this process or in a Redis that all replicas share (docs/decisions/0022).

Fixed windows that begin with a caller's first POST: one increment a POST, and a Retry-After that holds. A count takes
the same time however many callers there are, because it runs on the event loop that relays the streams.
Fields: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-10
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.errors import RateLimited, whole_seconds
from gateway.settings import Settings
from gateway.settings_access import RATE

_log = logging.getLogger(__name__)

MAX_CALLERS = 50_000  # kept for each limit: some 20 MiB
_UNIT_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_REDIS_TIMEOUT_S = 0.25
_AWAY_S = 5.0  # so long Redis is left alone after it failed: nobody waits for it at each message
_LOG_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Limit:
    """So many POSTs of a caller in a window; `name` is what the caller reads, `20 per 1 minute`."""

    name: str
    amount: int
    window_s: int


def limit_from(rate: str) -> Limit:
    """`20/minute`, `5/10 minute`: a rate that the settings have taken."""
    match = RATE.match(rate)
    assert match
    amount, units, unit = int(match[1]), int(match[2] or 1), match[3]
    return Limit(f"{amount} per {units} {unit}", amount, units * _UNIT_S[unit])


class Windows:
    """The open windows of one limit, in this process.

    All are of one length, so that the order of their beginnings is the order of their ends: what has ended stands in
    front. When too many callers are kept, the window that ends first is forgotten. An OrderedDict, because a dict from
    whose front much was taken walks over the gaps to find its first entry.
    """

    def __init__(self, window_s: float, max_callers: int = MAX_CALLERS) -> None:
        self._window_s = window_s
        self._max_callers = max_callers
        self._open: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Each caller's count, and when the window ends."""

    def count(self, caller: str, now: float) -> tuple[int, float]:
        """With this POST: how many there were in the caller's window, and the seconds to its end."""
        count, end = self._open.get(caller, (0, 0.0))
        if end <= now:
            self._open.pop(caller, None)  # a new window goes to the back
            self._make_room(now)
            count, end = 0, now + self._window_s
        self._open[caller] = (count + 1, end)
        return count + 1, end - now

    def _make_room(self, now: float) -> None:
        """At most two for each that comes: enough to shrink, and never a long walk."""
        for _ in range(2):
            first = next(iter(self._open), None)
            if first is None or (self._open[first][1] > now and len(self._open) < self._max_callers):
                return
            del self._open[first]

    def __len__(self) -> int:
        return len(self._open)


class LocalRates:
    def __init__(self, settings: Settings) -> None:
        self.limits = list(dict.fromkeys(limit_from(rate) for rate in settings.rate_limit))
        self._windows = {limit: Windows(limit.window_s) for limit in self.limits}

    async def count(self, counted: str) -> None:
        await _count(self.limits, counted, self._count_in)

    async def _count_in(self, limit: Limit, counted: str) -> tuple[int, float]:
        return self._windows[limit].count(counted, time.monotonic())

    async def aclose(self) -> None: ...


class SharedRates:
    """When Redis is away, callers are served, and counted here."""

    def __init__(self, settings: Settings) -> None:
        uri = settings.rate_limit_storage_uri
        assert uri is not None
        self._redis = Redis.from_url(
            uri.get_secret_value(),
            socket_timeout=_REDIS_TIMEOUT_S,
            socket_connect_timeout=_REDIS_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._local = LocalRates(settings)
        self._away_until = self._logged_at = float("-inf")

    async def count(self, counted: str) -> None:
        if time.monotonic() < self._away_until:
            await self._local.count(counted)
            return
        try:
            await _count(self._local.limits, counted, self._count_in)
        except (RedisError, OSError, TimeoutError) as e:
            self._note(e)
            await self._local.count(counted)

    async def _count_in(self, limit: Limit, counted: str) -> tuple[int, float]:
        """One round trip, all or nothing: no key is left without its end."""
        key = f"chat-api:{limit.name}:{counted}"
        async with self._redis.pipeline(transaction=True) as commands:
            commands.set(key, 0, ex=limit.window_s, nx=True)
            commands.incr(key)
            commands.pttl(key)
            _, count, left_ms = await commands.execute()
        return count, left_ms / 1000

    def _note(self, error: Exception) -> None:
        now = time.monotonic()
        self._away_until = now + _AWAY_S
        if now - self._logged_at > _LOG_EVERY_S:
            self._logged_at = now
            _log.warning("Redis is away, callers are counted on this replica alone: %s", type(error).__name__)

    async def aclose(self) -> None:
        await self._redis.aclose()


async def _count(
    limits: list[Limit], counted: str, count_in: Callable[[Limit, str], Awaitable[tuple[int, float]]]
) -> None:
    """Raises RateLimited for the first limit that is passed; those after it do not count this POST."""
    for limit in limits:
        count, left_s = await count_in(limit, counted)
        if count > limit.amount:
            raise _refusal(limits, limit, whole_seconds(left_s))


def _refusal(limits: list[Limit], passed: Limit, wait_s: int) -> RateLimited:
    policies = ", ".join(f'"{limit.name}";q={limit.amount};w={limit.window_s}' for limit in limits)
    fields = {"ratelimit-policy": policies, "ratelimit": f'"{passed.name}";r=0;t={wait_s}'}
    return RateLimited(passed.name, retry_after_s=wait_s, headers=fields)
