"""Purges: what caches keep of images that may not be seen any more, or that somebody asks to be let go of, goes.

What is to go is a row before anything is done, and the row goes on until nothing is left, in our own caches (where somebody asks)
and at every distribution: a process that dies in between is followed by another one, which does its page again, or tells again
under the same reference. CDNs are told of several purges together, one invalidation at a time, since a distribution takes few
wildcards at once, and tenants take turns in both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import structlog

from safelight.domain import access
from safelight.domain.accounts import Actor
from safelight.domain.ids import ImageId, PurgeId, TenantId, is_id, new_id
from safelight.domain.images import Image, normal_tag
from safelight.domain.purges import KEPT, LEASE, SETTLE, Ground, Purge, PurgeOf, PurgeState, joined, paths_of
from safelight.domain.queries import Cursor, ImageQuery, Sort
from safelight.domain.sources import elsewhere
from safelight.errors import Missing, SafelightError, Stale, Unavailable
from safelight.observability import Instruments
from safelight.ports.catalog import Catalog
from safelight.ports.cdn import Cdn
from safelight.services.apart import apart
from safelight.services.derived import Derived

log = structlog.get_logger()

_OPEN: Final = 200
"""Purges looked at together; what is under way is always first in line."""
_ROUNDS: Final = 20
"""Batches, and pages of our own caches, in one run of the chore: neither keeps the other waiting for long."""
_PAGE: Final = 100
"""Images of our own caches that are let go of before the row says so."""


@dataclass(frozen=True, slots=True)
class Purges:
    """`fronts` stand before Safelight, `backs` before the buckets."""

    catalog: Catalog
    fronts: Sequence[Cdn]
    backs: Sequence[Cdn]
    ground: Ground
    derived: Derived
    clock: Callable[[], datetime]
    instruments: Instruments
    forget_source: Callable[[TenantId, str], Awaitable[None]]
    """Lets go of what is kept of an address elsewhere."""

    @property
    def has_cdn(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self.fronts or self.backs)

    async def ask(self, actor: Actor, what: PurgeOf, value: str = "") -> Purge:
        """Let go of an image, of the images with a tag, of what is kept of a picture elsewhere, or of everything.

        Raises Missing, Forbidden, BadField.

        Our own caches have forgotten an image, or the first hundred, when this returns: two seconds later no process serves what was
        made of these before. A whole tenant is the operator's: before Safelight, paths do not tell whose
        an image is, so that everybody's go.
        """
        access.require(actor, "purges.all" if what is PurgeOf.TENANT else "purges.manage")
        now = self.clock()
        purge = Purge(
            id=PurgeId(new_id(now.timestamp())),
            tenant=actor.tenant,
            what=what,
            value=value,
            created_at=now,
            updated_at=now,
            due_at=now + LEASE,
            state=PurgeState.FORGETTING,
        )
        async with self.catalog.tenant(actor.tenant) as records:
            match what:
                case PurgeOf.IMAGE:
                    if not is_id(value):
                        raise Missing
                    await records.images.get(ImageId(value))
                    purge = purge.sliced([ImageId(value)], None)
                case PurgeOf.TAG:
                    tag = normal_tag(value)
                    counts = dict(await records.images.tags(tag, 1000))
                    purge = replace(purge, value=tag, images=counts.get(tag, 0))
                case PurgeOf.SOURCE:
                    purge = replace(purge, value=str(elsewhere(value)))
                case PurgeOf.TENANT:
                    purge = replace(purge, images=records.tenant.stored.images)
        await self._add(purge)
        with contextlib.suppress(Stale):  # another process is quicker, and goes on
            purge = await self._walked(purge)
            if purge.state is PurgeState.FORGETTING and not purge.attempts:
                (purge,) = await self._save([purge.claimed(at=self.clock())])
                purge = await self._walked(purge)  # the trash, of what has no more than a page
        return purge

    async def get(self, actor: Actor, purge_id: str) -> Purge:
        """How far it has come. Raises Missing, Forbidden."""
        access.require(actor, "purges.manage")
        if not is_id(purge_id):
            raise Missing
        async with self.catalog.directory() as directory:
            return await directory.outbox.purges.get(actor.tenant, PurgeId(purge_id))

    async def page(self, actor: Actor, *, before: str = "", limit: int = 50) -> list[Purge]:
        """The tenant's, newest first, those behind `before`. Raises Forbidden."""
        access.require(actor, "purges.manage")
        async with self.catalog.directory() as directory:
            return await directory.outbox.purges.page(actor.tenant, before=before, limit=limit)

    async def note(self, payload: Mapping[str, Any]) -> None:
        """This image of this tenant is to go, whatever its record says. May run twice: what waits is told once."""
        if not self.has_cdn:
            return
        now, image = self.clock(), ImageId(payload["image"])
        purge = Purge(
            id=PurgeId(new_id(now.timestamp())),
            tenant=TenantId(payload["tenant"]),
            what=PurgeOf.IMAGE,
            value=image,
            created_at=now,
            updated_at=now,
            due_at=now + SETTLE,
        )
        await self._add(purge.sliced([image], None))

    async def note_trashed(self, payload: Mapping[str, Any]) -> None:
        """The same, where the image is in the trash now."""
        if not self.has_cdn:
            return
        try:
            async with self.catalog.tenant(TenantId(payload["tenant"])) as records:
                image = await records.images.get(ImageId(payload["image"]))
        except Missing:
            return  # erased: that is noted too
        if image.is_trashed:
            await self.note(payload)

    async def go_on(self) -> int:
        """Go on with what waits or is under way; how many purges have come to an end. Called by the clock, in several processes."""
        ended = await self._forget()
        try:
            for _ in range(_ROUNDS):
                waiting = await self._due(is_ours=False, limit=_OPEN)
                running = [purge for purge in waiting if purge.state is PurgeState.RUNNING]
                if not running:
                    running = await self._begin(waiting)
                if not running:
                    break
                after = await self._look_on(running)
                ended += sum(purge.has_ended for purge in after)
                if any(purge.state is PurgeState.RUNNING for purge in after):
                    break
        except Stale:
            log.debug("purges.overtaken")  # another process goes on with them
        return ended

    async def sweep(self) -> int:
        """Forget those that ended long ago; how many."""
        async with self.catalog.directory() as directory:
            tenants = await directory.tenants()
        swept = 0
        for tenant in tenants:
            count = 500
            with apart("sweep_purges", tenant.id):
                while count == 500:
                    async with self.catalog.directory(writes=True) as directory:
                        count = await directory.outbox.purges.sweep(tenant.id, self.clock() - KEPT, 500)
                    swept += count
        return swept

    async def _forget(self) -> int:
        """Some pages of our own caches, tenants by turns; how many purges have come to an end with these."""
        ended, left = 0, _ROUNDS
        while left and (line := await self._due(is_ours=True, limit=left)):
            left -= len(line)
            for purge in line:
                try:
                    (claimed,) = await self._save([purge.claimed(at=self.clock())])
                    ended += (await self._walked(claimed)).has_ended
                except Stale:
                    log.debug("purges.overtaken")  # another process goes on with it
        return ended

    async def _due(self, *, is_ours: bool, limit: int) -> list[Purge]:
        async with self.catalog.directory() as directory:
            return await directory.outbox.purges.due(self.clock(), is_ours=is_ours, limit=limit)

    async def _walked(self, purge: Purge) -> Purge:
        """One that this process has claimed, a page of our own caches later."""
        try:
            images, cursor = await self._page(purge)
            if purge.what is PurgeOf.SOURCE:
                await self.forget_source(purge.tenant, purge.value)
            elif purge.state is PurgeState.FORGETTING:
                await self.derived.forget(purge.tenant, images)
            else:
                await self.derived.remove(images)
        except SafelightError as error:
            (after,) = await self._put_off([purge], error)
            return after
        count = 1 if purge.what is PurgeOf.SOURCE else len(images)
        (after,) = await self._save([purge.walked(count, cursor, at=self.clock(), has_cdn=self.has_cdn)])
        if after.has_ended:
            self.instruments.purges.labels("done").inc()
        return after

    async def _page(self, purge: Purge) -> tuple[Sequence[Image], Cursor | None]:
        """The images that come next, in the trash too, and where they go on."""
        is_trashed, cursor = purge.walks_at
        tags = (purge.value,) if purge.what is PurgeOf.TAG else ()
        async with self.catalog.tenant(purge.tenant) as records:
            if purge.what in (PurgeOf.IMAGE, PurgeOf.SOURCE):
                return await records.images.get_many(purge.slice), None
            query = ImageQuery(tags=tags, is_trashed=is_trashed, sort=Sort.CREATED, limit=_PAGE, cursor=cursor)
            page = await records.images.page(query)
        return page.images, page.next

    async def _begin(self, waiting: Sequence[Purge]) -> list[Purge]:
        """The next batch, as it is kept now; empty when nothing waits."""
        sliced = []
        for purge in waiting:
            try:
                sliced.append(await self._sliced(purge))
            except SafelightError as error:  # one that asks for too much keeps no other one waiting
                await self._put_off([purge], error)
                continue
            if len(joined(sliced, self.ground)) < len(sliced):
                break
        batch, now = new_id(), self.clock()
        return await self._save([purge.begun(batch, at=now) for purge in joined(sliced, self.ground)])

    async def _sliced(self, purge: Purge) -> Purge:
        """With the images that come next, where those are a tag's."""
        if purge.what is not PurgeOf.TAG or purge.slice:
            return purge
        limit = self.ground.images_at_once
        query = ImageQuery(tags=(purge.value,), sort=Sort.CREATED, limit=limit, cursor=purge.goes_on_at)
        async with self.catalog.tenant(purge.tenant) as records:
            page = await records.images.page(query)
        return purge.sliced([image.id for image in page.images], page.next)

    async def _look_on(self, running: Sequence[Purge]) -> list[Purge]:
        """The batch after another look at it: told to whoever has not been told, and over when all are done."""
        paths = paths_of(running, self.ground)
        wanted = [(cdn, some) for cdns, some in ((self.fronts, paths.front), (self.backs, paths.buckets)) if some for cdn in cdns]
        told = dict(running[0].invalidations)
        reference = paths.reference(running[0].batch)
        try:
            for cdn, some in wanted:
                if cdn.name not in told:
                    told[cdn.name] = await cdn.invalidate(some, reference=reference)
        except SafelightError as error:
            return await self._put_off(running, error)
        if told != running[0].invalidations:
            running = await self._save([purge.told(told, at=self.clock()) for purge in running])
            log.info("purges.told", batch=running[0].batch, purges=len(running), paths=paths.most)
        try:
            are_done = [await cdn.is_done(told[cdn.name]) for cdn, _ in wanted]
        except Unavailable as error:
            log.info("purges.not_seen", batch=running[0].batch, error=error.detail)
            return list(running)  # it goes on there; we look again
        except SafelightError as error:
            return await self._put_off(running, error)
        if not all(are_done):
            return list(running)
        after = await self._save([purge.went(at=self.clock()) for purge in running])
        self.instruments.purges.labels("done").inc(sum(purge.has_ended for purge in after))
        return after

    async def _put_off(self, running: Sequence[Purge], error: SafelightError) -> list[Purge]:
        after = await self._save([purge.put_off(f"{error.code}: {error.detail}", at=self.clock()) for purge in running])
        failed = [purge for purge in after if purge.has_ended]
        self.instruments.purges.labels("failed").inc(len(failed))
        tell = log.error if failed else log.warning
        tell("purges.put_off", purges=len(after), failed=len(failed), error=error.detail)
        return after

    async def _add(self, purge: Purge) -> None:
        async with self.catalog.directory(writes=True) as directory:
            await directory.outbox.purges.add(purge)

    async def _save(self, purges: Sequence[Purge]) -> list[Purge]:
        async with self.catalog.directory(writes=True) as directory:
            for purge in purges:
                await directory.outbox.purges.save(purge)
        return list(purges)
