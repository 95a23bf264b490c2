"""Cache: what may be forgotten at any time. Kept by adapters.cache; checked by testing.contracts.cache.

Nothing here is the only copy of anything, so a cache that cannot be reached is one that is empty: apart from `open` and `ping`
no method raises for it. Buckets and leases are then the process's own, which bounds each process instead of all together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from safelight.domain.rates import Grant, Rate


@dataclass(frozen=True, slots=True)
class Found:
    """What lies under a key: None when nothing does. `stamp` says when that was looked up; `put` wants it back."""

    value: bytes | None
    stamp: bytes


class Cache(Protocol):
    """Keys, tags, buckets and leases are text of at most 400 characters, each in a name space of its own.

    A value is believed for as long as none of its tags has been forgotten since the `get` whose stamp came with it. So who
    misses, reads the catalog, is overtaken by a change, and puts what it has read, puts something that nobody will find.
    """

    async def open(self) -> None:
        """Connect; a server that is away is waited for in the background. Raises WrongState when it refuses us."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...

    async def ping(self) -> None:
        """Ask it something small. Raises BackendUnavailable."""
        ...

    async def get(self, key: str, *, tags: Sequence[str]) -> Found:
        """The value, if it is still believed. A key goes with the same tags every time."""
        ...

    async def put(self, key: str, value: bytes, *, tags: Sequence[str], stamp: bytes, ttl_s: float) -> None:
        """Keep it for so many seconds at most, beginning with what was true at the stamp. Large ones may be left out."""
        ...

    async def forget(self, tags: Sequence[str]) -> None:
        """Whoever asks after this returns finds nothing that was looked up before it was called, in any process."""
        ...

    async def take(self, bucket: str, rate: Rate, *, cost: int = 1) -> Grant:
        """Take tokens, all or none. Two rates over one bucket disagree. Raises ValueError for more than the burst."""
        ...

    async def lease(self, name: str, holder: str, *, ttl_s: float) -> bool:
        """Whether this holder has the name to itself for so many seconds from now; asking again extends it."""
        ...

    async def release(self, name: str, holder: str) -> None:
        """Let go of it before its time; what another one holds stays held."""
        ...
