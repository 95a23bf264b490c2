"""What whoever reads foreign buckets must do, sentence by sentence of ports.foreign_buckets.

Inherit and give `buckets`, the name of a `bucket` that may be read, and `put(key, body, **words)`, which writes an object there with
these arguments of S3's PutObject.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import pytest

from safelight.domain.sources import BucketObject
from safelight.errors import Missing, SourceRefused, TooManyBytes
from safelight.ports.foreign_buckets import ForeignBuckets
from safelight.ports.outbound import FetchLimits, Reading

Put = Callable[..., object]

LIMITS: Final = FetchLimits(max_bytes=2_000_000, connect_s=30, idle_s=30, total_s=60)
DATA: Final = bytes(range(256)) * 4000


async def read(
    buckets: ForeignBuckets,
    bucket: str,
    key: str,
    conditions: Mapping[str, str] | None = None,
    *,
    limits: FetchLimits = LIMITS,
) -> tuple[Reading, bytes]:
    """What is answered, and all its bytes."""
    async with buckets.get(BucketObject(bucket, key), conditions or {}, limits=limits) as reading:
        return reading, b"".join([chunk async for chunk in reading.chunks])


class ForeignBucketsContract:
    @pytest.mark.parametrize("key", ["sea.jpg", "a b?c=1&d#e+100%é@x.jpg", "a%20b.jpg", "deep/er/sea.jpg"])
    async def test_an_object_is_read_whole_by_the_key_that_it_has(
        self, buckets: ForeignBuckets, bucket: str, put: Put, key: str
    ) -> None:
        put(key, DATA, CacheControl="max-age=60")

        reading, data = await read(buckets, bucket, key)
        assert (reading.is_unchanged, data == DATA) == (False, True)
        assert (reading.headers["cache-control"], reading.headers["etag"][:1]) == ("max-age=60", '"')
        assert "last-modified" in reading.headers

    async def test_an_object_that_is_as_it_was_has_no_bytes(self, buckets: ForeignBuckets, bucket: str, put: Put) -> None:
        put("sea.jpg", b"first")
        etag = (await read(buckets, bucket, "sea.jpg"))[0].headers["etag"]
        conditions = {"If-None-Match": etag, "If-Modified-Since": "Mon, 01 Jun 2026 00:00:00 GMT"}

        same, nothing = await read(buckets, bucket, "sea.jpg", conditions)
        assert (same.is_unchanged, nothing) == (True, b"")
        put("sea.jpg", b"second")
        other, data = await read(buckets, bucket, "sea.jpg", conditions)
        assert (other.is_unchanged, data) == (False, b"second")

    async def test_what_is_not_there_is_missing_and_a_bucket_that_is_not_is_refused(
        self, buckets: ForeignBuckets, bucket: str, put: Put
    ) -> None:
        with pytest.raises(Missing):
            await read(buckets, bucket, "nothing")
        with pytest.raises(SourceRefused):
            await read(buckets, "a-bucket-that-nobody-has", "nothing")

    async def test_what_is_kept_compressed_is_refused(self, buckets: ForeignBuckets, bucket: str, put: Put) -> None:
        put("packed", b"\x1f\x8b", ContentEncoding="gzip")

        with pytest.raises(SourceRefused):
            await read(buckets, bucket, "packed")

    async def test_more_bytes_than_allowed_are_refused(self, buckets: ForeignBuckets, bucket: str, put: Put) -> None:
        put("sea.jpg", DATA)

        with pytest.raises(TooManyBytes) as refusal:
            await read(buckets, bucket, "sea.jpg", limits=replace(LIMITS, max_bytes=len(DATA) - 1))
        assert refusal.value.extra["limit"] == len(DATA) - 1
        assert (await read(buckets, bucket, "sea.jpg", limits=replace(LIMITS, max_bytes=len(DATA))))[1] == DATA
