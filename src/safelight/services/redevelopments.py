"""Redevelopments: many of a tenant's pictures are developed again, at most so many a second, and watched until they are.

A request is a row. The clock goes on with it, in whichever process is first: in one transaction it notes which pictures have ended,
has the next ones developed, and moves the row's cursor behind them. So a process that dies has begun a picture and noted it, or has
done neither; what was begun is a run like any other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import structlog

from safelight.domain import access
from safelight.domain.accounts import Actor
from safelight.domain.events import ImageRedeveloping
from safelight.domain.ids import RedevelopmentId, TenantId, is_id, new_id
from safelight.domain.images import normal_tags
from safelight.domain.queries import MAX_LIMIT
from safelight.domain.redevelopments import (
    KEPT,
    MAX_OPEN,
    Redevelopment,
    RedevelopmentState,
    Selection,
    can_be_begun,
    checked_rate,
)
from safelight.errors import Busy, DamagedRecord, Missing, SafelightError, Stale, Unavailable, WrongState
from safelight.observability import Instruments
from safelight.ports.catalog import Catalog
from safelight.services.apart import apart
from safelight.services.recipes import held_for
from safelight.services.relay import Relay
from safelight.services.upkeep import known_of

log = structlog.get_logger()

_LOOKED_AT: Final = 100
"""Redevelopments that one run of the chore goes on with."""
_ROUNDS: Final = 20
"""Transactions for one of them in one run."""
_PAGES: Final = 50
"""Counted in one run."""
_RACES: Final = 10


@dataclass(frozen=True, slots=True)
class Redevelopments:
    """Asked for by admins, gone on with by the clock."""

    catalog: Catalog
    relay: Relay
    clock: Callable[[], datetime]
    instruments: Instruments

    async def ask(
        self, actor: Actor, selection: Selection, *, recipe: str = "", rate: float, is_dry_run: bool = False
    ) -> Redevelopment:
        """Develop these again, by this version of a recipe, or each by the one that is for it when its turn comes.

        Raises Forbidden, Missing for the recipe or the album, BadField, WrongState when too many have not ended.
        """
        access.require(actor, "redevelopment.manage")
        now = self.clock()
        # What comes in later is developed by what holds then.
        before = min(selection.before, now) if selection.before else now
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            if selection.album is not None:
                access.require(actor, "album.read", await records.albums.get(selection.album))
            asked = Redevelopment(
                id=RedevelopmentId(new_id(now.timestamp())),
                tenant=actor.tenant,
                asked_by=actor.user,
                created_at=now,
                updated_at=now,
                next_at=now,
                selection=replace(selection, tags=normal_tags(selection.tags), before=before),
                recipe=records.tenant.recipes.get(recipe) if recipe else None,
                rate=checked_rate(rate),
                is_dry_run=is_dry_run,
            )
            if sum(not one.has_ended for one in await records.redevelopments.page(limit=MAX_LIMIT)) >= MAX_OPEN:
                raise WrongState(f"{MAX_OPEN} redevelopments have not ended; wait, or cancel one.")
            await records.redevelopments.add(asked)
        log.info("redevelopment.asked", redevelopment=asked.id, is_dry_run=is_dry_run)
        return asked

    async def get(self, actor: Actor, redevelopment_id: str) -> Redevelopment:
        """How far it has come. Raises Missing, Forbidden."""
        access.require(actor, "redevelopment.read")
        async with self.catalog.tenant(actor.tenant) as records:
            return await records.redevelopments.get(_id(redevelopment_id))

    async def page(self, actor: Actor, *, before: str = "", limit: int = 50) -> list[Redevelopment]:
        """Newest first, those behind `before`. Raises Forbidden."""
        access.require(actor, "redevelopment.read")
        async with self.catalog.tenant(actor.tenant) as records:
            return await records.redevelopments.page(before=before, limit=limit)

    async def move(self, actor: Actor, redevelopment_id: str, state: RedevelopmentState) -> Redevelopment:
        """Pause, resume or cancel it; pictures that are under way go on. Raises Missing, Forbidden, WrongState, Busy."""
        access.require(actor, "redevelopment.manage")
        for _ in range(_RACES):
            try:
                async with self.catalog.tenant(actor.tenant, writes=True) as records:
                    one = await records.redevelopments.get(_id(redevelopment_id))
                    await records.redevelopments.save(moved := one.moved(state, at=self.clock()))
            except Stale:
                continue  # the clock was faster
            log.info("redevelopment.moved", redevelopment=moved.id, state=moved.state)
            return moved
        raise Busy

    async def advance(self) -> int:
        """Go on with all that there are; how many pictures were begun. Called by the clock, in several processes."""
        async with self.catalog.directory() as directory:
            at_work = await directory.outbox.redeveloping(_LOOKED_AT)
        begun = 0
        for tenant, redevelopment_id in at_work:
            try:
                begun += await self._advance(tenant, redevelopment_id)
            except (Stale, Missing):
                log.debug("redevelopment.overtaken", redevelopment=redevelopment_id)  # another process goes on with it
            except SafelightError as error:
                if isinstance(error, Unavailable) and not isinstance(error, DamagedRecord):
                    raise
                # One that asks for too much keeps nobody else's waiting, and would ask for as much the next time.
                with apart("redevelop", tenant):
                    await self._give_up(tenant, redevelopment_id, error)
            if begun:
                self.relay.nudge()
        return begun

    async def sweep(self) -> int:
        """Forget those that ended long ago; how many."""
        async with self.catalog.directory() as directory:
            tenants = await directory.tenants()
        swept = 0
        for tenant in tenants:
            count = 500
            with apart("sweep_redevelopments", tenant.id):
                while count == 500:
                    async with self.catalog.tenant(tenant.id, writes=True) as records:
                        count = await records.redevelopments.sweep(self.clock() - KEPT, 500)
                    swept += count
        return swept

    async def _advance(self, tenant: TenantId, redevelopment_id: RedevelopmentId) -> int:
        async with self.catalog.tenant(tenant) as records:
            one = await records.redevelopments.get(redevelopment_id)
        if not one.is_counted and one.state is RedevelopmentState.RUNNING:
            one = await self._count(one)
        if not one.is_counted:
            return 0
        total = 0
        for _ in range(_ROUNDS):
            begun, has_more = await self._round(tenant, redevelopment_id)
            total += begun
            if not has_more:
                break
        return total

    async def _give_up(self, tenant: TenantId, redevelopment_id: RedevelopmentId, error: SafelightError) -> None:
        with contextlib.suppress(Stale, Missing):  # the next run meets the same
            async with self.catalog.tenant(tenant, writes=True) as records:
                one = await records.redevelopments.get(redevelopment_id)
                if one.state is not RedevelopmentState.RUNNING:
                    return
                await records.redevelopments.save(one.gave_up(f"{error.code}: {error.detail}", at=self.clock()))
            log.warning("redevelopment.failed", redevelopment=redevelopment_id, code=error.code)

    async def _count(self, one: Redevelopment) -> Redevelopment:
        found, behind = 0, one.goes_on_at
        for _ in range(_PAGES):
            async with self.catalog.tenant(one.tenant) as records:
                query = replace(one.selection.query(limit=MAX_LIMIT, cursor=behind), skips_damaged=True)
                page = await records.images.page(query)
            found, behind = found + len(page.images) + len(page.damaged), page.next
            if behind is None:
                break
        async with self.catalog.tenant(one.tenant, writes=True) as records:
            await records.redevelopments.save(counted := one.counted(found, behind, at=self.clock()))
        return counted

    async def _round(self, tenant: TenantId, redevelopment_id: RedevelopmentId) -> tuple[int, bool]:
        """One transaction: how many were begun, and whether there may be room for more."""
        async with self.catalog.tenant(tenant, writes=True) as records:
            before = await records.redevelopments.get(redevelopment_id)
            now = self.clock()
            known = await known_of(records, [each.image for each in before.under_way])
            one = before.settled({image_id: image for image_id, image in known.items() if image}, at=now)
            room, begun = one.may_begin(at=now), []
            if room > 0:
                query = replace(one.selection.query(limit=room, cursor=one.goes_on_at), skips_damaged=True)
                page = await records.images.page(query)
                for image in page.images:
                    if not can_be_begun(image):
                        continue
                    recipe = one.recipe or await held_for(records, image)
                    again = replace(image.developed_again(at=now), recipe=recipe)
                    await records.images.save(again)
                    await records.emit(replace(ImageRedeveloping.of(again), is_urgent=False))
                    begun.append(again)
                skipped = len(page.images) + len(page.damaged) - len(begun)
                one = one.begun(begun, skipped, page.next, at=now)
            if one is before:
                return 0, False
            await records.redevelopments.save(one := replace(one, revision=before.revision + 1))
        if one.has_ended and not before.has_ended:
            log.info("redevelopment.ended", redevelopment=one.id, done=one.done, failed=one.failed, skipped=one.skipped)
        self.instruments.redeveloped.labels("done").inc(one.done - before.done)
        self.instruments.redeveloped.labels("failed").inc(one.failed - before.failed)
        return len(begun), room > 0 and one.may_begin(at=now) > 0


def _id(text: str) -> RedevelopmentId:
    if not is_id(text):
        raise Missing
    return RedevelopmentId(text)
