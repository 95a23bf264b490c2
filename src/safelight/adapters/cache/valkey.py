"""ValkeyCache: one cache for every process, in Valkey 7.2 or Redis 6.2 and newer. Made by wiring where a URL is set.

**Forgetting** is removing a tag's generation, a random number that `get` makes anew. A value lies there with the generations
that were seen when it was looked up, and is believed while they are the present ones.

**A server that is away** costs each call in flight one deadline; from then on nobody asks it until a task in the background has
found it again, and everything is answered as by an empty cache; buckets and leases by this process's memory.

**A change during an outage** could not be told. Therefore:
- a process that failed to tell says so before it trusts the server again, by forgetting everything at once (the epoch, a tag
  that every value carries);
- a process that has met an outage believes nothing for as long after it as others may take to find the server (`NOTICED_S`);
- the first to fail at telling waits until everybody must have noticed: each asks at least every `HEARTBEAT_S`.
What is left is a process that alone is cut off: what it changes meanwhile, others may see as it was until it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import structlog
from valkey.asyncio import BlockingConnectionPool, Valkey
from valkey.asyncio.retry import Retry
from valkey.backoff import NoBackoff
from valkey.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004 (the driver's)
    NoPermissionError,
    OutOfMemoryError,
    ValkeyError,
)

from safelight.adapters.cache.memory import MemoryCache
from safelight.adapters.cache.sealing import Sealing
from safelight.domain.rates import Grant, Rate
from safelight.errors import BackendUnavailable, WrongState
from safelight.ports.cache import Found

log = structlog.get_logger()
T = TypeVar("T")

HEARTBEAT_S: Final = 1.0
RETRY_S: Final = 0.5
"""Between looks for a server that is away."""
GENERATION_TTL_S: Final = 2 * 3600
"""Longer than any value lives; one that ends early costs a miss."""
_GENERATION_BYTES: Final = 8
_LARGEST_BYTES: Final = 1024**2

# The generic cell rate algorithm of domain.rates in whole microseconds of the server's clock, so that machines need not agree.
_TAKE: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local interval, window, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local start = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local after = start + cost * interval
if after - now > window + 1 then
  return {0, math.floor((window - start + now + 1) / interval), math.ceil(after - now - window)}
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1000)
return {1, math.floor((window - after + now + 1) / interval), 0}
"""
_LEASE: Final = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""
_Script = Callable[..., Awaitable[Any]]


class ValkeyCache:
    """Keeps Cache.

    Args:
        url: valkey://user:password@host:6379/0; `rediss://` or `valkeys://` for TLS.
        key: 32 secret bytes, the same in every process: what is kept is sealed with them.
        namespace: Before every key, so that installations can share a server.
        deadline_s: How long one question may take, connecting with it.
        connections: At most so many, opened as they are needed.

    """

    def __init__(
        self, url: str, *, key: bytes, namespace: str = "safelight", deadline_s: float = 0.25, connections: int = 32
    ) -> None:
        scheme, _, rest = url.partition("://")
        self._pool: Final = BlockingConnectionPool.from_url(
            f"{'valkeys' if scheme in ('rediss', 'valkeys') else 'valkey'}://{rest}",
            max_connections=connections,
            timeout=deadline_s,
            # Once more for a connection that the server has closed meanwhile; every command may be repeated.
            retry=Retry(NoBackoff(), 1),
            retry_on_error=[ConnectionError],
            socket_keepalive=True,
        )
        self._client: Final = Valkey(connection_pool=self._pool)
        self._space: Final = namespace
        self._deadline_s: Final = deadline_s
        self._sealing: Final = Sealing(key)
        self._take: Final[_Script] = self._client.register_script(_TAKE)
        self._lease: Final[_Script] = self._client.register_script(_LEASE)
        self._release: Final[_Script] = self._client.register_script(_RELEASE)
        self._local: Final = MemoryCache()
        self._noticed_s: Final = HEARTBEAT_S + RETRY_S + 2 * deadline_s
        self._away_since: float | None = None
        self._believed_from = 0.0
        self._owes = False
        self._is_back: Final = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Asks once; a server that refuses us stops the start, one that is away does not."""
        if self._watch is not None:
            return
        try:
            async with asyncio.timeout(max(2.0, self._deadline_s)):
                await self._client.ping()
        except (AuthenticationError, NoPermissionError) as error:
            await self._pool.disconnect()
            raise WrongState(f"SAFELIGHT_CACHE__URL: the cache refuses us ({error}).") from error
        except (ValkeyError, OSError, TimeoutError) as error:
            if isinstance(error.__cause__ or error.__context__, ssl.SSLCertVerificationError):
                await self._pool.disconnect()
                raise WrongState(f"SAFELIGHT_CACHE__URL: the cache's certificate is not trusted ({error}).") from error
            self._lost(error)
        else:
            self._is_back.set()
        self._watch = asyncio.create_task(self._watched(), name="cache")

    async def close(self) -> None:
        """The task first."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
        await self._pool.disconnect()
        await self._local.close()

    async def ping(self) -> None:
        """As the task in the background sees it, and one question if it sees well."""
        if self._watch is None or self._away_since is not None or not await self._asked(self._client.ping, None):
            raise BackendUnavailable("The cache does not answer.")

    async def get(self, key: str, *, tags: Sequence[str]) -> Found:
        """One trip; a second one where a tag has no generation yet."""
        if not self._is_believed:
            return Found(None, b"")
        named = self._generations(tags)
        answer = await self._asked(lambda: self._client.mget([self._named("k", key), *named]), None)
        if answer is None:
            return Found(None, b"")
        kept, *generations = answer
        if None in generations:
            generations = await self._asked(lambda: self._made(named), None)
            if generations is None or None in generations:
                return Found(None, b"")
            kept = None
        stamp = b"".join(generations)
        if kept is None or not kept.startswith(stamp):
            return Found(None, stamp)
        return Found(self._sealing.unseal(kept[len(stamp) :], under=key), stamp)

    async def put(self, key: str, value: bytes, *, tags: Sequence[str], stamp: bytes, ttl_s: float) -> None:
        """With the generations of the look before it."""
        if not stamp or len(value) > _LARGEST_BYTES or not self._is_believed:
            return
        kept = stamp + self._sealing.seal(value, under=key)
        await self._asked(lambda: self._client.set(self._named("k", key), kept, px=max(1, int(ttl_s * 1000))), None)

    async def forget(self, tags: Sequence[str]) -> None:
        """One trip. Where it fails, everything is forgotten as soon as the server is back."""
        if not tags:
            return
        names = [self._named("g", tag) for tag in tags]
        if self._away_since is None and await self._asked(lambda: self._client.unlink(*names), None) is not None:
            return
        self._owes = True
        left = (self._away_since or 0.0) + self._noticed_s - time.monotonic()
        if left > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._is_back.wait()

    async def take(self, bucket: str, rate: Rate, *, cost: int = 1) -> Grant:
        """In the server's own time; by this process alone where the server is away."""
        if not 0 < cost <= rate.burst:
            raise ValueError(f"{cost} tokens from a bucket of {rate.burst}")
        words = [1_000_000 / rate.per_s, 1_000_000 * rate.window_s, cost]
        answer = await self._asked(lambda: self._take(keys=[self._named("b", bucket)], args=words), None)
        if answer is None:
            return self._local.drawn(bucket, rate, cost)
        is_granted, remaining, retry_after_us = answer
        return Grant(is_granted=bool(is_granted), remaining=max(0, remaining), retry_after_s=retry_after_us / 1_000_000)

    async def lease(self, name: str, holder: str, *, ttl_s: float) -> bool:
        """In the server, or in this process where the server is away."""
        words = [holder, max(1, int(ttl_s * 1000))]
        answer = await self._asked(lambda: self._lease(keys=[self._named("l", name)], args=words), None)
        if answer is None:
            return await self._local.lease(name, holder, ttl_s=ttl_s)
        return bool(answer)

    async def release(self, name: str, holder: str) -> None:
        """Wherever it is."""
        await self._local.release(name, holder)
        await self._asked(lambda: self._release(keys=[self._named("l", name)], args=[holder]), None)

    def _named(self, kind: str, name: str) -> str:
        return f"{self._space}:{kind}:{name}"

    def _generations(self, tags: Sequence[str]) -> list[str]:
        """The keys of the epoch and of the tags, in the order of a stamp."""
        return [self._named("epoch", ""), *(self._named("g", tag) for tag in sorted(tags))]

    async def _made(self, named: Sequence[str]) -> list[bytes | None]:
        """The generations, with new ones where there were none; whoever is first has made it for all."""
        pipeline = self._client.pipeline(transaction=False)
        for name in named:
            pipeline.set(name, secrets.token_bytes(_GENERATION_BYTES), nx=True, ex=GENERATION_TTL_S)
        pipeline.mget(named)
        generations: list[bytes | None] = (await pipeline.execute())[-1]
        return generations

    @property
    def _is_believed(self) -> bool:
        return self._away_since is None and time.monotonic() >= self._believed_from

    async def _asked(self, ask: Callable[[], Awaitable[T]], otherwise: None) -> T | None:
        """The answer, or None where there is none to be had within the deadline."""
        if self._away_since is not None or self._watch is None:
            return otherwise
        try:
            async with asyncio.timeout(self._deadline_s):
                return await ask()
        except OutOfMemoryError as error:
            log.warning("cache.full", reason=str(error))
        except (ValkeyError, OSError, TimeoutError) as error:
            self._lost(error)
        return otherwise

    def _lost(self, error: Exception) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            self._is_back.clear()
            log.warning("cache.away", reason=f"{type(error).__name__}: {error}"[:300])

    async def _watched(self) -> None:
        """Notice that the server is away, although nobody asks; find it again."""
        while True:
            await asyncio.sleep(HEARTBEAT_S if self._away_since is None else RETRY_S)
            if self._away_since is None:
                await self._asked(self._client.ping, None)
                continue
            try:
                async with asyncio.timeout(self._deadline_s):
                    await self._found_again()
            except (ValkeyError, OSError, TimeoutError) as error:
                log.debug("cache.still_away", reason=str(error))

    async def _found_again(self) -> None:
        await self._pool.disconnect(inuse_connections=False)
        owes, self._owes = self._owes, False
        try:
            await self._client.ping()
            if owes:
                await self._client.unlink(self._named("epoch", ""))
        except BaseException:
            self._owes = self._owes or owes
            raise
        now = time.monotonic()
        # Believing nothing only matters where a value could have been put before the outage.
        self._believed_from = now + self._noticed_s
        log.info("cache.back", away_s=round(now - (self._away_since or now), 1))
        self._away_since = None
        self._is_back.set()
