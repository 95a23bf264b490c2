"""The Tables contract on SQLite, PostgreSQL and DynamoDB, each with another one at the other end."""

from __future__ import annotations

import contextlib

import pytest
from tests.servers.moto import moto  # noqa: F401
from tests.servers.postgres import postgres, postgres_cluster, postgres_url  # noqa: F401

from safelight.adapters.catalog.dynamodb import DynamoCatalog, DynamoOptions, DynamoTables, items
from safelight.adapters.catalog.secretbox import SecretBox
from safelight.adapters.catalog.sql import SqlCatalog
from safelight.adapters.catalog.sql_tables import SqlTables
from safelight.domain.events import ImageReady
from safelight.domain.ids import UserId
from safelight.errors import BackendUnavailable, WrongState
from safelight.testing.contracts.archive import TablesContract
from safelight.testing.factories import make_image

HERE, THERE = b"k" * 32, b"o" * 32


def catalog_at(url, key):
    if url.startswith("dynamodb://"):
        return DynamoCatalog(DynamoOptions.from_url(url), secrets=key)
    return SqlCatalog(url, secrets=key)


@contextlib.asynccontextmanager
async def opened(url, key, folder):
    await catalog_at(url, key).migrate()
    if url.startswith("dynamodb://"):
        tables = DynamoTables(DynamoOptions.from_url(url), secrets=SecretBox(key), spool=folder)
    else:
        tables = SqlTables(url, secrets=SecretBox(key))
    await tables.open()
    try:
        yield tables
    finally:
        await tables.close()


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path / 'catalog.db'}"


class Ends(TablesContract):
    @pytest.fixture
    async def tables(self, here, tmp_path):
        async with opened(here, HERE, tmp_path / "here") as tables:
            yield tables

    @pytest.fixture
    async def other_tables(self, there, tmp_path):
        async with opened(there, THERE, tmp_path / "there") as tables:
            yield tables

    @pytest.fixture
    async def catalog(self, here):
        catalog = catalog_at(here, HERE)
        yield catalog
        await catalog.close()

    @pytest.fixture
    async def other_catalog(self, there):
        catalog = catalog_at(there, THERE)
        yield catalog
        await catalog.close()


class TestSqliteTables(Ends):
    @pytest.fixture
    def here(self, sqlite_url):
        return sqlite_url

    @pytest.fixture
    def there(self, postgres_url):
        return postgres_url


class TestPostgresTables(Ends):
    @pytest.fixture
    def here(self, postgres_url):
        return postgres_url

    @pytest.fixture
    def there(self, moto):
        return moto.catalog_url()


class TestDynamoTables(Ends):
    @pytest.fixture
    def here(self, moto):
        return moto.catalog_url()

    @pytest.fixture
    def there(self, sqlite_url):
        return sqlite_url

    async def test_numbers_beyond_what_sql_keeps_become_the_next_ones_in_their_order(self, tables, catalog):
        await catalog.open()
        tenant, images = await self._filled(catalog)
        for image in images[:2]:
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.emit(ImageReady(tenant.id, image, 1, 2, UserId("somebody")))
        await catalog.close()
        await tables.write("events", [dict((await tables.read("events"))[0]) | {"number": 7, "payload": {"tenant": tenant.id}}])

        assert [row["number"] for row in await tables.read("events")] == [7, 8, 9, 10]

    async def test_who_ends_amid_a_page_goes_on_behind_what_is_there(self, tables, other_tables, other_catalog, tmp_path, here):
        await other_catalog.open()
        tenant, _ = await self._filled(other_catalog)
        async with other_catalog.tenant(tenant.id, writes=True) as records:
            for _ in range(40):
                await records.images.add(make_image(tenant.id, tags=("sea",)))
        await other_catalog.close()
        rows = await other_tables.read("images")
        await tables.write("tenants", await other_tables.read("tenants"))
        sent, call = [], tables._connection.call

        async def cut(operation, **arguments):
            if operation == "transact_write_items":
                sent.append(operation)
                if len(sent) == 2:
                    raise BackendUnavailable
            return await call(operation, **arguments)

        tables._connection.call = cut
        with pytest.raises(BackendUnavailable):
            await tables.write("images", rows)

        async with opened(here, HERE, tmp_path / "again") as again:
            last = await again.last("images")
            done = rows.index(last) + 1
            assert 0 < done < len(rows)
            await again.write("images", rows[done:])
            assert await again.read("images") == rows
            assert len(await again.read("image_tags")) == 40 + 10

    async def test_what_has_lost_its_parent_is_left_out(self, tables, catalog):
        await catalog.open()
        _tenant, images = await self._filled(catalog)
        connection, name = catalog._connection, catalog.options.table
        gone = dict(zip(("PK", "SK"), items.image_key(images[0]), strict=True))
        await connection.client.delete_item(TableName=name, Key=items.encoded(gone))
        await catalog.close()

        assert len(await tables.read("album_images")) == 4
        assert len(await tables.read("image_tags")) == 8

    async def test_an_item_that_nobody_knows_ends_the_reading(self, tables, catalog):
        await catalog.open()
        strange = items.encoded({"PK": "ELSEWHERE#1", "SK": "META"})
        await catalog._connection.client.put_item(TableName=catalog.options.table, Item=strange)
        await catalog.close()

        with pytest.raises(WrongState, match="ELSEWHERE"):
            await tables.read("tenants")

    async def test_the_picture_is_gone_with_the_tables_and_holds_no_secret(self, tables, catalog, tmp_path):
        await catalog.open()
        await self._filled(catalog)
        await catalog.close()

        assert await tables.read("signing_keys")
        files = [path.read_bytes() for path in (tmp_path / "here").rglob("*") if path.is_file()]
        assert files
        assert not any(b"0123456789abcdef0123456789abcdef" in data for data in files)
        await tables.close()
        assert list((tmp_path / "here").iterdir()) == []


del Ends
