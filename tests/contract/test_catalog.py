import asyncio
import contextlib
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from safelight.adapters.catalog.memory import MemoryCatalog
from safelight.adapters.catalog.migrations import HEAD
from safelight.adapters.catalog.migrations.run import config
from safelight.adapters.catalog.positions import between
from safelight.adapters.catalog.secretbox import SecretBox
from safelight.adapters.catalog.sql import SqlCatalog
from safelight.adapters.catalog.tables import metadata
from safelight.adapters.catalog.turns import Turns
from safelight.domain.audit import TrailQuery, new_head
from safelight.domain.events import ImageAccepted
from safelight.domain.ids import AlbumId, ImageId, UploadId, UserId, new_id
from safelight.domain.images import Status
from safelight.domain.queries import Cursor, ImageQuery, Sort
from safelight.errors import BackendUnavailable, BadField, DamagedRecord, Missing, SafelightError, WrongState
from safelight.testing.contracts.catalog import CatalogContract, album_in, images_in, tenant_in
from safelight.testing.contracts.trail import make_entry
from safelight.testing.factories import (
    NOON,
    make_album,
    make_delivery,
    make_endpoint,
    make_grant,
    make_image,
    make_key,
    make_link,
    make_purge,
    make_signing_key,
    make_tenant,
    make_upload,
    make_user,
)

KEY = b"k" * 32
ME = UserId("0" * 25 + "1")  # fixed, since it is part of a test id
ALBUM = AlbumId("0" * 25 + "2")


class TestMemoryCatalog(CatalogContract):
    @pytest.fixture
    async def catalog(self):
        catalog = MemoryCatalog()
        await catalog.open()
        yield catalog
        await catalog.close()


@pytest.fixture(scope="module")
def migrated(tmp_path_factory):
    """A catalog without rows, to be copied: making its tables takes longer than most of these tests."""
    folder = tmp_path_factory.mktemp("migrated")
    asyncio.run(SqlCatalog(f"sqlite:///{folder}/catalog.db", secrets=KEY).migrate())
    assert os.listdir(folder) == ["catalog.db"]
    return folder / "catalog.db"


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/data/catalog.db"


@pytest.fixture
def migrated_url(migrated, url):
    path = Path(make_url(url).database)
    path.parent.mkdir()
    shutil.copy(migrated, path)
    return url


class TestSqlCatalogOnSqlite(CatalogContract):
    @pytest.fixture
    async def catalog(self, migrated_url):
        catalog = SqlCatalog(migrated_url, secrets=KEY)
        await catalog.open()
        yield catalog
        await catalog.close()


@pytest.fixture
async def catalog(migrated_url):
    catalog = SqlCatalog(migrated_url, secrets=KEY, readers=2, busy_timeout_s=0.2)
    await catalog.open()
    yield catalog
    await catalog.close()


class TestStarting:
    async def test_an_empty_database_says_what_to_run(self, url):
        catalog = SqlCatalog(url, secrets=KEY)

        with pytest.raises(WrongState, match="safelight migrate"):
            await catalog.open()

    @pytest.mark.parametrize("revision", ["0000_before_time", "9999_far_future"], ids=["older", "newer"])
    async def test_another_schema_says_what_to_run(self, catalog, url, revision):
        with sqlite3.connect(make_url(url).database) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.close()

        with pytest.raises(WrongState, match="safelight migrate"):
            await SqlCatalog(url, secrets=KEY).open()

    async def test_migrating_a_newer_schema_is_refused_and_changes_nothing(self, catalog, url):
        with sqlite3.connect(make_url(url).database) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999_far_future'")
            with pytest.raises(WrongState):
                connection.commit()
                await SqlCatalog(url, secrets=KEY).migrate()

            assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999_far_future",)]
        connection.close()

    async def test_migrating_tells_what_it_applied_and_then_nothing(self, url):
        catalog = SqlCatalog(url, secrets=KEY)

        assert await catalog.migrate() == [HEAD]
        assert await catalog.migrate() == []

    def test_two_processes_that_migrate_at_once_both_succeed(self, url):
        code = (
            "import asyncio, sys; from safelight.adapters.catalog.sql import SqlCatalog\n"
            "async def start():\n"
            "    catalog = SqlCatalog(sys.argv[1], secrets=b'k' * 32)\n"
            "    applied = await catalog.migrate(); await catalog.open(); await catalog.close(); return applied\n"
            "print('applied', len(asyncio.run(start())))\n"
        )
        processes = [
            subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        outcomes = [process.communicate(timeout=60) for process in processes]

        assert [process.returncode for process in processes] == [0, 0, 0], outcomes
        assert sorted(out.splitlines()[-1] for out, _ in outcomes) == ["applied 0", "applied 0", "applied 1"]

    def test_an_up_to_date_start_imports_neither_alembic_nor_the_orm(self, url):
        asyncio.run(SqlCatalog(url, secrets=KEY).migrate())
        code = (
            "import asyncio, sys; from safelight.adapters.catalog.sql import SqlCatalog\n"
            "async def start():\n"
            "    catalog = SqlCatalog(sys.argv[1], secrets=b'k' * 32)\n"
            "    await catalog.migrate(); await catalog.open(); await catalog.close()\n"
            "asyncio.run(start())\n"
            "print([name for name in sys.modules if name in ('alembic', 'sqlalchemy.orm')])\n"
        )
        out = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=True).stdout

        assert out.splitlines()[-1] == "[]"

    async def test_folder_and_files_are_the_owners_alone(self, url):
        path = Path(make_url(url).database)
        catalog = SqlCatalog(url, secrets=KEY)
        await catalog.migrate()
        await catalog.open()
        await tenant_in(catalog)

        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.glob("catalog.db*")} == {0o600}
        await catalog.close()

    @pytest.mark.parametrize("bad", ["sqlite://", "sqlite:///:memory:", "mysql://x/y", "catalog.db", ""])
    def test_a_url_without_a_sqlite_file_is_refused(self, bad):
        with pytest.raises(BadField):
            SqlCatalog(bad, secrets=KEY)

    async def test_a_folder_that_cannot_be_made_is_unavailable(self, tmp_path):
        (tmp_path / "file").write_text("")

        with pytest.raises(BackendUnavailable):
            await SqlCatalog(f"sqlite:///{tmp_path}/file/catalog.db", secrets=KEY).open()


class TestSchema:
    def test_the_head_that_open_asks_for_is_the_newest_revision(self):
        assert ScriptDirectory.from_config(config()).get_heads() == [HEAD]

    def test_revisions_are_named_as_their_files(self):
        for script in ScriptDirectory.from_config(config()).walk_revisions():
            assert Path(script.path).stem == script.revision
            assert re.fullmatch(r"\d{4}_[a-z_]{1,27}", script.revision)

    async def test_the_migrations_make_the_tables(self, catalog, url):
        engine = create_engine(url)
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})

            assert compare_metadata(context, metadata) == []

    async def test_the_migrations_make_the_same_statements_as_the_tables(self, catalog, url, tmp_path):
        direct = create_engine(f"sqlite:///{tmp_path}/direct.db")
        metadata.create_all(direct)

        def schema(engine):
            with engine.connect() as connection:
                rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE '%alembic%'").all()
            return {name: sorted(re.split(r",?\s*\n\s*", sql)) for name, sql in rows if sql}

        assert schema(create_engine(url)) == schema(direct)

    def test_every_table_can_be_made_on_postgresql(self):
        for table in metadata.sorted_tables:
            assert str(CreateTable(table).compile(dialect=postgresql.dialect()))


class TestPlans:
    """What SQLite intends to do for each question: walk an index in order, never look at everything or sort."""

    @pytest.mark.parametrize("with_cursor", [False, True], ids=["first page", "next page"])
    @pytest.mark.parametrize(
        "fields",
        [
            *({"sort": sort} for sort in Sort if sort is not Sort.POSITION),
            {"owner": ME},
            {"visible_to": ME},
            {"visible_to": ME, "sort": Sort.TITLE},
            {"status": Status.READY, "media_type": "image/png", "created_after": NOON},
            {"is_trashed": True},
            {"tags": ("sea",)},
            {"tags": ("sea", "sun"), "sort": Sort.CREATED},
            {"tags": ("sea",), "visible_to": ME},
            {"tags": ("sea",), "sort": Sort.SIZE},
            {"album": ALBUM},
            {"album": ALBUM, "sort": Sort.POSITION},
            {"album": ALBUM, "sort": Sort.TITLE_DESC},
            {"album": ALBUM, "tags": ("sea",), "visible_to": ME},
        ],
        ids=str,
    )
    async def test_a_page_is_a_walk_along_an_index(self, catalog, url, fields, with_cursor):
        query = ImageQuery(**fields)
        if with_cursor:
            value = "a" if query.sort.column == "title" else 5
            query = replace(query, cursor=Cursor(query.sort, value, ImageId(new_id())))
        tenant = await tenant_in(catalog)
        image = make_image(tenant.id)
        await images_in(catalog, *(make_image(tenant.id, tags=("sea", "sun")) for _ in range(60)), image)
        await album_in(catalog, make_album(tenant.id, id=ALBUM), image)

        plan = await plan_of(url, catalog, tenant.id, lambda records: records.images.page(query))

        assert "USE TEMP B-TREE" not in plan
        assert not re.search(r"\bSCAN\b", plan)

    @pytest.mark.parametrize(
        "call",
        [
            lambda records: records.images.get(ImageId(new_id())),
            lambda records: records.images.by_sha256("ab" * 32, ME),
            lambda records: records.images.trashed_before(NOON),
            lambda records: records.albums.page(None),
            lambda records: records.albums.page(ME, after=ALBUM),
            lambda records: records.albums.of_image(ImageId(new_id())),
            lambda records: records.albums.shares.lent(ME, NOON),
            lambda records: records.albums.shares.lent(ME, NOON, after=ALBUM),
            lambda records: records.albums.shares.loans(make_image(records.tenant.id), ME),
            lambda records: records.albums.shares.links(ALBUM),
            lambda records: records.accounts.users(),
            lambda records: records.accounts.api_keys.all(),
            lambda records: records.webhooks.all(),
            lambda records: records.webhooks.deliveries.due("w", NOON),
            lambda records: records.webhooks.deliveries.page("w", before="d"),
        ],
        ids=[
            "get",
            "by_sha256",
            "trashed_before",
            "albums",
            "albums behind",
            "of_image",
            "lent",
            "lent behind",
            "loans",
            "links",
            "users",
            "keys",
            "webhooks",
            "due",
            "log",
        ],
    )
    async def test_a_look_up_uses_an_index(self, catalog, url, call):
        tenant = await tenant_in(catalog)

        plan = await plan_of(url, catalog, tenant.id, call)

        assert "USE TEMP B-TREE" not in plan
        assert not re.search(r"\bSCAN\b", plan)


async def plan_of(url, catalog, tenant, call):
    """EXPLAIN QUERY PLAN of the statements that a call sends."""
    sent = []

    def note(connection, cursor, statement, parameters, context, executemany):
        if statement.startswith("SELECT"):
            sent.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with contextlib.suppress(Missing):
            async with catalog.tenant(tenant) as records:
                await call(records)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    with contextlib.closing(sqlite3.connect(make_url(url).database)) as connection:
        rows = [row for statement in sent for row in connection.execute(f"EXPLAIN QUERY PLAN {statement[0]}", statement[1])]
    return "\n".join(row[3] for row in rows)


class TestConnections:
    async def test_a_reader_cannot_write_even_by_plain_sql(self, catalog):
        tenant = await tenant_in(catalog)
        async with catalog.tenant(tenant.id) as records:
            connection = records.transaction.connection

            with pytest.raises(BackendUnavailable):
                await records.transaction.run(lambda: connection.exec_driver_sql("DELETE FROM tenants"))

    @pytest.mark.parametrize("writes", [False, True], ids=["reader", "writer"])
    async def test_every_connection_has_the_pragmas_that_durability_needs(self, catalog, writes):
        tenant = await tenant_in(catalog)
        wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "query_only": int(not writes)}
        wanted |= {"cache_size": -4096, "mmap_size": 0}
        async with catalog.tenant(tenant.id, writes=writes) as records:

            def pragmas():
                return {name: records.transaction.connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted}

            assert await records.transaction.run(pragmas) == wanted

    async def test_a_writer_in_another_process_makes_ours_unavailable_after_a_while(self, catalog, url):
        tenant = await tenant_in(catalog)
        with contextlib.closing(sqlite3.connect(make_url(url).database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(BackendUnavailable):
                async with catalog.tenant(tenant.id, writes=True):
                    pass
            async with catalog.tenant(tenant.id) as records:
                assert records.tenant == tenant
            other.execute("ROLLBACK")

        await images_in(catalog, make_image(tenant.id))

    async def test_the_catalog_is_used_from_two_event_loops_at_once(self, catalog):
        tenant = await tenant_in(catalog)

        async def write(count):
            for _ in range(count):
                await images_in(catalog, make_image(tenant.id))

        await asyncio.gather(write(20), asyncio.to_thread(lambda: asyncio.run(write(20))))

        async with catalog.tenant(tenant.id) as records:
            assert len((await records.images.page(ImageQuery(limit=200))).images) == 40


CALLS = {
    "ping": lambda catalog, tenant: catalog.ping(),
    **{
        f"tenant.{name}": lambda catalog, tenant, call=call: in_tenant(catalog, tenant, call)
        for name, call in {
            "images.add": lambda records, tenant: records.images.add(make_image(tenant)),
            "images.get": lambda records, tenant: records.images.get(ImageId(new_id())),
            "images.get_many": lambda records, tenant: records.images.get_many([ImageId(new_id())]),
            "images.save": lambda records, tenant: records.images.save(make_image(tenant)),
            "images.remove": lambda records, tenant: records.images.remove(ImageId(new_id())),
            "images.page": lambda records, tenant: records.images.page(ImageQuery()),
            "images.by_sha256": lambda records, tenant: records.images.by_sha256("ab", ME),
            "images.trashed_before": lambda records, tenant: records.images.trashed_before(NOON),
            "images.tags": lambda records, tenant: records.images.tags(),
            "albums.add": lambda records, tenant: records.albums.add(make_album(tenant)),
            "albums.get": lambda records, tenant: records.albums.get(ALBUM),
            "albums.save": lambda records, tenant: records.albums.save(make_album(tenant)),
            "albums.remove": lambda records, tenant: records.albums.remove(ALBUM),
            "albums.page": lambda records, tenant: records.albums.page(None),
            "albums.insert": lambda records, tenant: records.albums.insert(ALBUM, []),
            "albums.drop": lambda records, tenant: records.albums.drop(ALBUM, []),
            "albums.of_image": lambda records, tenant: records.albums.of_image(ImageId(new_id())),
            "shares.put_grant": lambda records, tenant: records.albums.shares.put_grant(
                make_grant(make_album(tenant), make_user(tenant))
            ),
            "shares.drop_grant": lambda records, tenant: records.albums.shares.drop_grant(ALBUM, ME),
            "shares.grants": lambda records, tenant: records.albums.shares.grants(ALBUM),
            "shares.lent": lambda records, tenant: records.albums.shares.lent(ME, NOON),
            "shares.loans": lambda records, tenant: records.albums.shares.loans(make_image(tenant), ME),
            "shares.add_link": lambda records, tenant: records.albums.shares.add_link(
                make_link(make_album(tenant), make_user(tenant))
            ),
            "shares.links": lambda records, tenant: records.albums.shares.links(ALBUM),
            "shares.drop_link": lambda records, tenant: records.albums.shares.drop_link(ALBUM, "l"),
            "accounts.add_user": lambda records, tenant: records.accounts.add_user(make_user(tenant)),
            "accounts.users": lambda records, tenant: records.accounts.users(),
            "accounts.save_user": lambda records, tenant: records.accounts.save_user(make_user(tenant)),
            "accounts.add_key": lambda records, tenant: records.accounts.api_keys.add(make_key(make_user(tenant))),
            "accounts.keys": lambda records, tenant: records.accounts.api_keys.all(),
            "accounts.save_key": lambda records, tenant: records.accounts.api_keys.save(make_key(make_user(tenant))),
            "accounts.add_signing_key": lambda records, tenant: records.accounts.add_signing_key(make_signing_key(tenant)),
            "accounts.signing_keys": lambda records, tenant: records.accounts.signing_keys(),
            "accounts.retire_signing_key": lambda records, tenant: records.accounts.retire_signing_key("k", NOON),
            "uploads.add": lambda records, tenant: records.uploads.add(make_upload(tenant)),
            "uploads.get": lambda records, tenant: records.uploads.get(UploadId(new_id())),
            "uploads.save": lambda records, tenant: records.uploads.save(make_upload(tenant)),
            "uploads.remove": lambda records, tenant: records.uploads.remove(UploadId(new_id())),
            "uploads.due": lambda records, tenant: records.uploads.due(NOON),
            "webhooks.add": lambda records, tenant: records.webhooks.add(make_endpoint(tenant)),
            "webhooks.get": lambda records, tenant: records.webhooks.get("w"),
            "webhooks.all": lambda records, tenant: records.webhooks.all(),
            "webhooks.save": lambda records, tenant: records.webhooks.save(make_endpoint(tenant)),
            "webhooks.remove": lambda records, tenant: records.webhooks.remove("w"),
            "deliveries.add": lambda records, tenant: records.webhooks.deliveries.add(make_delivery(make_endpoint(tenant))),
            "deliveries.get": lambda records, tenant: records.webhooks.deliveries.get("w", "d"),
            "deliveries.save": lambda records, tenant: records.webhooks.deliveries.save(make_delivery(make_endpoint(tenant))),
            "deliveries.due": lambda records, tenant: records.webhooks.deliveries.due("w", NOON),
            "deliveries.page": lambda records, tenant: records.webhooks.deliveries.page("w"),
            "deliveries.sweep": lambda records, tenant: records.webhooks.deliveries.sweep("w", NOON),
            "emit": lambda records, tenant: records.emit(ImageAccepted(tenant, ImageId(new_id()), 1, 1, UserId(new_id()))),
            "trail.append": lambda records, tenant: records.trail.append(make_entry(tenant)),
            "trail.unsealed": lambda records, tenant: records.trail.unsealed(1),
            "trail.head": lambda records, tenant: records.trail.head(),
            "trail.seal": lambda records, tenant: records.trail.seal([], new_head(tenant), was=new_head(tenant)),
            "trail.page": lambda records, tenant: records.trail.page(TrailQuery()),
            "trail.forget_origins": lambda records, tenant: records.trail.forget_origins(["a"], 1),
            "trail.drop_pruned": lambda records, tenant: records.trail.drop_pruned(1),
        }.items()
    },
    **{
        f"directory.{name}": lambda catalog, tenant, call=call: in_directory(catalog, call)
        for name, call in {
            "key": lambda directory: directory.key("k"),
            "tenant_of": lambda directory: directory.tenant_of(ImageId(new_id())),
            "tenants": lambda directory: directory.tenants(),
            "add_tenant": lambda directory: directory.add_tenant(make_tenant()),
            "save_tenant": lambda directory: directory.save_tenant(make_tenant()),
            "untold": lambda directory: directory.outbox.untold(),
            "mark_told": lambda directory: directory.outbox.mark_told([1]),
            "due": lambda directory: directory.outbox.due(NOON),
            "link": lambda directory: directory.people.link("l"),
            "touch_key": lambda directory: directory.people.touch_key("k", NOON),
            "strip_tenant": lambda directory: directory.strip_tenant("t"),
        }.items()
    },
}


async def in_tenant(catalog, tenant, call):
    async with catalog.tenant(tenant, writes=True) as records:
        await call(records, tenant)


async def in_directory(catalog, call):
    async with catalog.directory(writes=True) as directory:
        await call(directory)


class TestFailing:
    """No driver's exception gets out, whichever call meets the trouble."""

    @pytest.mark.parametrize("name", CALLS)
    async def test_a_call_on_a_closed_catalog_is_unavailable(self, catalog, name):
        tenant = await tenant_in(catalog)
        await catalog.close()

        with pytest.raises(BackendUnavailable):
            await CALLS[name](catalog, tenant.id)

    @pytest.mark.parametrize("name", CALLS)
    async def test_a_call_whose_tables_are_gone_is_unavailable(self, catalog, url, name):
        tenant = await tenant_in(catalog)
        with contextlib.closing(sqlite3.connect(make_url(url).database, isolation_level=None)) as other:
            for table in metadata.tables.keys() - {"tenants"} if name.startswith("tenant.") else metadata.tables:
                other.execute(f"DROP TABLE {table}")
            other.execute("DROP TABLE alembic_version")
            other.execute("CREATE TABLE alembic_version (other TEXT)")

        with pytest.raises(BackendUnavailable):
            await CALLS[name](catalog, tenant.id)

    @pytest.mark.parametrize("name", CALLS)
    async def test_a_call_on_a_damaged_file_raises_nothing_but_ours(self, catalog, url, name):
        tenant = await tenant_in(catalog)
        await images_in(catalog, *(make_image(tenant.id, tags=("sea",)) for _ in range(50)))
        await catalog.close()
        path = Path(make_url(url).database)
        whole = path.read_bytes()
        path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))

        with pytest.raises(SafelightError):
            await catalog.open()
            await CALLS[name](catalog, tenant.id)

    async def test_a_row_that_makes_no_sense_is_unavailable(self, catalog, url):
        tenant = await tenant_in(catalog)
        image = make_image(tenant.id)
        await images_in(catalog, image)
        with contextlib.closing(sqlite3.connect(make_url(url).database, isolation_level=None)) as other:
            other.execute("UPDATE images SET status = 'nonsense'")
        async with catalog.tenant(tenant.id) as records:
            with pytest.raises(BackendUnavailable):
                await records.images.get(image.id)
            other.close()

    @pytest.mark.parametrize("damage", ["status = 'nonsense'", "metadata = '{'", "renditions = '[1]'"])
    async def test_a_page_that_skips_damaged_rows_names_them_and_goes_on_behind_them(self, catalog, url, damage):
        tenant = await tenant_in(catalog)
        images = [make_image(tenant.id, created_at=NOON + timedelta(seconds=n)) for n in range(5)]
        await images_in(catalog, *images)
        broken = [images[1].id, images[4].id]
        with contextlib.closing(sqlite3.connect(make_url(url).database, isolation_level=None)) as other:
            other.execute(f"UPDATE images SET {damage} WHERE id IN (?, ?)", broken)
        query = ImageQuery(sort=Sort.CREATED, limit=2, skips_damaged=True)
        async with catalog.tenant(tenant.id) as records:
            pages = [await records.images.page(query)]
            while pages[-1].next:
                pages.append(await records.images.page(replace(query, cursor=pages[-1].next)))
            with pytest.raises(DamagedRecord):
                await records.images.page(replace(query, skips_damaged=False))

        assert [image.id for page in pages for image in page.images] == [images[n].id for n in (0, 2, 3)]
        assert [page.damaged for page in pages] == [(images[1].id,), (), (images[4].id,)]

    @pytest.mark.parametrize("damage", ["state = 'waitin'", "slice = '['"])
    async def test_a_purge_that_makes_no_sense_holds_up_no_other(self, catalog, url, damage):
        tenant = await tenant_in(catalog)
        broken, sound = make_purge(tenant.id), make_purge(tenant.id)
        async with catalog.directory(writes=True) as directory:
            for purge in (broken, sound):
                await directory.outbox.purges.add(purge)
        with contextlib.closing(sqlite3.connect(make_url(url).database, isolation_level=None)) as other:
            other.execute(f"UPDATE purges SET {damage} WHERE id = ?", [broken.id])

        async with catalog.directory() as directory:
            assert await directory.outbox.purges.due(NOON, is_ours=False) == [sound]

    async def test_an_open_file_that_is_no_database_is_unavailable(self, tmp_path):
        (tmp_path / "catalog.db").write_bytes(b"not a database at all" * 500)
        catalog = SqlCatalog(f"sqlite:///{tmp_path}/catalog.db", secrets=KEY, busy_timeout_s=0.1)

        with pytest.raises(BackendUnavailable):
            await catalog.open()
        with pytest.raises(BackendUnavailable):
            await catalog.migrate()


class TestSecrets:
    async def test_a_signing_secret_is_nowhere_in_the_files(self, catalog, url):
        tenant = await tenant_in(catalog)
        key = make_signing_key(tenant.id, secret=b"a secret that stands out anywhere")
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_signing_key(key)
        await catalog.close()

        for file in Path(make_url(url).database).parent.iterdir():
            assert key.secret not in file.read_bytes()

    async def test_another_key_cannot_open_them(self, catalog, url):
        tenant = await tenant_in(catalog)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_signing_key(make_signing_key(tenant.id))
        other = SqlCatalog(url, secrets=b"x" * 32)
        await other.open()
        async with other.tenant(tenant.id) as records:
            with pytest.raises(BackendUnavailable):
                await records.accounts.signing_keys()
        await other.close()

    def test_a_new_key_opens_what_an_older_one_has_sealed(self):
        blob = SecretBox(b"o" * 32).seal(b"secret", context="t/k")

        assert SecretBox(b"n" * 32, b"o" * 32).unseal(blob, context="t/k") == b"secret"

    def test_a_blob_does_not_open_in_another_row(self):
        box = SecretBox(KEY)
        blob = box.seal(b"secret", context="tenant/one")

        with pytest.raises(BackendUnavailable):
            box.unseal(blob, context="tenant/two")

    @given(at=st.integers(0, 60), bit=st.integers(0, 7))
    @settings(max_examples=60, deadline=None)
    def test_no_bit_of_a_blob_can_be_changed(self, at, bit):
        box = SecretBox(KEY)
        blob = bytearray(box.seal(b"a secret of thirty-two bytes ...", context="t/k"))
        blob[at] ^= 1 << bit

        with pytest.raises(BackendUnavailable):
            box.unseal(bytes(blob), context="t/k")

    def test_a_key_of_another_length_is_refused(self):
        with pytest.raises(ValueError):
            SecretBox(b"short")


class TestPositions:
    @given(low=st.none() | st.integers(-(2**62), 2**62), gap=st.integers(1, 2**40), count=st.integers(1, 50))
    @settings(max_examples=100, deadline=None)
    def test_what_fits_is_ascending_and_strictly_between(self, low, gap, count):
        high = None if low is None else low + gap
        for ends in ((low, high), (low, None), (None, low)):
            found = between(*ends, count)
            if found is None:
                continue
            whole = [end for end in ends[:1] if end is not None] + found + [end for end in ends[1:] if end is not None]

            assert len(found) == count
            assert whole == sorted(set(whole))
            assert all(-(2**63) <= position < 2**63 for position in found)

    def test_a_used_up_gap_says_so(self):
        assert between(5, 6, 1) is None
        assert between(5, 7, 1) == [6]


class TestTurns:
    async def test_waiters_come_in_order_and_those_who_give_up_are_passed_over(self):
        turns, order = Turns(1), []
        await turns.take(timeout_s=30)

        async def wait(name):
            await turns.take(timeout_s=30)
            order.append(name)
            turns.give()

        tasks = [asyncio.create_task(wait(n)) for n in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        turns.give()
        await asyncio.gather(*tasks, return_exceptions=True)

        assert order == [0, 2, 3]
        await turns.take(timeout_s=0.1)

    async def test_waiting_too_long_is_unavailable_and_takes_nothing(self):
        turns = Turns(1)
        await turns.take(timeout_s=30)
        with pytest.raises(BackendUnavailable):
            await turns.take(timeout_s=0.01)
        turns.give()

        await turns.take(timeout_s=0.01)

    async def test_being_cancelled_at_the_moment_of_the_turn_passes_it_on(self):
        turns = Turns(1)
        for _ in range(50):
            await turns.take(timeout_s=30)
            task = asyncio.create_task(turns.take(timeout_s=30))
            await asyncio.sleep(0)
            turns.give()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
                turns.give()

        await turns.take(timeout_s=0.1)
