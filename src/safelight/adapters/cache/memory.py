"""MemoryCache: the cache of one process. Bounded in everything: what was used longest ago goes first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from itertools import count
from typing import Final, Generic, TypeVar

from safelight.domain.rates import Grant, Rate, drawn
from safelight.ports.cache import Found

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_ENTRY_BYTES: Final = 400
"""What an entry costs beside its value, roughly."""


class MemoryCache:
    """Keeps Cache.

    Args:
        capacity_bytes: Of all values together; one of more than a sixteenth is not kept.
        most: Buckets, leases and tags, of each.
        now: Seconds that never go back.

    """

    def __init__(
        self, *, capacity_bytes: int = 16 * 1024**2, most: int = 50_000, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._capacity: Final = capacity_bytes
        self._now: Final = now
        self._size = 0
        self._entries: Final[OrderedDict[str, tuple[float, bytes, bytes]]] = OrderedDict()
        self._numbers: Final = count(1)
        self._generations: Final[_Latest[str, int]] = _Latest(most)
        self._full_at: Final[_Latest[str, float]] = _Latest(most)
        self._leases: Final[_Latest[str, tuple[str, float]]] = _Latest(most)

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Forgets everything."""
        for kept in (self._entries, self._generations, self._full_at, self._leases):
            kept.clear()
        self._size = 0

    async def ping(self) -> None:
        """Always here."""

    async def get(self, key: str, *, tags: Sequence[str]) -> Found:
        """One look at each dictionary."""
        stamp = self._stamp(tags)
        found = self._entries.get(key)
        if found is None:
            return Found(None, stamp)
        expires_at, put_stamp, value = found
        if expires_at <= self._now() or put_stamp != stamp:
            self._drop(key)
            return Found(None, stamp)
        self._entries.move_to_end(key)
        return Found(value, stamp)

    async def put(self, key: str, value: bytes, *, tags: Sequence[str], stamp: bytes, ttl_s: float) -> None:
        """In the place of what was there."""
        self._drop(key)
        if stamp != self._stamp(tags) or len(value) > self._capacity // 16:
            return
        self._entries[key] = (self._now() + ttl_s, stamp, value)
        self._size += len(value) + _ENTRY_BYTES
        while self._size > self._capacity:
            self._drop(next(iter(self._entries)))

    async def forget(self, tags: Sequence[str]) -> None:
        """Each tag gets a number that no stamp has; its entries go when they are met."""
        for tag in tags:
            self._generations.pop(tag, None)

    async def take(self, bucket: str, rate: Rate, *, cost: int = 1) -> Grant:
        """See domain.rates."""
        return self.drawn(bucket, rate, cost)

    def drawn(self, bucket: str, rate: Rate, cost: int) -> Grant:
        """The same for who cannot wait."""
        full_at, grant = drawn(self._full_at.get(bucket, 0.0), self._now(), rate, cost)
        if grant.is_granted:
            self._full_at.put(bucket, full_at)
        return grant

    async def lease(self, name: str, holder: str, *, ttl_s: float) -> bool:
        """Alone in the process, so in its own time."""
        now = self._now()
        held_by, until = self._leases.get(name, (holder, 0.0))
        if held_by != holder and until > now:
            return False
        self._leases.put(name, (holder, now + ttl_s))
        return True

    async def release(self, name: str, holder: str) -> None:
        """Only one's own."""
        if self._leases.get(name, ("", 0.0))[0] == holder:
            del self._leases[name]

    def _stamp(self, tags: Sequence[str]) -> bytes:
        numbers = []
        for tag in sorted(tags):
            number = self._generations.get(tag)
            # A tag that was pushed out for want of room comes back with a number that it never had.
            self._generations.put(tag, number := next(self._numbers) if number is None else number)
            numbers.append(number)
        return b",".join(b"%d" % number for number in numbers)

    def _drop(self, key: str) -> None:
        dropped = self._entries.pop(key, None)
        if dropped is not None:
            self._size -= len(dropped[2]) + _ENTRY_BYTES


class _Latest(OrderedDict[K, V], Generic[K, V]):
    """At most so many items, those that were put last."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def put(self, key: K, value: V) -> None:
        """Keep it, and let go of the oldest."""
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)
