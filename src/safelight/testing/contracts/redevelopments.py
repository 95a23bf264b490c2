"""What every catalog must do with redevelopments. Part of CatalogContract."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from safelight.domain.accounts import Tenant
from safelight.domain.ids import AlbumId, ImageId, RedevelopmentId, UserId, new_id
from safelight.domain.images import Status
from safelight.domain.recipes import Recipe
from safelight.domain.redevelopments import ENDED, Redevelopment, RedevelopmentState, Selection, UnderWay
from safelight.errors import AlreadyExists, Forbidden, Missing, Stale, WrongState
from safelight.ports.catalog import Catalog
from safelight.testing.factories import NOON, make_redevelopment, make_tenant

HOUR = timedelta(hours=1)


async def redevelopments_in(catalog: Catalog, *some: Redevelopment) -> None:
    for one in some:
        async with catalog.tenant(one.tenant, writes=True) as records:
            await records.redevelopments.add(one)


async def at_work_in(catalog: Catalog, tenant: Tenant) -> list[RedevelopmentId]:
    """The tenant's; other tests' may be at work too."""
    async with catalog.directory() as directory:
        return [id for of, id in await directory.outbox.redeveloping(10_000) if of == tenant.id]


class RedevelopmentsContract:
    async def test_every_field_of_a_redevelopment_comes_back(self, catalog: Catalog, tenant: Tenant) -> None:
        plain = make_redevelopment(tenant.id)
        full = make_redevelopment(
            tenant.id,
            asked_by=UserId(new_id()),
            updated_at=NOON + HOUR,
            next_at=NOON + HOUR,
            state=RedevelopmentState.PAUSED,
            selection=Selection(
                album=AlbumId(new_id()), tags=("größe", "sale"), status=Status.READY, after=NOON - HOUR, before=NOON + HOUR
            ),
            recipe=Recipe(name="shop", version=3, renditions=("large",), watermark="wmt=Été"),
            rate=0.125,
            is_dry_run=True,
            is_counted=True,
            is_begun=True,
            cursor="abc",
            total=9,
            done=1,
            failed=2,
            skipped=3,
            under_way=tuple(UnderWay(image=ImageId(new_id()), version=n, printing=n + 1) for n in range(3)),
            cause="too_broad: größer als erlaubt",
        )
        await redevelopments_in(catalog, plain, full)

        async with catalog.tenant(tenant.id) as records:
            assert await records.redevelopments.get(plain.id) == plain
            assert await records.redevelopments.get(full.id) == full

    async def test_a_redevelopment_is_added_once(self, catalog: Catalog, tenant: Tenant) -> None:
        one = make_redevelopment(tenant.id)
        await redevelopments_in(catalog, one)

        with pytest.raises(AlreadyExists):
            await redevelopments_in(catalog, replace(one, total=7))
        async with catalog.tenant(tenant.id) as records:
            assert await records.redevelopments.get(one.id) == one

    async def test_of_those_who_go_on_with_a_redevelopment_the_first_has_decided(self, catalog: Catalog, tenant: Tenant) -> None:
        one = make_redevelopment(tenant.id)
        await redevelopments_in(catalog, one)

        async def count(n: int) -> bool:
            try:
                async with catalog.tenant(tenant.id, writes=True) as records:
                    await records.redevelopments.save(one.counted(n, None, at=NOON))
            except Stale:
                return False
            return True

        counted = await asyncio.gather(*map(count, range(1, 9)))

        assert sum(counted) == 1
        async with catalog.tenant(tenant.id) as records:
            assert (await records.redevelopments.get(one.id)).total == counted.index(True) + 1

    async def test_what_is_undone_leaves_a_redevelopment_as_it_was(self, catalog: Catalog, tenant: Tenant) -> None:
        one = make_redevelopment(tenant.id)
        await redevelopments_in(catalog, one)

        with pytest.raises(RuntimeError):
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.redevelopments.save(one.moved(RedevelopmentState.CANCELLED, at=NOON))
                raise RuntimeError

        async with catalog.tenant(tenant.id) as records:
            assert await records.redevelopments.get(one.id) == one
        assert await at_work_in(catalog, tenant) == [one.id]

    async def test_those_at_work_are_found_until_there_is_nothing_to_do(self, catalog: Catalog, tenant: Tenant) -> None:
        waiting = UnderWay(image=ImageId(new_id()), version=1, printing=1)
        running, ending = make_redevelopment(tenant.id), make_redevelopment(tenant.id, under_way=(waiting,), is_counted=True)
        await redevelopments_in(catalog, running, ending)

        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.redevelopments.save(running := running.moved(RedevelopmentState.PAUSED, at=NOON))
            await records.redevelopments.save(ending := ending.moved(RedevelopmentState.CANCELLED, at=NOON))
        assert await at_work_in(catalog, tenant) == [ending.id]

        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.redevelopments.save(running.moved(RedevelopmentState.RUNNING, at=NOON))
            await records.redevelopments.save(ending.settled({}, at=NOON))
        assert await at_work_in(catalog, tenant) == [running.id]

    async def test_redevelopments_are_listed_newest_first_and_no_other_tenants(self, catalog: Catalog, tenant: Tenant) -> None:
        other = make_tenant()
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(other)
        some = [make_redevelopment(tenant.id, created_at=NOON + number * HOUR) for number in range(5)]
        theirs = make_redevelopment(other.id)
        await redevelopments_in(catalog, *some, theirs)

        async with catalog.tenant(tenant.id) as records:
            first = await records.redevelopments.page(limit=2)
            rest = await records.redevelopments.page(before=first[-1].id, limit=10)
            assert first + rest == some[::-1]
            with pytest.raises(Missing):
                await records.redevelopments.get(theirs.id)
        async with catalog.tenant(tenant.id, writes=True) as records:
            with pytest.raises(Forbidden):
                await records.redevelopments.add(make_redevelopment(other.id))
            with pytest.raises(Missing):
                await records.redevelopments.save(make_redevelopment(tenant.id, revision=2))

    async def test_those_that_ended_long_ago_are_forgotten(self, catalog: Catalog, tenant: Tenant) -> None:
        old = [make_redevelopment(tenant.id, state=state) for state in ENDED]
        recent = make_redevelopment(tenant.id, state=RedevelopmentState.DONE, updated_at=NOON + 2 * HOUR)
        running = make_redevelopment(tenant.id)
        await redevelopments_in(catalog, *old, recent, running)

        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.redevelopments.sweep(NOON + HOUR) == len(old)

        async with catalog.tenant(tenant.id) as records:
            assert {one.id for one in await records.redevelopments.page()} == {recent.id, running.id}

    async def test_who_only_reads_cannot_ask_for_one(self, catalog: Catalog, tenant: Tenant) -> None:
        with pytest.raises(WrongState):
            async with catalog.tenant(tenant.id) as records:
                await records.redevelopments.add(make_redevelopment(tenant.id))
