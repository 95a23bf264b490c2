"""The Archive contract on memory, on files and on a real S3 server, whose listings come in several pages."""

from __future__ import annotations

import itertools
import secrets
from dataclasses import replace

import pytest
from tests.servers.faulty import Faulty
from tests.servers.seaweedfs import ACCESS_KEY, SECRET_KEY

from safelight.adapters.storage.local import LocalStore
from safelight.adapters.storage.memory import MemoryStorage
from safelight.adapters.storage.s3 import S3Options, S3Store, listing
from safelight.testing.contracts.archive import ArchiveContract, shape, walk

NUMBERS = itertools.count()


class TestMemoryArchive(ArchiveContract):
    @pytest.fixture
    def archive(self):
        return MemoryStorage()


class TestLocalArchive(ArchiveContract):
    """The same keys in the bucket next door are not seen."""

    @pytest.fixture
    async def archive(self, tmp_path):
        async with LocalStore(tmp_path, key_file=tmp_path / "master.key") as store:
            await store.bucket("renditions").put("t/a", b"not yours")
            yield store.bucket("originals")


@pytest.fixture
async def s3(seaweedfs):
    buckets = [seaweedfs.make_bucket(f"contract-{name}", is_versioned=True) for name in ("originals", "renditions")]
    options = S3Options(
        originals_bucket=buckets[0],
        renditions_bucket=buckets[1],
        prefix=f"archive-{next(NUMBERS)}-{secrets.token_hex(4)}/",
        endpoint_url=seaweedfs.url,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
    )
    async with S3Store(options) as store:
        yield store.bucket("originals")


class TestS3Archive(ArchiveContract):
    @pytest.fixture
    def archive(self, s3):
        return s3


@pytest.mark.parametrize("page", (1, 3, 7))
async def test_a_pile_that_a_page_of_s3_cuts_is_whole(s3, monkeypatch, page):
    for number in range(6):
        for _ in range(number % 4 + 1):
            await s3.put(f"t/{number}/1/original", bytes(number))
        if number % 2:
            await s3.delete(f"t/{number}/1/original")
    monkeypatch.setattr(listing, "PAGE", page)

    piles = await walk(s3, limit=4)

    assert [pile.key for pile in piles] == [f"t/{number}/1/original" for number in range(6)]
    assert [shape(pile) for pile in piles] == [[number] * (number % 4 + 1) + [None] * (number % 2) for number in range(6)]


async def test_a_page_of_piles_asks_nothing_of_the_single_object(s3, seaweedfs):
    for number in range(20):
        await s3.put(f"t/{number:02}/1/original", b"x")
    async with Faulty(seaweedfs.port) as proxy, S3Store(replace(s3._store.options, endpoint_url=proxy.url)) as behind:
        proxy.requests.clear()

        assert len(await behind.bucket("originals").piles("t/")) == 20

        assert len(proxy.requests) == 1


async def test_the_probes_of_a_store_that_opens_are_nobodys_objects(s3):
    await s3.put("safelight-probe/1", b"probe")

    assert await s3.piles() == []
