"""The limiter: how often somebody may ask, told before any work is done. The doors ask; buckets are in the cache.

Tokens are taken several at a time and spent at home, so that a busy client costs the cache a trip now and then instead of one a
request. What was taken and not spent within a second is lost to the client, which matters only to who asks so rarely that no
limit is near.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from safelight.concurrency import Expiring
from safelight.domain.rates import Grant, Rate, drawn
from safelight.ports.cache import Cache

_AT_A_TIME: Final = 50
"""The part of a burst that is taken home at once: a fiftieth."""
_KEPT_S: Final = 1.0
_BUCKETS: Final = 50_000


@dataclass(frozen=True, slots=True)
class Policy:
    """A rate by the name under which clients hear of it."""

    name: str
    rate: Rate


def per_second(rate: float) -> Rate | None:
    """A bucket that holds a second's worth; None for 0, which is any number."""
    return Rate(rate, max(1, round(rate))) if rate else None


def per_minute(rate: float) -> Rate | None:
    """A bucket that holds a minute's worth."""
    return Rate(rate / 60, max(1, round(rate))) if rate else None


@dataclass(slots=True)
class _AtHome:
    tokens: int
    beyond: int
    """What was left in the cache's bucket when they were taken."""


@dataclass(frozen=True, slots=True)
class Limiter:
    """One per process."""

    cache: Cache
    now: Callable[[], float] = time.monotonic
    _taken: Expiring[str, _AtHome] = field(init=False)
    _own: Expiring[str, float] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_taken", Expiring(ttl_s=_KEPT_S, size=_BUCKETS, now=self.now))
        object.__setattr__(self, "_own", Expiring(ttl_s=60.0, size=_BUCKETS, now=self.now))

    async def ask(self, policy: Policy, who: str) -> Grant:
        """One token of theirs; all servers together give no more than the rate."""
        bucket = f"{policy.name}:{who}"
        taken = self._taken.get(bucket)
        if taken is not None and taken.tokens:
            taken.tokens -= 1
            return Grant(is_granted=True, remaining=taken.beyond + taken.tokens)
        cost = max(1, policy.rate.burst // _AT_A_TIME)
        grant = await self.cache.take(bucket, policy.rate, cost=cost)
        if not grant.is_granted and cost > 1:
            cost, grant = 1, await self.cache.take(bucket, policy.rate)
        if grant.is_granted and cost > 1:
            self._taken.put(bucket, _AtHome(cost - 1, grant.remaining))
        return Grant(grant.is_granted, grant.remaining + (cost - 1) * grant.is_granted, grant.retry_after_s)

    def ask_here(self, policy: Policy, who: str) -> Grant:
        """The same by this process's own count, for where a trip would cost more than the work. Rates of a minute at most."""
        bucket = f"{policy.name}:{who}"
        full_at, grant = drawn(self._own.get(bucket) or 0.0, self.now(), policy.rate, 1)
        if grant.is_granted:
            self._own.put(bucket, full_at)
        return grant
