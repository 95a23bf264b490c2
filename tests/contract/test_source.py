"""The Source contract on SeaweedFS, and how S3 addresses buckets."""

from __future__ import annotations

import uuid

import pytest
from tests.servers.seaweedfs import ACCESS_KEY, POWERLESS, SECRET_KEY

from safelight.adapters.storage.s3.source import S3Source, _place
from safelight.errors import BackendUnavailable, Missing, SourceRefused
from safelight.ports.source import Found
from safelight.testing.contracts.source import SourceContract


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def bucket(seaweedfs):
    return seaweedfs.make_bucket(f"source-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def source(seaweedfs, bucket, credentials):
    return S3Source(bucket, "in/", endpoint_url=seaweedfs.url, page=10)


@pytest.fixture
def put(seaweedfs, bucket):
    client = seaweedfs.client()
    return lambda key, body, **words: client.put_object(Bucket=bucket, Key=key, Body=body, **words)


@pytest.fixture
def offer(seaweedfs):
    client, target = seaweedfs.client(), seaweedfs.make_bucket(f"target-{uuid.uuid4().hex[:12]}", is_versioned=True)

    def made(size_bytes):
        place = {"Bucket": target, "Key": "incoming/a b"}
        url = client.generate_presigned_url("put_object", Params={**place, "ContentLength": size_bytes})

        def written():
            found = client.get_object(**place)
            return found["Body"].read(), found["ContentType"]

        return url, {}, written

    return made


class TestS3Source(SourceContract):
    pass


def test_what_the_store_refuses_is_told_by_its_reason(seaweedfs, bucket, source, monkeypatch):
    with pytest.raises(Missing, match="no bucket nobodys"):
        list(S3Source("nobodys", endpoint_url=seaweedfs.url).list())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", POWERLESS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", POWERLESS[1])
    with pytest.raises(SourceRefused, match="AccessDenied"):
        list(S3Source(bucket, endpoint_url=seaweedfs.url).list())


def test_a_copy_that_the_caller_may_not_make_is_none(seaweedfs, bucket, source, put, offer, monkeypatch):
    put("in/a", b"x")
    (found,) = source.list()
    url, headers, _ = offer(1)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", POWERLESS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", POWERLESS[1])

    assert not S3Source(bucket, endpoint_url=seaweedfs.url).copy(found, url, headers)


def test_without_credentials_or_an_answer_that_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(SourceRefused, match="AWS_PROFILE"):
        list(S3Source("b", endpoint_url="http://127.0.0.1:9", tries=1).list())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    with pytest.raises(BackendUnavailable):
        S3Source("b", endpoint_url="http://127.0.0.1:9", tries=1).describe(Found("a", "b", 1))


@pytest.mark.parametrize(
    ("url", "endpoint", "place"),
    [
        ("http://s3.local:8333/b/incoming/a%20b?X-Amz-Signature=1", "http://s3.local:8333", ("b", "incoming/a b")),
        ("http://b.s3.local:8333/incoming/a", "http://s3.local:8333", ("b", "incoming/a")),
        ("https://b.s3.eu-central-1.amazonaws.com/incoming/a", "https://s3.us-east-1.amazonaws.com", ("b", "incoming/a")),
        ("https://b.c.s3.amazonaws.com/a", "https://s3.amazonaws.com", ("b.c", "a")),
        ("https://s3.eu-west-1.amazonaws.com/b/a", "https://s3.eu-west-1.amazonaws.com", ("b", "a")),
        ("https://b.s3.dualstack.eu-west-1.amazonaws.com/a", "https://s3.eu-west-1.amazonaws.com", ("b", "a")),
        ("https://b.s3.amazonaws.com.evil.example/a", "https://s3.amazonaws.com", None),
        ("http://s3.local:8334/b/a", "http://s3.local:8333", None),
        ("https://photos.example/uploads/a", "https://s3.amazonaws.com", None),
        ("http://s3.local:8333/b", "http://s3.local:8333", None),
    ],
)
def test_bucket_and_key_are_read_from_either_kind_of_address(url, endpoint, place):
    assert _place(url, endpoint) == place
