"""The Storage contract on a real S3 server, in a bucket sealed by KMS and below a prefix; then what is S3's alone."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import secrets
from datetime import UTC, datetime

import pytest
from tests.servers.seaweedfs import ACCESS_KEY, SECRET_KEY

from safelight.adapters.storage.s3 import S3Options, S3Store
from safelight.adapters.storage.s3.bucket import CHUNK_BYTES, PIECE_BYTES
from safelight.errors import AlreadyExists, BadRequest, DamagedObject, Missing
from safelight.testing.contracts.storage import StorageContract, all_of

NUMBERS = itertools.count()
LARGE = 20 * 1024 * 1024 + 3


@pytest.fixture(scope="session")
def key_id(seaweedfs):
    return seaweedfs.make_key()


@pytest.fixture(scope="module")
def buckets(seaweedfs):
    return [seaweedfs.make_bucket(f"contract-{name}", is_versioned=True) for name in ("originals", "renditions")]


@pytest.fixture
def options(seaweedfs, buckets, key_id):
    return S3Options(
        originals_bucket=buckets[0],
        renditions_bucket=buckets[1],
        prefix=f"{next(NUMBERS)}-{secrets.token_hex(4)}/",
        endpoint_url=seaweedfs.url,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        kms_key_id=key_id,
    )


@pytest.fixture
async def store(options):
    async with S3Store(options) as store:
        yield store


class TestS3Storage(StorageContract):
    """The same keys in the bucket next door change nothing here, nor there."""

    @pytest.fixture
    async def storage(self, store):
        neighbour = store.bucket("renditions")
        await asyncio.gather(*(neighbour.put(key, b"not yours") for key in ("t/a", "a/b")))
        yield store.bucket("originals")
        assert len(await neighbour.scan("")) == 2


def uploads(seaweedfs, bucket):
    return seaweedfs.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])


def head(seaweedfs, options, bucket, key):
    return seaweedfs.client().head_object(Bucket=options.bucket(bucket), Key=options.prefix + key, ChecksumMode="ENABLED")


# What an object is, seen from behind the adapter


async def test_an_original_is_sealed_with_the_customers_key(store, seaweedfs, options, key_id):
    await store.bucket("originals").put("t/a", b"hello", media_type="image/png", metadata={"image": "1"})

    answer = head(seaweedfs, options, "originals", "t/a")
    assert (answer["ServerSideEncryption"], answer["SSEKMSKeyId"]) == ("aws:kms", key_id)
    assert (answer["ContentType"], answer["CacheControl"]) == ("image/png", "private, no-store")
    assert answer["Metadata"]["image"] == "1"
    assert answer["Metadata"]["safelight-sha256"] == hashlib.sha256(b"hello").hexdigest()


async def test_a_rendition_is_sealed_with_the_stores_key_and_says_that_it_lasts(store, seaweedfs, options):
    await store.bucket("renditions").put("t/a", b"hello")

    answer = head(seaweedfs, options, "renditions", "t/a")
    assert answer["ServerSideEncryption"] == "AES256"
    assert answer["CacheControl"] == "public, max-age=31536000, immutable"


async def test_a_copy_is_sealed_like_what_it_was_copied_from(store, seaweedfs, options, key_id):
    storage = store.bucket("originals")
    first = await storage.put("t/a", b"one", media_type="image/png")
    await storage.put("t/a", b"two")

    await storage.restore("t/a", version=first.version)

    answer = head(seaweedfs, options, "originals", "t/a")
    assert (answer["ServerSideEncryption"], answer["SSEKMSKeyId"], answer["ContentType"]) == ("aws:kms", key_id, "image/png")


async def test_an_object_of_somebody_else_has_the_servers_etag_and_time(store, seaweedfs, options):
    seaweedfs.client().put_object(
        Bucket=options.renditions_bucket,
        Key=f"{options.prefix}t/a",
        Body=b"hello",
        ContentType="image/gif",
        Metadata={"by": "me"},
    )

    stored = await store.bucket("renditions").stat("t/a")

    assert (stored.size_bytes, stored.media_type, stored.metadata) == (5, "image/gif", {"by": "me"})
    assert stored.etag == hashlib.md5(b"hello").hexdigest()
    assert abs((datetime.now(UTC) - stored.modified_at).total_seconds()) < 60


async def test_a_scan_passes_over_what_could_not_be_read_under_its_key_and_a_purge_does_not(store, seaweedfs, options):
    seaweedfs.client().put_object(Bucket=options.renditions_bucket, Key=f"{options.prefix}t/a b", Body=b"not our escape")
    await store.bucket("renditions").put("t/a c", b"ours")

    assert [stored.key for stored in await store.bucket("renditions").scan("t/")] == ["t/a c"]
    assert await store.bucket("renditions").purge("t/") == 2


async def test_metadata_of_more_than_two_kilobytes_is_refused(store):
    with pytest.raises(BadRequest):
        await store.bucket("originals").put("t/a", b"x", metadata={"a": "x" * 2100})


# Bodies of many parts


async def pieces(data, size=700_001):
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("is_streamed", (True, False))
async def test_a_large_body_goes_in_parts_and_comes_back_whole(store, seaweedfs, options, key_id, is_streamed):
    data = secrets.token_bytes(LARGE)
    storage = store.bucket("originals")

    stored = await storage.put("t/a", pieces(data) if is_streamed else data, media_type="image/tiff", metadata={"a": "ü"})

    assert (stored.size_bytes, stored.etag) == (LARGE, hashlib.sha256(data).hexdigest())
    assert await storage.stat("t/a") == stored
    assert await storage.get("t/a") == data
    assert await all_of(await storage.open("t/a")) == data
    assert await all_of(await storage.open("t/a", start=4_000_000, end=LARGE - 1)) == data[4_000_000 : LARGE - 1]
    assert head(seaweedfs, options, "originals", "t/a")["SSEKMSKeyId"] == key_id
    assert uploads(seaweedfs, options.originals_bucket) == []


def damage(seaweedfs, options, stored):
    """One bit of an original as it lies on the disk; the server takes it for sound."""
    needle = seaweedfs.needle(options.originals_bucket, options.prefix + stored.key, stored.version)
    data = bytearray(needle.read())
    data[-1] ^= 1
    needle.write(data)


async def test_damage_to_a_small_object_shows_before_any_byte_of_it(store, seaweedfs, options):
    storage = store.bucket("originals")
    stored = await storage.put("t/a", b"hello")

    damage(seaweedfs, options, stored)

    for read in (storage.get, storage.open):
        with pytest.raises(DamagedObject):
            await read("t/a")
    assert await all_of(await storage.open("t/a", start=0, end=4)) == b"hell"


async def test_of_a_damaged_object_that_is_read_in_pieces_the_last_bytes_are_kept_back(store, seaweedfs, options):
    storage = store.bucket("originals")
    data = secrets.token_bytes(PIECE_BYTES + CHUNK_BYTES + 3)
    stored = await storage.put("t/a", data)
    damage(seaweedfs, options, stored)
    opened, seen = await storage.open("t/a"), b""

    with pytest.raises(DamagedObject):
        async for chunk in opened.chunks:
            seen += chunk

    assert seen == data[:-3]


async def test_a_large_body_overwrites_nothing_that_must_not_be(store, seaweedfs, options):
    storage = store.bucket("originals")
    await storage.put("t/a", b"first")

    with pytest.raises(AlreadyExists):
        await storage.put("t/a", pieces(bytes(LARGE)), if_absent=True)

    assert await storage.get("t/a") == b"first"
    assert len(await storage.versions("t/a")) == 1
    assert uploads(seaweedfs, options.originals_bucket) == []


async def test_a_large_body_whose_source_fails_leaves_nothing_behind(store, seaweedfs, options):
    async def body():
        async for piece in pieces(bytes(LARGE)):
            yield piece
        raise ConnectionResetError("the sender is gone")

    with pytest.raises(ConnectionResetError):
        await store.bucket("originals").put("t/a", body())

    assert await store.bucket("originals").versions("t/a") == []
    assert uploads(seaweedfs, options.originals_bucket) == []


@pytest.mark.parametrize("after_s", (0.005, 0.03, 0.06, 0.1, 0.15, 0.2))
async def test_a_large_put_cancelled_at_any_moment_leaves_nothing_behind(store, seaweedfs, options, after_s):
    task = asyncio.create_task(store.bucket("originals").put("t/a", secrets.token_bytes(LARGE)))
    await asyncio.sleep(after_s)
    is_cancelled = task.cancel()
    try:
        await task
        is_cancelled = False
    except asyncio.CancelledError:
        pass

    assert len(await store.bucket("originals").versions("t/a")) == (not is_cancelled)
    assert uploads(seaweedfs, options.originals_bucket) == []


PHASES = ("create multipart", "upload part", "complete multipart")


@pytest.mark.parametrize("is_answered", (False, True), ids=("as it is sent", "as it is answered"))
@pytest.mark.parametrize("phase", PHASES)
async def test_a_large_put_cancelled_amid_any_of_its_requests_leaves_nothing_behind(
    store, seaweedfs, options, monkeypatch, phase, is_answered
):
    call = store.connection.call

    async def cancelling(what, attempt, **more):
        async def one():
            if what == phase and not is_answered:
                task.cancel()
            result = await attempt()
            if what == phase and is_answered:
                task.cancel()
            return result

        return await call(what, one, **more)

    monkeypatch.setattr(store.connection, "call", cancelling)
    task = asyncio.create_task(store.bucket("originals").put("t/a", secrets.token_bytes(LARGE)))
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await store.bucket("originals").versions("t/a") == []
    assert uploads(seaweedfs, options.originals_bucket) == []


@pytest.mark.parametrize("forgets", (False, True), ids=("the server remembers", "the server forgets"))
@pytest.mark.parametrize("size", (1000, LARGE), ids=("one request", "parts"))
async def test_a_put_cancelled_when_the_answer_to_its_last_request_was_lost_leaves_nothing_behind(
    store, seaweedfs, options, monkeypatch, size, forgets
):
    """AWS answers a repeated completion like the first one, but not for ever; others know of no such upload any more."""
    call, lost = store.connection.call, 0

    async def losing(what, attempt, **more):
        async def one():
            nonlocal lost
            if what == "complete multipart" and lost and forgets:
                raise Missing
            result = await attempt()
            if what in {"put", "complete multipart"} and not lost:
                lost += 1
                task.cancel()
                raise ConnectionResetError("the answer is lost")
            return result

        return await call(what, one, **more)

    monkeypatch.setattr(store.connection, "call", losing)
    task = asyncio.create_task(store.bucket("originals").put("t/a", secrets.token_bytes(size)))
    with pytest.raises(asyncio.CancelledError):
        await task

    assert lost == 1
    assert await store.bucket("originals").versions("t/a") == []
    assert uploads(seaweedfs, options.originals_bucket) == []


# More than a page


async def test_more_keys_than_a_page_are_scanned_without_gap_or_repeat_and_purged(store):
    storage = store.bucket("renditions")
    keys = sorted(f"tenant/{number // 8:04}/1/{name}" for number in range(1040) for name in [f"thumb_{number % 8}.webp"])
    gate = asyncio.Semaphore(32)

    async def put(key):
        async with gate:
            await storage.put(key, b"x", is_durable=False)

    await asyncio.gather(*(put(key) for key in keys))

    first = [stored.key for stored in await storage.scan("tenant/", limit=600)]
    second = [stored.key for stored in await storage.scan("tenant/", after=first[-1], limit=600)]
    assert first + second == keys
    assert await storage.purge("tenant/") == len(keys)
    assert await storage.scan("") == []
