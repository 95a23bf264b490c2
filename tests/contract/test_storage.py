"""The Storage contract, kept by both adapters: the local one sealed, plain, and as one of two buckets of a store."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from safelight.adapters.storage.local import LocalStore
from safelight.adapters.storage.memory import MemoryStorage
from safelight.testing.contracts.storage import StorageContract

NUMBERS = itertools.count()


def opened(root, key_file):
    """A store for all tests of a class: each has a bucket of its own, and an event loop of its own, which it must not mind."""
    store = LocalStore(root / "objects", key_file=key_file)
    asyncio.run(store.open())
    yield store
    asyncio.run(store.close())


@pytest.fixture(scope="class")
def sealed_store(tmp_path_factory):
    root = tmp_path_factory.mktemp("sealed")
    yield from opened(root, root / "key")


@pytest.fixture(scope="class")
def plain_store(tmp_path_factory):
    yield from opened(tmp_path_factory.mktemp("plain"), None)


class TestMemoryStorage(StorageContract):
    @pytest.fixture
    def storage(self):
        return MemoryStorage()


class TestLocalStorageSealed(StorageContract):
    @pytest.fixture
    def storage(self, sealed_store):
        return sealed_store.bucket(f"bucket-{next(NUMBERS)}")


class TestLocalStoragePlain(StorageContract):
    @pytest.fixture
    def storage(self, plain_store):
        return plain_store.bucket(f"bucket-{next(NUMBERS)}")


class TestLocalStorageBesideAnotherBucket(StorageContract):
    """The same keys in the bucket next door change nothing here, nor there."""

    @pytest.fixture
    async def storage(self, sealed_store):
        number = next(NUMBERS)
        neighbour = sealed_store.bucket(f"neighbour-{number}")
        for key in ("t/a", "t/b", "a", "a/b", "\U0010ffff"):
            await neighbour.put(key, b"not yours", is_durable=False)
        yield sealed_store.bucket(f"bucket-{number}")
        assert len(await neighbour.scan("")) == 5
