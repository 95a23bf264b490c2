"""What a move refuses, mends and notices, on records in SQLite and objects in memory; the real backends are in the acceptance tests."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from safelight.adapters.catalog.secretbox import SecretBox
from safelight.adapters.catalog.sql import SqlCatalog
from safelight.adapters.catalog.sql_tables import SqlTables
from safelight.adapters.storage.memory import MemoryStorage
from safelight.domain.images import Status
from safelight.errors import BackendUnavailable, DamagedObject, WrongState
from safelight.services.development import Buckets
from safelight.services.moving import Holdings, Move, settle
from safelight.testing.contracts.archive import shape
from safelight.testing.factories import NOON, make_image, make_signing_key, make_tenant

TENANT = make_tenant(name="acme")
IMAGES = [
    make_image(TENANT.id, status=Status.READY),
    make_image(TENANT.id, status=Status.READY, trashed_at=NOON),
    make_image(TENANT.id, status=Status.DEVELOPING),
    make_image(TENANT.id, status=Status.FAILED),
]


class Side:
    """An installation of a test's own: its catalog is at `url`, sealed with `key`."""

    def __init__(self, folder: Path, key: bytes) -> None:
        folder.mkdir()
        url = f"sqlite:///{folder / 'catalog.db'}"
        self.catalog = SqlCatalog(url, secrets=key)
        self.half = SqlCatalog(url, secrets=key, is_whole=False)
        self.originals, self.renditions = MemoryStorage(), MemoryStorage()
        self.holdings = Holdings(SqlTables(url, secrets=SecretBox(key)), Buckets(self.originals, self.renditions))

    async def open(self) -> Side:
        await self.catalog.migrate()
        await self.holdings.tables.open()
        return self


@pytest.fixture
async def source(tmp_path):
    side = await Side(tmp_path / "source", b"s" * 32).open()
    await side.catalog.open()
    async with side.catalog.directory(writes=True) as directory:
        await directory.add_tenant(TENANT)
    async with side.catalog.tenant(TENANT.id, writes=True) as records:
        await records.accounts.add_signing_key(make_signing_key(TENANT.id))
        for image in IMAGES:
            await records.images.add(image)
    await side.catalog.close()
    for image in IMAGES:
        await side.originals.put(image.original_key, image.id.encode(), media_type="image/jpeg", metadata={"a": "b"})
        await side.renditions.put(image.rendition_key("thumb_300", "webp", folder="1"), b"small")
    await side.originals.put(IMAGES[0].original_key, b"again")
    await side.originals.delete(IMAGES[0].original_key)
    await side.originals.put(IMAGES[0].original_key, b"and again")
    yield side
    await side.holdings.tables.close()


@pytest.fixture
async def target(tmp_path):
    side = await Side(tmp_path / "target", b"t" * 32).open()
    yield side
    await side.holdings.tables.close()
    await side.half.close()


async def run(source, target, name="source", at_once=2):
    async def index():
        await target.half.open()
        return 0

    move = Move(source.holdings, target.holdings, lambda *_: None, at_once=at_once)
    return await move.run(name, index, lambda: settle(target.half, target.holdings.buckets))


async def shapes(storage):
    return {pile.key: shape(pile) for pile in await storage.piles()}


async def assert_moved(source, target):
    await target.catalog.open()
    async with target.catalog.tenant(TENANT.id) as records:
        assert await records.images.get_many([image.id for image in IMAGES]) == IMAGES
    await target.catalog.close()
    wanted = await shapes(source.originals)
    wanted[IMAGES[1].original_key] = [
        *wanted[IMAGES[1].original_key],
        None,
    ]  # in the trash, whose marker its flow had not set yet
    assert await shapes(target.originals) == wanted
    assert await shapes(target.renditions) == await shapes(source.renditions)


async def test_everything_is_carried_counted_and_told(source, target):
    report = await run(source, target)

    await assert_moved(source, target)
    originals = report.buckets["originals"]
    assert (originals.keys, originals.versions, originals.markers) == (4, 6, 1)
    assert report.tables["images"].rows == 4
    assert report.unsettled == 2
    async with target.half.directory() as directory:
        told = [(each.event.name, each.event.image) for each in await directory.outbox.untold()]
    assert told == [("image.accepted", IMAGES[2].id), ("image.accepted", IMAGES[3].id)]


async def test_a_target_with_rows_or_objects_of_its_own_is_refused_and_left_alone(source, target):
    await target.renditions.put("somebody/elses", b"x")
    with pytest.raises(WrongState, match="renditions are not empty"):
        await run(source, target)
    await target.renditions.purge("")
    await target.catalog.open()
    async with target.catalog.directory(writes=True) as directory:
        await directory.add_tenant(make_tenant(name="theirs"))
    await target.catalog.close()

    with pytest.raises(WrongState, match="catalog is not empty"):
        await run(source, target)

    assert await target.holdings.tables.filling() is None
    assert await target.originals.piles() == []


async def test_a_target_that_has_been_moved_into_is_refused(source, target):
    await run(source, target)

    with pytest.raises(WrongState, match="not empty"):
        await run(source, target)


async def test_the_unfinished_move_of_another_source_is_refused_and_so_is_a_half_filled_source(source, target):
    await target.holdings.tables.set_filling("another")
    with pytest.raises(WrongState, match="another"):
        await run(source, target)
    with pytest.raises(WrongState, match="source is itself"):
        await run(target, source)


class Failing(MemoryStorage):
    """Lays so many versions, then fails."""

    left = 0

    async def lay(self, stored, body):
        if self.left == 0:
            raise BackendUnavailable("no")
        self.left -= 1
        return await super().lay(stored, body)


@pytest.mark.parametrize("done", range(7))
async def test_a_move_that_ends_early_keeps_the_target_shut_and_goes_on_where_it_ended(source, target, done):
    failing = Failing()
    failing.left = done
    target.originals = failing
    target.holdings = replace(target.holdings, buckets=Buckets(failing, target.renditions))
    with pytest.raises(BackendUnavailable):
        await run(source, target, at_once=1)
    with pytest.raises(WrongState, match="not finished"):
        await target.catalog.open()
    failing.left = 100

    report = await run(source, target)

    assert report.is_resumed
    assert 100 - failing.left == 7 - done, "what was there is not carried again"
    await assert_moved(source, target)


async def test_a_source_that_has_changed_between_two_runs_is_carried_as_it_is_now(source, target):
    target.originals = failing = Failing()
    failing.left = 5
    target.holdings = replace(target.holdings, buckets=Buckets(failing, target.renditions))
    with contextlib.suppress(BackendUnavailable):
        await run(source, target, at_once=1)
    rows = await source.holdings.tables.read("images", limit=2)
    await target.holdings.tables.write("tenants", await source.holdings.tables.read("tenants"))
    await target.holdings.tables.write("images", [dict(row) | {"title": "of before"} for row in rows])
    await source.originals.purge(IMAGES[0].original_key)
    await source.originals.put(IMAGES[0].original_key, b"other")
    failing.left = 100

    await run(source, target)

    await assert_moved(source, target)
    assert await target.originals.get(IMAGES[0].original_key) == b"other"


class Damaging(MemoryStorage):
    """Gives other bytes back than it was given, so often."""

    times = 1

    async def open(self, key, **options):
        opened = await super().open(key, **options)

        async def spoilt():
            async for chunk in opened.chunks:
                yield bytes(len(chunk))

        if self.times:
            self.times -= 1
            return replace(opened, chunks=spoilt())
        return opened


async def test_bytes_that_the_target_does_not_give_back_are_written_again_and_then_refused(source, target):
    damaging = Damaging()
    target.originals = damaging
    target.holdings = replace(target.holdings, buckets=Buckets(damaging, target.renditions))
    await run(source, target)
    await assert_moved(source, target)


async def test_a_target_that_never_gives_back_what_it_got_is_refused(source, target):
    damaging = Damaging()
    damaging.times = 1000
    target.holdings = replace(target.holdings, buckets=Buckets(damaging, target.renditions))
    with pytest.raises(DamagedObject):
        await run(source, target)
    with pytest.raises(WrongState):
        await target.catalog.open()


async def test_a_source_whose_bytes_are_damaged_is_refused(source, target):
    damaging = Damaging()
    damaging._piles = source.originals._piles
    holdings = replace(source.holdings, buckets=Buckets(damaging, source.renditions))
    source.holdings = holdings
    with pytest.raises(DamagedObject, match="source"):
        await run(source, target, at_once=1)
    assert await target.originals.piles() == []
