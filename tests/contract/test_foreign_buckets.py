"""The ForeignBuckets contract on SeaweedFS, and what a line that spoils its answers adds to it."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
from pydantic import ValidationError
from tests.servers.faulty import Answer, CutAnswer, Faulty, Hang
from tests.servers.seaweedfs import ACCESS_KEY, POWERLESS, SECRET_KEY

from safelight.adapters.storage.s3 import S3ForeignBuckets, S3Options
from safelight.cli.server import refusal
from safelight.errors import SourceNotAllowed, SourceRefused, SourceTimedOut, SourceUnavailable
from safelight.settings import Settings
from safelight.testing.contracts.foreign_buckets import DATA, LIMITS, ForeignBucketsContract, read
from safelight.wiring import build
from safelight.wiring.backends import make_foreign_buckets

HASTY = replace(LIMITS, total_s=0.5)


@pytest.fixture
def bucket(seaweedfs):
    return seaweedfs.make_bucket(f"foreign-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def put(seaweedfs, bucket):
    client = seaweedfs.client()
    return lambda key, body, **words: client.put_object(Bucket=bucket, Key=key, Body=body, **words)


def options(url, key=ACCESS_KEY, secret=SECRET_KEY, **fields) -> S3Options:
    return S3Options(
        originals_bucket="",
        renditions_bucket="",
        endpoint_url=url,
        access_key_id=key,
        secret_access_key=secret,
        attempt_timeout_s=30,
        **fields,
    )


@pytest.fixture
async def proxy(seaweedfs):
    async with Faulty(seaweedfs.port) as proxy:
        yield proxy


@pytest.fixture
async def buckets(proxy):
    made = S3ForeignBuckets(options(proxy.url, deadline_s=60))
    yield made
    await made.close()


class TestS3ForeignBuckets(ForeignBucketsContract):
    pass


async def test_an_object_with_a_checksum_of_its_own_is_read_whole(buckets, bucket, put):
    put("sum", DATA, ChecksumAlgorithm="SHA256")

    assert (await read(buckets, bucket, "sum"))[1] == DATA


async def test_credentials_that_may_not_are_refused(proxy, bucket, put):
    put("sea.jpg", DATA)
    for key, secret in (POWERLESS, (ACCESS_KEY, "wrong")):
        powerless = S3ForeignBuckets(options(proxy.url, key, secret))
        with pytest.raises(SourceRefused):
            await read(powerless, bucket, "sea.jpg")
        await powerless.close()


async def test_a_store_that_fails_once_is_asked_again(buckets, bucket, put, proxy):
    put("sea.jpg", DATA)
    for fault in (Answer(503), Answer(500), CutAnswer(0)):
        proxy.spoil(fault)
        assert (await read(buckets, bucket, "sea.jpg"))[1] == DATA


@pytest.mark.parametrize(
    ("fault", "limits", "told"),
    [
        (Answer(503), LIMITS, SourceUnavailable),
        (CutAnswer(0), LIMITS, SourceUnavailable),
        (CutAnswer(100_000), LIMITS, SourceUnavailable),
        (Hang(), HASTY, SourceTimedOut),
        (Answer(403, code="AccessDenied"), LIMITS, SourceRefused),
        (Answer(403, code="InvalidObjectState"), LIMITS, SourceRefused),
    ],
    ids=["503", "no answer", "cut", "silence", "denied", "archived"],
)
async def test_a_store_that_goes_on_failing_is_told_of_and_forgiven(buckets, bucket, put, proxy, fault, limits, told):
    put("sea.jpg", DATA)
    connection = await buckets._connected()
    connection.deadline_s = 0.5
    proxy.spoil(fault, times=1000)
    with pytest.raises(told):
        await read(buckets, bucket, "sea.jpg", limits=limits)

    proxy.heal()
    connection.deadline_s = 60
    assert (await read(buckets, bucket, "sea.jpg"))[1] == DATA


async def test_no_bucket_of_ours_is_ever_asked_for(proxy, bucket):
    buckets = S3ForeignBuckets(options(proxy.url), own=frozenset({bucket}))
    with pytest.raises(SourceNotAllowed):
        await read(buckets, bucket, "sea.jpg")

    assert proxy.requests == []


async def test_without_credentials_it_is_unavailable(monkeypatch, tmp_path, proxy, bucket):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    buckets = S3ForeignBuckets(options(proxy.url, None, None))

    with pytest.raises(SourceUnavailable):
        await read(buckets, bucket, "sea.jpg")
    assert proxy.requests == []


def test_the_settings_say_how_buckets_are_reached_and_which_are_ours(tmp_path):
    ours = {"url": "s3://ours/below", "access_key_id": "own", "secret_access_key": "s", "endpoint_url": "https://own.example"}
    apart = {"s3_access_key_id": "reader", "s3_secret_access_key": "t"}

    assert make_foreign_buckets(Settings(), LIMITS) is None
    same = make_foreign_buckets(Settings(storage=ours), LIMITS)
    other = make_foreign_buckets(Settings(storage=ours, remote=apart), LIMITS)
    alone = make_foreign_buckets(Settings(remote={"s3_region": "eu-central-1"}), LIMITS)
    assert (same._options.access_key_id, same._options.endpoint_url) == ("own", "https://own.example")
    assert (other._options.access_key_id, other._options.endpoint_url) == ("reader", None)
    assert (alone._options.access_key_id, alone._options.region) == (None, "eu-central-1")
    assert same._own == other._own == {"ours", "ours-renditions"}
    assert build(Settings(data_dir=tmp_path, storage=ours)).tenants.own_buckets == same._own


@pytest.mark.parametrize("half", [{"s3_access_key_id": "reader"}, {"s3_secret_access_key": "hush"}], ids=["key", "secret"])
def test_an_access_key_without_its_secret_is_refused_by_name(half):
    with pytest.raises(ValidationError) as refused:
        Settings(remote=half)

    assert refusal(refused.value) == (
        "SAFELIGHT_REMOTE__S3_ACCESS_KEY_ID and SAFELIGHT_REMOTE__S3_SECRET_ACCESS_KEY go together."
    )
