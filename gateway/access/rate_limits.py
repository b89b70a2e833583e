"""Rate limits (RATE_LIMIT), counted in this process or in a Redis that all replicas share (docs/decisions/0022).

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

from gateway.errors import RateLimited, round_up_seconds
from gateway.settings import Settings
from gateway.settings_access import RATE

_log = logging.getLogger(__name__)

MAX_CALLERS = 50_000  # for each limit: some 20 MiB
_UNIT_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_REDIS_TIMEOUT_S = 0.25
_REDIS_PAUSE_S = 5.0  # after a failure Redis is not asked for so long: not every message waits for its timeout
_LOG_INTERVAL_S = 60.0


@dataclass(frozen=True, slots=True)
class Limit:
    """A number of POSTs that a caller may send in a window; `name` is what the caller reads, `20 per 1 minute`."""

    name: str
    amount: int
    window_s: int


def limit_from_rate(rate: str) -> Limit:
    """Parse a rate that the settings have accepted: `20/minute`, `5/10 minute`."""
    match = RATE.match(rate)
    assert match
    amount, units, unit = int(match[1]), int(match[2] or 1), match[3]
    return Limit(f"{amount} per {units} {unit}", amount, units * _UNIT_S[unit])


class FixedWindows:
    """A limit's open windows, in this process.

    All windows have one length, so the oldest ends first and is the first entry. When too many callers are kept, the
    oldest window is forgotten. An OrderedDict: a plain dict gets slow when many first entries were deleted.
    """

    def __init__(self, window_s: float, max_callers: int = MAX_CALLERS) -> None:
        self._window_s = window_s
        self._max_callers = max_callers
        self._open: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Each caller's count, and when the window ends."""

    def count(self, key: str, now: float) -> tuple[int, float]:
        """Count one POST. Return how many there are now in the caller's window, and the seconds to its end."""
        count, end = self._open.get(key, (0, 0.0))
        if end <= now:
            self._open.pop(key, None)  # a new window goes to the back
            self._make_room(now)
            count, end = 0, now + self._window_s
        self._open[key] = (count + 1, end)
        return count + 1, end - now

    def _make_room(self, now: float) -> None:
        """Remove at most two windows for each that is added: enough to shrink, and never a long loop."""
        for _ in range(2):
            first = next(iter(self._open), None)
            if first is None or (self._open[first][1] > now and len(self._open) < self._max_callers):
                return
            del self._open[first]

    def __len__(self) -> int:
        return len(self._open)


class LocalRateLimits:
    """A count in this process."""

    def __init__(self, settings: Settings) -> None:
        self.limits = list(dict.fromkeys(limit_from_rate(rate) for rate in settings.rate_limit))
        self._windows = {limit: FixedWindows(limit.window_s) for limit in self.limits}

    async def count(self, rate_limit_key: str) -> None:
        await _check_limits(self.limits, rate_limit_key, self._count_in)

    async def _count_in(self, limit: Limit, rate_limit_key: str) -> tuple[int, float]:
        return self._windows[limit].count(rate_limit_key, time.monotonic())

    async def aclose(self) -> None: ...


class SharedRateLimits:
    """A count in Redis. While Redis is unavailable, callers are served, and counted in this process."""

    def __init__(self, settings: Settings) -> None:
        uri = settings.rate_limit_storage_uri
        assert uri is not None
        self._redis = Redis.from_url(
            uri.get_secret_value(),
            socket_timeout=_REDIS_TIMEOUT_S,
            socket_connect_timeout=_REDIS_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._local = LocalRateLimits(settings)
        self._redis_paused_until = self._logged_at = float("-inf")

    async def count(self, rate_limit_key: str) -> None:
        if time.monotonic() < self._redis_paused_until:
            await self._local.count(rate_limit_key)
            return
        try:
            await _check_limits(self._local.limits, rate_limit_key, self._count_in)
        except (RedisError, OSError, TimeoutError) as e:
            self._pause_redis(e)
            await self._local.count(rate_limit_key)

    async def _count_in(self, limit: Limit, rate_limit_key: str) -> tuple[int, float]:
        """Count in one round trip and one transaction: no key is left without its expiry."""
        key = f"chat-api:{limit.name}:{rate_limit_key}"
        async with self._redis.pipeline(transaction=True) as commands:
            commands.set(key, 0, ex=limit.window_s, nx=True)
            commands.incr(key)
            commands.pttl(key)
            _, count, remaining_ms = await commands.execute()
        return count, remaining_ms / 1000

    def _pause_redis(self, error: Exception) -> None:
        now = time.monotonic()
        self._redis_paused_until = now + _REDIS_PAUSE_S
        if now - self._logged_at > _LOG_INTERVAL_S:
            self._logged_at = now
            _log.warning("Redis unavailable, rate limits are per replica: %s", type(error).__name__)

    async def aclose(self) -> None:
        await self._redis.aclose()


async def _check_limits(
    limits: list[Limit], rate_limit_key: str, count_in: Callable[[Limit, str], Awaitable[tuple[int, float]]]
) -> None:
    """Raise RateLimited for the first limit that is exceeded; those after it do not count this POST."""
    for limit in limits:
        count, remaining_s = await count_in(limit, rate_limit_key)
        if count > limit.amount:
            raise _rate_limit_error(limits, limit, round_up_seconds(remaining_s))


def _rate_limit_error(limits: list[Limit], exceeded: Limit, wait_s: int) -> RateLimited:
    policies = ", ".join(f'"{limit.name}";q={limit.amount};w={limit.window_s}' for limit in limits)
    fields = {"ratelimit-policy": policies, "ratelimit": f'"{exceeded.name}";r=0;t={wait_s}'}
    return RateLimited(exceeded.name, retry_after_s=wait_s, headers=fields)
