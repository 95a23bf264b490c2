"""Parts that fail as real ones do, each before one that works: for tests of what is left behind, and of who goes on."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager, closing

from safelight.errors import BackendUnavailable, Stale, TooBroad


class Altered:
    """Something, with other attributes."""

    def __init__(self, inner, **others) -> None:
        self._inner = inner
        self.__dict__ |= others

    def __getattr__(self, name):
        return getattr(self._inner, name)


def read_only(catalog):
    """It is gone when a tenant is to be written."""

    @asynccontextmanager
    async def tenant(tenant, *, writes=False):
        async with catalog.tenant(tenant, writes=writes) as records:
            if writes:
                raise BackendUnavailable
            yield records

    return Altered(catalog, tenant=tenant)


def silent(catalog):
    """It does what it is asked, and its word on a tenant's commit is lost."""

    @asynccontextmanager
    async def tenant(tenant, *, writes=False):
        async with catalog.tenant(tenant, writes=writes) as records:
            yield records
        if writes:
            raise BackendUnavailable

    return Altered(catalog, tenant=tenant)


def overtaken(catalog, *, times):
    """So many of its transactions over a tenant find that another was faster, when they are to be committed."""
    left = iter(range(times))

    @asynccontextmanager
    async def tenant(tenant, *, writes=False):
        async with catalog.tenant(tenant, writes=writes) as records:
            yield records
            if writes and next(left, None) is not None:
                raise Stale

    return Altered(catalog, tenant=tenant)


def blind_to_sessions(catalog):
    """It sees none: those of sign-ins that commit a moment later."""

    async def sessions(_user):
        return []

    return _seen_by_tenants(catalog, lambda records: Altered(records, people=Altered(records.people, sessions=sessions)))


def refusing_tag(catalog, tag):
    """It refuses to look for one tag, as DynamoDB does behind fifty thousand images without it."""

    def refusing(records):
        async def page(query):
            if tag in query.tags:
                raise TooBroad
            return await records.images.page(query)

        return Altered(records, images=Altered(records.images, page=page))

    return _seen_by_tenants(catalog, refusing)


def _seen_by_tenants(catalog, altered):
    """With other records in the transactions of tenants."""

    @asynccontextmanager
    async def tenant(tenant, *, writes=False):
        async with catalog.tenant(tenant, writes=writes) as records:
            yield altered(records)

    return Altered(catalog, tenant=tenant)


async def spoil(app, table, column, id):
    """Its row has JSON that ends too early, as if the disk had lost the rest."""

    def cut():
        with closing(sqlite3.connect(app.safelight.settings.data_dir / "catalog.db", timeout=60)) as rows, rows:
            assert rows.execute(f"UPDATE {table} SET {column} = '{{' WHERE id = ?", [id]).rowcount == 1

    await asyncio.to_thread(cut)  # who has the database locked goes on in this loop
