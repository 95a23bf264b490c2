"""Turns: what several servers would all begin at once, one begins, and the others wait for its result in the storage.

A turn is a lease that its holder extends while it works, so who dies in it delays the others by the lease and no more. Nothing
depends on it: two who work at once make the same thing twice, which is why a cache that is away may let everybody in.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from safelight.domain.ids import new_id
from safelight.ports.cache import Cache

T = TypeVar("T")

LEASE_S: Final = 2.0
_EXTEND_S: Final = LEASE_S / 4
_FIRST_LOOK_S: Final = 0.02
_LAST_LOOK_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Turns:
    """Without a shared cache everybody has the turn: within a process there is SingleFlight."""

    cache: Cache | None
    holder: str = field(default_factory=new_id)

    @asynccontextmanager
    async def turn(self, name: str, *, since_s: float, patience_s: float) -> AsyncIterator[bool]:
        """Whether the turn is ours while the block lasts; who has waited for longer than that has it whoever else does."""
        if self.cache is None:
            yield True
            return
        if not await self.cache.lease(name, self.holder, ttl_s=LEASE_S):
            yield time.monotonic() - since_s > patience_s
            return
        extending = asyncio.create_task(self._extend(self.cache, name))
        try:
            yield True
        finally:
            extending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await extending
            await self.cache.release(name, self.holder)

    async def late_look(self, look: Callable[[], Awaitable[T | None]]) -> T | None:
        """What is there if another server had the turn between our look and ours; nobody is asked where there is no other."""
        return None if self.cache is None else await look()

    async def rest(self, attempt: int) -> None:
        """A moment between two looks, longer every time, and never the same on two servers."""
        await asyncio.sleep(min(_LAST_LOOK_S, _FIRST_LOOK_S * 1.6**attempt) * random.uniform(0.5, 1.0))  # noqa: S311

    async def _extend(self, cache: Cache, name: str) -> None:
        while True:
            await asyncio.sleep(_EXTEND_S)
            await cache.lease(name, self.holder, ttl_s=LEASE_S)
