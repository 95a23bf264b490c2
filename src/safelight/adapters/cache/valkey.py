"""ValkeyCache: one cache for every process, in Valkey 7.2 or Redis 6.2 and newer. Made by wiring where a URL is set.

**Forgetting** is removing a tag's generation, a random number that `get` makes anew. A value lies there with the generations
that were seen when it was looked up, and is believed while they are the present ones.

**A server that is away**, in a cluster any that keeps keys, costs each call in flight one deadline; from then on nobody asks it until a task in the background has
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
from typing import Final, TypeVar

import structlog
from valkey.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError, ValkeyClusterException, ValkeyError

from safelight.adapters.cache.memory import MemoryCache
from safelight.adapters.cache.sealing import Sealing
from safelight.adapters.cache.servers import About, Cluster, OneServer, Script, Servers, Tls
from safelight.domain.rates import Grant, Rate
from safelight.errors import BackendUnavailable, WrongState
from safelight.ports.cache import Found

log = structlog.get_logger()
T = TypeVar("T")

HEARTBEAT_S: Final = 1.0
RETRY_S: Final = 0.5
"""Between looks for a server that is away."""
FOUND_WITHIN_S: Final = 5.0
"""Until a server that was away counts as away again. Nobody waits for it, and of a cluster everything has to be learnt anew."""
GENERATION_TTL_S: Final = 2 * 3600
"""Longer than any value lives; one that ends early costs a miss."""
_GENERATION_BYTES: Final = 8
_LARGEST_BYTES: Final = 1024**2

# The generic cell rate algorithm of domain.rates in whole microseconds of the server's clock, so that machines need not agree.
_TAKE: Final = Script("""
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
""")
_LEASE: Final = Script("""
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")
_RELEASE: Final = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
""")


PLAIN: Final = Tls()
_FAILURES: Final = (ValkeyError, ValkeyClusterException, OSError, TimeoutError)
"""What the driver raises: of a cluster, something that is no error of its own."""


class ValkeyCache:
    """Keeps Cache.

    Args:
        url: valkey://user:password@host:6379/0; `rediss://` or `valkeys://` for TLS.
        key: 32 secret bytes, the same in every process: what is kept is sealed with them.
        is_cluster: The URL names one machine of a cluster.
        tls: Whom to believe over TLS, and who we are.
        namespace: Before every key, so that installations can share a server.
        deadline_s: How long one question may take, connecting with it.
        connections: At most so many, to each machine, opened as they are needed.

    """

    def __init__(
        self,
        url: str,
        *,
        key: bytes,
        is_cluster: bool = False,
        tls: Tls = PLAIN,
        namespace: str = "safelight",
        deadline_s: float = 0.25,
        connections: int = 32,
    ) -> None:
        scheme, _, rest = url.partition("://")
        address = f"{'valkeys' if scheme in ('rediss', 'valkeys') else 'valkey'}://{rest}"
        way = Cluster if is_cluster else OneServer
        self._servers: Final[Servers] = way(address, tls=tls, deadline_s=deadline_s, connections=connections)
        self._is_cluster: Final = is_cluster
        self._space: Final = namespace
        self._deadline_s: Final = deadline_s
        self._sealing: Final = Sealing(key)
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
            await self._met()
        except WrongState:
            await self._servers.close()
            raise
        except _FAILURES as error:
            self._lost(error)
        else:
            self._is_back.set()
        self._watch = asyncio.create_task(self._watched(), name="cache")

    async def look(self) -> str:
        """Which server it is; of a closed cache, which stays closed. Raises WrongState for one that refuses us, BackendUnavailable."""
        try:
            return (await self._met()).version or "A cache that does not tell its version"
        except _FAILURES as error:
            raise BackendUnavailable("The cache does not answer (SAFELIGHT_CACHE__URL).") from error
        finally:
            await self._servers.close()

    async def close(self) -> None:
        """The task first."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
        await self._servers.close()
        await self._local.close()

    async def ping(self) -> None:
        """As the task in the background sees it, and one question if it sees well."""
        if self._watch is None or self._away_since is not None or not await self._asked(self._pinged, None):
            raise BackendUnavailable("The cache does not answer.")

    async def get(self, key: str, *, tags: Sequence[str]) -> Found:
        """One trip; a second one where a tag has no generation yet."""
        if not self._is_believed:
            return Found(None, b"")
        named = self._generations(tags)
        answer = await self._asked(lambda: self._servers.values([self._named("k", key), *named]), None)
        if answer is None:
            return Found(None, b"")
        kept, *generations = answer
        if None in generations:
            kept, generations = None, await self._asked(lambda: self._made(named), None) or [None]
        seen = [one for one in generations if one is not None]
        if len(seen) != len(named):
            return Found(None, b"")
        stamp = b"".join(seen)
        if kept is None or not kept.startswith(stamp):
            return Found(None, stamp)
        return Found(self._sealing.unseal(kept[len(stamp) :], under=key), stamp)

    async def put(self, key: str, value: bytes, *, tags: Sequence[str], stamp: bytes, ttl_s: float) -> None:
        """With the generations of the look before it."""
        if not stamp or len(value) > _LARGEST_BYTES or not self._is_believed:
            return
        kept = stamp + self._sealing.seal(value, under=key)
        await self._asked(lambda: self._servers.put(self._named("k", key), kept, ttl_ms=max(1, int(ttl_s * 1000))), None)

    async def forget(self, tags: Sequence[str]) -> None:
        """One trip. Where it fails, everything is forgotten as soon as the server is back."""
        if not tags:
            return
        names = [self._named("g", tag) for tag in tags]
        if self._away_since is None and await self._asked(lambda: self._removed(names), None):
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
        answer = await self._asked(lambda: self._servers.run(_TAKE, self._named("b", bucket), words), None)
        if answer is None:
            return self._local.drawn(bucket, rate, cost)
        is_granted, remaining, retry_after_us = answer
        return Grant(is_granted=bool(is_granted), remaining=max(0, remaining), retry_after_s=retry_after_us / 1_000_000)

    async def lease(self, name: str, holder: str, *, ttl_s: float) -> bool:
        """In the server, or in this process where the server is away."""
        words = [holder, max(1, int(ttl_s * 1000))]
        answer = await self._asked(lambda: self._servers.run(_LEASE, self._named("l", name), words), None)
        if answer is None:
            return await self._local.lease(name, holder, ttl_s=ttl_s)
        return bool(answer)

    async def release(self, name: str, holder: str) -> None:
        """Wherever it is."""
        await self._local.release(name, holder)
        await self._asked(lambda: self._servers.run(_RELEASE, self._named("l", name), [holder]), None)

    async def _met(self) -> About:
        """The server, asked for the first time. Raises WrongState for one that refuses us, and what the driver raises."""
        try:
            async with asyncio.timeout(max(FOUND_WITHIN_S, self._deadline_s)):
                await self._servers.ping()
                about = await self._servers.about()
        except _FAILURES as error:
            if (refusal := _refusal(error)) is not None:
                raise WrongState(refusal) from error
            raise
        if about.is_cluster and not self._is_cluster:
            raise WrongState("SAFELIGHT_CACHE__URL is a cluster's: set SAFELIGHT_CACHE__IS_CLUSTER to true.")
        return about

    def _named(self, kind: str, name: str) -> str:
        return f"{self._space}:{kind}:{name}"

    def _generations(self, tags: Sequence[str]) -> list[str]:
        """The keys of the epoch and of the tags, in the order of a stamp."""
        return [self._named("epoch", ""), *(self._named("g", tag) for tag in sorted(tags))]

    async def _made(self, named: Sequence[str]) -> list[bytes | None]:
        """The generations, with new ones where there were none; whoever is first has made it for all."""
        fresh = [(name, secrets.token_bytes(_GENERATION_BYTES)) for name in named]
        return await self._servers.made(fresh, ttl_s=GENERATION_TTL_S)

    async def _pinged(self) -> bool:
        await self._servers.ping()
        return True

    async def _removed(self, names: Sequence[str]) -> bool:
        await self._servers.remove(names)
        return True

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
        except _FAILURES as error:
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
                await self._asked(self._pinged, None)
                continue
            try:
                async with asyncio.timeout(max(FOUND_WITHIN_S, self._deadline_s)):
                    await self._found_again()
            except _FAILURES as error:
                log.debug("cache.still_away", reason=str(error))

    async def _found_again(self) -> None:
        await self._servers.renew()
        await self._servers.ping()
        while self._owes:  # again for who could not tell while this was on its way
            self._owes = False
            try:
                await self._servers.remove([self._named("epoch", "")])
            except BaseException:
                self._owes = True
                raise
        now = time.monotonic()
        # Believing nothing only matters where a value could have been put before the outage.
        self._believed_from = now + self._noticed_s
        log.info("cache.back", away_s=round(now - (self._away_since or now), 1))
        self._away_since = None
        self._is_back.set()


def _refusal(error: BaseException) -> str | None:
    """What to tell of an error that will not pass, with the setting; None for a server that is away."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    for one in causes:
        match one:
            case AuthenticationError() | NoPermissionError():
                return f"SAFELIGHT_CACHE__URL: the cache refuses us ({one})."
            case ssl.SSLCertVerificationError():
                return f"SAFELIGHT_CACHE__URL: the cache's certificate is not trusted ({one}). Name its signer in SAFELIGHT_CACHE__CA_FILE."
            case ssl.SSLError() if not isinstance(one, ssl.SSLEOFError | ssl.SSLZeroReturnError):
                return (
                    f"SAFELIGHT_CACHE__URL: no TLS with the cache ({one}). Correct the URL's scheme, or name our own"
                    " certificate in SAFELIGHT_CACHE__CERTIFICATE_FILE and SAFELIGHT_CACHE__KEY_FILE."
                )
            case ValkeyClusterException() if "not enabled" in str(one):
                return "SAFELIGHT_CACHE__IS_CLUSTER: what SAFELIGHT_CACHE__URL names is no cluster."
    return None
