"""What every catalog must do for the audit trail, sentence by sentence of TrailRecords. CatalogContract inherits it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from safelight.domain.accounts import Tenant
from safelight.domain.audit import INSTALLATION, Checkpoint, Entry, Head, Origin, Sealed, TrailQuery, Verifier, new_head, seal
from safelight.domain.ids import new_id
from safelight.errors import AlreadyExists, Forbidden, Stale, WrongState
from safelight.ports.catalog import Catalog
from safelight.testing.factories import NOON, make_tenant

ADA = "a" * 32


def make_entry(chain: str, **fields: Any) -> Entry:
    """An entry with an origin."""
    told: dict[str, Any] = {
        "chain": chain, "id": new_id(), "at": NOON, "action": "image.edited", "actor": ADA, "object": f"image/{new_id()}",
        "origin": Origin(address="192.0.2.7", agent="a browser", key="k"),
    }  # fmt: skip
    return Entry(**(told | fields)).committed()


async def appended(catalog: Catalog, chain: str, *entries: Entry) -> None:
    """Each unsealed."""
    async with catalog.tenant(chain, writes=True) as records:  # type: ignore[arg-type]
        for entry in entries:
            await records.trail.append(entry)


async def sealed_in(catalog: Catalog, chain: str, *entries: Entry) -> list[Sealed]:
    """Appended, then sealed in order."""
    await appended(catalog, chain, *entries)
    async with catalog.tenant(chain, writes=True) as records:  # type: ignore[arg-type]
        was = await records.trail.head()
        sealed = seal(entries, was.last)
        await records.trail.seal(sealed, Head(Checkpoint(sealed[-1].number, sealed[-1].hash), was.pruned), was=was)
    return sealed


async def page(catalog: Catalog, chain: str, **query: Any) -> list[Sealed]:
    """A page in a transaction of its own."""
    async with catalog.tenant(chain) as records:  # type: ignore[arg-type]
        return await records.trail.page(TrailQuery(**query))


class TrailContract:
    """Needs the fixtures `catalog` and `tenant`."""

    async def test_an_appended_entry_waits_to_be_sealed_in_the_order_of_ids(self, catalog: Catalog, tenant: Tenant) -> None:
        first, second = make_entry(tenant.id), replace(make_entry(tenant.id), id="7" + new_id()[1:])
        await appended(catalog, tenant.id, second, first)

        async with catalog.tenant(tenant.id) as records:
            assert await records.trail.unsealed(10) == [first, second]
            assert await records.trail.unsealed(1) == [first]
            assert await records.trail.head() == new_head(tenant.id)
            assert await records.trail.page(TrailQuery()) == []

    async def test_an_entry_is_there_when_and_only_when_its_transaction_commits(self, catalog: Catalog, tenant: Tenant) -> None:
        with pytest.raises(RuntimeError):
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.trail.append(make_entry(tenant.id))
                raise RuntimeError

        async with catalog.tenant(tenant.id) as records:
            assert await records.trail.unsealed(10) == []

    async def test_a_transaction_that_reads_appends_nothing(self, catalog: Catalog, tenant: Tenant) -> None:
        async with catalog.tenant(tenant.id) as records:
            with pytest.raises(WrongState):
                await records.trail.append(make_entry(tenant.id))

    async def test_an_id_is_taken_once_and_another_chains_entry_is_refused(self, catalog: Catalog, tenant: Tenant) -> None:
        entry = make_entry(tenant.id)
        await appended(catalog, tenant.id, entry)

        with pytest.raises(AlreadyExists):
            await appended(catalog, tenant.id, entry)
        with pytest.raises(Forbidden):
            await appended(catalog, tenant.id, make_entry(INSTALLATION))

    async def test_what_is_sealed_comes_back_in_its_place_and_holds(self, catalog: Catalog, tenant: Tenant) -> None:
        sealed = await sealed_in(catalog, tenant.id, *(make_entry(tenant.id) for _ in range(25)))
        sealed += await sealed_in(catalog, tenant.id, make_entry(tenant.id, origin=None, actor="system"))

        async with catalog.tenant(tenant.id) as records:
            assert await records.trail.unsealed(10) == []
            head = await records.trail.head()
        assert await page(catalog, tenant.id, is_oldest_first=True) == sealed
        assert await page(catalog, tenant.id) == sealed[::-1]
        verifier = Verifier(tenant.id, head.pruned, {})
        for one in await page(catalog, tenant.id, is_oldest_first=True):
            verifier.take(one)
        verifier.end(head)

    async def test_who_has_seen_an_older_head_seals_nothing(self, catalog: Catalog, tenant: Tenant) -> None:
        entry = make_entry(tenant.id)
        await sealed_in(catalog, tenant.id, make_entry(tenant.id))
        await appended(catalog, tenant.id, entry)
        was = new_head(tenant.id)
        late = seal([entry], was.last)

        with pytest.raises(Stale):
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.trail.seal(late, Head(Checkpoint(1, late[0].hash), was.pruned), was=was)
        async with catalog.tenant(tenant.id) as records:
            assert await records.trail.unsealed(10) == [entry]

    async def test_of_many_who_seal_at_once_one_does_and_no_number_is_given_twice(self, catalog: Catalog, tenant: Tenant) -> None:
        await appended(catalog, tenant.id, *(make_entry(tenant.id) for _ in range(8)))

        async def once() -> None:
            async with catalog.tenant(tenant.id, writes=True) as records:
                was = await records.trail.head()
                sealed = seal(await records.trail.unsealed(3), was.last)
                if sealed:
                    await records.trail.seal(sealed, Head(Checkpoint(sealed[-1].number, sealed[-1].hash), was.pruned), was=was)

        for _ in range(30):
            results = await asyncio.gather(*(once() for _ in range(3)), return_exceptions=True)
            assert all(result is None or isinstance(result, Stale) for result in results), results
            async with catalog.tenant(tenant.id) as records:
                if not await records.trail.unsealed(1):
                    break

        assert [one.number for one in await page(catalog, tenant.id, is_oldest_first=True)] == list(range(1, 9))

    async def test_pages_are_narrowed_by_what_an_entry_says(self, catalog: Catalog, tenant: Tenant) -> None:
        hour, zoe = timedelta(hours=1), "b" * 32
        sealed = await sealed_in(
            catalog,
            tenant.id,
            make_entry(tenant.id, action="image.edited", object="image/1"),
            make_entry(tenant.id, action="image.trashed", object="image/1", at=NOON + hour),
            make_entry(tenant.id, action="images.read", actor=zoe, at=NOON + 2 * hour, result="forbidden"),
            make_entry(tenant.id, action="album.added", actor=zoe, at=NOON + 3 * hour),
        )

        async def numbers(**query: Any) -> list[int]:
            return [one.number for one in await page(catalog, tenant.id, is_oldest_first=True, **query)]

        assert await numbers(actors=frozenset({zoe})) == [3, 4]
        assert await numbers(actors=frozenset({zoe, ADA}), action="image.*") == [1, 2]
        assert await numbers(actors=frozenset()) == []
        assert await numbers(action="image.trashed") == [2]
        assert await numbers(objects=frozenset({"image/1"})) == [1, 2]
        assert await numbers(result="forbidden") == [3]
        assert await numbers(since=NOON + hour, until=NOON + 3 * hour) == [2, 3]
        assert await numbers(after=2) == [3, 4]
        assert await page(catalog, tenant.id, after=3, limit=1) == [sealed[1]]
        assert await page(catalog, tenant.id, actors=frozenset({zoe}), limit=1) == [sealed[3]]

    async def test_an_actors_origins_can_be_forgotten_and_the_chain_still_holds(self, catalog: Catalog, tenant: Tenant) -> None:
        zoe = "b" * 32
        sealed = await sealed_in(catalog, tenant.id, *(make_entry(tenant.id, actor=who) for who in (ADA, zoe, ADA)))
        waiting = make_entry(tenant.id)
        await appended(catalog, tenant.id, waiting)

        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.trail.forget_origins([ADA], limit=2) == 2
        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.trail.forget_origins([ADA], limit=2) == 1
        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.trail.forget_origins([ADA], limit=2) == 0

        found = await page(catalog, tenant.id, is_oldest_first=True)
        assert [one.entry.origin is None for one in found] == [True, False, True]
        assert [one.hash for one in found] == [one.hash for one in sealed]
        assert [one.entry.commitment for one in found] == [one.entry.commitment for one in sealed]
        async with catalog.tenant(tenant.id) as records:
            assert await records.trail.unsealed(10) == [replace(waiting, origin=None)]

    async def test_what_was_pruned_is_not_seen_and_can_be_dropped(self, catalog: Catalog, tenant: Tenant) -> None:
        sealed = await sealed_in(catalog, tenant.id, *(make_entry(tenant.id) for _ in range(5)))
        async with catalog.tenant(tenant.id, writes=True) as records:
            was = await records.trail.head()
            await records.trail.seal([], replace(was, pruned=Checkpoint(3, sealed[2].hash)), was=was)

        assert await page(catalog, tenant.id) == [sealed[4], sealed[3]]
        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.trail.drop_pruned(2) == 2
        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.trail.drop_pruned(2) == 1
        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.trail.drop_pruned(2) == 0
        assert await page(catalog, tenant.id) == [sealed[4], sealed[3]]

    async def test_an_entry_may_be_sealed_that_never_waited(self, catalog: Catalog, tenant: Tenant) -> None:
        async with catalog.tenant(tenant.id, writes=True) as records:
            was = await records.trail.head()
            (one,) = seal([make_entry(tenant.id)], was.last)
            await records.trail.seal([one], Head(Checkpoint(1, one.hash), was.pruned), was=was)

        assert await page(catalog, tenant.id) == [one]

    async def test_a_chain_knows_nothing_of_another(self, catalog: Catalog, tenant: Tenant) -> None:
        other = make_tenant()
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(other)
            await directory.trail.append(make_entry(INSTALLATION, action="tenant.added", object=f"tenant/{other.id}"))
        await sealed_in(catalog, tenant.id, make_entry(tenant.id))

        assert await page(catalog, other.id) == []
        async with catalog.tenant(other.id, writes=True) as records:
            assert await records.trail.forget_origins([ADA], limit=10) == 0
        async with catalog.directory() as directory:
            assert f"tenant/{other.id}" in [entry.object for entry in await directory.trail.unsealed(1000)]
        async with catalog.tenant(tenant.id) as records:
            assert all(one.entry.origin for one in await records.trail.page(TrailQuery()))
