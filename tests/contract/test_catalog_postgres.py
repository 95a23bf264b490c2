"""The catalog on a real PostgreSQL: the whole contract, and what a server across a network adds to it."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, Text, create_engine, event
from tests.contract.test_catalog import CALLS
from tests.servers.fill import fill_images
from tests.servers.postgres import name_of, postgres, postgres_cluster, postgres_url  # noqa: F401

from safelight.adapters import postgres as driver
from safelight.adapters.catalog.migrations import HEAD
from safelight.adapters.catalog.sql import SqlCatalog
from safelight.adapters.catalog.tables import metadata
from safelight.domain.ids import AlbumId, ImageId, UserId
from safelight.domain.images import Status
from safelight.domain.queries import Cursor, ImageQuery, Sort
from safelight.errors import AlreadyExists, BackendUnavailable, BadField, WrongState
from safelight.testing.contracts.catalog import CatalogContract, album_in, images_in, tenant_in
from safelight.testing.factories import NOON, make_album, make_image, make_user

KEY = b"k" * 32
ME = UserId("owner7")
ALBUM = AlbumId("0" * 25 + "2")


@pytest.fixture(scope="module")
def migrated(postgres):
    """One database for the tests of this module that bring a tenant of their own."""
    url = postgres.database()
    asyncio.run(SqlCatalog(url, secrets=KEY).migrate())
    yield url
    postgres.drop(url)


@pytest.fixture
async def catalog(migrated):
    catalog = SqlCatalog(migrated, secrets=KEY, readers=2, writers=2, busy_timeout_s=0.3)
    await catalog.open()
    yield catalog
    await catalog.close()


class TestSqlCatalogOnPostgres(CatalogContract):
    @pytest.fixture
    async def catalog(self, migrated):
        catalog = SqlCatalog(migrated, secrets=KEY)
        await catalog.open()
        yield catalog
        await catalog.close()


class TestStarting:
    async def test_an_empty_database_says_what_to_run(self, postgres_url):
        with pytest.raises(WrongState, match="safelight migrate"):
            await SqlCatalog(postgres_url, secrets=KEY).open()

    async def test_the_plan_tells_what_migrating_would_apply_and_applies_nothing(self, postgres_url, tmp_path):
        for url in (postgres_url, f"sqlite:///{tmp_path}/catalog.db"):
            catalog = SqlCatalog(url, secrets=KEY)

            planned = await catalog.plan()
            assert planned == await catalog.plan()
            assert planned == await catalog.migrate()
            assert planned[-1] == HEAD
            assert await catalog.plan() == []

    async def test_a_newer_schema_is_refused_by_plan_migrate_and_open(self, postgres, postgres_url):
        catalog = SqlCatalog(postgres_url, secrets=KEY)
        await catalog.migrate()
        postgres.execute("UPDATE alembic_version SET version_num = '9999_far_future'", name_of(postgres_url))

        for refused in (catalog.plan, catalog.migrate, catalog.open):
            with pytest.raises(WrongState, match="safelight migrate"):
                await refused()

    def test_processes_that_migrate_at_once_all_succeed_and_one_does_the_work(self, postgres_url):
        code = (
            "import asyncio, sys; from safelight.adapters.catalog.sql import SqlCatalog\n"
            "async def start():\n"
            "    catalog = SqlCatalog(sys.argv[1], secrets=b'k' * 32)\n"
            "    applied = await catalog.migrate(); await catalog.open(); await catalog.close(); return applied\n"
            "print('applied', len(asyncio.run(start())))\n"
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code, postgres_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for _ in range(3)
        ]
        outcomes = [process.communicate(timeout=60) for process in processes]

        assert [process.returncode for process in processes] == [0, 0, 0], outcomes
        assert sum(not out.splitlines()[-1].endswith(" 0") for out, _ in outcomes) == 1

    async def test_a_migration_gives_up_on_a_table_that_is_in_use_and_leaves_everything_as_it_was(self, postgres, postgres_url):
        # An older release's transaction stands on the name that the migration needs.
        with psycopg.connect(postgres_url) as other:
            other.execute("CREATE TABLE tenants (id text)")
            catalog = SqlCatalog(postgres_url, secrets=KEY)
            began = time.monotonic()
            with pytest.raises(BackendUnavailable):
                await catalog.migrate()
            took_s = time.monotonic() - began
            other.rollback()

        assert 3.5 < took_s < 60
        assert postgres.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name_of(postgres_url)) == [(0,)]
        assert (await catalog.migrate())[-1] == HEAD

    @pytest.mark.parametrize(
        "bad", ["postgresql://", "postgresql://host", "postgresql://h:port/d", "postgres://u:secret@h/d?nonsense=1"]
    )
    def test_a_url_that_libpq_cannot_use_is_refused_without_repeating_it(self, bad):
        with pytest.raises(BadField) as refusal:
            SqlCatalog(bad, secrets=KEY)

        assert "secret" not in str(refusal.value)

    @pytest.mark.parametrize(
        ("place", "error", "said"),
        (
            ("127.0.0.1:1/d", BackendUnavailable, "127.0.0.1:1 does not answer"),
            ("{here}/nowhere", WrongState, "no database nowhere"),
        ),
        ids=("a closed port", "no such database"),
    )
    async def test_what_cannot_be_connected_to_is_told_with_its_setting(self, postgres, place, error, said):
        catalog = SqlCatalog("postgresql://postgres:hush@" + place.format(here=f"127.0.0.1:{postgres.port}"), secrets=KEY)

        for call in (catalog.open, catalog.migrate, catalog.plan):
            with pytest.raises(error, match=said) as raised:
                await call()
            assert "SAFELIGHT_CATALOG__URL" in raised.value.detail
            assert "hush" not in raised.value.detail


class TestSchema:
    def test_the_migrations_make_the_tables(self, migrated):
        engine = create_engine(migrated.replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})

            assert compare_metadata(context, metadata) == []
        engine.dispose()

    def test_whatever_is_sorted_or_compared_as_text_goes_by_code_point(self, postgres, migrated):
        rows = postgres.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' AND collation_name = 'C'",
            name_of(migrated),
        )
        words = {
            (table.name, column.name)
            for table in metadata.sorted_tables
            for index in [*table.indexes, table.primary_key]
            for column in index.columns
            if isinstance(column.type, Text)
        }

        assert words - {("images", "visibility"), ("images", "sha256")} <= set(rows)  # compared for equality only


class TestTransactions:
    async def test_a_reader_cannot_write_even_by_plain_sql(self, catalog):
        tenant = await tenant_in(catalog)
        async with catalog.tenant(tenant.id) as records:
            connection = records.transaction.connection

            with pytest.raises(BackendUnavailable):
                await records.transaction.run(lambda: connection.exec_driver_sql("DELETE FROM tenants"))

    async def test_a_reader_sees_one_moment_however_long_it_looks(self, catalog):
        tenant = await tenant_in(catalog)
        async with catalog.tenant(tenant.id) as records:
            before = await records.images.page(ImageQuery())
            await images_in(catalog, make_image(tenant.id))

            assert await records.images.page(ImageQuery()) == before

    async def test_two_writers_of_one_tenant_take_turns_and_of_two_tenants_do_not(self, catalog):
        tenant, other = await tenant_in(catalog), await tenant_in(catalog)
        async with catalog.tenant(tenant.id, writes=True):
            with pytest.raises(BackendUnavailable):
                async with catalog.tenant(tenant.id, writes=True):
                    pass
            await images_in(catalog, make_image(other.id))

        await images_in(catalog, make_image(tenant.id))

    async def test_a_commit_over_a_failed_statement_is_no_success(self, catalog):
        tenant = await tenant_in(catalog)
        image = make_image(tenant.id)
        with pytest.raises(BackendUnavailable):
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.images.add(image)
                connection = records.transaction.connection
                with pytest.raises(BackendUnavailable):
                    await records.transaction.run(lambda: connection.exec_driver_sql("SELECT nonsense"))

        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.images.get_many([image.id]) == []

    async def test_every_claim_that_is_refused_leaves_the_transaction_usable(self, catalog):
        tenant = await tenant_in(catalog)
        user, image, album = make_user(tenant.id), make_image(tenant.id), make_album(tenant.id)
        async with catalog.tenant(tenant.id, writes=True) as records:
            for add, record in ((records.accounts.add_user, user), (records.images.add, image), (records.albums.add, album)):
                await add(record)
                with pytest.raises(AlreadyExists):
                    await add(record)

        async with catalog.tenant(tenant.id) as records:
            assert await records.accounts.users() == [user]
            assert (await records.images.get(image.id), await records.albums.get(album.id)) == (image, album)

    @pytest.mark.parametrize("writes", [False, True], ids=["reader", "writer"])
    async def test_every_transaction_has_its_limits(self, catalog, writes):
        tenant = await tenant_in(catalog)
        wanted = {
            "transaction_isolation": "read committed" if writes else "repeatable read",
            "transaction_read_only": "off" if writes else "on",
            "statement_timeout": "10s",
            "lock_timeout": "300ms",
            "idle_in_transaction_session_timeout": "15s",
        }
        async with catalog.tenant(tenant.id, writes=writes) as records:

            def settings():
                return {name: records.transaction.connection.exec_driver_sql(f"SHOW {name}").scalar() for name in wanted}

            assert await records.transaction.run(settings) == wanted

    async def test_nothing_of_a_session_is_left_to_whom_a_pooler_gives_it_next(self, catalog, migrated):
        tenant = await tenant_in(catalog)
        async with catalog.tenant(tenant.id, writes=True) as records:
            connection = records.transaction.connection
            for _ in range(8):
                await records.images.page(ImageQuery())

            def kept():
                return connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar()

            assert await records.transaction.run(kept) == 0

    async def test_the_catalog_is_used_from_two_event_loops_at_once(self, catalog):
        tenant, other = await tenant_in(catalog), await tenant_in(catalog)

        async def write(to):
            for _ in range(20):
                await images_in(catalog, make_image(to.id))

        await asyncio.gather(write(tenant), asyncio.to_thread(lambda: asyncio.run(write(other))))

        for one in (tenant, other):
            async with catalog.tenant(one.id) as records:
                assert len((await records.images.page(ImageQuery(limit=200))).images) == 20


class TestFailing:
    @pytest.mark.parametrize("name", CALLS)
    async def test_a_call_whose_tables_are_gone_is_unavailable(self, postgres, migrated, name):
        url = postgres.database()
        catalog = SqlCatalog(url, secrets=KEY, readers=1, writers=1)
        await catalog.migrate()
        await catalog.open()
        tenant = await tenant_in(catalog)
        gone = metadata.tables.keys() - {"tenants"} if name.startswith("tenant.") else metadata.tables.keys()
        postgres.execute(f"DROP TABLE {', '.join(gone)} CASCADE", name_of(url))
        postgres.execute("ALTER TABLE alembic_version RENAME version_num TO other", name_of(url))

        with pytest.raises(BackendUnavailable):
            await CALLS[name](catalog, tenant.id)
        await catalog.close()
        postgres.drop(url)

    async def test_connections_that_the_server_has_ended_are_replaced_before_anybody_notices(self, catalog, postgres, migrated):
        tenant = await tenant_in(catalog)
        async with catalog.tenant(tenant.id):
            pass
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()",
            name_of(migrated),
        )
        await asyncio.sleep(0.1)

        await catalog.ping()
        await images_in(catalog, make_image(tenant.id))

    def test_an_answer_that_does_not_come_is_not_waited_for(self, postgres):
        connection = driver.connect(postgres.url(), patience=driver.Patience(-1.5))
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT pg_sleep(20)")

        assert time.monotonic() - began < 15
        assert connection.closed

    def test_threads_that_wait_for_connections_of_one_pool_all_get_one(self, postgres):
        engine = driver.engine(postgres.url(), size=2, begin=driver.beginning("READ ONLY"))
        seen = []

        def ask():
            with engine.connect() as connection:
                seen.append(connection.exec_driver_sql("SELECT 1").scalar())

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        engine.dispose()

        assert seen == [1] * 8


@pytest.fixture(scope="module")
def filled(postgres):
    """Fifty thousand images of one tenant, with statistics: what the planner decides upon."""
    url = postgres.database()

    async def prepare():
        catalog = SqlCatalog(url, secrets=KEY)
        await catalog.migrate()
        await catalog.open()
        tenant = await tenant_in(catalog)
        image = make_image(tenant.id)
        await images_in(catalog, image)
        await album_in(catalog, make_album(tenant.id, id=ALBUM), image)
        await catalog.close()
        return tenant.id, image.id

    tenant, image = asyncio.run(prepare())
    fill_images(url, image, ALBUM, first=1, count=50_000)
    yield url, tenant
    postgres.drop(url)


class TestPlans:
    """What PostgreSQL does for each question, with every plan open to it: it walks an index; it never reads a whole table.

    It may sort what a narrow filter has left over, a hundredth of the tenant at most: for those, that is less work than the walk.
    """

    @pytest.mark.parametrize("with_cursor", [False, True], ids=["first page", "next page"])
    @pytest.mark.parametrize(
        "fields",
        [
            *({"sort": sort} for sort in Sort if sort is not Sort.POSITION),
            {"owner": ME},
            {"owner": ME, "sort": Sort.SIZE},
            {"visible_to": ME},
            {"visible_to": ME, "sort": Sort.TITLE},
            {"visible_to": UserId("nobody"), "sort": Sort.SIZE_DESC},
            {"camera": "Camera 7"},
            {"camera": "none has it"},
            {"min_bytes": 89_000_000, "sort": Sort.TITLE},
            {"status": Status.READY, "media_type": "image/png", "created_after": NOON},
            {"is_trashed": True},
            {"tags": ("sea",)},
            {"tags": ("t7",)},
            {"tags": ("sea", "t7"), "sort": Sort.CREATED},
            {"tags": ("sea",), "visible_to": ME},
            {"tags": ("sea",), "sort": Sort.SIZE},
            {"tags": ("t7",), "sort": Sort.SIZE},
            {"album": ALBUM},
            {"album": ALBUM, "sort": Sort.POSITION},
            {"album": ALBUM, "sort": Sort.TITLE_DESC},
            {"album": ALBUM, "tags": ("sea",), "visible_to": ME},
            {"album": ALBUM, "sort": Sort.POSITION, "visible_to": ME, "lent_by": (ME, UserId("somebody"))},
            {"album": ALBUM, "visible_to": UserId("nobody"), "lent_by": (ME,)},
        ],
        ids=str,
    )
    async def test_a_page_is_a_walk_along_an_index(self, filled, fields, with_cursor):
        query = ImageQuery(**fields)
        if with_cursor:
            middle = {
                "created_at": 1_700_025_000_000_000,
                "taken_at": 1_700_025_000_000_000,
                "size": 40_000_000,
                "position": 2_500,
            }
            query = replace(query, cursor=Cursor(query.sort, middle.get(query.sort.column, "title 8"), ImageId("0" * 26)))

        for plan in await plans_of(filled, lambda records: records.images.page(query)):
            assert "Seq Scan" not in plan, plan
            assert sorted_rows(plan) <= 1000, plan

    @pytest.mark.parametrize(
        "call",
        [
            lambda records: records.images.get(ImageId("0" * 25 + "7")),
            lambda records: records.images.get_many([ImageId("0" * 25 + "7"), ImageId("0" * 25 + "8")]),
            lambda records: records.images.by_sha256("ab" * 32, ME),
            lambda records: records.images.trashed_before(NOON),
            lambda records: records.images.tags("t9"),
            lambda records: records.images.tags("t9", owner=ME),
            lambda records: records.albums.of_image(ImageId("0" * 25 + "7")),
            lambda records: records.albums.shares.lent(ME, NOON, after=ALBUM),
            lambda records: records.albums.shares.loans(make_image(records.tenant.id, id=ImageId("0" * 25 + "7")), ME),
        ],
        ids=["get", "get_many", "by_sha256", "trashed_before", "tags", "own tags", "of_image", "lent", "loans"],
    )
    async def test_a_look_up_uses_an_index(self, filled, call):
        for plan in await plans_of(filled, call):
            assert not re.search(r"Seq Scan on (images|image_tags|album_images)", plan), plan
            assert sorted_rows(plan) <= 1000, plan


async def plans_of(filled, call):
    """EXPLAIN ANALYZE of the statements that a call sends, under the settings of its transaction."""
    url, tenant = filled
    sent, plans = [], []

    def note(connection, cursor, statement, parameters, context, executemany):
        if statement.startswith("SELECT") and "FROM tenants" not in statement:
            sent.append((statement, parameters))

    catalog = SqlCatalog(url, secrets=KEY, readers=1)
    await catalog.open()
    event.listen(Engine, "before_cursor_execute", note)
    try:
        async with catalog.tenant(tenant) as records:
            await call(records)

            def explain():
                cursor = records.transaction.connection.connection.driver_connection
                for statement, parameters in sent:
                    rows = cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF) {statement}", parameters)
                    plans.append("\n".join(row[0] for row in rows))

            await records.transaction.run(explain)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
        await catalog.close()
    assert plans
    return plans


def sorted_rows(plan):
    """The most rows that any Sort of the plan was given."""
    lines = plan.splitlines()
    most = 0
    for at, line in enumerate(lines):
        if re.search(r"->\s+(Incremental )?Sort|^Sort", line):
            below = next(line for line in lines[at + 1 :] if "->" in line)
            found = re.search(r"actual rows=([\d.]+)", below)
            most = max(most, int(float(found[1])))
    return most
