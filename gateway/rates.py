"""How often: RATE_LIMIT, counted in this process or in a Redis that all replicas share.

Fixed windows, because their figures are exact: one increment a call, and a Retry-After that holds.
Fields: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-10
"""

import logging
import time
from typing import Any

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.errors import RateLimited
from gateway.settings import Settings

_log = logging.getLogger(__name__)

_REDIS_TIMEOUT_S = 0.25
_AWAY_S = 5.0  # so long Redis is left alone after it failed: nobody waits for it at each message
_LOG_EVERY_S = 60.0


class LocalRates:
    def __init__(self, settings: Settings) -> None:
        self._limits = [parse(rate) for rate in settings.rate_limit]
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    async def count(self, counted: str) -> None:
        await self.count_in(self._limiter, counted)

    async def count_in(self, limiter: FixedWindowRateLimiter, counted: str) -> None:
        for limit in self._limits:
            if not await limiter.hit(limit, counted):
                reset_at, left = await limiter.get_window_stats(limit, counted)
                raise self._refusal(limit, left, max(1, round(reset_at - time.time())))

    def _refusal(self, limit: RateLimitItem, left: int, wait_s: int) -> RateLimited:
        policies = ", ".join(f'"{each}";q={each.amount};w={each.get_expiry()}' for each in self._limits)
        fields = {"ratelimit-policy": policies, "ratelimit": f'"{limit}";r={max(left, 0)};t={wait_s}'}
        return RateLimited(str(limit), retry_after_s=wait_s, headers=fields)

    async def aclose(self) -> None: ...


class SharedRates:
    """When Redis is away, callers are served, and counted here."""

    def __init__(self, settings: Settings) -> None:
        uri = settings.rate_limit_storage_uri
        assert uri is not None
        self._pool = ConnectionPool.from_url(
            uri.get_secret_value(),
            socket_timeout=_REDIS_TIMEOUT_S,
            socket_connect_timeout=_REDIS_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._shared = FixedWindowRateLimiter(_storage(self._pool))
        self._local = LocalRates(settings)
        self._away_until = self._logged_at = float("-inf")

    async def count(self, counted: str) -> None:
        if time.monotonic() < self._away_until:
            await self._local.count(counted)
            return
        try:
            await self._local.count_in(self._shared, counted)
        except (StorageError, OSError, TimeoutError) as e:
            self._note(e)
            await self._local.count(counted)

    def _note(self, error: Exception) -> None:
        now = time.monotonic()
        self._away_until = now + _AWAY_S
        if now - self._logged_at > _LOG_EVERY_S:
            self._logged_at = now
            cause = error.__cause__ or error
            _log.warning("Redis is away, callers are counted on this replica alone: %s", type(cause).__name__)

    async def aclose(self) -> None:
        await self._pool.aclose()


def _storage(pool: ConnectionPool) -> RedisStorage:
    options: Any = {"connection_pool": pool}
    return RedisStorage("async+redis://", True, "redispy", "chat-api", **options)
