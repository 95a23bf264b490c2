"""What every keeper of the Archive and Tables ports must do, beside Storage and Catalog.

    class TestMine(ArchiveContract):
        @pytest.fixture
        async def archive(self):
            return MyStorage(...)

`archive` is one bucket, empty at the start of every test.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from safelight.domain.accounts import Tenant
from safelight.domain.events import ImageAccepted
from safelight.domain.ids import ImageId, UserId, new_id
from safelight.errors import AlreadyExists, BadField, BadRequest, Missing, WrongState
from safelight.ports.archive import Archive, Pile, Row, Tables
from safelight.ports.catalog import Catalog
from safelight.ports.storage import Stored
from safelight.testing.factories import make_album, make_image, make_key, make_signing_key, make_tenant, make_user

NOON = datetime(2020, 2, 3, 12, 0, 0, 123456, tzinfo=UTC)


def as_it_was(key: str, data: bytes = b"", *, is_marker: bool = False, at: datetime = NOON) -> Stored:
    """A version of some other store."""
    return Stored(
        key=key,
        version="of another store",
        size_bytes=len(data),
        etag="" if is_marker else hashlib.sha256(data).hexdigest(),
        media_type="" if is_marker else "image/png",
        modified_at=at,
        metadata={} if is_marker else {"Owner": "Ünï"},
        is_marker=is_marker,
    )


async def walk(archive: Archive, prefix: str = "", limit: int = 2) -> list[Pile]:
    """Every pile, in pages of that size."""
    found: list[Pile] = []
    while page := await archive.piles(prefix, after=found[-1].key if found else "", limit=limit):
        assert len(page) <= limit
        found += page
    return found


def shape(pile: Pile) -> list[int | None]:
    """Sizes from the bottom up, None for a marker."""
    return [None if layer.is_marker else layer.size_bytes for layer in pile.layers]


class ArchiveContract:
    async def test_an_empty_bucket_has_no_piles(self, archive: Archive) -> None:
        assert await archive.piles() == []
        assert await archive.piles("t/") == []

    async def test_a_pile_has_every_version_and_marker_with_the_oldest_first(self, archive: Archive) -> None:
        first = await archive.put("t/a", b"1")
        second = await archive.put("t/a", b"22")
        await archive.delete("t/a")
        third = await archive.put("t/a", b"333")

        [pile] = await archive.piles()

        assert pile.key == "t/a"
        assert shape(pile) == [1, 2, None, 3]
        assert [layer.version for layer in pile.layers if not layer.is_marker] == [
            first.version,
            second.version,
            third.version,
        ]
        assert [each.version for each in reversed(await archive.versions("t/a"))] == [layer.version for layer in pile.layers]

    async def test_hidden_keys_are_seen(self, archive: Archive) -> None:
        await archive.put("t/hidden", b"1")
        await archive.delete("t/hidden")

        assert await archive.scan("") == []
        assert [(pile.key, shape(pile)) for pile in await archive.piles("t/")] == [("t/hidden", [1, None])]

    async def test_pages_go_by_key_and_leave_nothing_out(self, archive: Archive) -> None:
        keys = [f"t/{letter}/{number}/x" for letter in "cab" for number in range(3)]
        for key in keys:
            await archive.put(key, b"1")
            await archive.put(key, b"22")

        for limit in (1, 2, 4, 1000):
            piles = await walk(archive, limit=limit)
            assert [pile.key for pile in piles] == sorted(keys)
            assert all(shape(pile) == [1, 2] for pile in piles)

    async def test_a_prefix_keeps_its_neighbours_out(self, archive: Archive) -> None:
        for key in ("t/a/1", "t/aa/1", "u/a/1"):
            await archive.put(key, b"1")

        assert [pile.key for pile in await walk(archive, "t/a/")] == ["t/a/1"]
        assert [pile.key for pile in await walk(archive, "t/")] == ["t/a/1", "t/aa/1"]
        assert await archive.piles("t/", after="t/aa/1") == []
        assert await archive.piles("t/", limit=0) == []

    async def test_the_time_of_a_layer_is_when_it_came(self, archive: Archive) -> None:
        await archive.put("t/a", b"1")

        [pile] = await archive.piles()

        assert abs(pile.layers[0].modified_at - datetime.now(UTC)) < timedelta(minutes=5)

    async def test_what_is_laid_is_as_it_was_but_for_its_version_id(self, archive: Archive) -> None:
        was = as_it_was("t/a", b"hello")

        laid = await archive.lay(was, b"hello")

        assert laid.version != was.version
        assert laid.etag == was.etag
        seen = await archive.stat("t/a")
        assert seen == laid
        assert (seen.media_type, seen.metadata, seen.modified_at) == (was.media_type, was.metadata, was.modified_at)
        assert await archive.get("t/a") == b"hello"

    async def test_a_streamed_body_is_laid_too(self, archive: Archive) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield b"hel"
            yield b"lo"

        laid = await archive.lay(as_it_was("t/a", b"hello"), body())

        assert (laid.size_bytes, laid.etag) == (5, hashlib.sha256(b"hello").hexdigest())
        assert await archive.get("t/a") == b"hello"

    async def test_a_pile_is_built_again_in_its_order(self, archive: Archive) -> None:
        layers = [b"1", b"22", None, None, b"333", None]
        for number, data in enumerate(layers):
            at = NOON + timedelta(hours=number)
            await archive.lay(as_it_was("t/a", data or b"", is_marker=data is None, at=at), data or b"")

        [pile] = await archive.piles()

        assert shape(pile) == [1, 2, None, None, 3, None]
        with pytest.raises(Missing):
            await archive.get("t/a")
        assert await archive.get("t/a", version=pile.layers[1].version) == b"22"
        assert (await archive.restore("t/a")).size_bytes == 3

    async def test_a_pile_of_a_marker_alone_is_kept(self, archive: Archive) -> None:
        await archive.lay(as_it_was("t/a", is_marker=True), b"")

        assert [shape(pile) for pile in await archive.piles()] == [[None]]

    async def test_laying_refuses_the_keys_that_putting_refuses(self, archive: Archive) -> None:
        for is_marker in (True, False):
            with pytest.raises(BadRequest):
                await archive.lay(as_it_was("a//b", is_marker=is_marker), b"")
        assert await archive.piles() == []


async def rows_of(tables: Tables, table: str, limit: int = 2) -> list[Row]:
    """Every row, in pages of that size."""
    found: list[Row] = []
    while page := await tables.read(table, after=found[-1] if found else None, limit=limit):
        assert len(page) <= limit
        found += page
    return found


class TablesContract:
    """`tables` is open on a migrated, empty catalog, and `catalog` is a Catalog on the same, not open yet.

    `other_tables` and `other_catalog` are another pair whose secrets are sealed with another key.
    """

    async def test_parents_stand_before_their_children(self, tables: Tables) -> None:
        names = list(tables.names)

        assert names.index("tenants") < names.index("users") < names.index("api_keys")
        assert names.index("images") < names.index("album_images")
        assert names.index("albums") < names.index("album_images")

    async def test_an_empty_catalog_has_no_rows(self, tables: Tables) -> None:
        for table in tables.names:
            assert await tables.read(table) == []
            assert await tables.last(table) is None

    async def test_a_whole_catalog_is_carried_into_another_with_its_secrets(
        self, tables: Tables, catalog: Catalog, other_tables: Tables, other_catalog: Catalog
    ) -> None:
        await catalog.open()
        tenant, images = await self._filled(catalog)
        for table in tables.names:
            for row in await rows_of(tables, table, limit=1000):
                await other_tables.write(table, [row])

        for table in tables.names:
            assert await rows_of(other_tables, table) == await rows_of(tables, table)
        await other_catalog.open()
        async with other_catalog.tenant(tenant.id) as records:
            assert [image.id for image in await records.images.get_many(images)] == images
            [key] = await records.accounts.signing_keys()
            assert (key.secret, key.salt) == (b"0123456789abcdef0123456789abcdef", b"fedcba9876543210")
        # The outbox goes on behind the numbers that came.
        async with other_catalog.tenant(tenant.id, writes=True) as records:
            await records.emit(ImageAccepted(tenant.id, images[0], 1, 2, UserId(new_id())))
        async with other_catalog.directory() as directory:
            numbers = [told.number for told in await directory.outbox.untold()]
        assert numbers == sorted(set(numbers))
        assert len(numbers) == 2
        await catalog.close()
        await other_catalog.close()

    async def test_pages_go_by_primary_key_and_the_last_row_ends_them(self, tables: Tables, catalog: Catalog) -> None:
        await catalog.open()
        await self._filled(catalog)
        await catalog.close()

        for table in tables.names:
            rows = await rows_of(tables, table, limit=1000)
            assert await rows_of(tables, table, limit=2) == rows
            assert await tables.last(table) == (rows[-1] if rows else None)
        assert len(await rows_of(tables, "images")) == 5
        assert len(await rows_of(tables, "image_tags")) == 10

    async def test_rows_are_written_all_or_none(self, tables: Tables, catalog: Catalog) -> None:
        await catalog.open()
        await self._filled(catalog)
        await catalog.close()
        [row] = await tables.read("tenants")

        with pytest.raises(AlreadyExists):
            await tables.write("tenants", [dict(row) | {"id": "new", "name": "new"}, row])
        with pytest.raises(BadField):
            await tables.write("tenants", [{"id": "new"}])
        assert await tables.read("tenants") == [row]

    async def test_clearing_leaves_nothing(self, tables: Tables, catalog: Catalog) -> None:
        await catalog.open()
        await self._filled(catalog)
        await catalog.close()

        await tables.clear()

        for table in tables.names:
            assert await tables.read(table) == []

    async def test_a_catalog_that_is_being_filled_does_not_open(self, tables: Tables, catalog: Catalog) -> None:
        assert await tables.filling() is None
        await tables.set_filling("over there")

        assert await tables.filling() == "over there"
        with pytest.raises(WrongState, match="over there"):
            await catalog.open()
        await tables.set_filling(None)
        assert await tables.filling() is None
        await catalog.open()
        await catalog.close()

    async def _filled(self, catalog: Catalog) -> tuple[Tenant, list[ImageId]]:
        tenant = make_tenant(name="acme")
        user = make_user(tenant.id)
        images = [make_image(tenant.id, tags=("sea", "ship"), custom={"é": [1, None, 2.5]}) for _ in range(5)]
        album = make_album(tenant.id)
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(tenant)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_user(user)
            await records.accounts.api_keys.add(make_key(user))
            ring_key = make_signing_key(tenant.id, secret=b"0123456789abcdef0123456789abcdef", salt=b"fedcba9876543210")
            await records.accounts.add_signing_key(ring_key)
            for image in images:
                await records.images.add(image)
            await records.albums.add(album)
            await records.albums.insert(album.id, [image.id for image in reversed(images)])
            await records.emit(ImageAccepted(tenant.id, images[0].id, 1, 1, user.id))
        return tenant, [image.id for image in images]
