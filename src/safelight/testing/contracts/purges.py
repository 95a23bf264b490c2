"""What every catalog must do with what caches are to let go of. Part of CatalogContract."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from safelight.domain.accounts import Tenant
from safelight.domain.ids import ImageId, PurgeId, new_id
from safelight.domain.purges import Purge, PurgeOf, PurgeState
from safelight.errors import AlreadyExists, BadField, Missing, Stale, WrongState
from safelight.ports.catalog import Catalog
from safelight.testing.factories import NOON, make_purge, make_tenant

HOUR = timedelta(hours=1)


async def purges_in(catalog: Catalog, *purges: Purge) -> None:
    async with catalog.directory(writes=True) as directory:
        for purge in purges:
            await directory.outbox.purges.add(purge)


async def due_in(catalog: Catalog, tenant: Tenant, *, hours: float, is_ours: bool = False) -> list[PurgeId]:
    """The tenant's that are due so many hours after noon; other tests' may be due too."""
    async with catalog.directory() as directory:
        due = await directory.outbox.purges.due(NOON + hours * HOUR, is_ours=is_ours, limit=10_000)
    return [one.id for one in due if one.tenant == tenant.id]


class PurgesContract:
    async def test_every_field_of_a_purge_comes_back(self, catalog: Catalog, tenant: Tenant) -> None:
        plain = make_purge(tenant.id)
        full = make_purge(
            tenant.id,
            what=PurgeOf.TAG,
            value="größe",
            updated_at=NOON + HOUR,
            due_at=None,
            state=PurgeState.FAILED,
            images=7,
            images_done=5,
            slice=(ImageId(new_id()), ImageId(new_id())),
            cursor="abc",
            batch=new_id(),
            invalidations={"E1": "I1", "E2": "I2"},
            attempts=3,
            cause="busy: Zu viel. 日本",
        )
        await purges_in(catalog, plain, full)

        async with catalog.directory() as directory:
            assert await directory.outbox.purges.get(tenant.id, plain.id) == plain
            assert await directory.outbox.purges.get(tenant.id, full.id) == full

    async def test_a_purge_is_added_once(self, catalog: Catalog, tenant: Tenant) -> None:
        purge = make_purge(tenant.id)
        await purges_in(catalog, purge)

        with pytest.raises(AlreadyExists):
            await purges_in(catalog, replace(purge, cause="another"))
        async with catalog.directory() as directory:
            assert await directory.outbox.purges.get(tenant.id, purge.id) == purge

    async def test_of_those_who_go_on_with_a_purge_the_first_has_decided(self, catalog: Catalog, tenant: Tenant) -> None:
        purge = make_purge(tenant.id)
        await purges_in(catalog, purge)

        async def begin(n: int) -> bool:
            try:
                async with catalog.directory(writes=True) as directory:
                    await directory.outbox.purges.save(purge.begun(f"batch{n}", at=NOON))
            except Stale:
                return False
            return True

        begun = await asyncio.gather(*map(begin, range(8)))

        assert sum(begun) == 1
        async with catalog.directory() as directory:
            assert (await directory.outbox.purges.get(tenant.id, purge.id)).batch == f"batch{begun.index(True)}"

    async def test_several_purges_go_on_together_or_not_at_all(self, catalog: Catalog, tenant: Tenant) -> None:
        first, second = make_purge(tenant.id), make_purge(tenant.id)
        await purges_in(catalog, first, second)

        with pytest.raises(Stale):
            async with catalog.directory(writes=True) as directory:
                await directory.outbox.purges.save(first.begun("batch", at=NOON))
                await directory.outbox.purges.save(replace(second.begun("batch", at=NOON), revision=7))
        async with catalog.directory() as directory:
            assert await directory.outbox.purges.get(tenant.id, first.id) == first

    async def test_purges_of_every_tenant_are_due_longest_overdue_first(self, catalog: Catalog, tenant: Tenant) -> None:
        other = make_tenant()
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(other)
        late, early, ended = (make_purge(tenant.id, due_at=due_at) for due_at in (NOON + HOUR, NOON, None))
        foreign = make_purge(other.id)
        await purges_in(catalog, late, early, ended, foreign)

        assert await due_in(catalog, tenant, hours=-0.001) == []
        assert await due_in(catalog, tenant, hours=0) == [early.id]
        assert await due_in(catalog, tenant, hours=1) == [early.id, late.id]
        assert await due_in(catalog, other, hours=1) == [foreign.id]
        async with catalog.directory() as directory:
            assert len(await directory.outbox.purges.due(NOON + HOUR, is_ours=False, limit=1)) == 1

    async def test_tenants_take_turns_however_many_purges_one_of_them_has(self, catalog: Catalog, tenant: Tenant) -> None:
        other = make_tenant()
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(other)
        many = [make_purge(tenant.id, due_at=NOON + timedelta(seconds=n)) for n in range(4)]
        late = [make_purge(other.id, due_at=NOON + HOUR + timedelta(seconds=n)) for n in range(2)]
        await purges_in(catalog, *reversed(many), *late)

        async with catalog.directory() as directory:
            due = await directory.outbox.purges.due(NOON + 2 * HOUR, is_ours=False, limit=10_000)

        mine = [one.id for one in due if one.tenant in (tenant.id, other.id)]
        assert mine == [one.id for one in (many[0], late[0], many[1], late[1], many[2], many[3])]

    async def test_purges_of_our_own_caches_and_of_cdns_wait_in_lines_of_their_own(
        self, catalog: Catalog, tenant: Tenant
    ) -> None:
        purge, other = make_purge(tenant.id, state=PurgeState.REMOVING), make_purge(tenant.id)
        await purges_in(catalog, purge, other)
        assert await due_in(catalog, tenant, hours=1, is_ours=True) == [purge.id]
        assert await due_in(catalog, tenant, hours=1) == [other.id]

        async with catalog.directory(writes=True) as directory:  # on to the CDNs, at the very time at which it was due
            await directory.outbox.purges.save(replace(purge, state=PurgeState.WAITING, revision=2))
        assert await due_in(catalog, tenant, hours=1, is_ours=True) == []
        assert set(await due_in(catalog, tenant, hours=1)) == {purge.id, other.id}

        async with catalog.directory(writes=True) as directory:
            await directory.outbox.purges.save(replace(purge, due_at=None, state=PurgeState.DONE, revision=3))
        assert await due_in(catalog, tenant, hours=1) == [other.id]

    async def test_a_purge_moves_in_the_line_and_leaves_it(self, catalog: Catalog, tenant: Tenant) -> None:
        purge = make_purge(tenant.id)
        await purges_in(catalog, purge)
        async with catalog.directory(writes=True) as directory:
            await directory.outbox.purges.save(put_off := purge.put_off("busy", at=NOON + HOUR))

        assert await due_in(catalog, tenant, hours=1) == []
        assert await due_in(catalog, tenant, hours=2) == [purge.id]
        async with catalog.directory(writes=True) as directory:
            await directory.outbox.purges.save(done := put_off.went(at=NOON + 2 * HOUR))
        assert await due_in(catalog, tenant, hours=99) == []
        async with catalog.directory() as directory:
            assert await directory.outbox.purges.get(tenant.id, purge.id) == done

    async def test_a_tenant_s_purges_are_paged_newest_first(self, catalog: Catalog, tenant: Tenant) -> None:
        other = make_tenant()
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(other)
        purges = [make_purge(tenant.id, created_at=NOON + n * HOUR) for n in range(5)]
        await purges_in(catalog, *purges, make_purge(other.id, created_at=NOON + 9 * HOUR))
        newest_first = [purge.id for purge in reversed(purges)]

        async with catalog.directory() as directory:
            records = directory.outbox.purges
            assert [purge.id for purge in await records.page(tenant.id)] == newest_first
            assert [purge.id for purge in await records.page(tenant.id, limit=2)] == newest_first[:2]
            assert [purge.id for purge in await records.page(tenant.id, before=newest_first[1], limit=2)] == newest_first[2:4]
            assert await records.page(tenant.id, before=newest_first[4]) == []

    async def test_another_tenant_s_purge_is_missing(self, catalog: Catalog, tenant: Tenant) -> None:
        other = make_tenant()
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(other)
        purge = make_purge(tenant.id)
        await purges_in(catalog, purge)

        async with catalog.directory(writes=True) as directory:
            for missing in (
                directory.outbox.purges.get(other.id, purge.id),
                directory.outbox.purges.save(replace(purge.begun("b", at=NOON), tenant=other.id)),
                directory.outbox.purges.save(make_purge(tenant.id)),
            ):
                with pytest.raises(Missing):
                    await missing

    async def test_purges_that_ended_long_ago_are_forgotten(self, catalog: Catalog, tenant: Tenant) -> None:
        old = [make_purge(tenant.id, created_at=NOON + n * HOUR, due_at=None, updated_at=NOON) for n in range(3)]
        fresh = make_purge(tenant.id, created_at=NOON + 4 * HOUR, due_at=None, updated_at=NOON + 9 * HOUR)
        waiting = make_purge(tenant.id, created_at=NOON + 5 * HOUR)
        await purges_in(catalog, *old, fresh, waiting)

        async with catalog.directory(writes=True) as directory:
            assert await directory.outbox.purges.sweep(tenant.id, NOON + HOUR, limit=2) == 2
        async with catalog.directory(writes=True) as directory:
            assert await directory.outbox.purges.sweep(tenant.id, NOON + HOUR) == 1
        async with catalog.directory() as directory:
            assert [purge.id for purge in await directory.outbox.purges.page(tenant.id)] == [waiting.id, fresh.id]

    async def test_reading_writes_no_purge(self, catalog: Catalog, tenant: Tenant) -> None:
        purge = make_purge(tenant.id)
        async with catalog.directory() as directory:
            for writing in (
                directory.outbox.purges.add(purge),
                directory.outbox.purges.save(purge),
                directory.outbox.purges.sweep(tenant.id, NOON),
            ):
                with pytest.raises(WrongState):
                    await writing

    async def test_a_purge_that_cannot_be_kept_is_refused(self, catalog: Catalog, tenant: Tenant) -> None:
        for bad in ("\ud800", "\x00"):
            with pytest.raises(BadField):
                await purges_in(catalog, make_purge(tenant.id, cause=bad))
