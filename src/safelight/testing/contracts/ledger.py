"""What every ledger must do, sentence by sentence of ports.ledger. Part of the catalog's contract, which gives `catalog` and `tenant`."""

from __future__ import annotations

import asyncio

import pytest

from safelight.domain.accounts import Tenant
from safelight.domain.tenants import Stored
from safelight.domain.usage import Counts, Usage
from safelight.errors import Stale, WrongState
from safelight.ports.catalog import Catalog
from safelight.testing.factories import make_tenant

MONTH = "2026-06"


class LedgerContract:
    """Inherited by CatalogContract."""

    async def test_a_month_of_which_nothing_is_known_is_zero(self, catalog: Catalog, tenant: Tenant) -> None:
        async with catalog.ledger() as ledger:
            assert await ledger.usage(tenant.id, MONTH) == Usage(tenant=tenant.id, month=MONTH, counts=Counts())

    async def test_counts_add_up_by_tenant_and_month(self, catalog: Catalog, tenant: Tenant) -> None:
        other = make_tenant()
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(other)
        for whose, month, counts in (
            (tenant, MONTH, Counts(1, 2, 3, 4, 2**40, 6)),
            (tenant, MONTH, Counts(uploads=10, requests=1)),
            (tenant, "2026-07", Counts(requests=7)),
            (other, MONTH, Counts(deliveries=9)),
        ):
            async with catalog.ledger(writes=True) as ledger:
                await ledger.add(whose.id, month, counts)

        async with catalog.ledger() as ledger:
            assert (await ledger.usage(tenant.id, MONTH)).counts == Counts(11, 2, 3, 4, 2**40, 7)
            assert (await ledger.usage(tenant.id, "2026-07")).counts == Counts(requests=7)
            found = {each.tenant: each.counts for each in await ledger.usages(MONTH)}
            assert (found[tenant.id].uploads, found[other.id]) == (11, Counts(deliveries=9))
            assert list(found) == sorted(found)
            assert await ledger.usages("1999-01") == []

    async def test_of_many_who_add_at_once_nothing_is_lost(self, catalog: Catalog, tenant: Tenant) -> None:
        async def add() -> None:
            async with catalog.ledger(writes=True) as ledger:
                await ledger.add(tenant.id, MONTH, Counts(requests=1, delivered_bytes=5))

        await asyncio.gather(*(add() for _ in range(8)))

        async with catalog.ledger() as ledger:
            assert (await ledger.usage(tenant.id, MONTH)).counts == Counts(requests=8, delivered_bytes=40)

    async def test_an_hour_is_noted_once_whoever_looks(self, catalog: Catalog, tenant: Tenant) -> None:
        async def look(hour: int, stored: Stored) -> bool:
            try:
                async with catalog.ledger(writes=True) as ledger:
                    await ledger.sample(tenant.id, MONTH, hour, stored)
            except Stale:
                return False
            return True

        assert (await asyncio.gather(*(look(100, Stored(10, 1)) for _ in range(4)))).count(True) == 1
        assert not await look(99, Stored(10, 1))
        assert await look(101, Stored(30, 3))

        async with catalog.ledger() as ledger:
            usage = await ledger.usage(tenant.id, MONTH)
        assert (usage.samples, usage.byte_hours, usage.image_hours) == (2, 40, 4)
        assert (usage.average_bytes, usage.average_images) == (20, 2)

    async def test_who_reads_the_ledger_does_not_write_it(self, catalog: Catalog, tenant: Tenant) -> None:
        async with catalog.ledger() as ledger:
            with pytest.raises(WrongState):
                await ledger.add(tenant.id, MONTH, Counts(requests=1))
            with pytest.raises(WrongState):
                await ledger.sample(tenant.id, MONTH, 1, Stored())
