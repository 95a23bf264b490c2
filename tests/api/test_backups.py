"""The restore drill: what is given back is what there was at the moment of the backup, whatever went on meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.holdings import rows_of, state
from tests.pictures import jpeg, png

from safelight.adapters.storage.vault import DirectoryVault
from safelight.domain.backups import Retention
from safelight.domain.images import Status
from safelight.errors import DamagedObject, WrongState
from safelight.services.backups import Backups, objects_of
from safelight.services.moving import settle
from safelight.settings import Settings
from safelight.wiring import Place, build, utc_now


class Busy(DirectoryVault):
    """The vault of a folder, during whose entries something else happens."""

    meanwhile = {}

    async def put(self, name, body):
        happens = self.meanwhile.pop(name.partition("/")[0], None)

        async def interrupted():
            is_first = True
            async for chunk in body:
                if is_first and happens is not None:
                    await happens()
                is_first = False
                yield chunk

        await super().put(name, body if isinstance(body, bytes) else interrupted())


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "backup.key"
    path.write_text("5a" * 32)
    path.chmod(0o600)
    return path


@pytest.fixture
async def vault(tmp_path, key_file):
    vault = Busy(tmp_path / "backups", key_file=key_file)
    vault.meanwhile = {}
    await vault.open()
    yield vault
    await vault.close()


@pytest.fixture
def backups(vault):
    return Backups(vault, utc_now, "0.1")


@contextlib.asynccontextmanager
async def place_at(folder, *, is_source):
    place = Place.at(Settings(data_dir=folder), is_source=is_source)
    if not is_source:
        await place.safelight().catalog.migrate()
    async with contextlib.AsyncExitStack() as opened:
        for part in place.parts:
            await part.open()
            opened.push_async_callback(part.close)
        yield place


async def upload(app, number, **data):
    answer = await app.client.post("/images", files={"file": jpeg(seed=number)}, data={"title": f"Harbour {number}"} | data)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def quiet(app):
    """Nothing is being done any more: two looks at all rows see the same."""
    async with asyncio.timeout(60), place_at(app.safelight.settings.data_dir, is_source=True) as place:
        before = None
        while (now := await rows_of(place)) != before or now["events"]:
            before = now
            await asyncio.sleep(0.5)


async def given_back(backups, snapshot, folder):
    async with place_at(folder, is_source=False) as place:
        safelight = place.safelight()
        async with contextlib.AsyncExitStack() as opened:

            async def index():
                await safelight.catalog.open()
                opened.push_async_callback(safelight.catalog.close)
                return 0

            async def settled():
                found.append(await state(place))
                return await settle(safelight.catalog, place.holdings.buckets)

            found = []
            await backups.restore(snapshot, place.holdings.tables, place.holdings.buckets, index=index, settle=settled)
            return found[0]


async def test_a_restore_equals_the_moment_of_the_backup_with_uploads_edits_and_deletes_going_on(run, tmp_path, backups, vault):
    async with run() as app:
        edited, trashed, replaced, stays = [await upload(app, number) for number in range(4)]
        assert (await app.client.delete(f"/images/{stays}")).status_code == 204
        await quiet(app)
        async with place_at(tmp_path / "data", is_source=True) as place:
            truth = await state(place)

            async def in_the_rows():
                await upload(app, 10)
                await app.client.patch(f"/images/{edited}", json={"title": "Mountain"})
                await app.client.delete(f"/images/{trashed}")

            async def in_the_objects():
                await app.client.put(f"/images/{replaced}/original", files={"file": png(300, 200, seed=11)})
                await app.client.post(f"/images/{stays}/restore")
                await upload(app, 12)

            vault.meanwhile = {"rows": in_the_rows, "index": in_the_objects}
            snapshot, copied = await backups.create(place.moments, place.holdings.buckets, {})
            assert vault.meanwhile == {}
            assert await state(place) != truth
            again, more = await backups.create(place.moments, place.holdings.buckets, {})

    assert snapshot.lost == again.lost == ()
    assert 0 < more.objects < copied.objects, "what is there is not copied again"
    assert await backups.verify(snapshot) == await backups.verify(again) == []
    assert await given_back(backups, snapshot, tmp_path / "back") == truth
    async with place_at(tmp_path / "back", is_source=True) as place:
        pile = await place.holdings.buckets.originals.piles(f"{truth[0]['images'][0]['tenant']}/{stays}/1/original")
        assert pile[0].layers[-1].is_marker, "the trash has its delete marker"
    with pytest.raises(WrongState):
        await given_back(backups, again, tmp_path / "back")


async def test_a_purge_in_the_middle_moves_the_moment_behind_it(run, tmp_path, backups, vault):
    async with run() as app:
        stays, purged = await upload(app, 0), await upload(app, 1)
        await quiet(app)
        async with place_at(tmp_path / "data", is_source=True) as place:

            async def purge():
                await app.client.delete(f"/images/{purged}")
                assert (await app.client.delete(f"/images/{purged}", params={"purge": True})).status_code == 204
                async with asyncio.timeout(60):
                    while [pile for pile in await place.holdings.buckets.originals.piles() if purged in pile.key]:
                        await asyncio.sleep(0.05)

            vault.meanwhile = {"rows": purge}
            snapshot, _ = await backups.create(place.moments, place.holdings.buckets, {})

    assert (snapshot.lost, snapshot.tables["images"].rows) == ((), 1)
    rows, _ = await given_back(backups, snapshot, tmp_path / "back")
    assert [row["id"] for row in rows["images"]] == [stays]


async def test_an_original_that_was_lost_before_is_named_and_the_backup_is_made(run, tmp_path, backups):
    async with run() as app:
        lost = await upload(app, 0)
        await upload(app, 1)
        await quiet(app)
        async with place_at(tmp_path / "data", is_source=True) as place:
            key = next(
                pile.key for pile in await place.holdings.buckets.originals.piles() if lost in pile.key and "original" in pile.key
            )
            await app.safelight.development.buckets.originals.purge(key)
            snapshot, _ = await backups.create(place.moments, place.holdings.buckets, {})

    assert snapshot.lost == (key,)
    assert await backups.verify(snapshot) == []


async def test_a_damaged_backup_is_told_and_not_given_back_and_a_restore_that_ended_early_goes_on(run, tmp_path, backups):
    async with run() as app:
        await upload(app, 0)
        await quiet(app)
        async with place_at(tmp_path / "data", is_source=True) as place:
            truth = await state(place)
            snapshot, _ = await backups.create(place.moments, place.holdings.buckets, {})
    victim = max((tmp_path / "backups" / "objects").rglob("*/*"), key=lambda path: path.stat().st_size)
    sound = victim.read_bytes()
    victim.write_bytes(sound[:-20] + bytes(20))

    assert await backups.verify(snapshot) == [f"objects/{victim.parent.name}/{victim.name}"]
    with pytest.raises(DamagedObject):
        await given_back(backups, snapshot, tmp_path / "back")
    with pytest.raises(WrongState):
        half = Place.at(Settings(data_dir=tmp_path / "back"), is_source=False)
        await build(half.settings).catalog.open()

    victim.write_bytes(sound)
    assert await given_back(backups, snapshot, tmp_path / "back") == truth
    wrong = replace(snapshot, tables=dict(snapshot.tables) | {"images": replace(snapshot.tables["images"], rows=7)})
    assert await backups.verify(wrong) == [f"rows/{snapshot.id}"]
    with pytest.raises(DamagedObject):
        await given_back(backups, wrong, tmp_path / "other")


async def test_what_a_killed_create_left_is_gone_with_the_next_and_the_last_backup_stays(run, tmp_path, backups, vault):
    async with run() as app:
        await upload(app, 0)
        await quiet(app)
        async with place_at(tmp_path / "data", is_source=True) as place:
            first, _ = await backups.create(place.moments, place.holdings.buckets, {})

            async def dies():
                raise ZeroDivisionError

            vault.meanwhile = {"index": dies}
            with pytest.raises(ZeroDivisionError):
                await backups.create(place.moments, place.holdings.buckets, {})
            assert len(await vault.names("rows")) == 2
            assert [one.id for one in await backups.all()] == [first.id]
            assert await backups.verify(first) == []
            await backups.create(place.moments, place.holdings.buckets, {})

    assert len(await vault.names("rows")) == len(await vault.names("index")) == len(await backups.all()) == 2


async def three_backups(app, tmp_path, backups):
    """Days apart, each with an image that the next does not have any more."""
    made = []
    clock = utc_now()
    async with place_at(tmp_path / "data", is_source=True) as place:
        for day in range(3):
            id = await upload(app, day)
            await quiet(app)
            later = replace(backups, clock=lambda day=day: clock + timedelta(days=day))
            made.append((await later.create(place.moments, place.holdings.buckets, {}))[0])
            await app.client.delete(f"/images/{id}")
            await app.client.delete(f"/images/{id}", params={"purge": True})
            await quiet(app)
    return made


async def entries(vault):
    return {name for shard in range(256) for name in await vault.names(f"objects/{shard:02x}")}


async def test_pruning_removes_what_no_kept_backup_needs_and_nothing_else(run, tmp_path, backups, vault):
    async with run() as app:
        first, second, third = await three_backups(app, tmp_path, backups)
    before = await entries(vault)
    sizes = {one.id: own for one, own in await backups.sizes()}

    dry = await backups.prune(Retention(daily=2, weekly=0, monthly=0), is_dry=True)
    assert [one.id for one in dry.removed] == [first.id]
    assert (await entries(vault), len(await backups.all())) == (before, 3)
    pruned = await backups.prune(Retention(daily=2, weekly=0, monthly=0))

    assert ([one.id for one in pruned.kept], pruned.objects) == ([second.id, third.id], dry.objects)
    assert len(await entries(vault)) == len(before) - pruned.objects
    assert len(await vault.names("rows")) == len(await vault.names("index")) == 2
    assert pruned.objects > 0
    assert sizes[first.id] > 0
    for one in (second, third):
        assert await backups.verify(one) == []
    assert len((await given_back(backups, second, tmp_path / "back"))[0]["images"]) == second.tables["images"].rows
    assert (await backups.prune(Retention(daily=2, weekly=0, monthly=0))).objects == 0


async def test_pruning_that_is_killed_anywhere_leaves_every_kept_backup_whole(run, tmp_path, backups, vault):
    async with run() as app:
        first, _, third = await three_backups(app, tmp_path, backups)
    removing = type(vault).remove
    left = 0

    class Killed(BaseException):
        pass

    async def remove(self, name):
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        await removing(self, name)

    type(vault).remove = remove
    try:
        for left in (0, 1, 2, 4, 7):
            with pytest.raises(Killed):
                await backups.prune(Retention(daily=1, weekly=0, monthly=0))
            for one in await backups.all():
                assert await backups.verify(one) == []
    finally:
        type(vault).remove = removing
    await backups.prune(Retention(daily=1, weekly=0, monthly=0))

    assert [one.id for one in await backups.all()] == [third.id]
    assert await backups.verify(third) == []
    assert len(await entries(vault)) <= third.objects
    assert first.id not in {name.rpartition("/")[2] for name in await vault.names("rows")}


async def test_pruning_removes_nothing_when_a_kept_index_cannot_be_read(run, tmp_path, backups, vault):
    async with run() as app:
        _, _, third = await three_backups(app, tmp_path, backups)
    before = await entries(vault)
    path = tmp_path / "backups" / "index" / third.id
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(DamagedObject):
        await backups.prune(Retention(daily=1, weekly=0, monthly=0))
    assert (await entries(vault), len(await backups.all())) == (before, 3)


def test_a_rejected_image_names_no_original():
    row = {"tenant": "t", "id": "i", "version": 1, "status": Status.REJECTED.value, "sha256": "", "developed_version": 0}

    assert objects_of(row | {"earlier": [], "renditions": []}) == []
