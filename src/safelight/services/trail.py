"""Trail: the audit trail at work. What the door has to tell is gathered here, entries are sealed, pruned, shown and exported.

Changes write their own entries (`audited`). Beside them the door tells of refusals, of what administrators read, and of what was
done without a record. These come in crowds when somebody tries doors, so those that are alike within FLUSH_S are one entry with a
count, and a process writes at most MOST of them at a time: an attack fills neither the catalog nor the trail.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from safelight.domain import access
from safelight.domain.accounts import Actor
from safelight.domain.audit import (
    INSTALLATION,
    NOBODY,
    PRUNED,
    SEALED_AT_ONCE,
    SYSTEM,
    Checkpoint,
    Entry,
    Head,
    Origin,
    Sealed,
    TrailQuery,
    pseudonym,
    seal,
)
from safelight.domain.ids import TenantId, UserId, new_id
from safelight.errors import Missing, SafelightError, Stale
from safelight.ports.catalog import Catalog
from safelight.ports.trail import TrailRecords
from safelight.services.apart import apart
from safelight.services.witness import Witness

log = structlog.get_logger()

FLUSH_S: Final = 1.0
MOST: Final = 100
SWEEP: Final = timedelta(seconds=30)
"""How often chains are looked at that this process has not written to."""
PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class _Alike:
    """What makes entries of the door one."""

    chain: str
    action: str
    actor: str = NOBODY
    object: str = ""
    result: str = ""
    address: str = ""


@dataclass(slots=True)
class _Seen:
    at: datetime
    origin: Origin | None
    count: int = 1


@dataclass(slots=True)
class _State:
    written_to: set[str] = field(default_factory=set)
    waiting: dict[_Alike, _Seen] = field(default_factory=dict)
    flushing: asyncio.Task[None] | None = None
    swept_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Trail:
    """`catalog` is one that leaves no entries itself; `keys` make pseudonyms, the one in use first."""

    catalog: Catalog
    clock: Callable[[], datetime]
    keys: Sequence[bytes]
    retention: timedelta | None
    _state: _State = field(default_factory=_State)

    # What the door tells

    def note(self, witness: Witness, action: str, *, object: str = "", result: str) -> None:
        """Somebody asked for this; written within FLUSH_S, together with what is alike."""
        actor = witness.actor
        chain = actor.tenant if actor else INSTALLATION
        who = self.pseudonym(actor.tenant, actor.user) if actor else NOBODY
        alike = _Alike(chain, action, who, object, result, witness.address)
        waiting = self._state.waiting
        origin: Origin | None = witness.origin()
        if alike not in waiting and len(waiting) >= MOST:
            alike, origin = _Alike(chain, "request.many", result=result), None
        if alike in waiting:
            waiting[alike].count += 1
        else:
            waiting[alike] = _Seen(self.clock(), origin)
        if self._state.flushing is None:
            self._state.flushing = asyncio.get_running_loop().create_task(self._later())

    async def flush(self) -> None:
        """Write what the door has told so far."""
        waiting = dict(self._state.waiting)
        self._state.waiting.clear()
        for chain in sorted({alike.chain for alike in waiting}):
            mine = {alike: seen for alike, seen in waiting.items() if alike.chain == chain}
            try:
                async with self._open(chain, writes=True) as trail:
                    for alike, seen in mine.items():
                        await trail.append(self._entry(alike, seen))
            except Missing:
                continue  # the tenant is gone, and its trail with it
            except SafelightError as error:
                log.warning("audit.not_written", chain=chain, entries=len(mine), code=error.code)
                continue
            self.appended(chain)

    async def close(self) -> None:
        """Write what is left. The door is closed."""
        task, self._state.flushing = self._state.flushing, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.flush()

    async def _later(self) -> None:
        await asyncio.sleep(FLUSH_S)
        self._state.flushing = None
        await self.flush()

    def _entry(self, alike: _Alike, seen: _Seen) -> Entry:
        return Entry(
            chain=alike.chain,
            id=new_id(seen.at.timestamp()),
            at=seen.at,
            action=alike.action,
            actor=alike.actor,
            object=alike.object,
            result=alike.result,
            count=seen.count,
            origin=seen.origin,
        ).committed()

    # The clock's

    def appended(self, chain: str) -> None:
        """Entries wait in this chain; the next `seal` sees to it."""
        self._state.written_to.add(chain)

    async def seal(self) -> int:
        """Seal what waits in the chains that this process has written to, and now and then in all; how many entries."""
        state, now = self._state, self.clock()
        chains, state.written_to = state.written_to, set()
        if state.swept_at is None or now - state.swept_at >= SWEEP:
            chains |= {INSTALLATION, *await self._tenants()}
            state.swept_at = now
        count = 0
        for chain in sorted(chains):
            try:
                with apart("seal_trail", chain):
                    count += await self.seal_chain(chain)
            except BaseException:
                state.written_to |= chains
                raise
        return count

    async def seal_chain(self, chain: str) -> int:
        """Give everything in it that waits its place; how many entries. Somebody else's doing so at the same time is fine."""
        count = 0
        try:
            async with self._open(chain) as trail:
                if not await trail.unsealed(1):
                    return 0
            while True:
                async with self._open(chain, writes=True) as trail:
                    entries, was = await trail.unsealed(SEALED_AT_ONCE), await trail.head()
                    if entries:
                        await trail.seal(sealed := seal(entries, was.last), replace(was, last=_place(sealed[-1])), was=was)
                count += len(entries)
                if len(entries) < SEALED_AT_ONCE:
                    return count
        except Stale:  # another process was faster, and goes on
            self.appended(chain)
        except Missing:
            pass
        return count

    async def prune(self) -> int:
        """Drop entries older than the retention, and leave one that says up to where; how many were dropped."""
        if self.retention is None:
            return 0
        before, dropped = self.clock() - self.retention, 0
        for chain in (INSTALLATION, *await self._tenants()):
            with contextlib.suppress(Stale), apart("prune_trail", chain):  # whoever was faster: the next time
                await self._prune(chain, before)
                while count := await self._dropped(chain):
                    dropped += count
        if dropped:
            log.info("audit.pruned", entries=dropped)
        return dropped

    async def anchor(self) -> None:
        """Write every chain's head to the log, which is kept elsewhere: what is altered later disagrees with it."""
        for chain in (INSTALLATION, *await self._tenants()):
            with apart("anchor_trail", chain):
                async with self._open(chain) as trail:
                    head = await trail.head()
                log.info("audit.anchored", chain=chain, number=head.last.number, hash=head.last.hash)

    async def forget(self, tenant: TenantId, user: UserId) -> int:
        """Take off where this user's requests came from, in every sealed and waiting entry; of how many.

        Seals first: an entry that tells of the erasure is then in the chain before anything is missing from it.
        """
        await self.seal_chain(tenant)
        actors, forgotten = sorted(self.pseudonyms(tenant, user)), 0
        while True:
            async with self._open(tenant, writes=True) as trail:
                count = await trail.forget_origins(actors, limit=80)
            forgotten += count
            if count < 80:
                return forgotten

    async def _prune(self, chain: str, before: datetime) -> None:
        last: Sealed | None = None
        query = TrailQuery(is_oldest_first=True, limit=PAGE)
        async with self._open(chain) as trail:
            while True:
                page = await trail.page(query)
                old = [sealed for sealed in page if sealed.entry.at < before]
                last = old[-1] if old else last
                if len(old) < PAGE:
                    break
                query = replace(query, after=old[-1].number)
        if last is None:
            return
        now = self.clock()
        told = Entry(
            chain=chain,
            id=new_id(now.timestamp()),
            at=now,
            action=PRUNED,
            actor=SYSTEM,
            object=f"checkpoint/{_place(last)}",
        )
        async with self._open(chain, writes=True) as trail:
            was = await trail.head()
            (sealed,) = seal([told], was.last)
            await trail.seal([sealed], Head(_place(sealed), _place(last)), was=was)

    async def _dropped(self, chain: str) -> int:
        async with self._open(chain, writes=True) as trail:
            return await trail.drop_pruned(40)

    # What is asked of it

    async def page(self, actor: Actor, query: TrailQuery, *, chain: str | None = None) -> list[Sealed]:
        """Sealed entries of the actor's tenant; operators may ask for the installation's. Raises Forbidden, TooBroad."""
        async with self._open(_permitted(actor, chain)) as trail:
            return await trail.page(query)

    async def head(self, actor: Actor, *, chain: str | None = None) -> Head:
        """Where the chain ends, to be noted elsewhere. Raises Forbidden."""
        async with self._open(_permitted(actor, chain)) as trail:
            return await trail.head()

    async def walk(self, actor: Actor, query: TrailQuery, *, chain: str | None = None) -> AsyncIterator[Sealed]:
        """Every entry that matches, oldest first, each page in a transaction of its own. Raises Forbidden."""
        query = replace(query, is_oldest_first=True, limit=PAGE)
        while page := await self.page(actor, query, chain=chain):
            for sealed in page:
                yield sealed
            query = replace(query, after=page[-1].number)

    async def every(self, chain: str, query: TrailQuery) -> AsyncIterator[Sealed]:
        """The same of a chain, for whoever has asked whether they may."""
        query = replace(query, is_oldest_first=True, limit=PAGE)
        while True:
            async with self._open(chain) as trail:
                page = await trail.page(query)
            for sealed in page:
                yield sealed
            if len(page) < PAGE:
                return
            query = replace(query, after=page[-1].number)

    async def names(self, tenant: TenantId) -> dict[str, UserId]:
        """Who is behind the pseudonyms, of users whom the tenant still has."""
        async with self.catalog.tenant(tenant) as records:
            users = await records.accounts.users()
        return {name: user.id for user in users for name in self.pseudonyms(tenant, user.id)}

    def pseudonyms(self, tenant: TenantId, user: UserId) -> frozenset[str]:
        """Under which the user may stand in the trail: one for each key that was ever in use."""
        return frozenset(pseudonym(key, tenant, user) for key in self.keys)

    def pseudonym(self, tenant: TenantId, user: UserId) -> str:
        """Under which the user stands in the trail from now on."""
        return pseudonym(self.keys[0], tenant, user)

    async def _tenants(self) -> list[TenantId]:
        async with self.catalog.directory() as directory:
            return [tenant.id for tenant in await directory.tenants()]

    @asynccontextmanager
    async def _open(self, chain: str, *, writes: bool = False) -> AsyncIterator[TrailRecords]:
        if chain == INSTALLATION:
            async with self.catalog.directory(writes=writes) as directory:
                yield directory.trail
        else:
            async with self.catalog.tenant(TenantId(chain), writes=writes) as records:
                yield records.trail


def _permitted(actor: Actor, chain: str | None) -> str:
    """The chain that is asked for, if the actor may read it. Raises Forbidden."""
    if chain == INSTALLATION:
        access.require(actor, "audit.installation")
        return INSTALLATION
    access.require(actor, "audit.read")
    if chain not in (None, actor.tenant):
        raise Missing
    return actor.tenant


def _place(sealed: Sealed) -> Checkpoint:
    return Checkpoint(sealed.number, sealed.hash)
