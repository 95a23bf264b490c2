"""Bucket governance on SeaweedFS, and on moto for what SeaweedFS lacks: set, verified, set again, drifted by hand and found."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.servers.seaweedfs import ACCESS_KEY, POWERLESS, SECRET_KEY, Moto

from safelight.adapters.storage.s3 import S3Options, S3Store
from safelight.adapters.storage.s3.governance import Governance, apply, check, desired
from safelight.cli import main

NUMBERS = itertools.count()
EVERYTHING = Governance(
    ip_allow_list=("127.0.0.0/8", "10.0.0.0/8"),
    cors_origins=("https://photos.example",),
    queue_arn="arn:aws:sqs:us-east-1:123456789012:incoming",
)


@pytest.fixture(scope="session")
def moto(tmp_path_factory):
    with Moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


def fresh(seaweedfs, url, key_id):
    """Options for two new buckets, and a client that looks at them behind the adapter's back."""
    number = next(NUMBERS)
    client = seaweedfs.client(url=url)
    for name in ("originals", "renditions"):
        client.create_bucket(Bucket=f"governed-{name}-{number}")
    return (
        S3Options(
            originals_bucket=f"governed-originals-{number}",
            renditions_bucket=f"governed-renditions-{number}",
            endpoint_url=url,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            kms_key_id=key_id,
            deadline_s=5,
        ),
        client,
    )


@pytest.fixture
def weed(seaweedfs):
    return fresh(seaweedfs, seaweedfs.url, seaweedfs.make_key())


@pytest.fixture
def emulated(seaweedfs, moto):
    return fresh(seaweedfs, moto.url, "arn:aws:kms:us-east-1:123456789012:key/1")


def states(items):
    """By bucket's kind and item."""
    return {(item.bucket.split("-")[1], item.name): item.state for item in items}


LACKING_AT_SEAWEEDFS = {
    ("originals", "https_only"),
    ("originals", "public_access_block"),
    ("originals", "archive"),
    ("originals", "event_notification"),
    ("renditions", "https_only"),
    ("renditions", "public_access_block"),
    ("renditions", "intelligent_tiering"),
}
PLAIN = {("originals", "https_only"), ("renditions", "https_only")}


async def test_seaweedfs_takes_each_item_that_it_has_and_the_others_do_not_stop_them(weed):
    options, _ = weed

    first = states(await apply(options, EVERYTHING))
    again = states(await apply(options, EVERYTHING))
    checked = states(await check(options, EVERYTHING))

    assert {item for item, state in first.items() if state == "unsupported"} == LACKING_AT_SEAWEEDFS
    assert {state for item, state in first.items() if item not in LACKING_AT_SEAWEEDFS} == {"applied"}
    assert {item: state for item, state in again.items() if item not in LACKING_AT_SEAWEEDFS} == {
        item: "already" for item in first if item not in LACKING_AT_SEAWEEDFS
    }
    assert checked == again


async def test_a_governed_bucket_is_fit_to_be_opened(weed):
    options, _ = weed
    await apply(options, EVERYTHING)

    async with S3Store(options) as store:
        await store.bucket("originals").put("t/a", b"hello")
        assert await store.bucket("originals").get("t/a") == b"hello"


async def test_where_everything_is_supported_everything_is_applied_once(emulated):
    options, _ = emulated
    names = set(states(await check(options, EVERYTHING))) - PLAIN

    first = states(await apply(options, EVERYTHING))
    again = states(await apply(options, EVERYTHING))
    checked = states(await check(options, EVERYTHING))

    assert {item: first[item] for item in names} == dict.fromkeys(names, "applied")
    assert {item: again[item] for item in names} == dict.fromkeys(names, "already")
    assert checked == again


async def test_a_bucket_that_nobody_governed_is_drift(emulated):
    options, _ = emulated

    found = states(await check(options, EVERYTHING))

    assert {state for item, state in found.items() if item not in PLAIN} == {"drift"}


DRIFTS = {
    "versioning": lambda c, b: c.put_bucket_versioning(Bucket=b, VersioningConfiguration={"Status": "Suspended"}),
    "encryption": lambda c, b: c.put_bucket_encryption(
        Bucket=b,
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]},
    ),
    "ip_allow_list": lambda c, b: c.delete_bucket_policy(Bucket=b),
    "cors": lambda c, b: c.put_bucket_cors(
        Bucket=b,
        CORSConfiguration={"CORSRules": [{"ID": "safelight-cors", "AllowedOrigins": ["*"], "AllowedMethods": ["GET"]}]},
    ),
    "expire_incoming": lambda c, b: without_rule(c, b, "safelight-expire-incoming"),
    "noncurrent_versions": lambda c, b: without_rule(c, b, "safelight-noncurrent-versions"),
}
MORE_DRIFTS = {
    "archive": lambda c, b: without_rule(c, b, "safelight-archive"),
    "public_access_block": lambda c, b: c.delete_public_access_block(Bucket=b),
    "event_notification": lambda c, b: c.put_bucket_notification_configuration(Bucket=b, NotificationConfiguration={}),
}


def without_rule(client, bucket, id):
    rules = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": [rule for rule in rules if rule["ID"] != id]}
    )


@pytest.mark.parametrize("name", DRIFTS)
async def test_drift_on_seaweedfs_is_found_named_and_mended(weed, name):
    await drifts(weed, name, DRIFTS[name])


@pytest.mark.parametrize("name", DRIFTS | MORE_DRIFTS)
async def test_drift_where_everything_is_supported_is_found_named_and_mended(emulated, name):
    await drifts(emulated, name, (DRIFTS | MORE_DRIFTS)[name])


async def drifts(governed, name, drift):
    options, client = governed
    await apply(options, EVERYTHING)

    drift(client, options.originals_bucket)

    assert [(item.bucket, item.name) for item in await check(options, EVERYTHING) if item.state == "drift"] == [
        (options.originals_bucket, name)
    ]
    assert [item.name for item in await apply(options, EVERYTHING) if item.state == "applied"] == [name]
    assert [item for item in await check(options, EVERYTHING) if item.state == "drift"] == []


async def test_what_others_have_set_stays(emulated):
    options, client = emulated
    bucket = options.originals_bucket
    theirs = {
        "Sid": "theirs",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutBucketAcl",
        "Resource": f"arn:aws:s3:::{bucket}",
    }
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [theirs]}))
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket,
        LifecycleConfiguration={
            "Rules": [{"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "x/"}, "Expiration": {"Days": 3}}]
        },
    )
    client.put_bucket_cors(
        Bucket=bucket,
        CORSConfiguration={"CORSRules": [{"ID": "theirs", "AllowedOrigins": ["https://x"], "AllowedMethods": ["GET"]}]},
    )

    await apply(options, EVERYTHING)

    statements = json.loads(client.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert theirs in statements
    assert "theirs" in {rule["ID"] for rule in client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]}
    assert "theirs" in {rule["ID"] for rule in client.get_bucket_cors(Bucket=bucket)["CORSRules"]}


async def test_https_only_is_never_set_where_the_endpoint_is_plain(weed):
    options, client = weed
    await apply(options, Governance(ip_allow_list=("127.0.0.0/8",)))

    policy = client.get_bucket_policy(Bucket=options.originals_bucket)["Policy"]

    assert "SecureTransport" not in policy
    assert [item.reason_not_to for item in desired(replace(options, endpoint_url=None), EVERYTHING)].count("") == len(
        desired(replace(options, endpoint_url=None), EVERYTHING)
    )


async def test_an_address_that_is_not_allowed_can_still_mend_the_list(weed):
    options, _client = weed
    await apply(options, Governance(ip_allow_list=("192.0.2.0/24",)))

    assert states(await apply(options, Governance(ip_allow_list=("127.0.0.0/8",))))["originals", "ip_allow_list"] == "applied"


@pytest.mark.parametrize(
    "wrong", ({"originals_bucket": "no-such-bucket"}, {"access_key_id": POWERLESS[0], "secret_access_key": POWERLESS[1]})
)
async def test_what_cannot_be_read_has_failed(weed, wrong):
    options, _ = weed

    items = await check(replace(options, **wrong), Governance())

    assert {item.state for item in items if item.bucket.startswith(("no-such", "governed-originals"))} == {"failed"}


async def test_a_server_that_is_not_there_has_failed_every_item(weed):
    options, _ = weed

    items = await check(replace(options, endpoint_url="http://127.0.0.1:9", deadline_s=0.3), Governance())

    assert {item.state for item in items} == {"failed"}


@pytest.fixture
def environment(weed, monkeypatch, tmp_path):
    options, client = weed
    for name, value in {
        "URL": f"s3://{options.originals_bucket}",
        "RENDITIONS_BUCKET": options.renditions_bucket,
        "ENDPOINT_URL": options.endpoint_url,
        "ACCESS_KEY_ID": ACCESS_KEY,
        "SECRET_ACCESS_KEY": SECRET_KEY,
        "KMS_KEY_ID": options.kms_key_id,
    }.items():
        monkeypatch.setenv(f"SAFELIGHT_STORAGE__{name}", value)
    monkeypatch.setenv("SAFELIGHT_DATA_DIR", str(tmp_path))
    return options, client


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        main(["bucket", *arguments])
    return left.value.code, capsys.readouterr().out


def test_the_command_applies_and_checks_and_leaves_with_1_on_drift(environment, capsys):
    options, client = environment
    assert run(capsys, "check")[0] == 1
    assert run(capsys, "apply")[0] == 0
    assert run(capsys, "check")[0] == 0

    client.put_bucket_versioning(Bucket=options.originals_bucket, VersioningConfiguration={"Status": "Suspended"})

    code, said = run(capsys, "check", "--json")
    assert code == 1
    assert [item for item in json.loads(said)["items"] if item["state"] == "drift"] == [
        {"bucket": options.originals_bucket, "name": "versioning", "state": "drift", "detail": 'is "Suspended"'}
    ]
    assert SECRET_KEY not in said


def test_the_command_takes_its_wishes_from_the_settings(environment, capsys, monkeypatch):
    options, client = environment
    monkeypatch.setenv("SAFELIGHT_BUCKET__IP_ALLOW", "127.0.0.0/8, 10.0.0.0/8")
    monkeypatch.setenv("SAFELIGHT_BUCKET__NONCURRENT_DAYS", "0")

    assert run(capsys, "apply")[0] == 0

    assert "10.0.0.0/8" in client.get_bucket_policy(Bucket=options.originals_bucket)["Policy"]
    assert "noncurrent" not in json.dumps(client.get_bucket_lifecycle_configuration(Bucket=options.originals_bucket)["Rules"])
    monkeypatch.setenv("SAFELIGHT_BUCKET__NONCURRENT_DAYS", "60")
    assert run(capsys, "check")[0] == 1


# What the clock does where the lifecycle lacks a rule


async def test_a_store_knows_whether_its_lifecycle_has_a_rule_of_the_settings(weed):
    options, client = weed
    for name in ("originals", "renditions"):
        client.put_bucket_versioning(Bucket=options.bucket(name), VersioningConfiguration={"Status": "Enabled"})
    async with S3Store(options) as store:
        assert not await store.has_rule(EVERYTHING, "abort_multipart")
        await apply(options, EVERYTHING)

        assert await store.has_rule(EVERYTHING, "abort_multipart")
        assert await store.has_rule(EVERYTHING, "noncurrent_versions")
        assert not await store.has_rule(replace(EVERYTHING, noncurrent_days=7), "noncurrent_versions")
        assert not await store.has_rule(replace(EVERYTHING, noncurrent_days=None), "noncurrent_versions")


async def test_multipart_uploads_that_were_left_are_aborted_and_others_are_not(weed):
    options, client = weed
    for name in ("originals", "renditions"):
        client.put_bucket_versioning(Bucket=options.bucket(name), VersioningConfiguration={"Status": "Enabled"})
    options = replace(options, prefix="ours/")
    for key in ("ours/t/a", "theirs/t/a"):
        client.create_multipart_upload(Bucket=options.originals_bucket, Key=key)
    async with S3Store(options) as store:
        now = datetime.now(UTC)
        assert await store.abort_uploads(before=now - timedelta(days=1)) == 0
        assert await store.abort_uploads(before=now + timedelta(days=1)) == 1
    left = client.list_multipart_uploads(Bucket=options.originals_bucket).get("Uploads", [])
    assert [upload["Key"] for upload in left] == ["theirs/t/a"]
