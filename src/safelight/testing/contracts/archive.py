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

from safelight.domain import audit
from safelight.domain.accounts import Tenant, User
from safelight.domain.albums import Album
from safelight.domain.audit import TrailQuery
from safelight.domain.events import ImageAccepted
from safelight.domain.ids import ImageId, UserId, new_id
from safelight.domain.images import Visibility
from safelight.domain.people import Letter
from safelight.domain.queries import ImageQuery, Sort
from safelight.domain.usage import Counts
from safelight.errors import AlreadyExists, BadField, BadRequest, Missing, WrongState
from safelight.ports.archive import Archive, Pile, Row, Tables
from safelight.ports.catalog import Catalog
from safelight.ports.storage import Stored
from safelight.testing.factories import (
    make_album,
    make_code,
    make_credential,
    make_delivery,
    make_endpoint,
    make_entry,
    make_grant,
    make_identity,
    make_image,
    make_issuer,
    make_key,
    make_link,
    make_passkey,
    make_purge,
    make_redevelopment,
    make_session,
    make_signing_key,
    make_tenant,
    make_token_key,
    make_totp,
    make_upload,
    make_user,
)

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

    async def test_no_table_is_left_out(
        self, tables: Tables, catalog: Catalog, other_tables: Tables, other_catalog: Catalog
    ) -> None:
        """With a row in each, what comes back is asked of both catalogs by every way in."""
        await catalog.open()
        tenant, images = await self._filled(catalog)
        user, album = await self._furnished(catalog, tenant, images)
        await tables.write("inherited_keys", [{"purpose": "a use", "id": "1", "key": b"k" * 32}])
        for table in tables.names:
            await other_tables.write(table, await tables.read(table, limit=1000))
        await other_catalog.open()

        for table in tables.names:
            rows = await tables.read(table, limit=1000)
            assert rows, table
            assert await other_tables.read(table, limit=1000) == rows
        there = await self._told(other_catalog, tenant, user, album, images)
        for what, found in (await self._told(catalog, tenant, user, album, images)).items():
            assert found, what
            assert there[what] == found, what
        # Positions go on behind those that came.
        late = make_image(tenant.id)
        async with other_catalog.tenant(tenant.id, writes=True) as records:
            await records.images.add(late)
            await records.albums.insert(album.id, [late.id])
        async with other_catalog.tenant(tenant.id) as records:
            page = await records.images.page(ImageQuery(album=album.id, sort=Sort.POSITION))
        assert [image.id for image in page.images] == [*reversed(images), late.id]
        await catalog.close()
        await other_catalog.close()

    async def _told(self, catalog: Catalog, tenant: Tenant, user: User, album: Album, images: list[ImageId]) -> dict[str, object]:
        """What the ports say of what `_furnished` has put there."""
        async with catalog.tenant(tenant.id) as records:
            [issuer] = await records.accounts.issuers.all()
            [endpoint] = await records.webhooks.all()
            told: dict[str, object] = {
                "tenant": records.tenant,
                "users": await records.accounts.users(),
                "keys": await records.accounts.api_keys.all(),
                "ring": await records.accounts.signing_keys(),
                "issuer": issuer,
                "identity": await records.accounts.issuers.identity("https://login.example.org", "ada"),
                "images": await records.images.get_many(images),
                "public": await records.images.page(ImageQuery(visibility=Visibility.PUBLIC)),
                "trash": await records.images.trashed_before(NOON + timedelta(days=9000)),
                "tags": await records.images.tags(),
                "own tags": await records.images.tags(owner=user.id),
                "albums of an image": await records.albums.of_image(images[0]),
                "album": await records.albums.get(album.id),
                "grants": await records.albums.shares.grants(album.id),
                "lent": await records.albums.shares.lent(user.id, NOON),
                "links": await records.albums.shares.links(album.id),
                "credential": await records.people.credential(user.id),
                "code": await records.people.code(user.id, Letter.VERIFY),
                "sessions": await records.people.sessions(user.id),
                "totp": await records.factors.totp(user.id),
                "passkeys": await records.factors.passkeys(user.id),
                "uploads": await records.uploads.due(NOON + timedelta(days=9000)),
                "endpoint": endpoint,
                "deliveries": await records.webhooks.deliveries.due(endpoint.id, NOON + timedelta(days=9000)),
                "redevelopments": await records.redevelopments.page(),
                "sealed": await records.trail.page(TrailQuery()),
                "of an actor": await records.trail.page(TrailQuery(actors=frozenset({"somebody"}))),
                "unsealed": await records.trail.unsealed(10),
            }
            twins = [await records.images.by_sha256(one.sha256, one.owner) for one in await records.images.get_many(images[:2])]
            told["twins"] = [twin and twin.id for twin in twins]
        async with catalog.directory() as directory:
            told |= {
                "by address": await directory.people.by_email(tenant.name, f"{user.id}@example.org"),
                "failures": await directory.people.failures(["somebody"]),
                "token keys": await directory.people.trust.token_keys(),
                "trusted": await directory.people.trust.issuers(issuer.issuer),
                "inherited": await directory.people.trust.inherited_keys(),
                "events": [one.event for one in await directory.outbox.untold()],
                "due": await directory.outbox.due(NOON + timedelta(days=9000)),
                "redeveloping": await directory.outbox.redeveloping(),
                "purges": await directory.outbox.purges.due(NOON + timedelta(days=9000), is_ours=False),
            }
        async with catalog.ledger() as ledger:
            told["usage"] = await ledger.usages("2026-11")
        return told

    async def _furnished(self, catalog: Catalog, tenant: Tenant, images: list[ImageId]) -> tuple[User, Album]:
        """What `_filled` leaves out."""
        async with catalog.tenant(tenant.id) as records:
            [user] = await records.accounts.users()
            [album] = await records.albums.page(None)
        public = make_image(tenant.id, user.id, tags=("sea",), visibility=Visibility.PUBLIC)
        trashed = make_image(tenant.id, user.id, tags=("gone",), trashed_at=NOON)
        endpoint = make_endpoint(tenant.id)
        image = make_image(tenant.id, id=images[0])
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.add(public)
            await records.images.add(trashed)
            await records.people.add_credential(make_credential(user))
            await records.people.put_code(make_code(user))
            await records.people.add_session(make_session(user))
            await records.factors.put_totp(make_totp(user))
            await records.factors.add_passkey(make_passkey(user))
            await records.factors.spend("a mark", NOON)
            await records.accounts.issuers.add(make_issuer(tenant.id))
            await records.accounts.issuers.add_identity(make_identity(user, subject="ada"))
            await records.albums.shares.put_grant(make_grant(album, user))
            await records.albums.shares.add_link(make_link(album, user))
            await records.uploads.add(make_upload(tenant.id, tags=("sea",)))
            await records.webhooks.add(endpoint)
            await records.redevelopments.add(make_redevelopment(tenant.id))
            for number in range(3):
                name = f"{number} {new_id()}"
                entry = audit.Entry(chain=tenant.id, id=name, at=NOON, action="image.added", actor="somebody", object="image/1")
                await records.trail.append(entry.committed())
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.webhooks.deliveries.add(make_delivery(endpoint))
            [first, second, _] = await records.trail.unsealed(3)
            was = await records.trail.head()
            chained = audit.seal([first, second], was.last)
            last = audit.Checkpoint(chained[-1].number, chained[-1].hash)
            await records.trail.seal(chained, audit.Head(last, was.pruned), was=was)
        async with catalog.directory(writes=True) as directory:
            await directory.people.count_failure("somebody", NOON, since=NOON)
            await directory.people.trust.add_token_key(make_token_key())
            await directory.outbox.purges.add(make_purge(tenant.id))
        async with catalog.journal(tenant.id, writes=True) as journal:
            await journal.add(make_entry(image))
        async with catalog.ledger(writes=True) as ledger:
            await ledger.add(tenant.id, "2026-11", Counts(uploads=3, uploaded_bytes=4))
        return user, album

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
