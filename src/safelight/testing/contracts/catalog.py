"""What every catalog must do, sentence by sentence of ports.catalog. Inherit and give a `catalog` fixture: open and migrated.

The pages are checked against a reference in plain Python that shares no code with any adapter.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safelight.domain.accounts import DuplicatePolicy, Grammar, Role, Scope, Tenant, allow_list
from safelight.domain.albums import Album
from safelight.domain.events import ImageAccepted, ImageTrashed, MailDue
from safelight.domain.ids import AlbumId, CodeId, ErasureId, ImageId, KeyId, TenantId, UserId, new_id
from safelight.domain.images import Image, Problem, Status, Visibility
from safelight.domain.journal import Numbered
from safelight.domain.queries import Cursor, ImageQuery, Sort
from safelight.domain.recipes import NO_RECIPES, OwnSize, Places, Recipe
from safelight.domain.tenants import Quotas, Stored
from safelight.domain.uploads import Method, Piece, UploadState
from safelight.domain.usage import Counts, month_of
from safelight.errors import (
    AlreadyExists,
    BackendUnavailable,
    BadCursor,
    BadField,
    Busy,
    Forbidden,
    Missing,
    QuotaExceeded,
    Stale,
    WrongState,
)
from safelight.imaging.transform import Fit, Focal
from safelight.ports.catalog import Catalog
from safelight.testing.contracts.factors import FactorContract
from safelight.testing.contracts.issuers import IssuersContract
from safelight.testing.contracts.ledger import LedgerContract
from safelight.testing.contracts.people import PeopleContract
from safelight.testing.contracts.purges import PurgesContract
from safelight.testing.contracts.redevelopments import RedevelopmentsContract
from safelight.testing.contracts.shares import SharesContract
from safelight.testing.contracts.trail import TrailContract
from safelight.testing.contracts.webhooks import WebhooksContract
from safelight.testing.factories import (
    NOON,
    make_album,
    make_entry,
    make_image,
    make_key,
    make_rendition,
    make_signing_key,
    make_tenant,
    make_upload,
    make_user,
)

HOUR = timedelta(hours=1)
RECIPE = Recipe(
    name="shop",
    sizes=(
        OwnSize(name="card", width=400, height=300, fit=Fit.COVER, formats=("webp", "avif"), webp_quality=70),
        OwnSize(name="tall", height=9),
    ),
    renditions=("large",),
    formats=("webp", "avif"),
    avif_quality=50,
    tiles=False,
    analysis=(),
)

# Several adapters inherit the same properties, each with a fixture that its examples share: what hypothesis warns of is meant
# so, and a failure of one adapter is not to be replayed on another.
_SHARED = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors, HealthCheck.too_slow],
)


async def tenant_in(catalog: Catalog, **fields: Any) -> Tenant:
    tenant = make_tenant(**fields)
    async with catalog.directory(writes=True) as directory:
        await directory.add_tenant(tenant)
    return tenant


async def images_in(catalog: Catalog, *images: Image) -> None:
    async with catalog.tenant(images[0].tenant, writes=True) as records:
        for image in images:
            await records.images.add(image)


async def stored_by(catalog: Catalog, tenant: Tenant) -> Stored:
    async with catalog.tenant(tenant.id) as records:
        return records.tenant.stored


async def album_in(catalog: Catalog, album: Album, *images: Image) -> None:
    async with catalog.tenant(album.tenant, writes=True) as records:
        await records.albums.add(album)
        await records.albums.insert(album.id, [image.id for image in images])


async def order_of(catalog: Catalog, album: Album) -> list[ImageId]:
    async with catalog.tenant(album.tenant) as records:
        page = await records.images.page(ImageQuery(album=album.id, sort=Sort.POSITION, limit=200))
    return [image.id for image in page.images]


async def walk(catalog: Catalog, tenant: TenantId, query: ImageQuery) -> list[ImageId]:
    """Every page in turn, each in a transaction of its own and by a cursor that went through a URL."""
    found: list[ImageId] = []
    while True:
        async with catalog.tenant(tenant) as records:
            page = await records.images.page(query)
        assert len(page.images) <= query.limit
        found += [image.id for image in page.images]
        if page.next is None:
            return found
        assert len(page.images) == query.limit
        query = replace(query, cursor=Cursor.decode(page.next.encode(), query.sort))


async def journal_of(catalog: Catalog, tenant: Tenant, count: int, *, after: int = 0) -> list[Numbered]:
    """The tenant's entries, once there are so many: a catalog may take its time to tell them."""
    deadline = time.monotonic() + 30.0
    while True:
        async with catalog.journal(tenant.id) as journal:
            entries = await journal.after(after)
        if len(entries) >= count or time.monotonic() > deadline:
            assert len(entries) == count
            return entries
        await asyncio.sleep(0.05)


class CatalogContract(
    LedgerContract,
    PeopleContract,
    FactorContract,
    WebhooksContract,
    IssuersContract,
    TrailContract,
    PurgesContract,
    SharesContract,
    RedevelopmentsContract,
):
    """Every test gets a tenant of its own, so an adapter may keep one database for all of them."""

    @pytest.fixture
    async def tenant(self, catalog: Catalog) -> Tenant:
        return await tenant_in(catalog)

    # The way in

    async def test_an_open_catalog_answers_a_ping(self, catalog: Catalog) -> None:
        await catalog.ping()

    async def test_migrating_what_is_up_to_date_applies_nothing(self, catalog: Catalog) -> None:
        assert await catalog.plan() == []
        assert await catalog.migrate() == []

    async def test_opening_twice_is_fine(self, catalog: Catalog) -> None:
        await catalog.open()

        await catalog.ping()

    async def test_closing_twice_is_fine(self, catalog: Catalog) -> None:
        await catalog.close()

        await catalog.close()

    async def test_a_closed_catalog_is_unavailable(self, catalog: Catalog, tenant: Tenant) -> None:
        await catalog.close()

        with pytest.raises(BackendUnavailable):
            await catalog.ping()
        with pytest.raises(BackendUnavailable):
            async with catalog.tenant(tenant.id):
                pass
        with pytest.raises(BackendUnavailable):
            async with catalog.directory() as directory:
                await directory.tenants()

    async def test_what_was_written_is_there_after_closing_and_opening(self, catalog: Catalog, tenant: Tenant) -> None:
        await catalog.close()
        await catalog.open()

        async with catalog.tenant(tenant.id) as records:
            assert records.tenant == tenant

    async def test_an_unknown_tenant_is_missing(self, catalog: Catalog) -> None:
        for writes in (False, True):
            with pytest.raises(Missing):
                async with catalog.tenant(TenantId(new_id()), writes=writes):
                    pass

    async def test_the_tenant_is_at_hand(self, catalog: Catalog) -> None:
        tenant = await tenant_in(catalog, trash_days=7, duplicates=DuplicatePolicy.REUSE)

        async with catalog.tenant(tenant.id) as records:
            assert records.tenant == tenant

    # Transactions

    async def test_a_block_that_ends_commits(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.add(image)

        async with catalog.tenant(tenant.id) as records:
            assert await records.images.get(image.id) == image

    async def test_a_block_that_raises_leaves_nothing_behind(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id, tags=("sea",))
        with pytest.raises(ZeroDivisionError):
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.images.add(image)
                await records.albums.add(make_album(tenant.id))
                await records.emit(ImageAccepted(tenant.id, image.id, 1, 1, image.owner))
                raise ZeroDivisionError

        async with catalog.tenant(tenant.id) as records:
            assert await records.images.get_many([image.id]) == []
            assert await records.images.tags() == []
            assert await records.albums.page(None) == []
        async with catalog.directory() as directory:
            assert [told for told in await directory.outbox.untold(1000) if told.event.tenant == tenant.id] == []

    async def test_a_cancelled_block_leaves_nothing_behind(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id)
        has_added = asyncio.Event()

        async def add_and_wait() -> None:
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.images.add(image)
                has_added.set()
                await asyncio.sleep(3600)

        task = asyncio.create_task(add_and_wait())
        await has_added.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.images.get_many([image.id]) == []

    async def test_calls_that_are_cancelled_in_the_middle_do_not_block_the_next(self, catalog: Catalog, tenant: Tenant) -> None:
        for rounds in range(30):
            task = asyncio.create_task(images_in(catalog, make_image(tenant.id)))
            for _ in range(rounds % 10):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        image = make_image(tenant.id)
        await images_in(catalog, image)
        async with catalog.tenant(tenant.id) as records:
            assert await records.images.get(image.id) == image

    async def test_a_transaction_sees_what_it_has_written(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.add(image)

            assert await records.images.get(image.id) == image

    async def test_others_do_not_see_what_is_not_committed(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.add(image)

            async with catalog.tenant(tenant.id) as others:
                assert await others.images.get_many([image.id]) == []

    async def test_a_reading_transaction_sees_one_moment(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id)
        async with catalog.tenant(tenant.id) as records:
            before = await records.images.page(ImageQuery())
            await images_in(catalog, image)

            assert await records.images.page(ImageQuery()) == before

    async def test_a_reading_transaction_cannot_write(self, catalog: Catalog, tenant: Tenant) -> None:
        image, album, user = make_image(tenant.id), make_album(tenant.id), make_user(tenant.id)
        async with catalog.tenant(tenant.id) as records:
            for writing in (
                records.images.add(image),
                records.images.save(image),
                records.images.remove(image.id),
                records.albums.add(album),
                records.albums.save(album),
                records.albums.remove(album.id),
                records.albums.insert(album.id, []),
                records.albums.drop(album.id, []),
                records.accounts.add_user(user),
                records.accounts.save_user(user),
                records.accounts.api_keys.add(make_key(user)),
                records.accounts.api_keys.save(make_key(user)),
                records.accounts.add_signing_key(make_signing_key(tenant.id)),
                records.accounts.retire_signing_key("kid", NOON),
                records.emit(ImageAccepted(tenant.id, image.id, 1, 1, image.owner)),
            ):
                with pytest.raises(WrongState):
                    await writing
        async with catalog.directory() as directory:
            for writing in (
                directory.add_tenant(make_tenant()),
                directory.save_tenant(tenant),
                directory.outbox.mark_told([1]),
                directory.people.touch_key(KeyId(new_id()), NOON),
                directory.strip_tenant(tenant.id),
            ):
                with pytest.raises(WrongState):
                    await writing

    async def test_a_transaction_that_has_ended_answers_no_more(self, catalog: Catalog, tenant: Tenant) -> None:
        async with catalog.tenant(tenant.id) as records:
            pass

        with pytest.raises(WrongState):
            await records.images.page(ImageQuery())

    async def test_a_refused_row_does_not_spoil_the_transaction(self, catalog: Catalog, tenant: Tenant) -> None:
        image, other = make_image(tenant.id), make_image(tenant.id)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.add(image)
            with pytest.raises(AlreadyExists):
                await records.images.add(image)
            await records.images.add(other)

        async with catalog.tenant(tenant.id) as records:
            assert len(await records.images.get_many([image.id, other.id])) == 2

    async def test_many_writers_take_turns_and_none_is_lost(self, catalog: Catalog, tenant: Tenant) -> None:
        images = [make_image(tenant.id) for _ in range(30)]

        await asyncio.gather(*(images_in(catalog, image) for image in images))

        async with catalog.tenant(tenant.id) as records:
            assert len(await records.images.get_many([image.id for image in images])) == 30

    async def test_of_many_who_save_the_same_revision_one_wins(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id)
        await images_in(catalog, image)

        async def rename(title: str) -> None:
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.images.save(image.edited(at=NOON, title=title))

        outcomes = await asyncio.gather(*(rename(f"Take {n}") for n in range(10)), return_exceptions=True)

        assert sum(outcome is None for outcome in outcomes) == 1
        assert sum(isinstance(outcome, Stale) for outcome in outcomes) == 9

    async def test_more_readers_at_once_than_connections_all_get_an_answer(self, catalog: Catalog, tenant: Tenant) -> None:
        async def read() -> int:
            async with catalog.tenant(tenant.id) as records:
                await asyncio.sleep(0.001)
                return len((await records.images.page(ImageQuery())).images)

        assert await asyncio.gather(*(read() for _ in range(40))) == [0] * 40

    # Tenancy

    async def test_nothing_reaches_another_tenant(self, catalog: Catalog, tenant: Tenant) -> None:
        other = await tenant_in(catalog)
        user = make_user(tenant.id)
        key, ring_key = make_key(user), make_signing_key(tenant.id)
        image, album = make_image(tenant.id, tags=("sea",), visibility=Visibility.PUBLIC), make_album(tenant.id)
        await images_in(catalog, image)
        await album_in(catalog, album, image)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_user(user)
            await records.accounts.api_keys.add(key)
            await records.accounts.add_signing_key(ring_key)

        async with catalog.tenant(other.id, writes=True) as records:
            foreign_album = make_album(other.id)
            await records.albums.add(foreign_album)
            assert await records.images.get_many([image.id]) == []
            assert (await records.images.page(ImageQuery())).images == ()
            assert (await records.images.page(ImageQuery(visible_to=image.owner))).images == ()
            assert (await records.images.page(ImageQuery(tags=("sea",)))).images == ()
            assert (await records.images.page(ImageQuery(album=album.id, sort=Sort.POSITION))).images == ()
            assert (await records.images.page(ImageQuery(album=album.id))).images == ()
            assert await records.images.by_sha256(image.sha256, image.owner) is None
            assert await records.images.trashed_before(NOON + HOUR) == []
            assert await records.images.tags() == []
            assert await records.albums.page(None) == [foreign_album]
            assert await records.albums.of_image(image.id) == []
            assert await records.accounts.users() == []
            assert await records.accounts.api_keys.all() == []
            assert await records.accounts.signing_keys() == []
            for reaching in (
                records.images.get(image.id),
                records.images.remove(image.id),
                records.albums.get(album.id),
                records.albums.remove(album.id),
                records.albums.insert(album.id, []),
                records.albums.insert(foreign_album.id, [image.id]),
                records.albums.drop(album.id, [image.id]),
                records.accounts.api_keys.save(replace(key, tenant=other.id)),
                records.accounts.retire_signing_key(ring_key.kid, NOON),
                records.accounts.api_keys.add(replace(make_key(user), tenant=other.id)),
                records.images.save(replace(image, tenant=other.id, revision=2)),
                records.albums.save(replace(album, tenant=other.id, revision=2)),
                records.accounts.save_user(replace(user, tenant=other.id)),
            ):
                with pytest.raises(Missing):
                    await reaching
            for smuggling in (
                records.images.add(make_image(tenant.id)),
                records.images.save(replace(image, revision=2)),
                records.albums.add(make_album(tenant.id)),
                records.albums.save(replace(album, revision=2)),
                records.accounts.add_user(make_user(tenant.id)),
                records.accounts.save_user(user),
                records.accounts.api_keys.add(make_key(user)),
                records.accounts.add_signing_key(make_signing_key(tenant.id)),
                records.emit(ImageAccepted(tenant.id, image.id, 1, 1, image.owner)),
            ):
                with pytest.raises(Forbidden):
                    await smuggling

    # Images

    async def test_every_field_of_an_image_comes_back(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(
            tenant.id,
            created_at=NOON.replace(microsecond=123_457),
            updated_at=NOON.replace(microsecond=999_999),
            version=3,
            revision=9,
            status=Status.REJECTED,
            visibility=Visibility.UNLISTED,
            title="Été à l'île, 夏の海 🌊",
            description="Zwei Zeilen\nund eine Lücke",
            file_name="DSC 0001 (2).HEIC",
            tags=("zebra", "sea", "ärger"),
            custom={"a": [1, 2.5, None, True], "ä": {"b": "c"}},
            media_type="image/heic",
            size_bytes=2**40,
            frames=12,
            has_alpha=True,
            focal_point=Focal(0.25, 0.1234),
            generation=4,
            uncached_at=NOON + HOUR,
            taken_at=datetime(1969, 7, 20, 20, 17, 40, 1, tzinfo=UTC),
            camera="Canon EOS R5",
            place="Île de Ré",
            thumbhash="1QcSHQRnh493V4dIh4eXh1h4kJUI",
            dominant_color="#1a2b3c",
            phash="ffeeddccbbaa0099",
            metadata={"exif": {"FNumber": 2.8, "Lens": "RF 50"}},
            trashed_at=NOON + HOUR,
            problem=Problem(code="corrupt_image", detail="It ends in the middle."),
            printing=4,
            developed_printing=3,
            recipe=replace(RECIPE, version=7),
            developed_recipe=RECIPE,
        )
        image = replace(image, renditions=(make_rendition(image), make_rendition(image, format="avif")))

        await images_in(catalog, image)

        async with catalog.tenant(tenant.id) as records:
            assert await records.images.get(image.id) == image

    @given(
        at=st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(9990, 1, 1)),  # noqa: DTZ001  # strategies want it so
        offset=st.integers(-14, 14),
    )
    @settings(_SHARED, max_examples=25)
    async def test_times_are_kept_to_the_microsecond(self, catalog: Catalog, tenant: Tenant, at: datetime, offset: int) -> None:
        image = make_image(tenant.id, taken_at=at.replace(tzinfo=timezone(timedelta(hours=offset))))

        await images_in(catalog, image)

        async with catalog.tenant(tenant.id) as records:
            found = await records.images.get(image.id)
        assert found.taken_at == image.taken_at
        assert found.taken_at is not None
        assert found.taken_at.utcoffset() == timedelta(0)

    async def test_what_cannot_be_kept_is_a_bad_field(self, catalog: Catalog, tenant: Tenant) -> None:
        async with catalog.tenant(tenant.id, writes=True) as records:
            for image in (
                make_image(tenant.id, title="\ud800"),
                make_image(tenant.id, title="a\x00b"),
                make_image(tenant.id, tags=("\udfff",)),
                make_image(tenant.id, custom={"a": 2**70}),
                make_image(tenant.id, custom={"a": object()}),
                make_image(tenant.id, custom={"a": "\ud800"}),
                make_image(tenant.id, metadata={1: "one"}),
                make_image(tenant.id, taken_at=datetime(2026, 1, 1)),  # noqa: DTZ001  # the very thing that is refused
            ):
                with pytest.raises(BadField):
                    await records.images.add(image)

    async def test_changing_what_was_handed_over_changes_no_record(self, catalog: Catalog, tenant: Tenant) -> None:
        custom: dict[str, Any] = {"likes": [1]}
        image = make_image(tenant.id, custom=custom)
        await images_in(catalog, image)
        custom["likes"].append(2)
        async with catalog.tenant(tenant.id) as records:
            found = await records.images.get(image.id)
            found.custom["likes"].append(3)

            assert (await records.images.get(image.id)).custom == {"likes": [1]}

    async def test_adding_an_id_twice_raises_already_exists(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id)
        await images_in(catalog, image)

        with pytest.raises(AlreadyExists):
            await images_in(catalog, image)

    async def test_an_unknown_image_is_missing(self, catalog: Catalog, tenant: Tenant) -> None:
        async with catalog.tenant(tenant.id) as records:
            with pytest.raises(Missing):
                await records.images.get(ImageId(new_id()))

    async def test_an_image_in_the_trash_can_be_read(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id, trashed_at=NOON)
        await images_in(catalog, image)

        async with catalog.tenant(tenant.id) as records:
            assert await records.images.get(image.id) == image

    async def test_many_come_in_the_order_asked_without_those_that_do_not_exist(self, catalog: Catalog, tenant: Tenant) -> None:
        images = [make_image(tenant.id) for _ in range(3)]
        await images_in(catalog, *images)
        a, b, c = (image.id for image in images)

        async with catalog.tenant(tenant.id) as records:
            found = await records.images.get_many([c, ImageId(new_id()), a, b])
            assert [image.id for image in found] == [c, a, b]
            assert await records.images.get_many([]) == []

    async def test_a_thousand_ids_are_not_too_many(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id)
        await images_in(catalog, image)

        async with catalog.tenant(tenant.id) as records:
            assert await records.images.get_many([*(ImageId(new_id()) for _ in range(1200)), image.id]) == [image]

    async def test_saving_replaces_every_field(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id, tags=("sea",), status=Status.DEVELOPING)
        await images_in(catalog, image)
        edited = image.edited(at=NOON + HOUR, title="Sunset", tags=("sun", "sea"), custom={"a": 1}, visibility=Visibility.PUBLIC)
        developed = edited.developed(at=NOON + HOUR, renditions=(make_rendition(image),), taken_at=NOON - HOUR, camera="X100V")

        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.save(edited)
            await records.images.save(developed)

        async with catalog.tenant(tenant.id) as records:
            assert await records.images.get(image.id) == developed
            assert await records.images.tags() == [("sea", 1), ("sun", 1)]

    async def test_saving_over_another_change_raises_stale(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id)
        await images_in(catalog, image)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.save(image.edited(at=NOON, title="First"))

            with pytest.raises(Stale):
                await records.images.save(image.edited(at=NOON, title="Second"))
            with pytest.raises(Stale):
                await records.images.save(replace(image, revision=7))

    async def test_saving_without_a_row_is_missing(self, catalog: Catalog, tenant: Tenant) -> None:
        async with catalog.tenant(tenant.id, writes=True) as records:
            with pytest.raises(Missing):
                await records.images.save(make_image(tenant.id, revision=2))

    async def test_removing_takes_the_row_its_tags_its_places_and_covers(self, catalog: Catalog, tenant: Tenant) -> None:
        image, other = make_image(tenant.id, tags=("sea",)), make_image(tenant.id)
        album = make_album(tenant.id, cover=image.id)
        await images_in(catalog, image, other)
        await album_in(catalog, album, image, other)

        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.remove(image.id)

        async with catalog.tenant(tenant.id) as records:
            assert await records.images.get_many([image.id]) == []
            assert await records.images.tags() == []
            assert await records.albums.of_image(image.id) == []
            assert await records.albums.get(album.id) == replace(album, cover=None, image_count=1)

    async def test_removing_an_unknown_image_is_missing(self, catalog: Catalog, tenant: Tenant) -> None:
        async with catalog.tenant(tenant.id, writes=True) as records:
            with pytest.raises(Missing):
                await records.images.remove(ImageId(new_id()))

    async def test_the_oldest_usable_image_with_the_same_bytes_is_found(self, catalog: Catalog, tenant: Tenant) -> None:
        me, other = UserId(new_id()), UserId(new_id())
        same: dict[str, Any] = {"sha256": "ab" * 32}
        first = make_image(tenant.id, me, created_at=NOON + HOUR, **same)
        await images_in(
            catalog,
            make_image(tenant.id, me, created_at=NOON + 2 * HOUR, **same),
            first,
            make_image(tenant.id, me, trashed_at=NOON, **same),
            make_image(tenant.id, me, status=Status.REJECTED, **same),
            make_image(tenant.id, me, status=Status.FAILED, **same),
            make_image(tenant.id, other, **same),
            make_image(tenant.id, me),
        )

        async with catalog.tenant(tenant.id) as records:
            assert await records.images.by_sha256("ab" * 32, me) == first
            assert await records.images.by_sha256("cd" * 32, me) is None

    async def test_of_many_who_add_the_same_bytes_at_once_unless_they_are_there_one_does(
        self, catalog: Catalog, tenant: Tenant
    ) -> None:
        """And again when the one is gone. Who is refused is told to try again, and then sees it."""
        me = UserId(new_id())

        async def add_unless_there() -> bool:
            image = make_image(tenant.id, me, sha256="ab" * 32)
            async with catalog.tenant(tenant.id, writes=True) as records:
                is_there = await records.images.by_sha256(image.sha256, me) is not None
                if not is_there:
                    await records.images.add(image)
            return not is_there

        for _ in range(2):
            outcomes = await asyncio.gather(*(add_unless_there() for _ in range(8)), return_exceptions=True)
            assert [outcome for outcome in outcomes if isinstance(outcome, BaseException) and not isinstance(outcome, Busy)] == []
            assert outcomes.count(True) == 1, outcomes
            assert await add_unless_there() is False
            async with catalog.tenant(tenant.id, writes=True) as records:
                [image] = (await records.images.page(ImageQuery(owner=me))).images
                await records.images.save(image.trashed(at=NOON))

    async def test_the_trash_is_told_oldest_first_up_to_a_time(self, catalog: Catalog, tenant: Tenant) -> None:
        late, early, now = (make_image(tenant.id, trashed_at=NOON + n * HOUR) for n in (2, 1, 3))
        await images_in(catalog, late, early, now, make_image(tenant.id))

        async with catalog.tenant(tenant.id) as records:
            assert await records.images.trashed_before(NOON + 3 * HOUR) == [early, late]
            assert await records.images.trashed_before(NOON + 3 * HOUR, limit=1) == [early]

    async def test_tags_are_counted_outside_the_trash(self, catalog: Catalog, tenant: Tenant) -> None:
        kept, trashed = make_image(tenant.id, tags=("sea", "sun")), make_image(tenant.id, tags=("sea", "sand"))
        await images_in(catalog, kept, trashed, make_image(tenant.id, tags=("sea", "boat")))
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.save(gone := trashed.trashed(at=NOON))

        async with catalog.tenant(tenant.id) as records:
            assert await records.images.tags() == [("sea", 2), ("boat", 1), ("sun", 1)]
            assert await records.images.tags("s") == [("sea", 2), ("sun", 1)]
            assert await records.images.tags("S", limit=1) == [("sea", 2)]
            assert await records.images.tags("%") == []
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.save(gone.restored(at=NOON))
            assert await records.images.tags("sand") == [("sand", 1)]

    async def test_tags_are_counted_of_one_owner_or_of_all(self, catalog: Catalog, tenant: Tenant) -> None:
        me, you = UserId(new_id()), UserId(new_id())
        mine, other = make_image(tenant.id, tags=("sea", "sun"), owner=me), make_image(tenant.id, tags=("sun",), owner=me)
        await images_in(catalog, mine, other, make_image(tenant.id, tags=("sea", "secret"), owner=you))

        async with catalog.tenant(tenant.id) as records:
            assert await records.images.tags(owner=me) == [("sun", 2), ("sea", 1)]
            assert await records.images.tags("se", owner=me) == [("sea", 1)]
            assert await records.images.tags("se", owner=you) == [("sea", 1), ("secret", 1)]
            assert await records.images.tags("s", limit=1, owner=you) == [("sea", 1)]
            assert await records.images.tags("s") == [("sea", 2), ("sun", 2), ("secret", 1)]
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.save(other.trashed(at=NOON))
            await records.images.remove(mine.id)
            assert await records.images.tags(owner=me) == []

    # Pages

    async def test_pages_are_newest_first_and_outside_the_trash_unless_asked(self, catalog: Catalog, tenant: Tenant) -> None:
        images = [make_image(tenant.id, created_at=NOON + n * HOUR) for n in range(3)]
        trashed = make_image(tenant.id, trashed_at=NOON)
        await images_in(catalog, *images, trashed)

        async with catalog.tenant(tenant.id) as records:
            page = await records.images.page(ImageQuery())
            assert list(page.images) == images[::-1]
            assert page.next is None
            assert (await records.images.page(ImageQuery(is_trashed=True))).images == (trashed,)

    async def test_a_page_that_ends_with_the_last_image_has_no_next(self, catalog: Catalog, tenant: Tenant) -> None:
        await images_in(catalog, *(make_image(tenant.id) for _ in range(4)))

        async with catalog.tenant(tenant.id) as records:
            first = await records.images.page(ImageQuery(limit=2))
            assert first.next is not None
            assert (await records.images.page(ImageQuery(limit=2, cursor=first.next))).next is None

    async def test_a_cursor_of_another_order_is_refused(self, catalog: Catalog, tenant: Tenant) -> None:
        cursor = Cursor(Sort.SIZE, 5, ImageId(new_id()))

        async with catalog.tenant(tenant.id) as records:
            with pytest.raises(BadCursor):
                await records.images.page(ImageQuery(sort=Sort.CREATED, cursor=cursor))

    async def test_a_cursor_whose_image_is_gone_still_continues(self, catalog: Catalog, tenant: Tenant) -> None:
        images = [make_image(tenant.id, created_at=NOON + n * HOUR) for n in range(4)]
        await images_in(catalog, *images)
        async with catalog.tenant(tenant.id, writes=True) as records:
            first = await records.images.page(ImageQuery(limit=2, sort=Sort.CREATED))
            await records.images.remove(images[1].id)

            rest = await records.images.page(ImageQuery(limit=2, sort=Sort.CREATED, cursor=first.next))
            assert list(rest.images) == images[2:]

    async def test_the_longest_titles_still_fit_into_a_cursor(self, catalog: Catalog, tenant: Tenant) -> None:
        titles = ["\x01" * 200, "🌊" * 200, '"' * 200, "ΐ" * 200, "🌊" * 199 + "a"]
        images = [make_image(tenant.id, title=title) for title in titles]
        await images_in(catalog, *images)

        found = await walk(catalog, tenant.id, ImageQuery(sort=Sort.TITLE, limit=1))

        assert sorted(found) == sorted(image.id for image in images)

    async def test_someone_elses_public_image_in_the_trash_is_not_visible(self, catalog: Catalog, tenant: Tenant) -> None:
        mine = make_image(tenant.id, trashed_at=NOON)
        theirs = make_image(tenant.id, trashed_at=NOON, visibility=Visibility.PUBLIC)
        await images_in(catalog, mine, theirs)

        async with catalog.tenant(tenant.id) as records:
            page = await records.images.page(ImageQuery(is_trashed=True, visible_to=mine.owner))
            assert page.images == (mine,)

    @given(data=st.data())
    @settings(_SHARED, max_examples=30)
    async def test_walking_the_pages_gives_every_match_once_and_in_order(self, catalog: Catalog, data: st.DataObject) -> None:
        tenant = await tenant_in(catalog)
        images = [make_image(tenant.id, **fields) for fields in data.draw(st.lists(_FIELDS, max_size=16))]
        members = [image for image in images if data.draw(st.booleans())]
        members = data.draw(st.permutations(members))
        album = make_album(tenant.id)
        await album_in(catalog, album)
        async with catalog.tenant(tenant.id, writes=True) as records:
            for image in images:
                await records.images.add(image)
            await records.albums.insert(album.id, [image.id for image in members])
        places = {image.id: n for n, image in enumerate(members)}

        for _ in range(8):
            query = ImageQuery(**data.draw(_QUESTIONS), album=album.id if data.draw(st.booleans()) else None)
            if query.album is not None and data.draw(st.booleans()):
                query = replace(query, sort=Sort.POSITION)

            assert await walk(catalog, tenant.id, query) == _expected(images, places, query)

    # Albums

    async def test_every_field_of_an_album_comes_back(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id)
        album = make_album(tenant.id, title="Été", description="Trois\nsemaines", cover=image.id, revision=4)
        await images_in(catalog, image)
        await album_in(catalog, album, image)

        async with catalog.tenant(tenant.id) as records:
            assert await records.albums.get(album.id) == replace(album, image_count=1)

    async def test_an_albums_count_leaves_out_the_trash(self, catalog: Catalog, tenant: Tenant) -> None:
        images = [make_image(tenant.id), make_image(tenant.id, trashed_at=NOON), make_image(tenant.id)]
        album = make_album(tenant.id)
        await images_in(catalog, *images)
        await album_in(catalog, album, *images)
        async with catalog.tenant(tenant.id, writes=True) as records:
            assert (await records.albums.get(album.id)).image_count == 2
            await records.images.save(images[0].trashed(at=NOON))
            await records.images.save(images[1].restored(at=NOON))

            assert (await records.albums.get(album.id)).image_count == 2
            assert (await records.albums.page(None))[0].image_count == 2
        assert await order_of(catalog, album) == [images[1].id, images[2].id]

    async def test_an_album_added_twice_already_exists(self, catalog: Catalog, tenant: Tenant) -> None:
        album = make_album(tenant.id)
        await album_in(catalog, album)

        with pytest.raises(AlreadyExists):
            await album_in(catalog, album)

    async def test_saving_an_album_replaces_it_once_per_revision(self, catalog: Catalog, tenant: Tenant) -> None:
        album = make_album(tenant.id)
        await album_in(catalog, album)
        edited = album.edited(at=NOON + HOUR, title="Winter", description="Snow")
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.albums.save(edited)
            with pytest.raises(Stale):
                await records.albums.save(edited)

            assert await records.albums.get(album.id) == edited

    async def test_an_unknown_album_is_missing(self, catalog: Catalog, tenant: Tenant) -> None:
        album = make_album(tenant.id, revision=2)
        async with catalog.tenant(tenant.id, writes=True) as records:
            for asking in (
                records.albums.get(album.id),
                records.albums.save(album),
                records.albums.remove(album.id),
                records.albums.insert(album.id, []),
                records.albums.drop(album.id, []),
            ):
                with pytest.raises(Missing):
                    await asking

    async def test_removing_an_album_leaves_its_images(self, catalog: Catalog, tenant: Tenant) -> None:
        image, album = make_image(tenant.id), make_album(tenant.id)
        await images_in(catalog, image)
        await album_in(catalog, album, image)

        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.albums.remove(album.id)

        async with catalog.tenant(tenant.id) as records:
            assert await records.images.get(image.id) == image
            assert await records.albums.of_image(image.id) == []
            with pytest.raises(Missing):
                await records.albums.get(album.id)

    async def test_albums_come_newest_first_by_owner_and_behind_one(self, catalog: Catalog, tenant: Tenant) -> None:
        me, other = UserId(new_id()), UserId(new_id())
        albums = [make_album(tenant.id, owner, created_at=NOON + n * HOUR) for n, owner in enumerate((me, other, me, me))]
        for album in albums:
            await album_in(catalog, album)

        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.albums.page(None) == albums[::-1]
            assert await records.albums.page(me) == [albums[3], albums[2], albums[0]]
            assert await records.albums.page(me, limit=1) == [albums[3]]
            assert await records.albums.page(me, after=albums[3].id, limit=1) == [albums[2]]
            await records.albums.remove(albums[2].id)
            assert await records.albums.page(me, after=albums[2].id) == [albums[0]]

    async def test_images_go_to_the_end_or_before_another(self, catalog: Catalog, tenant: Tenant) -> None:
        images = [make_image(tenant.id) for _ in range(5)]
        a, b, c, d, e = (image.id for image in images)
        album = make_album(tenant.id)
        await images_in(catalog, *images)
        await album_in(catalog, album)
        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.albums.insert(album.id, [b, c]) == 2
            assert await records.albums.insert(album.id, [a], before=b) == 1
            assert await records.albums.insert(album.id, [e, d, d], before=c) == 2
        assert await order_of(catalog, album) == [a, b, e, d, c]

        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.albums.insert(album.id, [a, c], before=d) == 0
        assert await order_of(catalog, album) == [b, e, a, c, d]

        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.albums.insert(album.id, [b]) == 0
        assert await order_of(catalog, album) == [e, a, c, d, b]

        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.albums.insert(album.id, [d, c], before=c) == 0
        assert await order_of(catalog, album) == [e, a, d, c, b]

    async def test_inserting_anything_unknown_is_missing_and_changes_nothing(self, catalog: Catalog, tenant: Tenant) -> None:
        a, b, outside = (make_image(tenant.id) for _ in range(3))
        album = make_album(tenant.id)
        await images_in(catalog, a, b, outside)
        await album_in(catalog, album, a, b)
        async with catalog.tenant(tenant.id, writes=True) as records:
            with pytest.raises(Missing):
                await records.albums.insert(album.id, [b.id, ImageId(new_id())], before=a.id)
            with pytest.raises(Missing):
                await records.albums.insert(album.id, [b.id], before=outside.id)

        assert await order_of(catalog, album) == [a.id, b.id]

    @given(
        moves=st.lists(st.tuples(st.lists(st.integers(0, 7), min_size=1, max_size=4), st.none() | st.integers(0, 7)), max_size=30)
    )
    @settings(_SHARED, max_examples=15)
    async def test_the_order_is_that_of_a_list(
        self, catalog: Catalog, tenant: Tenant, moves: list[tuple[list[int], int | None]]
    ) -> None:
        images = [make_image(tenant.id) for _ in range(8)]
        album = make_album(tenant.id)
        await images_in(catalog, *images)
        await album_in(catalog, album)
        order: list[ImageId] = []
        async with catalog.tenant(tenant.id, writes=True) as records:
            for which, before in moves:
                ids = [images[n].id for n in which]
                anchor = None if before is None or images[before].id not in order else images[before].id
                await records.albums.insert(album.id, ids, before=anchor)
                order = _inserted(order, list(dict.fromkeys(ids)), anchor)

        assert await order_of(catalog, album) == order

    async def test_a_hundred_insertions_at_one_place_keep_the_order(self, catalog: Catalog, tenant: Tenant) -> None:
        images = [make_image(tenant.id) for _ in range(102)]
        first, last, *between = (image.id for image in images)
        album = make_album(tenant.id)
        await images_in(catalog, *images)
        await album_in(catalog, album, *images[:2])
        async with catalog.tenant(tenant.id, writes=True) as records:
            for image_id in between:
                await records.albums.insert(album.id, [image_id], before=last)

        assert await order_of(catalog, album) == [first, *between, last]

    async def test_dropping_takes_out_what_is_in_and_unsets_the_cover(self, catalog: Catalog, tenant: Tenant) -> None:
        a, b, outside = (make_image(tenant.id) for _ in range(3))
        album = make_album(tenant.id, cover=a.id)
        await images_in(catalog, a, b, outside)
        await album_in(catalog, album, a, b)
        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.albums.drop(album.id, [outside.id, ImageId(new_id())]) == 0
            assert (await records.albums.get(album.id)).cover == a.id
            assert await records.albums.drop(album.id, [a.id, a.id, outside.id]) == 1

            assert await records.albums.get(album.id) == replace(album, cover=None, image_count=1)
        assert await order_of(catalog, album) == [b.id]

    async def test_an_image_tells_which_albums_hold_it(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id)
        albums = [make_album(tenant.id, created_at=NOON + n * HOUR) for n in range(3)]
        await images_in(catalog, image)
        await album_in(catalog, albums[0], image)
        await album_in(catalog, albums[1])
        await album_in(catalog, albums[2], image)

        async with catalog.tenant(tenant.id) as records:
            assert sorted(await records.albums.of_image(image.id)) == [albums[0].id, albums[2].id]
            assert await records.albums.of_image(ImageId(new_id())) == []

    # Accounts

    async def test_users_come_back_by_name_and_can_be_replaced(self, catalog: Catalog, tenant: Tenant) -> None:
        zoe, ada = make_user(tenant.id, name="zoe"), make_user(tenant.id, name="ada", role=Role.ADMIN, disabled_at=NOON)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_user(zoe)
            await records.accounts.add_user(ada)
            assert await records.accounts.users() == [ada, zoe]
            await records.accounts.save_user(zoe := replace(zoe, name="aaron", role=Role.OPERATOR))

            assert await records.accounts.users() == [zoe, ada]

    async def test_a_users_id_and_name_are_given_once(self, catalog: Catalog, tenant: Tenant) -> None:
        zoe, ada = make_user(tenant.id, name="zoe"), make_user(tenant.id, name="ada")
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_user(zoe)
            await records.accounts.add_user(ada)
            for adding in (
                records.accounts.add_user(replace(zoe, name="other")),
                records.accounts.add_user(make_user(tenant.id, name="zoe")),
                records.accounts.save_user(replace(ada, name="zoe")),
            ):
                with pytest.raises(AlreadyExists):
                    await adding
            with pytest.raises(Missing):
                await records.accounts.save_user(make_user(tenant.id))

    async def test_two_tenants_may_have_users_of_one_name(self, catalog: Catalog, tenant: Tenant) -> None:
        other = await tenant_in(catalog)

        for one in (tenant, other):
            async with catalog.tenant(one.id, writes=True) as records:
                await records.accounts.add_user(make_user(one.id, name="ada"))

    async def test_keys_come_back_newest_first(self, catalog: Catalog, tenant: Tenant) -> None:
        user = make_user(tenant.id)
        old = make_key(user)
        new = make_key(
            user, created_at=NOON + HOUR, scopes=frozenset(Scope), expires_at=NOON + 2 * HOUR, last_used_at=NOON, revoked_at=NOON
        )
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_user(user)
            await records.accounts.api_keys.add(old)
            await records.accounts.api_keys.add(new)

            assert await records.accounts.api_keys.all() == [new, old]
            with pytest.raises(AlreadyExists):
                await records.accounts.api_keys.add(old)
            with pytest.raises(Missing):
                await records.accounts.api_keys.add(make_key(make_user(tenant.id)))

    async def test_a_key_is_renamed_bound_to_networks_and_revoked_at_the_first_time_said(
        self, catalog: Catalog, tenant: Tenant
    ) -> None:
        user = make_user(tenant.id)
        key = make_key(user, networks=allow_list(["192.0.2.7", "2001:db8::/32"]))
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_user(user)
            await records.accounts.api_keys.add(key)
            assert await records.accounts.api_keys.all() == [key]
        async with catalog.directory(writes=True) as directory:
            await directory.people.touch_key(key.id, NOON + HOUR)
        async with catalog.tenant(tenant.id, writes=True) as records:
            changed = replace(key, name="desk", networks=allow_list(["198.51.100.0/24"]), revoked_at=NOON)
            await records.accounts.api_keys.save(changed)
            await records.accounts.api_keys.save(replace(changed, networks=(), revoked_at=NOON + HOUR, scopes=frozenset(Scope)))

            saved = replace(changed, networks=(), last_used_at=NOON + HOUR)
            assert await records.accounts.api_keys.all() == [saved]
            with pytest.raises(Missing):
                await records.accounts.api_keys.save(make_key(user))
        async with catalog.directory() as directory:
            assert await directory.key(key.id) == (saved, user)

    async def test_a_users_keys_are_told_apart_from_others(self, catalog: Catalog, tenant: Tenant) -> None:
        ada, zoe = make_user(tenant.id), make_user(tenant.id)
        keys = [make_key(user, created_at=NOON + n * HOUR) for n, user in enumerate((ada, zoe, ada))]
        async with catalog.tenant(tenant.id, writes=True) as records:
            for user in (ada, zoe):
                await records.accounts.add_user(user)
            for key in keys:
                await records.accounts.api_keys.add(key)

        async with catalog.tenant(tenant.id) as records:
            assert await records.accounts.api_keys.all(ada.id) == [keys[2], keys[0]]
            assert await records.accounts.api_keys.all(make_user(tenant.id).id) == []

    async def test_the_ring_comes_back_with_its_secrets_newest_first(self, catalog: Catalog, tenant: Tenant) -> None:
        old, new = make_signing_key(tenant.id), make_signing_key(tenant.id, created_at=NOON + HOUR, secret=b"\x00\xff" * 16)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_signing_key(old)
            await records.accounts.add_signing_key(new)
            await records.accounts.retire_signing_key(old.kid, NOON + HOUR)
            await records.accounts.retire_signing_key(old.kid, NOON + 2 * HOUR)

            assert await records.accounts.signing_keys() == [new, replace(old, retired_at=NOON + 2 * HOUR)]
            with pytest.raises(AlreadyExists):
                await records.accounts.add_signing_key(old)
            with pytest.raises(Missing):
                await records.accounts.retire_signing_key("nobody", NOON)

    # Uploads

    async def test_every_field_of_an_upload_comes_back(self, catalog: Catalog, tenant: Tenant) -> None:
        plain = make_upload(tenant.id)
        full = make_upload(
            tenant.id,
            state=UploadState.REJECTED,
            method=Method.FOUND,
            size_bytes=None,
            offset_bytes=2**33,
            pieces=(Piece("incoming/t/u.1", 2**33 - 1), Piece("incoming/t/u.2", 1)),
            tus_metadata="filename YS5qcGc=,is_good",
            tus_concat="final;/tus/a /tus/b",
            sha256="5a" * 32,
            source="drop/Grüße/a b.jpg",
            source_version="096fKKXTRTtl3on89fVO",
            title="日本",
            description="A\nB",
            tags=("sea", "sun"),
            album=AlbumId(new_id()),
            visibility=Visibility.PUBLIC,
            custom={"a": [1, None, {"b": "ü"}]},
            image=ImageId(new_id()),
            duplicate_of=ImageId(new_id()),
            problem=Problem(code="corrupt_image", detail="It is damaged."),
        )
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.uploads.add(plain)
            await records.uploads.add(full)

        async with catalog.tenant(tenant.id) as records:
            assert await records.uploads.get(plain.id) == plain
            assert await records.uploads.get(full.id) == full

    async def test_an_upload_is_added_once(self, catalog: Catalog, tenant: Tenant) -> None:
        upload = make_upload(tenant.id)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.uploads.add(upload)
            with pytest.raises(AlreadyExists):
                await records.uploads.add(upload)

            assert await records.uploads.get(upload.id) == upload

    async def test_of_those_who_change_an_upload_the_first_has_decided(self, catalog: Catalog, tenant: Tenant) -> None:
        upload = make_upload(tenant.id)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.uploads.add(upload)

        async def change(n: int) -> bool:
            try:
                async with catalog.tenant(tenant.id, writes=True) as records:
                    await records.uploads.save(replace(upload.arrived(at=NOON + HOUR), title=str(n)))
            except Stale:
                return False
            return True

        changed = await asyncio.gather(*map(change, range(8)))

        assert sum(changed) == 1
        async with catalog.tenant(tenant.id) as records:
            assert (await records.uploads.get(upload.id)).title == str(changed.index(True))

    async def test_an_upload_of_another_tenant_is_missing_and_foreign(self, catalog: Catalog, tenant: Tenant) -> None:
        upload = make_upload(tenant.id)
        other = await tenant_in(catalog)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.uploads.add(upload)

        async with catalog.tenant(other.id, writes=True) as records:
            assert await records.uploads.due(upload.due_at) == []
            for missing in (records.uploads.get(upload.id), records.uploads.remove(upload.id)):
                with pytest.raises(Missing):
                    await missing
            for foreign in (records.uploads.save(upload.arrived(at=NOON)), records.uploads.add(make_upload(tenant.id))):
                with pytest.raises(Forbidden):
                    await foreign
            with pytest.raises(Missing):
                await records.uploads.save(make_upload(other.id).arrived(at=NOON))

    async def test_uploads_are_due_longest_overdue_first(self, catalog: Catalog, tenant: Tenant) -> None:
        late, early, ended = (make_upload(tenant.id, created_at=NOON + n * HOUR) for n in (1, 0, 0))
        ended = ended.abandoned(at=NOON)
        async with catalog.tenant(tenant.id, writes=True) as records:
            for upload in (late, early, replace(ended, revision=1)):
                await records.uploads.add(upload)

        async with catalog.tenant(tenant.id, writes=True) as records:
            due = [upload.id for upload in await records.uploads.due(late.due_at)]
            assert due == [early.id, late.id]
            assert [upload.id for upload in await records.uploads.due(late.due_at, limit=1)] == [early.id]
            assert await records.uploads.due(early.due_at - timedelta(microseconds=1)) == []
            assert [upload.id for upload in await records.uploads.due(ended.due_at)] == [early.id, late.id, ended.id]
            await records.uploads.save(early.arrived(at=late.due_at))
            assert [upload.id for upload in await records.uploads.due(late.due_at)] == [late.id]
            await records.uploads.remove(late.id)
            assert await records.uploads.due(late.due_at) == []

    async def test_an_upload_that_cannot_be_kept_is_refused(self, catalog: Catalog, tenant: Tenant) -> None:
        async with catalog.tenant(tenant.id, writes=True) as records:
            for bad in ({"title": "\ud800"}, {"file_name": "\x00"}, {"custom": {"a": object()}}, {"custom": {"a": 2**70}}):
                with pytest.raises(BadField):
                    await records.uploads.add(make_upload(tenant.id, **bad))

    async def test_the_ring_keeps_keys_of_every_grammar(self, catalog: Catalog, tenant: Tenant) -> None:
        foreign = [
            make_signing_key(tenant.id, created_at=NOON + HOUR, grammar=Grammar.IMGPROXY, salt=b"\x00salt\xff", size_bytes=12),
            make_signing_key(tenant.id, grammar=Grammar.THUMBOR, secret=b"a text of any length"),
        ]
        async with catalog.tenant(tenant.id, writes=True) as records:
            for key in foreign:
                await records.accounts.add_signing_key(key)

            assert await records.accounts.signing_keys() == foreign

    # The directory

    async def test_a_key_is_found_with_its_user_live_or_not(self, catalog: Catalog, tenant: Tenant) -> None:
        user = make_user(tenant.id, disabled_at=NOON)
        key = make_key(user, revoked_at=NOON)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_user(user)
            await records.accounts.api_keys.add(key)

        async with catalog.directory() as directory:
            assert await directory.key(key.id) == (key, user)
            with pytest.raises(Missing):
                await directory.key(KeyId(new_id()))

    async def test_an_image_and_an_album_tell_their_tenant(self, catalog: Catalog, tenant: Tenant) -> None:
        image, album = make_image(tenant.id, trashed_at=NOON), make_album(tenant.id)
        await images_in(catalog, image)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.albums.add(album)

        async with catalog.directory() as directory:
            assert await directory.tenant_of(image.id) == tenant.id
            assert await directory.tenant_of(album.id) == tenant.id
            with pytest.raises(Missing):
                await directory.tenant_of(ImageId(new_id()))

    async def test_tenants_come_oldest_first_and_can_be_replaced(self, catalog: Catalog) -> None:
        late = await tenant_in(catalog, created_at=NOON + 2 * HOUR)
        early = await tenant_in(catalog, created_at=NOON + HOUR)
        recipes = NO_RECIPES.with_version(RECIPE).with_version(replace(RECIPE, watermark="wmt=Été"))
        album = AlbumId(new_id())
        recipes = replace(recipes, places=Places(default="shop", albums={album: "shop"}, tags={"sale": "shop"}))
        async with catalog.directory(writes=True) as directory:
            early = replace(
                early,
                name=f"renamed-{early.id}",
                trash_days=1,
                duplicates=DuplicatePolicy.REUSE,
                revision=2,
                suspended_at=NOON,
                erasure=ErasureId(new_id()),
                erased_at=NOON + HOUR,
                quotas=Quotas(bytes=2**40, images=0, requests_per_s=7),
                origins=("https://shop.example", "http://localhost:5173"),
                domains=("photos.shop.example", "shop.example"),
                sources=("https://cdn.shop.example/photos", "https://pictures.example/a%20b/", "s3://archive/summer 2026"),
                presets={"card": ("w=300", "w=320,h=200"), "tile": ("w=80,h=80,fit=cover",)},
                recipes=recipes,
            )
            await directory.save_tenant(early)

            found = [one for one in await directory.tenants() if one.id in (early.id, late.id)]
            assert [replace(one, recipes=NO_RECIPES) for one in found] == [replace(early, recipes=NO_RECIPES), late]
            assert found[0].recipes.get("shop@1") == RECIPE
            assert found[0].recipes.get("shop") == replace(RECIPE, version=2, watermark="wmt=Été")
            assert found[0].recipes.places == recipes.places
            with pytest.raises(Missing):
                await directory.save_tenant(make_tenant(revision=2))

    async def test_a_tenant_that_is_stripped_has_no_keys_and_has_used_nothing(self, catalog: Catalog, tenant: Tenant) -> None:
        other = await tenant_in(catalog)
        months = (month_of(tenant.created_at), month_of(datetime.now(UTC)))
        for one in (tenant, other):
            async with catalog.tenant(one.id, writes=True) as records:
                await records.accounts.add_signing_key(make_signing_key(one.id))
            for month in months:
                async with catalog.ledger(writes=True) as ledger:
                    await ledger.add(one.id, month, Counts(requests=5))

        for _ in range(2):
            async with catalog.directory(writes=True) as directory:
                await directory.strip_tenant(tenant.id)

        for one, keys, used in ((tenant, 0, 0), (other, 1, 5)):
            async with catalog.tenant(one.id) as records:
                assert len(await records.accounts.signing_keys()) == keys
                assert records.tenant == one
            async with catalog.ledger() as ledger:
                assert [(await ledger.usage(one.id, month)).counts.requests for month in months] == [used, used]
        async with catalog.directory(writes=True) as directory:
            with pytest.raises(Missing):
                await directory.strip_tenant(TenantId(new_id()))

    async def test_of_those_who_change_a_tenant_the_first_has_decided(self, catalog: Catalog, tenant: Tenant) -> None:
        async def change(days: int) -> bool:
            try:
                async with catalog.directory(writes=True) as directory:
                    await directory.save_tenant(replace(tenant, revision=2, trash_days=days))
            except Stale:
                return False
            return True

        changed = await asyncio.gather(*map(change, range(1, 5)))

        assert changed.count(True) == 1
        async with catalog.tenant(tenant.id) as records:
            assert (records.tenant.revision, records.tenant.trash_days) == (2, changed.index(True) + 1)

    # What is stored

    async def test_what_is_stored_is_counted_as_images_come_change_and_go(self, catalog: Catalog, tenant: Tenant) -> None:
        first, second = make_image(tenant.id, size_bytes=100), make_image(tenant.id, size_bytes=30)
        await images_in(catalog, first, second)
        assert await stored_by(catalog, tenant) == Stored(130, 2)

        version = replace(first.present, number=2, size_bytes=50, created_at=NOON)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.save(
                replaced := replace(
                    first, status=Status.READY, developed_version=1, renditions=(make_rendition(first),), revision=2
                )
            )
            await records.images.save(replaced := replaced.replaced(version, at=NOON))
        assert await stored_by(catalog, tenant) == Stored(180, 2)

        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.save(replaced.trashed(at=NOON))
        assert await stored_by(catalog, tenant) == Stored(180, 2)  # what is in the trash is still kept

        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.remove(first.id)
        assert await stored_by(catalog, tenant) == Stored(30, 1)

    async def test_what_is_undone_is_not_counted(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id, size_bytes=100)
        with pytest.raises(RuntimeError):
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.images.add(image)
                raise RuntimeError
        await images_in(catalog, image)
        with pytest.raises(Missing):
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.images.remove(ImageId(new_id()))

        assert await stored_by(catalog, tenant) == Stored(100, 1)

    async def test_saving_a_tenant_leaves_what_is_stored_alone(self, catalog: Catalog, tenant: Tenant) -> None:
        await images_in(catalog, make_image(tenant.id, size_bytes=100))
        async with catalog.directory(writes=True) as directory:
            await directory.save_tenant(replace(tenant, revision=2, trash_days=1))

        assert await stored_by(catalog, tenant) == Stored(100, 1)

    @pytest.mark.parametrize(
        ("quotas", "which", "limit", "used"),
        [
            (Quotas(bytes=299), "bytes", 299, 200),
            (Quotas(images=2), "images", 2, 2),
            (Quotas(bytes=10**6, images=1), "images", 1, 2),
        ],
        ids=["bytes", "images", "lowered"],
    )
    async def test_what_does_not_fit_is_refused_and_told(
        self, catalog: Catalog, tenant: Tenant, quotas: Quotas, which: str, limit: int, used: int
    ) -> None:
        await images_in(catalog, *(make_image(tenant.id, size_bytes=100) for _ in range(2)))
        late = make_image(tenant.id, size_bytes=100)
        with pytest.raises(QuotaExceeded) as refused:
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.images.add(late, within=quotas)

        assert refused.value.extra == {"which": which, "limit": limit, "used": used}
        assert await stored_by(catalog, tenant) == Stored(200, 2)
        async with catalog.tenant(tenant.id) as records:
            with pytest.raises(Missing):
                await records.images.get(late.id)

    async def test_what_just_fits_is_kept_and_room_comes_back_with_what_goes(self, catalog: Catalog, tenant: Tenant) -> None:
        quotas = Quotas(bytes=100, images=1)
        for _ in range(2):
            image = make_image(tenant.id, size_bytes=100)
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.images.add(image, within=quotas)
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.images.save(image := replace(image, title="Said later", revision=2), within=Quotas(bytes=1))
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.images.remove(image.id)

        assert await stored_by(catalog, tenant) == Stored(0, 0)

    async def test_two_in_one_transaction_count_together(self, catalog: Catalog, tenant: Tenant) -> None:
        with pytest.raises(QuotaExceeded):
            async with catalog.tenant(tenant.id, writes=True) as records:
                for _ in range(2):
                    await records.images.add(make_image(tenant.id, size_bytes=60), within=Quotas(bytes=100))

        assert await stored_by(catalog, tenant) == Stored(0, 0)

    async def test_of_many_who_want_the_last_places_no_more_get_one_than_there_are(
        self, catalog: Catalog, tenant: Tenant
    ) -> None:
        other = await tenant_in(catalog)

        async def add() -> bool:
            try:
                async with catalog.tenant(tenant.id, writes=True) as records:
                    await records.images.add(make_image(tenant.id, size_bytes=10), within=Quotas(bytes=35, images=100))
            except QuotaExceeded as error:
                assert error.extra["which"] == "bytes"
                return False
            return True

        assert (await asyncio.gather(*(add() for _ in range(8)))).count(True) == 3
        assert await stored_by(catalog, tenant) == Stored(30, 3)
        assert await stored_by(catalog, other) == Stored()

    async def test_a_tenants_id_and_name_are_given_once(self, catalog: Catalog, tenant: Tenant) -> None:
        other = await tenant_in(catalog)
        async with catalog.directory(writes=True) as directory:
            for adding in (
                directory.add_tenant(replace(tenant, name=f"other-{tenant.id}")),
                directory.add_tenant(make_tenant(name=tenant.name)),
                directory.save_tenant(replace(other, name=tenant.name, revision=2)),
            ):
                with pytest.raises(AlreadyExists):
                    await adding

    async def test_events_are_told_in_order_until_they_are_marked(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id)
        first, second, third = (
            ImageAccepted(tenant.id, image.id, 1, 1, image.owner),
            ImageTrashed(tenant.id, image.id, 1, 2, image.owner),
            ImageAccepted(tenant.id, image.id, 2, 3, image.owner),
        )
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.emit(first)
            await records.emit(second)

        async with catalog.directory(writes=True) as directory:
            told = [one for one in await directory.outbox.untold(1000) if one.event.tenant == tenant.id]
            assert [one.event for one in told] == [first, second]
            assert [type(one.event) for one in told] == [ImageAccepted, ImageTrashed]
            assert all(abs(one.at - datetime.now(UTC)) < HOUR for one in told)
            assert told[0].number < told[1].number
            assert len(await directory.outbox.untold(limit=1)) == 1
            await directory.outbox.mark_told([one.number for one in told])
            await directory.outbox.mark_told([one.number for one in told])
            assert [one for one in await directory.outbox.untold(1000) if one.event.tenant == tenant.id] == []
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.emit(third)
        async with catalog.directory() as directory:
            later = [one for one in await directory.outbox.untold(1000) if one.event.tenant == tenant.id]
            assert [one.event for one in later] == [third]
            assert later[0].number > told[1].number

    async def test_a_keys_last_use_only_moves_forward(self, catalog: Catalog, tenant: Tenant) -> None:
        user = make_user(tenant.id)
        key = make_key(user)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_user(user)
            await records.accounts.api_keys.add(key)
        async with catalog.directory(writes=True) as directory:
            await directory.people.touch_key(key.id, NOON + HOUR)
            await directory.people.touch_key(key.id, NOON)
            await directory.people.touch_key(KeyId(new_id()), NOON)

            assert (await directory.key(key.id))[0].last_used_at == NOON + HOUR

    # The journal

    async def test_events_of_images_are_in_the_journal_with_what_is_added(self, catalog: Catalog, tenant: Tenant) -> None:
        image, other = make_image(tenant.id), make_image(tenant.id)
        note = make_entry(image, name="step.failed", flow="develop", step="develop", code="busy")
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.emit(ImageAccepted.of(image))
            await records.emit(MailDue(tenant.id, image.owner, "verify", CodeId(new_id())))
        async with catalog.journal(tenant.id, writes=True) as journal:
            await journal.add(note)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.emit(ImageAccepted.of(other))

        entries = await journal_of(catalog, tenant, 3)
        assert [(one.entry.image, one.entry.name) for one in entries] == [
            (image.id, "image.accepted"),
            (image.id, "step.failed"),
            (other.id, "image.accepted"),
        ]
        assert entries[1].entry == note
        assert (entries[0].entry.owner, entries[0].entry.occurrence) == (image.owner, f"{image.id}:1.1")
        numbers = [one.number for one in entries]
        assert numbers == sorted(set(numbers))

    async def test_an_owners_entries_are_forgotten_and_nobody_elses(self, catalog: Catalog, tenant: Tenant) -> None:
        mine, theirs = make_image(tenant.id), make_image(tenant.id)
        async with catalog.journal(tenant.id, writes=True) as journal:
            for image in (mine, theirs, mine, mine):
                await journal.add(make_entry(image))
        for count in (2, 1, 0):
            async with catalog.journal(tenant.id, writes=True) as journal:
                assert await journal.forget(mine.owner, limit=2) == count

        (left,) = await journal_of(catalog, tenant, 1)
        assert left.entry.owner == theirs.owner

    async def test_the_journal_is_read_on_from_a_number_by_owner_and_by_image(self, catalog: Catalog, tenant: Tenant) -> None:
        mine, second, others = make_image(tenant.id), make_image(tenant.id), make_image(tenant.id, owner=UserId(new_id()))
        second = replace(second, owner=mine.owner)
        async with catalog.journal(tenant.id, writes=True) as journal:
            for image in (mine, others, second, others, mine):
                await journal.add(make_entry(image))
        entries = await journal_of(catalog, tenant, 5)

        async with catalog.journal(tenant.id) as journal:
            assert [one.number for one in await journal.after(0, owner=mine.owner)] == [entries[n].number for n in (0, 2, 4)]
            assert [one.number for one in await journal.after(0, image=mine.id)] == [entries[n].number for n in (0, 4)]
            assert await journal.after(0, image=mine.id, owner=others.owner) == []
            assert await journal.after(entries[2].number) == entries[3:]
            assert await journal.after(0, limit=2) == entries[:2]
            assert await journal.after(entries[0].number, owner=mine.owner, limit=1) == [entries[2]]
            assert await journal.after(await journal.last()) == []

    async def test_what_comes_to_be_is_behind_the_last(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id)
        async with catalog.journal(tenant.id, writes=True) as journal:
            await journal.add(make_entry(image))
        await journal_of(catalog, tenant, 1)
        async with catalog.journal(tenant.id) as journal:
            last = await journal.last()
        async with catalog.journal(tenant.id, writes=True) as journal:
            await journal.add(make_entry(image, name="image.ready"))

        entries = await journal_of(catalog, tenant, 1, after=last)
        assert [one.entry.name for one in entries] == ["image.ready"]

    async def test_a_journal_that_is_read_takes_no_entry_and_nobody_has_one_of_an_unknown_tenant(
        self, catalog: Catalog, tenant: Tenant
    ) -> None:
        async with catalog.journal(tenant.id) as journal:
            with pytest.raises(WrongState):
                await journal.add(make_entry(make_image(tenant.id)))
            with pytest.raises(WrongState):
                await journal.sweep(NOON)
        with pytest.raises(Missing):
            async with catalog.journal(TenantId(new_id())) as journal:
                await journal.last()

    async def test_a_journal_tells_nothing_of_another_tenants(self, catalog: Catalog, tenant: Tenant) -> None:
        other, image = await tenant_in(catalog), make_image(tenant.id)
        async with catalog.journal(tenant.id, writes=True) as journal:
            await journal.add(make_entry(image))
        await journal_of(catalog, tenant, 1)

        async with catalog.journal(other.id) as journal:
            assert await journal.after(0) == []
            assert await journal.after(0, image=image.id) == []

    async def test_what_is_rolled_back_is_not_in_the_journal(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id)
        with pytest.raises(ZeroDivisionError):
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.emit(ImageAccepted.of(image))
                raise ZeroDivisionError
        async with catalog.journal(tenant.id, writes=True) as journal:
            await journal.add(make_entry(image, name="image.ready"))

        assert [one.entry.name for one in await journal_of(catalog, tenant, 1)] == ["image.ready"]

    async def test_a_sweep_forgets_the_oldest_and_no_number_is_used_again(self, catalog: Catalog, tenant: Tenant) -> None:
        image = make_image(tenant.id)
        async with catalog.journal(tenant.id, writes=True) as journal:
            for hours in range(4):
                await journal.add(make_entry(image, at=NOON + hours * HOUR))
        entries = await journal_of(catalog, tenant, 4)
        async with catalog.journal(tenant.id, writes=True) as journal:
            counts = [await journal.sweep(NOON + 2 * HOUR, limit=1)]
        async with catalog.journal(tenant.id, writes=True) as journal:
            counts += [await journal.sweep(NOON + 2 * HOUR)]
        async with catalog.journal(tenant.id, writes=True) as journal:
            counts += [await journal.sweep(NOON + 2 * HOUR)]

        assert counts == [1, 1, 0]
        assert await journal_of(catalog, tenant, 2) == entries[2:]
        async with catalog.journal(tenant.id, writes=True) as journal:
            assert await journal.sweep(NOON + 9 * HOUR) == 2
            await journal.add(make_entry(image, at=NOON + 9 * HOUR))
        assert (await journal_of(catalog, tenant, 1))[0].number > entries[-1].number


_USERS = [UserId(new_id(0)), UserId(new_id(1))]
_TIMES = [NOON, NOON + HOUR, NOON + 2 * HOUR]
_TAGS = ["sea", "sun", "sand"]
# Few values, so that ties are the rule and every filter finds something.
_FIELDS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "owner": st.sampled_from(_USERS),
        "created_at": st.sampled_from(_TIMES),
        "taken_at": st.none() | st.sampled_from(_TIMES),
        "title": st.sampled_from(["", "a", "B", "b", "Ä", "日本", "🌊", "ẞ"]),
        "size_bytes": st.integers(1, 3),
        "tags": st.lists(st.sampled_from(_TAGS), unique=True).map(tuple),
        "status": st.sampled_from([Status.READY, Status.FAILED]),
        "visibility": st.sampled_from(Visibility),
        "media_type": st.sampled_from(["image/jpeg", "image/png"]),
        "camera": st.sampled_from(["", "X100V"]),
        "trashed_at": st.sampled_from([None, None, None, NOON]),
    }
)
_QUESTIONS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"sort": st.sampled_from([sort for sort in Sort if sort is not Sort.POSITION]), "limit": st.integers(1, 5)},
    optional={
        "owner": st.sampled_from(_USERS),
        "visible_to": st.sampled_from(_USERS),
        "tags": st.lists(st.sampled_from(_TAGS), max_size=2).map(tuple),
        "status": st.just(Status.READY),
        "visibility": st.sampled_from(Visibility),
        "media_type": st.just("image/jpeg"),
        "camera": st.just("X100V"),
        "created_after": st.sampled_from(_TIMES),
        "created_before": st.sampled_from(_TIMES),
        "taken_after": st.sampled_from(_TIMES),
        "taken_before": st.sampled_from(_TIMES),
        "min_bytes": st.integers(1, 3),
        "max_bytes": st.integers(1, 3),
        "is_trashed": st.booleans(),
    },
)


def _expected(images: list[Image], places: dict[ImageId, int], query: ImageQuery) -> list[ImageId]:
    """The same question, answered slowly."""

    def matches(image: Image) -> bool:
        dated_at = image.taken_at or image.created_at
        tests = [image.is_trashed == query.is_trashed, set(query.tags) <= set(image.tags)]
        tests += [
            getattr(query, name) in (None, getattr(image, name)) for name in ("owner", "status", "visibility", "media_type")
        ]
        tests += [query.camera in (None, image.camera), query.album is None or image.id in places]
        if query.visible_to is not None:
            is_public = image.visibility is Visibility.PUBLIC and not image.is_trashed
            tests.append(image.owner == query.visible_to or is_public)
        tests += [query.created_after is None or query.created_after <= image.created_at]
        tests += [query.created_before is None or image.created_at < query.created_before]
        tests += [query.taken_after is None or query.taken_after <= dated_at]
        tests += [query.taken_before is None or dated_at < query.taken_before]
        tests += [query.min_bytes is None or query.min_bytes <= image.size_bytes]
        tests += [query.max_bytes is None or image.size_bytes <= query.max_bytes]
        return all(tests)

    def key(image: Image) -> tuple[Any, ImageId]:
        values: dict[str, Any] = {
            "created_at": image.created_at,
            "taken_at": image.taken_at or image.created_at,
            "title": image.title.casefold(),
            "size": image.size_bytes,
            "position": places.get(image.id),
        }
        return values[query.sort.column], image.id

    return [image.id for image in sorted(filter(matches, images), key=key, reverse=query.sort.is_descending)]


def _inserted(order: list[ImageId], ids: list[ImageId], anchor: ImageId | None) -> list[ImageId]:
    """Where a list would have them: before the anchor, or before what follows it when the anchor is moved itself."""
    behind = order[order.index(anchor) :] if anchor is not None else []
    stays = next((image_id for image_id in behind if image_id not in ids), None)
    rest = [image_id for image_id in order if image_id not in ids]
    at = len(rest) if stays is None else rest.index(stays)
    return rest[:at] + ids + rest[at:]


__all__ = ["CatalogContract", "album_in", "images_in", "order_of", "tenant_in", "walk"]
