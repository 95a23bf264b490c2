"""LocalStore beyond the contract: keys, damage, crashes, failing disks, several stores on one root."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import stat
import time
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest

from safelight.adapters.storage import _index
from safelight.adapters.storage.local import LocalStore, Swept
from safelight.errors import BackendUnavailable, DamagedObject, Kind, Missing, SafelightError, WrongState, by_code

FRAME = 64 * 1024


@pytest.fixture
async def store(tmp_path):
    async with LocalStore(tmp_path / "objects", key_file=tmp_path / "key") as store:
        yield store


@pytest.fixture
async def plain_store(tmp_path):
    async with LocalStore(tmp_path / "objects", key_file=None) as store:
        yield store


def blobs(store: LocalStore) -> list[Path]:
    return [path for path in (store.root / "blobs").rglob("*") if path.is_file()]


def drafts(store: LocalStore) -> list[Path]:
    return list((store.root / "tmp").iterdir())


def new_key_on_top(key_file: Path) -> None:
    key_file.write_text(os.urandom(32).hex() + "\n" + key_file.read_text())


CALLS = {
    "put": lambda storage: storage.put("a", b"x"),
    "put a stream": lambda storage: storage.put("a", pieces(b"x")),
    "get": lambda storage: storage.get("a"),
    "open": lambda storage: storage.open("a"),
    "stat": lambda storage: storage.stat("a"),
    "delete": lambda storage: storage.delete("a"),
    "delete a version": lambda storage: storage.delete("a", version="v"),
    "restore": lambda storage: storage.restore("a"),
    "restore a version": lambda storage: storage.restore("a", version="v"),
    "versions": lambda storage: storage.versions("a"),
    "scan": lambda storage: storage.scan(""),
    "purge": lambda storage: storage.purge(""),
}


async def pieces(*chunks: bytes):
    for chunk in chunks:
        yield chunk


# Buckets and the store


async def test_buckets_of_one_store_do_not_see_each_other(store):
    originals, renditions = store.bucket("originals"), store.bucket("renditions")
    await originals.put("a", b"original")
    await renditions.put("a", b"rendition")
    await renditions.purge("")

    assert await originals.get("a") == b"original"
    assert await renditions.scan("") == []


async def test_objects_are_there_after_a_restart(tmp_path):
    for _ in range(3):
        async with LocalStore(tmp_path / "objects", key_file=tmp_path / "key") as store:
            await store.bucket("b").put("a", b"x" * 100_000)
    async with LocalStore(tmp_path / "objects", key_file=tmp_path / "key") as store:
        assert await store.bucket("b").get("a") == b"x" * 100_000
        assert len(await store.bucket("b").versions("a")) == 3


async def test_one_store_serves_one_event_loop_after_another(tmp_path):
    store = LocalStore(tmp_path / "objects", key_file=tmp_path / "key")

    def in_a_loop(work):
        return asyncio.run(work)

    await asyncio.to_thread(in_a_loop, store.open())
    await asyncio.to_thread(in_a_loop, store.bucket("b").put("a", b"x"))

    assert await store.bucket("b").get("a") == b"x"
    await store.close()


async def test_two_stores_on_one_root_see_each_other_at_once(tmp_path):
    async with (
        LocalStore(tmp_path / "objects", key_file=tmp_path / "key") as one,
        LocalStore(tmp_path / "objects", key_file=tmp_path / "key") as two,
    ):
        await one.bucket("b").put("a", b"x")
        await two.bucket("b").delete("a")

        with pytest.raises(Missing):
            await one.bucket("b").get("a")


async def test_many_stores_opened_at_once_make_one_key(tmp_path):
    stores = [LocalStore(tmp_path / "objects", key_file=tmp_path / "key") for _ in range(6)]
    await asyncio.gather(*(store.open() for store in stores))
    for number, store in enumerate(stores):
        await store.bucket("b").put(f"{number}", b"x")

    assert [await stores[0].bucket("b").get(f"{number}") for number in range(6)] == [b"x"] * 6
    await asyncio.gather(*(store.close() for store in stores))


async def test_times_come_from_the_clock(tmp_path):
    moment = datetime(2026, 2, 3, 4, 5, 6, 789_123, tzinfo=UTC)
    async with LocalStore(tmp_path / "objects", key_file=None, clock=lambda: moment) as store:
        await store.bucket("b").put("a", b"x")

        assert (await store.bucket("b").stat("a")).modified_at == moment


async def test_an_index_of_a_later_version_is_refused(tmp_path):
    async with LocalStore(tmp_path, key_file=None):
        pass
    index = sqlite3.connect(tmp_path / "objects.db")
    index.execute("pragma user_version = 99")
    index.close()

    with pytest.raises(WrongState, match="later version"):
        await LocalStore(tmp_path, key_file=None).open()


# Encryption


async def test_bytes_on_disk_are_sealed(store):
    secret = b"nobody may read this " * 5000
    await store.bucket("b").put("a", secret)
    await store.bucket("b").put("s", pieces(secret, secret))

    assert all(secret[:21] not in path.read_bytes() for path in blobs(store))


async def test_bytes_on_disk_are_plain_without_a_key_file(plain_store):
    await plain_store.bucket("b").put("a", b"hello")

    assert [path.read_bytes() for path in blobs(plain_store)] == [b"hello"]


async def test_files_are_the_owners_only(store):
    await store.bucket("b").put("a", b"x")

    for path in (store.key_file, *blobs(store)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_missing_key_file_is_not_made_anew_when_there_are_objects(tmp_path):
    async with LocalStore(tmp_path / "objects", key_file=tmp_path / "key") as store:
        await store.bucket("b").put("a", b"x")
    (tmp_path / "key").unlink()

    with pytest.raises(WrongState, match=str(tmp_path / "key")):
        await LocalStore(tmp_path / "objects", key_file=tmp_path / "key").open()

    assert not (tmp_path / "key").exists()


async def test_a_missing_key_file_is_not_made_anew_when_the_index_is_lost_too(tmp_path):
    async with LocalStore(tmp_path / "objects", key_file=tmp_path / "key") as store:
        await store.bucket("b").put("a", b"x")
    (tmp_path / "key").unlink()
    (tmp_path / "objects" / "objects.db").unlink()

    with pytest.raises(WrongState, match="missing"):
        await LocalStore(tmp_path / "objects", key_file=tmp_path / "key").open()


async def test_another_key_is_refused_before_any_object_is_read(tmp_path):
    async with LocalStore(tmp_path / "objects", key_file=tmp_path / "key"):
        pass
    (tmp_path / "key").write_text("ab" * 32)
    (tmp_path / "key").chmod(0o600)

    with pytest.raises(WrongState, match=f"{tmp_path / 'key'} does not hold"):
        await LocalStore(tmp_path / "objects", key_file=tmp_path / "key").open()


@pytest.mark.parametrize("text", ("", "# nothing\n", "secret\n", "ab" * 31, "ab" * 33, "\udcff"), ids=ascii)
async def test_a_file_without_keys_is_refused_by_name(tmp_path, text):
    (tmp_path / "key").write_text(text, errors="surrogateescape")

    with pytest.raises(WrongState, match=str(tmp_path / "key")) as refusal:
        await LocalStore(tmp_path / "objects", key_file=tmp_path / "key").open()

    assert "secret" not in refusal.value.detail


async def test_sealed_objects_are_not_opened_without_a_key_file(tmp_path):
    async with LocalStore(tmp_path / "objects", key_file=tmp_path / "key"):
        pass

    with pytest.raises(WrongState, match="no key file is set"):
        await LocalStore(tmp_path / "objects", key_file=None).open()


async def test_a_plain_store_can_begin_to_encrypt(tmp_path):
    async with LocalStore(tmp_path / "objects", key_file=None) as store:
        await store.bucket("b").put("plain", b"plain")
    async with LocalStore(tmp_path / "objects", key_file=tmp_path / "key") as store:
        await store.bucket("b").put("sealed", b"sealed")

        assert await store.bucket("b").get("plain") == b"plain"
        assert await store.bucket("b").get("sealed") == b"sealed"


async def test_after_a_rotation_old_objects_open_and_new_ones_need_the_new_key(tmp_path):
    key_file = tmp_path / "key"
    async with LocalStore(tmp_path / "objects", key_file=key_file) as store:
        await store.bucket("b").put("old", b"old")
    old = key_file.read_text()
    new_key_on_top(key_file)
    async with LocalStore(tmp_path / "objects", key_file=key_file) as store:
        await store.bucket("b").put("new", b"new")

        assert await store.bucket("b").get("old") == b"old"
        assert await store.bucket("b").get("new") == b"new"

    key_file.write_text(old)
    with pytest.raises(WrongState, match="does not hold"):
        await LocalStore(tmp_path / "objects", key_file=key_file).open()


async def test_a_running_store_reads_what_another_has_sealed_with_a_new_key(store):
    await store.bucket("b").put("old", b"old")
    new_key_on_top(store.key_file)
    async with LocalStore(store.root, key_file=store.key_file) as rotated:
        await rotated.bucket("b").put("new", b"new")

    assert await store.bucket("b").get("new") == b"new"


# Damage


def flip_a_bit(at: int):
    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[at] ^= 0x10
        path.write_bytes(data)

    return damage


DAMAGES = {
    "a bit of the magic": flip_a_bit(0),
    "a bit of the key id": flip_a_bit(5),
    "a bit of the wrapped key": flip_a_bit(40),
    "a bit of the first frame": flip_a_bit(1000),
    "a bit of the last tag": flip_a_bit(-1),
    "cut by a byte": lambda path: os.truncate(path, path.stat().st_size - 1),
    "cut to nothing": lambda path: os.truncate(path, 0),
    "grown": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("how", DAMAGES)
async def test_a_damaged_blob_raises_damaged_object(store, how):
    await store.bucket("b").put("a", os.urandom(200_000))
    DAMAGES[how](blobs(store)[0])

    with pytest.raises(DamagedObject):
        await store.bucket("b").get("a")
    with pytest.raises(DamagedObject):
        async for _ in (await store.bucket("b").open("a")).chunks:
            pass


@pytest.mark.parametrize("how", [how for how in DAMAGES if how not in ("cut to nothing", "missing")])
async def test_a_damaged_plain_blob_raises_damaged_object_when_read_from_end_to_end(plain_store, how):
    await plain_store.bucket("b").put("a", os.urandom(600_000))
    DAMAGES[how](blobs(plain_store)[0])

    with pytest.raises(DamagedObject):
        await plain_store.bucket("b").get("a")
    with pytest.raises(DamagedObject):
        async for _ in (await plain_store.bucket("b").open("a")).chunks:
            pass


async def test_damage_elsewhere_does_not_keep_a_range_from_being_read(store):
    data = os.urandom(4 * FRAME)
    await store.bucket("b").put("a", data)
    flip_a_bit(-1)(blobs(store)[0])

    opened = await store.bucket("b").open("a", start=FRAME, end=FRAME + 10)

    assert [chunk async for chunk in opened.chunks] == [data[FRAME : FRAME + 10]]


async def test_two_blobs_swapped_on_disk_are_both_damaged(store):
    await store.bucket("b").put("a", b"a" * 1000)
    await store.bucket("b").put("b", b"b" * 1000)
    one, two = blobs(store)
    one_bytes, two_bytes = one.read_bytes(), two.read_bytes()
    one.write_bytes(two_bytes)
    two.write_bytes(one_bytes)

    for key in ("a", "b"):
        with pytest.raises(DamagedObject):
            await store.bucket("b").get(key)


async def test_a_symbolic_link_in_place_of_a_blob_is_not_followed(store, tmp_path):
    await store.bucket("b").put("a", b"x" * 1000)
    (path,) = blobs(store)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(SafelightError):
        await store.bucket("b").get("a")


async def test_a_reader_that_met_damage_has_let_go_and_ends(store):
    await store.bucket("b").put("a", os.urandom(600_000))
    flip_a_bit(-1)(blobs(store)[0])
    opened = await store.bucket("b").open("a")
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(DamagedObject):
        async for _ in opened.chunks:
            pass

    assert len(os.listdir("/proc/self/fd")) == before - 1
    assert [chunk async for chunk in opened.chunks] == []


def test_damage_is_told_from_a_backend_that_may_come_back():
    assert DamagedObject.code == "damaged_object"
    assert DamagedObject.kind is Kind.UNAVAILABLE
    assert not DamagedObject.is_transient
    assert isinstance(by_code("damaged_object", ""), DamagedObject)


# A disk that loses power


def synced(store: LocalStore, monkeypatch) -> list[str]:
    """What fsync is called for from now on; SQLite has its own."""
    paths: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        paths.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


@pytest.mark.parametrize("is_streamed", (False, True))
async def test_a_durable_put_syncs_the_draft_and_then_the_folder_of_the_blob(store, monkeypatch, is_streamed):
    paths = synced(store, monkeypatch)

    await store.bucket("b").put("a", pieces(b"x") if is_streamed else b"x")

    (blob,) = blobs(store)
    assert paths == [str(store.root / "tmp" / blob.name), str(blob.parent)]


async def test_a_put_that_need_not_be_durable_syncs_nothing(store, monkeypatch):
    paths = synced(store, monkeypatch)

    await store.bucket("b").put("a", b"x", is_durable=False)

    assert paths == []


async def test_a_new_key_is_safe_on_disk_before_anything_is_sealed_with_it(tmp_path, monkeypatch):
    store = LocalStore(tmp_path / "objects", key_file=tmp_path / "keys" / "key")
    paths = synced(store, monkeypatch)

    await store.open()
    await store.close()

    assert [path for path in paths if "keys" in path][-1] == str(tmp_path / "keys")
    assert any(path.startswith(str(tmp_path / "keys" / "key.")) for path in paths)


# A disk that fails


@pytest.mark.parametrize("call", CALLS)
async def test_a_store_that_is_not_open_raises_backend_unavailable(tmp_path, call):
    store = LocalStore(tmp_path / "objects", key_file=None)

    with pytest.raises(BackendUnavailable):
        await CALLS[call](store.bucket("b"))
    await store.open()
    await store.close()
    with pytest.raises(BackendUnavailable):
        await CALLS[call](store.bucket("b"))


@pytest.mark.parametrize("call", CALLS)
async def test_an_index_that_fails_raises_backend_unavailable(store, call):
    index = sqlite3.connect(store.root / "objects.db")
    index.execute("drop table versions")
    index.close()

    with pytest.raises(BackendUnavailable):
        await CALLS[call](store.bucket("b"))

    assert drafts(store) == []
    assert blobs(store) == []


async def test_a_sweep_of_an_index_that_fails_removes_nothing(store):
    await store.bucket("b").put("a", b"x")
    index = sqlite3.connect(store.root / "objects.db")
    index.execute("drop table versions")
    index.close()

    with pytest.raises(BackendUnavailable):
        await store.sweep(older_than_s=0)

    assert len(blobs(store)) == 1


async def test_an_index_that_is_no_database_raises_backend_unavailable(tmp_path):
    (tmp_path / "objects.db").write_bytes(b"this is not a database, whatever its name says" * 100)

    with pytest.raises(BackendUnavailable):
        await LocalStore(tmp_path, key_file=None).open()


@pytest.mark.parametrize("below", ("", "below"))
async def test_a_root_that_is_a_file_raises_backend_unavailable(tmp_path, below):
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(BackendUnavailable):
        await LocalStore(tmp_path / "file" / below, key_file=None).open()


@pytest.mark.parametrize("name", ("write", "fsync", "open"))
@pytest.mark.parametrize("is_streamed", (False, True))
async def test_a_full_disk_raises_backend_unavailable_and_leaves_nothing(store, monkeypatch, name, is_streamed):
    data = b"x" * 700_000
    await store.bucket("b").put("a", b"old")
    real = getattr(os, name)
    calls = []

    def full(*args, **kwargs):
        calls.append(args)
        if name == "write" and len(calls) == 1:
            return real(args[0], args[1][:1000])  # a full disk first takes a part
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, name, full)
    with pytest.raises(BackendUnavailable) as raised:
        await store.bucket("b").put("a", pieces(data, data) if is_streamed else data)
    monkeypatch.undo()

    assert raised.value.is_transient
    assert drafts(store) == []
    assert len(blobs(store)) == 1
    assert await store.bucket("b").get("a") == b"old"


async def test_a_writer_that_waits_too_long_for_another_process_raises_backend_unavailable(tmp_path, monkeypatch):
    monkeypatch.setattr(_index, "BUSY_MS", 30)
    async with LocalStore(tmp_path, key_file=None) as store:
        other = sqlite3.connect(tmp_path / "objects.db", isolation_level=None)
        other.execute("begin immediate")

        with pytest.raises(BackendUnavailable):
            await store.bucket("b").put("a", b"x")
        other.execute("rollback")
        other.close()

        assert blobs(store) == drafts(store) == []
        await store.bucket("b").put("a", b"x")


async def test_a_body_that_itself_raises_an_os_error_is_not_a_failing_disk(store):
    async def body():
        yield b"x" * 300_000
        raise BrokenPipeError(errno.EPIPE, "the client hung up")

    with pytest.raises(BrokenPipeError):
        await store.bucket("b").put("a", body())

    assert drafts(store) == blobs(store) == []


async def test_a_store_closed_under_a_streaming_put_leaves_no_draft(store):
    async def body():
        yield b"x" * 300_000
        await store.close()
        yield b"x" * 300_000

    with pytest.raises(BackendUnavailable):
        await store.bucket("b").put("a", body())

    assert drafts(store) == blobs(store) == []


# Leftovers


@pytest.mark.parametrize("is_streamed", (False, True))
async def test_a_put_cancelled_at_any_moment_leaves_no_file(store, is_streamed):
    data = os.urandom(400_000)
    for number in range(40):
        task = asyncio.create_task(store.bucket("b").put("a", pieces(data, data) if is_streamed else data))
        await asyncio.sleep(number * 0.0001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert drafts(store) == []
    assert len(blobs(store)) == len(await store.bucket("b").versions("a"))


async def test_a_put_cancelled_twice_still_cleans_up(store):
    task = asyncio.create_task(store.bucket("b").put("a", os.urandom(3_000_000)))
    for _ in range(3):
        await asyncio.sleep(0.001)
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert task.cancelled()
    assert drafts(store) == blobs(store) == []


async def test_a_loser_of_a_race_leaves_no_file(store):
    await asyncio.gather(*(store.bucket("b").put("a", b"x", if_absent=True) for _ in range(12)), return_exceptions=True)

    assert len(blobs(store)) == 1
    assert drafts(store) == []


async def test_deleting_and_purging_versions_removes_their_files(store):
    storage = store.bucket("b")
    first = await storage.put("a", b"1")
    copy = await storage.restore("a", version=first.version)
    assert len(blobs(store)) == 1

    await storage.delete("a", version=first.version)
    assert len(blobs(store)) == 1
    await storage.delete("a", version=copy.version)
    assert blobs(store) == []

    await asyncio.gather(*(storage.put(f"p/{number}", b"x") for number in range(5)))
    await storage.purge("p/")
    assert blobs(store) == []


async def leftovers(store: LocalStore) -> tuple[Path, Path]:
    """What a crash between rename and commit leaves, and one in the middle of a write."""
    orphan = store.root / "blobs" / "ab" / ("ab" * 16)
    draft = store.root / "tmp" / ("cd" * 16)
    orphan.write_bytes(b"orphan")
    draft.write_bytes(b"draft")
    return orphan, draft


async def test_a_sweep_removes_what_crashes_left_and_nothing_else(store):
    await store.bucket("b").put("a", b"x")
    await store.bucket("c").put("a", b"y")
    await store.bucket("c").delete("a")
    orphan, draft = await leftovers(store)

    assert await store.sweep(older_than_s=0) == Swept(blobs=1, temporary=1)
    assert not orphan.exists()
    assert not draft.exists()
    assert await store.bucket("b").get("a") == b"x"
    assert (await store.bucket("c").restore("a")).size_bytes == 1
    assert await store.bucket("c").get("a") == b"y"


async def test_a_sweep_leaves_young_files_alone(store):
    orphan, draft = await leftovers(store)

    assert await store.sweep() == Swept(blobs=0, temporary=0)

    for path in (orphan, draft):
        os.utime(path, (time.time() - 3700, time.time() - 3700))
    assert await store.sweep() == Swept(blobs=1, temporary=1)


async def test_a_blob_is_young_when_it_is_finished_however_long_its_body_paused(plain_store):
    async def body():
        yield b"x" * 300_000
        (draft,) = drafts(plain_store)
        os.utime(draft, (1, 1))

    await plain_store.bucket("b").put("a", body())

    assert time.time() - blobs(plain_store)[0].stat().st_mtime < 60


# Cost


async def test_a_long_body_is_never_whole_in_memory(store):
    chunk = bytes(256 * 1024)

    async def body():
        for _ in range(128):
            yield chunk

    tracemalloc.start()
    try:
        await store.bucket("b").put("a", body(), is_durable=False)
        opened = await store.bucket("b").open("a")
        async for _ in opened.chunks:
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert opened.stored.size_bytes == 32 * 1024 * 1024
    assert peak < 4 * 1024 * 1024


async def test_the_event_loop_goes_on_while_the_disk_is_at_work(store, monkeypatch):
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (time.sleep(0.1), real(descriptor))[1])
    task = asyncio.create_task(store.bucket("b").put("a", b"x"))

    turns = 0
    while not task.done():
        await asyncio.sleep(0.005)
        turns += 1

    assert turns > 10


async def test_puts_that_come_at_once_share_transactions(store):
    storage = store.bucket("b")
    before = _commits(store)
    other = sqlite3.connect(store.root / "objects.db", isolation_level=None)
    other.execute("begin immediate")
    tasks = [asyncio.create_task(storage.put(f"{number}", b"x")) for number in range(8)]
    while len(blobs(store)) < 8:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    other.execute("rollback")
    other.close()
    await asyncio.gather(*tasks)

    assert len(await storage.scan("")) == 8
    assert _commits(store) - before <= 3


async def test_puts_of_one_turn_that_need_not_be_durable_are_one_transaction(store):
    first, second = store.bucket("b"), store.bucket("c")
    before = _commits(store)
    puts = [bucket.put(f"{number}", b"%d" % number, is_durable=False) for number in range(6) for bucket in (first, second)]
    stored = await asyncio.gather(*puts)

    assert _commits(store) - before == 1
    assert [each.size_bytes for each in stored] == [1] * 12
    assert [await first.get(f"{number}") for number in range(6)] == [b"%d" % number for number in range(6)]
    assert len(await second.scan("")) == 6


async def test_a_full_disk_under_puts_of_one_turn_leaves_none_of_them(store, monkeypatch):
    await store.bucket("b").put("0", b"old")
    real, calls = os.write, []

    def full(*args):
        calls.append(args)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args)

    monkeypatch.setattr(os, "write", full)
    puts = [store.bucket("b").put(f"{number}", b"new", is_durable=False) for number in range(5)]
    results = await asyncio.gather(*puts, return_exceptions=True)
    monkeypatch.undo()

    assert [type(result) for result in results] == [BackendUnavailable] * 5
    assert drafts(store) == []
    assert len(blobs(store)) == 1
    assert await store.bucket("b").get("0") == b"old"


async def test_a_put_that_is_cancelled_among_those_of_its_turn_is_taken_back_alone(store):
    storage = store.bucket("b")
    for number in range(20):
        tasks = [asyncio.create_task(storage.put(f"{each}", os.urandom(200_000), is_durable=False)) for each in range(4)]
        await asyncio.sleep(number * 0.0002)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

        assert [len(await storage.versions(f"{each}")) for each in (0, 2, 3)] == [number + 1] * 3
    assert drafts(store) == []
    assert len(blobs(store)) == 60 + len(await storage.versions("1"))


async def test_a_store_closed_before_puts_of_one_turn_are_sent_refuses_them_and_opens_again(store):
    puts = [asyncio.create_task(store.bucket("b").put(f"{number}", b"x", is_durable=False)) for number in range(3)]
    await asyncio.sleep(0)
    await store.close()
    results = await asyncio.gather(*puts, return_exceptions=True)
    await store.open()

    assert all(isinstance(result, BackendUnavailable) or result.size_bytes == 1 for result in results)
    assert (await store.bucket("b").put("again", b"xy", is_durable=False)).size_bytes == 2


def _commits(store: LocalStore) -> int:
    """Commit frames in the write-ahead log: those that tell the size of the database (sqlite.org/fileformat2.html, 4.1)."""
    log = (store.root / "objects.db-wal").read_bytes()
    page = int.from_bytes(log[8:12], "big")
    return sum(log[at + 4 : at + 8] != b"\0\0\0\0" for at in range(32, len(log), 24 + page))
