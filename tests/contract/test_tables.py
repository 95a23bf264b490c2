"""The Tables contract on SQLite and on PostgreSQL, each with the other at the other end."""

from __future__ import annotations

import pytest

from safelight.adapters.catalog.secretbox import SecretBox
from safelight.adapters.catalog.sql import SqlCatalog
from safelight.adapters.catalog.sql_tables import SqlTables
from safelight.testing.contracts.archive import TablesContract
from tests.servers.postgres import postgres, postgres_cluster, postgres_url  # noqa: F401

HERE, THERE = b"k" * 32, b"o" * 32


async def opened(url, key):
    await SqlCatalog(url, secrets=key).migrate()
    tables = SqlTables(url, secrets=SecretBox(key))
    await tables.open()
    return tables


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path / 'catalog.db'}"


class Ends(TablesContract):
    @pytest.fixture
    async def tables(self, here):
        tables = await opened(here, HERE)
        yield tables
        await tables.close()

    @pytest.fixture
    async def other_tables(self, there):
        tables = await opened(there, THERE)
        yield tables
        await tables.close()

    @pytest.fixture
    async def catalog(self, here):
        catalog = SqlCatalog(here, secrets=HERE)
        yield catalog
        await catalog.close()

    @pytest.fixture
    async def other_catalog(self, there):
        catalog = SqlCatalog(there, secrets=THERE)
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
    def there(self, sqlite_url):
        return sqlite_url


del Ends
