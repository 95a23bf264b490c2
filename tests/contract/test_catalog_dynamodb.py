"""The catalog in DynamoDB: the whole contract, and what a table, its indexes and a network add to it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import botocore.exceptions
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.test_catalog import CALLS
from tests.servers.faulty import Answer, CutAnswer, CutRequest, Faulty, Hang
from tests.servers.moto import MotoServer, moto  # noqa: F401

from safelight.adapters.catalog.dynamodb import DynamoCatalog, DynamoOptions, items, table, tags, transaction
from safelight.adapters.catalog.dynamodb.images import _plan
from safelight.domain.events import ImageAccepted, ImagePurged
from safelight.domain.ids import AlbumId, ImageId, TenantId, UserId, new_id
from safelight.domain.images import Visibility
from safelight.domain.queries import Cursor, ImageQuery, Sort
from safelight.domain.tenants import NOTHING
from safelight.errors import (
    AlreadyExists,
    BackendUnavailable,
    BadField,
    Busy,
    DamagedRecord,
    Missing,
    SafelightError,
    Stale,
    TooBroad,
    TooLarge,
    WrongState,
)
from safelight.testing.contracts.catalog import _SHARED, HOUR, CatalogContract, album_in, images_in, order_of, tenant_in, walk
from safelight.testing.factories import (
    NOON,
    make_album,
    make_code,
    make_image,
    make_session,
    make_signing_key,
    make_tenant,
    make_token_key,
    make_upload,
    make_user,
)

KEY = b"k" * 32
ME = UserId("0" * 25 + "1")
THROTTLED = (
    Answer(400, code="ProvisionedThroughputExceededException"),
    Answer(400, code="ThrottlingException"),
    Answer(400, code="RequestLimitExceeded"),
    Answer(400, code="TransactionCanceledException", causes=("None", "TransactionConflict")),
    Answer(400, code="TransactionCanceledException", causes=("ThrottlingError",)),
    Answer(400, code="TransactionCanceledException", causes=("ProvisionedThroughputExceeded", "TransactionConflict")),
)
PASSING = (*THROTTLED, Answer(500), Answer(503), CutRequest(20), CutAnswer(0), CutAnswer(40))


def made(url: str, **fields) -> DynamoCatalog:
    return DynamoCatalog(replace(DynamoOptions.from_url(url), **fields), secrets=KEY)


@pytest.fixture
async def catalog(moto):
    """A table of the test's own: moto copies the whole of it for every transaction."""
    catalog = made(moto.catalog_url())
    await catalog.migrate()
    await catalog.open()
    yield catalog
    await catalog.close()


@pytest.fixture
async def tenant(catalog):
    return await tenant_in(catalog)


@pytest.fixture
def sent(catalog, monkeypatch):
    """Every request of the open catalog, as (operation, arguments)."""
    requests = []
    call = catalog._connection.call

    async def noted(operation, **arguments):
        requests.append((operation, arguments))
        return await call(operation, **arguments)

    monkeypatch.setattr(catalog._connection, "call", noted)
    return requests


def transactions(sent):
    return [arguments["TransactItems"] for operation, arguments in sent if operation == "transact_write_items"]


def keys_of(actions):
    written = (next(iter(action.values())) for action in actions)
    return [tuple(((one.get("Item") or one.get("Key"))[name]["S"]) for name in ("PK", "SK")) for one in written]


class TestDynamoCatalog(CatalogContract):
    # The emulator looks at the whole table for every page, so that thirty examples would take as long as all other tests.
    @given(data=st.data())
    @settings(_SHARED, max_examples=8)
    async def test_walking_the_pages_gives_every_match_once_and_in_order(self, catalog, data):
        inherited = CatalogContract.test_walking_the_pages_gives_every_match_once_and_in_order

        await inherited.hypothesis.inner_test(self, catalog, data)


class TestStarting:
    async def test_without_a_table_it_says_what_to_run_and_which_setting_names_it(self, moto):
        with pytest.raises(WrongState, match=r"SAFELIGHT_CATALOG__URL.*safelight migrate"):
            await made(moto.catalog_url()).open()

    async def test_the_plan_tells_what_migrating_does_and_does_nothing(self, moto):
        catalog = made(moto.catalog_url("images-of-tests"))

        planned = await catalog.plan()
        assert planned == await catalog.plan()
        assert planned == ["table images-of-tests", "time to live", "point-in-time recovery", table.REVISION]
        assert await catalog.migrate() == planned
        assert await catalog.plan() == []

    async def test_migrating_switches_on_expiry_recovery_and_the_stream(self, catalog):
        client, name = catalog._connection.client, catalog.options.table

        expiry = (await client.describe_time_to_live(TableName=name))["TimeToLiveDescription"]
        backups = (await client.describe_continuous_backups(TableName=name))["ContinuousBackupsDescription"]
        described = (await client.describe_table(TableName=name))["Table"]
        assert (expiry["TimeToLiveStatus"], expiry["AttributeName"]) == ("ENABLED", "forget_at")
        assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
        assert described["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        assert {index["IndexName"] for index in described["GlobalSecondaryIndexes"]} == set(table.INDEXES)

    async def test_an_index_that_is_gone_is_missed_and_made_again(self, catalog, tenant):
        image = make_image(tenant.id)
        await images_in(catalog, image)
        gone = [{"Delete": {"IndexName": "TitleIndex"}}]
        await catalog._connection.client.update_table(TableName=catalog.options.table, GlobalSecondaryIndexUpdates=gone)
        await catalog.close()

        with pytest.raises(WrongState, match="TitleIndex"):
            await catalog.open()
        assert await catalog.plan() == ["index TitleIndex"]
        assert await catalog.migrate() == ["index TitleIndex"]
        await catalog.open()
        assert await walk(catalog, tenant.id, ImageQuery(sort=Sort.TITLE)) == [image.id]

    async def test_a_newer_schema_is_refused_by_plan_migrate_and_open(self, catalog):
        newer = table.SCHEMA | {"revision": {"S": "9999_far_future"}}
        await catalog._connection.client.put_item(TableName=catalog.options.table, Item=newer)
        await catalog.close()

        for refused in (catalog.plan, catalog.migrate, catalog.open):
            with pytest.raises(WrongState, match="newer"):
                await refused()

    async def test_a_table_that_is_somebody_elses_is_refused(self, catalog):
        await catalog._connection.client.delete_item(TableName=catalog.options.table, Key=table.SCHEMA)
        await catalog.close()

        with pytest.raises(WrongState, match=r"not Safelight's"):
            await catalog.open()

    async def test_of_two_that_migrate_at_once_both_succeed(self, moto):
        url = moto.catalog_url()

        await asyncio.gather(*(made(url).migrate() for _ in range(3)))

        assert await made(url).plan() == []

    async def test_credentials_that_the_server_does_not_know_are_named_and_so_is_the_setting(self, moto):
        strict = MotoServer(has_permissions=True).start()
        try:
            catalog = made(strict.catalog_url())
            for refused in (catalog.plan, catalog.migrate, catalog.open):
                with pytest.raises(WrongState, match=r"SAFELIGHT_CATALOG__URL.*AWS_ACCESS_KEY_ID"):
                    await refused()
        finally:
            strict.remove()

    async def test_a_server_that_cannot_be_reached_is_unavailable(self, moto):
        catalog = made("dynamodb://?endpoint_url=http://127.0.0.1:1", deadline_s=0.2)

        for call in (catalog.open, catalog.migrate, catalog.plan):
            with pytest.raises(BackendUnavailable, match="SAFELIGHT_CATALOG__URL"):
                await call()

    @pytest.mark.parametrize(
        "bad",
        [
            "dynamodb://key:secret@table",
            "dynamodb://table?password=secret",
            "dynamodb://t",
            "dynamodb://table?endpoint_url=ftp://secret",
            "dynamodb://table?endpoint_url=http://key:secret@host",
            "dynamodb://table?region=eu_secret",
        ],
    )
    def test_a_url_that_does_not_do_is_refused_without_repeating_it(self, bad):
        with pytest.raises(BadField) as refusal:
            DynamoOptions.from_url(bad)

        assert "secret" not in str(refusal.value)
        assert "SAFELIGHT_CATALOG__URL" in str(refusal.value)

    def test_a_url_without_a_table_means_image_metadata(self):
        assert DynamoOptions.from_url("dynamodb://").table == "ImageMetadata"
        assert DynamoOptions.from_url("dynamodb://?region=eu-west-1").region == "eu-west-1"


class TestUnitsOfWork:
    async def test_an_image_and_its_event_go_out_together(self, catalog, tenant, sent):
        image = make_image(tenant.id, tags=("sea",), visibility=Visibility.PUBLIC)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.add(image)
            await records.emit(ImageAccepted(tenant.id, image.id, 1, 1, image.owner))
            assert transactions(sent) == []

        ((actions),) = transactions(sent)[:1]
        kinds = Counter(pk.split("#")[0] for pk, _ in keys_of(actions))
        assert kinds == {"IMAGE": 2, "SHA256": 1, "TAGS": 2, "OUTBOX": 1, "JOURNAL": 2, "TENANT": 1}

    async def test_more_than_a_hundred_actions_go_out_in_parts_that_keep_an_image_and_its_event_together(
        self, catalog, tenant, sent
    ):
        images = [make_image(tenant.id, trashed_at=NOON) for _ in range(70)]
        await images_in(catalog, *images)
        sent.clear()
        async with catalog.tenant(tenant.id, writes=True) as records:
            for image in images:
                await records.images.remove(image.id)
                await records.emit(ImagePurged(tenant.id, image.id, 1, 2, image.owner))

        parts = transactions(sent)
        assert len(parts) >= 4
        assert all(len(part) <= 100 for part in parts)
        for part in parts:
            kinds = Counter(pk.split("#")[0] for pk, _ in keys_of(part))
            assert kinds["IMAGE"] == kinds["TRASH"] == kinds["OUTBOX"] == kinds["JOURNAL"] / 2
            assert kinds["TENANT"] == 1  # what these images took is counted with them, and with no others
        async with catalog.tenant(tenant.id) as records:
            assert records.tenant.stored == NOTHING

    async def test_an_image_with_the_most_tags_and_in_many_albums_is_whole(self, catalog, tenant, sent):
        image = make_image(tenant.id, tags=tuple(f"tag {n}" for n in range(100)))
        albums = [make_album(tenant.id) for _ in range(30)]
        await images_in(catalog, image)
        for album in albums:
            await album_in(catalog, album, image)
        sent.clear()

        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.save(image.trashed(at=NOON))
            await records.emit(ImagePurged(tenant.id, image.id, 1, 2, image.owner))
        assert len([part for part in transactions(sent) if len(part) > 30]) == 1
        async with catalog.tenant(tenant.id) as records:
            assert [album.image_count for album in await records.albums.page(None, limit=100)] == [0] * 30
            assert await records.images.tags() == []

    async def test_one_condition_that_fails_undoes_everything(self, catalog, tenant):
        raced, other = make_image(tenant.id), make_image(tenant.id)
        with pytest.raises(AlreadyExists):
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.images.add(raced)
                await records.images.add(other)
                await images_in(catalog, raced)

        async with catalog.tenant(tenant.id) as records:
            assert await records.images.get_many([raced.id, other.id]) == [raced]
            assert await records.images.by_sha256(other.sha256, other.owner) is None

    async def test_putting_into_an_album_and_trashing_at_once_lose_no_count(self, catalog, tenant):
        image, album = make_image(tenant.id), make_album(tenant.id)
        await images_in(catalog, image)
        await album_in(catalog, album)

        with pytest.raises(Stale):
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.images.save(image.trashed(at=NOON))
                async with catalog.tenant(tenant.id, writes=True) as others:
                    await others.albums.insert(album.id, [image.id])
        with pytest.raises(Stale):
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.albums.insert(album.id, [image.id])
                await records.albums.drop(album.id, [image.id])
                await records.albums.insert(album.id, [image.id])
                async with catalog.tenant(tenant.id, writes=True) as others:
                    await others.images.remove(image.id)

        async with catalog.tenant(tenant.id) as records:
            assert (await records.albums.get(album.id)).image_count == 0
            assert await records.albums.of_image(image.id) == []

    async def test_uploads_into_one_album_do_not_wait_for_each_other(self, catalog, tenant):
        album = make_album(tenant.id)
        await album_in(catalog, album)
        images = [make_image(tenant.id) for _ in range(12)]

        async def upload(image):
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.images.add(image)
                await records.albums.insert(album.id, [image.id])

        await asyncio.gather(*map(upload, images))

        assert sorted(await order_of(catalog, album)) == sorted(image.id for image in images)

    async def test_an_edit_does_not_undo_what_others_count_in_the_same_item(self, catalog, tenant):
        image, album = make_image(tenant.id), make_album(tenant.id)
        await images_in(catalog, image)
        await album_in(catalog, album)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.save(image.edited(at=NOON, title="Edited"))
            await records.albums.save(album.edited(at=NOON, title="Edited"))
            async with catalog.tenant(tenant.id, writes=True) as others:
                await others.albums.insert(album.id, [image.id])
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.save((await records.images.get(image.id)).trashed(at=NOON))

        async with catalog.tenant(tenant.id) as records:
            assert (await records.albums.get(album.id)).image_count == 0

    async def test_a_record_beyond_what_an_item_holds_is_too_large_and_leaves_nothing(self, catalog, tenant):
        image = make_image(tenant.id, metadata={"xmp": "x" * 450_000})

        with pytest.raises((TooLarge, BackendUnavailable)) as refusal:
            await images_in(catalog, image)
        assert isinstance(refusal.value, TooLarge)
        async with catalog.tenant(tenant.id) as records:
            assert await records.images.get_many([image.id]) == []

    async def test_secrets_are_sealed_in_the_table(self, catalog, tenant):
        key = make_signing_key(tenant.id, secret=b"a very secret secret of 32 bytes", salt=b"salty salt")
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_signing_key(key)

        everything = repr(await catalog._connection.client.scan(TableName=catalog.options.table))
        assert key.kid in everything
        assert "very secret" not in everything
        assert "salty" not in everything

    async def test_a_pending_upload_says_when_it_may_be_forgotten(self, catalog, tenant):
        upload = make_upload(tenant.id)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.uploads.add(upload)

        key = items.encoded(dict(zip(("PK", "SK"), items.upload_key(upload.id), strict=True)))
        item = (await catalog._connection.client.get_item(TableName=catalog.options.table, Key=key))["Item"]
        assert int(item["forget_at"]["N"]) > upload.due_at.timestamp()


class TestIndexes:
    @pytest.mark.parametrize(
        ("fields", "wanted"),
        [
            ({}, ["TenantIndex"]),
            ({"is_trashed": True}, ["TenantIndex"]),
            ({"sort": Sort.TAKEN}, ["TakenIndex"]),
            ({"sort": Sort.TITLE_DESC}, ["TitleIndex"]),
            ({"sort": Sort.SIZE}, ["SizeIndex"]),
            ({"owner": ME}, ["UserIndex"]),
            ({"owner": ME, "sort": Sort.TITLE}, ["UserIndex"]),
            ({"visible_to": ME}, ["UserIndex", "UserIndex"]),
            ({"visible_to": ME, "visibility": Visibility.PRIVATE}, ["UserIndex"]),
            ({"visible_to": ME, "is_trashed": True}, ["UserIndex"]),
            ({"visible_to": ME, "owner": UserId("another"), "is_trashed": True}, []),
            ({"visibility": Visibility.PUBLIC}, ["UserIndex"]),
            ({"album": AlbumId("a")}, ["AlbumIndex"]),
            ({"album": AlbumId("a"), "sort": Sort.POSITION}, []),
            ({"tags": ("sea",), "camera": "X100V"}, ["TenantIndex"]),
        ],
        ids=str,
    )
    def test_every_list_walks_the_narrowest_partition_that_there_is(self, fields, wanted):
        assert [walk.index for walk in _plan(ImageQuery(**fields), TenantId("t")).walks] == wanted

    async def test_no_call_ever_scans_the_table(self, catalog, tenant, sent):
        image, album = make_image(tenant.id, tags=("sea",)), make_album(tenant.id)
        await images_in(catalog, image)
        await album_in(catalog, album, image)
        for name, call in CALLS.items():
            try:
                await call(catalog, tenant.id)
            except SafelightError:
                continue
            assert name
        for sort in Sort:
            await walk(catalog, tenant.id, ImageQuery(sort=sort, album=album.id, tags=("sea",)))

        used = {operation for operation, _ in sent}
        assert used <= {"get_item", "batch_get_item", "query", "update_item", "transact_write_items"}

    async def test_an_index_that_lags_tells_nothing_untrue(self, catalog, tenant):
        image, ghost = make_image(tenant.id), make_image(tenant.id)
        await images_in(catalog, image)
        for entry in (
            items.image_item(ghost) | {"SK": "GHOST"},  # removed from the table, still in the index
            items.image_item(replace(image, title="old")) | {"SK": "GHOST"},  # twice for a moment
        ):
            await catalog._connection.client.put_item(TableName=catalog.options.table, Item=items.encoded(entry))

        for sort in (Sort.CREATED, Sort.TITLE, Sort.SIZE_DESC):
            assert await walk(catalog, tenant.id, ImageQuery(sort=sort, limit=1)) == [image.id]

    async def test_a_question_that_passes_too_many_is_refused(self, catalog, tenant, monkeypatch):
        monkeypatch.setattr(transaction, "MAX_LOOKED_AT", 50)
        await images_in(catalog, *(make_image(tenant.id) for _ in range(60)))

        async with catalog.tenant(tenant.id) as records:
            with pytest.raises(TooBroad):
                await records.images.page(ImageQuery(camera="none has it"))
        async with catalog.tenant(tenant.id) as records:
            assert len((await records.images.page(ImageQuery(limit=1))).images) == 1

    async def test_a_long_walk_is_paged(self, catalog, tenant, monkeypatch):
        monkeypatch.setattr(transaction, "PAGE", 3)
        images = [make_image(tenant.id, created_at=NOON + n * HOUR, camera="X" if n % 2 else "Y") for n in range(14)]
        await images_in(catalog, *images)

        found = await walk(catalog, tenant.id, ImageQuery(sort=Sort.CREATED, camera="X", limit=4))
        assert found == [image.id for image in images if image.camera == "X"]

    @pytest.mark.parametrize("title", ["\ud800", "a\x00b"])
    async def test_a_cursor_that_no_text_makes_is_refused(self, catalog, tenant, title):
        query = ImageQuery(sort=Sort.TITLE, cursor=Cursor(Sort.TITLE, title, ImageId(new_id())))

        async with catalog.tenant(tenant.id) as records:
            with pytest.raises(BadField):
                await records.images.page(query)

    @pytest.mark.parametrize("value", ["\ud800", "\x00", "x" * 3000, ""], ids=["surrogate", "nul", "long", "empty"])
    async def test_odd_filters_find_nothing_or_are_refused(self, catalog, tenant, value):
        for fields in ({"camera": value}, {"media_type": value}, {"tags": (value,)}, {"min_bytes": 10**50}):
            async with catalog.tenant(tenant.id) as records:
                try:
                    assert (await records.images.page(ImageQuery(**fields))).images == ()
                except BadField:
                    continue

    async def test_an_id_that_no_key_can_hold_is_missing(self, catalog, tenant):
        async with catalog.directory() as directory:
            for asking in (directory.key("x" * 5000), directory.tenant_of("é" * 2000), directory.people.session("y" * 9000)):
                with pytest.raises(Missing):
                    await asking


class TestDamage:
    async def test_a_page_that_skips_damaged_items_names_them_and_goes_on_behind_them(self, catalog, tenant):
        images = [make_image(tenant.id, created_at=NOON + timedelta(seconds=n)) for n in range(3)]
        await images_in(catalog, *images)
        (pk, sk), broken = items.image_key(images[0].id), {":broken": {"S": "{"}}
        await catalog._connection.call(
            "update_item",
            TableName=catalog._connection.options.table,
            Key={"PK": {"S": pk}, "SK": {"S": sk}},
            UpdateExpression="SET metadata = :broken",
            ExpressionAttributeValues=broken,
        )
        query = ImageQuery(sort=Sort.CREATED, limit=1, skips_damaged=True)
        async with catalog.tenant(tenant.id) as records:
            first = await records.images.page(query)
            second = await records.images.page(replace(query, limit=5, cursor=first.next))
            with pytest.raises(DamagedRecord):
                await records.images.page(replace(query, skips_damaged=False))

        assert (first.images, first.damaged) == ((), (images[0].id,))
        assert [image.id for image in second.images] == [images[1].id, images[2].id]
        assert (second.damaged, second.next) == ((), None)


class TestSigningIn:
    async def test_of_two_who_bring_one_refresh_token_one_comes_first(self, catalog, tenant):
        user = make_user(tenant.id)
        session = make_session(user)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_user(user)
            await records.people.add_session(session)

        async def rotate(n):
            async with catalog.tenant(tenant.id, writes=True) as records:
                found = await records.people.session(session.id)
                await records.people.save_session(found.rotated(bytes([n]) * 32, at=NOON, life=HOUR))

        outcomes = await asyncio.gather(*map(rotate, range(5)), return_exceptions=True)

        assert sum(outcome is None for outcome in outcomes) >= 1
        assert {type(outcome) for outcome in outcomes} <= {type(None), Busy}
        async with catalog.tenant(tenant.id) as records:
            turns = {bytes([n]) * 32 for n, outcome in enumerate(outcomes) if outcome is None}
            assert (await records.people.session(session.id)).current_hash in turns

    async def test_tries_of_a_code_cannot_be_made_past_each_other(self, catalog, tenant):
        user = make_user(tenant.id)
        code = make_code(user)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_user(user)
            await records.people.put_code(code)
        is_read = asyncio.Barrier(6)

        async def guess():
            async with catalog.tenant(tenant.id, writes=True) as records:
                found = await records.people.code(user.id, code.letter)
                await is_read.wait()
                await records.people.put_code(replace(found, tries=found.tries + 1))

        outcomes = await asyncio.gather(*(guess() for _ in range(6)), return_exceptions=True)

        assert Counter(type(outcome).__name__ for outcome in outcomes) == {"NoneType": 1, "Busy": 5}

    async def test_a_private_key_is_sealed_in_the_table(self, catalog):
        key = make_token_key(private=b"a private key of an installation")
        async with catalog.directory(writes=True) as directory:
            await directory.people.trust.add_token_key(key)

        everything = repr(await catalog._connection.client.scan(TableName=catalog.options.table))
        assert key.kid in everything
        assert "a private key" not in everything


class TestTags:
    async def test_folding_changes_no_count_and_leaves_few_deltas(self, catalog, tenant):
        images = [make_image(tenant.id, tags=("sea", f"n{n % 3}")) for n in range(9)]
        for image in images:
            await images_in(catalog, image)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.images.save(images[0].trashed(at=NOON))
            await records.images.remove(images[1].id)
        async with catalog.tenant(tenant.id) as records:
            before = await records.images.tags()

        while await tags.fold(catalog._connection, tags.partition(tenant.id)):
            pass
        async with catalog.tenant(tenant.id) as records:
            assert await records.images.tags() == before == [("sea", 7), ("n2", 3), ("n0", 2), ("n1", 2)]
            assert await records.images.tags("n2") == [("n2", 3)]
            assert await records.transaction.collection(f"TAGS#{tenant.id}", "DELTA#") == []

    async def test_two_who_fold_at_once_count_once(self, catalog, tenant):
        for _ in range(5):
            await images_in(catalog, make_image(tenant.id, tags=("sea",)))

        await asyncio.gather(*(tags.fold(catalog._connection, tags.partition(tenant.id)) for _ in range(4)))

        async with catalog.tenant(tenant.id) as records:
            assert await records.images.tags() == [("sea", 5)]

    async def test_a_fold_while_somebody_counts_is_noticed(self, catalog, tenant, monkeypatch):
        monkeypatch.setattr(tags, "is_time_to_fold", lambda: False)  # else, now and then, there is nothing left to fold
        await images_in(catalog, make_image(tenant.id, tags=("sea",)))
        async with catalog.tenant(tenant.id) as records:
            collection, asked = records.transaction.collection, []

            async def slow(pk, prefix="", **bounds):
                asked.append(prefix)
                if asked == ["FOLDS", "TAG#", "DELTA#"]:
                    await tags.fold(catalog._connection, tags.partition(tenant.id))
                return await collection(pk, prefix, **bounds)

            monkeypatch.setattr(type(records.transaction), "collection", lambda self, *a, **k: slow(*a, **k))

            assert await records.images.tags() == [("sea", 1)]
        assert len(asked) == 8


class TestFaults:
    async def test_what_passes_is_tried_again_and_carries_the_same_token(self, moto):
        async with Faulty(moto.port) as proxy:
            catalog = made(moto.catalog_url().replace(moto.url, proxy.url))
            await catalog.migrate()
            await catalog.open()
            tenant = await tenant_in(catalog)
            proxy.spoil(Answer(503), times=2)
            image = make_image(tenant.id)
            await images_in(catalog, image)
            proxy.spoil(Answer(500), times=1)

            async with catalog.tenant(tenant.id) as records:
                assert await records.images.get(image.id) == image
            await catalog.close()

    @pytest.mark.parametrize("fault", PASSING, ids=str)
    async def test_a_write_whose_first_attempts_fail_is_made_once(self, moto, fault):
        async with Faulty(moto.port) as proxy:
            catalog = made(moto.catalog_url().replace(moto.url, proxy.url))
            await catalog.migrate()
            await catalog.open()
            tenant = await tenant_in(catalog)
            image = make_image(tenant.id, tags=("sea",))
            proxy.spoil(fault, times=2, method="TransactWriteItems")

            await images_in(catalog, image)
            async with catalog.tenant(tenant.id) as records:
                assert await records.images.get(image.id) == image
                assert await records.images.tags() == [("sea", 1)]
            await catalog.close()

    @pytest.mark.parametrize("fault", THROTTLED, ids=str)
    async def test_throttling_that_goes_on_is_unavailable_after_pauses_that_grow_and_differ(self, moto, fault, monkeypatch):
        pauses = []

        def drawn(low, high):
            pauses.append((low, high))
            return 0.0 if len(pauses) < 6 else 60.0  # beyond the deadline

        async with Faulty(moto.port) as proxy:
            catalog = made(moto.catalog_url().replace(moto.url, proxy.url))
            await catalog.migrate()
            await catalog.open()
            tenant = await tenant_in(catalog)
            monkeypatch.setattr(random, "uniform", drawn)
            proxy.spoil(fault, times=1000, method="TransactWriteItems")

            with pytest.raises(BackendUnavailable):
                await images_in(catalog, make_image(tenant.id))
            await catalog.close()

        assert pauses == [(0, 0.05), (0, 0.1), (0, 0.2), (0, 0.4), (0, 0.8), (0, 1.0)]

    async def test_a_transaction_that_meets_another_and_a_condition_says_what_the_condition_says(self, moto):
        async with Faulty(moto.port) as proxy:
            catalog = made(moto.catalog_url().replace(moto.url, proxy.url))
            await catalog.migrate()
            await catalog.open()
            tenant = await tenant_in(catalog)
            causes = ("ConditionalCheckFailed", "TransactionConflict")
            proxy.spoil(Answer(400, code="TransactionCanceledException", causes=causes), method="TransactWriteItems")

            with pytest.raises(AlreadyExists):
                await images_in(catalog, make_image(tenant.id))
            await catalog.close()

    async def test_no_answer_is_unavailable_within_the_deadline_and_service_resumes(self, moto):
        async with Faulty(moto.port) as proxy:
            catalog = made(moto.catalog_url().replace(moto.url, proxy.url), attempt_timeout_s=5.0)
            await catalog.migrate()
            await catalog.open()
            tenant = await tenant_in(catalog)
            catalog._connection.options = replace(catalog.options, attempt_timeout_s=0.2, deadline_s=0.5)
            proxy.spoil(Hang(), times=100)
            for name in ("ping", "tenant.images.get", "directory.untold"):
                with pytest.raises(BackendUnavailable):
                    await CALLS[name](catalog, tenant.id)
            proxy.heal()
            catalog._connection.options = catalog.options

            await catalog.ping()
            await catalog.close()

    async def test_a_table_that_is_gone_makes_every_call_unavailable(self, catalog, tenant):
        connection = catalog._connection
        client = connection.client

        class Broken:
            """Answers who the tenant is, so that each call gets as far as its own request."""

            def __getattr__(self, operation):
                async def call(**arguments):
                    if operation == "get_item" and arguments["Key"] == items.encoded({"PK": f"TENANT#{tenant.id}", "SK": "META"}):
                        return await client.get_item(**arguments)
                    raise botocore.exceptions.ClientError(
                        {"Error": {"Code": "ResourceNotFoundException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, operation
                    )

                return call

        connection.client = Broken()
        outcomes = {}
        for name, call in CALLS.items():
            try:
                outcomes[name] = await call(catalog, tenant.id)
            except Exception as error:
                outcomes[name] = type(error)
        connection.client = client

        assert {name: outcome for name, outcome in outcomes.items() if outcome is not BackendUnavailable} == {}

    async def test_a_commit_that_is_cancelled_goes_on_to_its_end(self, catalog, tenant):
        images = [make_image(tenant.id) for _ in range(80)]
        task = asyncio.create_task(images_in(catalog, *images))
        has_begun = asyncio.Event()
        call = catalog._connection.call

        async def noted(operation, **arguments):
            if operation == "transact_write_items":
                has_begun.set()
            return await call(operation, **arguments)

        catalog._connection.call = noted
        await has_begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        async with asyncio.timeout(60):
            while True:
                async with catalog.tenant(tenant.id) as records:
                    found = await records.images.get_many([image.id for image in images])
                if len(found) == 80:
                    break
                await asyncio.sleep(0.05)

    async def test_tenants_of_one_name_that_are_added_at_once_are_one(self, catalog):
        async def add():
            async with catalog.directory(writes=True) as directory:
                await directory.add_tenant(make_tenant(name="studio"))

        outcomes = await asyncio.gather(*(add() for _ in range(5)), return_exceptions=True)

        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["AlreadyExists"] * 4 + ["NoneType"]
