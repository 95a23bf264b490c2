"""What every keeper of the Storage port must do. An adapter's tests inherit StorageContract and say how to build one.

    class TestMine(StorageContract):
        @pytest.fixture
        async def storage(self):
            return MyStorage(...)

`storage` is one bucket, empty at the start of every test; properties put many objects under fresh prefixes into the same one.
Needs pytest with pytest-asyncio in auto mode, and hypothesis.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safelight.errors import AlreadyExists, BadRequest, Missing
from safelight.ports.storage import Opened, Storage

CHUNK_BYTES = 256 * 1024

# One bucket serves all examples of a property (each has its own keys), and the subclasses share the property on purpose.
SHARED = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors, HealthCheck.too_slow],
)

ALLOWED_KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200).filter(
    lambda key: not (key.startswith("/") or key.endswith("/") or "//" in key or ".." in key) and len(key.encode()) <= 850
)

REFUSED_KEYS = (
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    "..",
    "../etc/passwd",
    "a/../b",
    "a..b",
    "a\0b",
    "half a \ud83d",
    "a" * 901,
    "é" * 451,
)

ODD_KEYS = (
    ".",
    "a/./b",
    " ",
    "a b",
    "a\\b",
    "a%2Fb",
    "a%00b",
    "a+b?c#d&e=f",
    "CON",
    "a:b",
    "a\nb",
    "-rf",
    "~",
    "Ångström",
    "写真/🖼",
    "e\u0301",
    "\u00e9",
    "\ufffe",
    "\U0010ffff",
    "a'; drop table versions; --",
    "a_b",
    "a*b[c]",
    "x" * 900,
)


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    """A body that comes in pieces."""
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


async def all_of(opened: Opened) -> bytes:
    """The bytes of an opened object; every chunk is checked for its size on the way."""
    chunks = [chunk async for chunk in opened.chunks]
    assert all(0 < len(chunk) <= CHUNK_BYTES for chunk in chunks)
    return b"".join(chunks)


def fresh() -> str:
    """A prefix that nobody else uses."""
    return secrets.token_hex(8)


class StorageContract:
    """Every sentence of ports/storage.py, as a test."""

    # put

    async def test_what_is_put_is_got(self, storage: Storage) -> None:
        await storage.put("t/a", b"hello")

        assert await storage.get("t/a") == b"hello"

    async def test_a_put_tells_what_is_there_now(self, storage: Storage) -> None:
        before = datetime.now(UTC) - timedelta(seconds=2)

        stored = await storage.put("t/a", b"hello", media_type="image/webp", metadata={"name": "Grüße 🖼", "n": ""})

        assert stored.key == "t/a"
        assert stored.size_bytes == 5
        assert stored.etag == hashlib.sha256(b"hello").hexdigest()
        assert stored.media_type == "image/webp"
        assert stored.metadata == {"name": "Grüße 🖼", "n": ""}
        assert before <= stored.modified_at <= datetime.now(UTC) + timedelta(seconds=2)
        assert stored.modified_at.utcoffset() == timedelta(0)
        assert stored.is_latest
        assert not stored.is_marker
        assert await storage.stat("t/a") == stored

    async def test_metadata_changed_by_the_caller_later_does_not_change_the_object(self, storage: Storage) -> None:
        metadata = {"a": "1"}
        await storage.put("t/a", b"x", metadata=metadata)
        metadata["a"] = "2"

        assert (await storage.stat("t/a")).metadata == {"a": "1"}

    async def test_an_object_without_bytes_is_an_object(self, storage: Storage) -> None:
        stored = await storage.put("t/empty", b"")

        assert stored.size_bytes == 0
        assert stored.etag == hashlib.sha256(b"").hexdigest()
        assert await storage.get("t/empty") == b""
        assert await all_of(await storage.open("t/empty")) == b""

    async def test_an_empty_stream_is_an_object_without_bytes(self, storage: Storage) -> None:
        stored = await storage.put("t/empty", stream())

        assert stored.size_bytes == 0
        assert await storage.get("t/empty") == b""

    @pytest.mark.parametrize("chunk_bytes", (1_000, 65_536, 262_144, 700_001))
    async def test_a_streamed_body_is_stored_in_order(self, storage: Storage, chunk_bytes: int) -> None:
        data = secrets.token_bytes(1_400_003)

        stored = await storage.put("t/a", stream(*(data[at : at + chunk_bytes] for at in range(0, len(data), chunk_bytes)), b""))

        assert stored.size_bytes == len(data)
        assert stored.etag == hashlib.sha256(data).hexdigest()
        assert await storage.get("t/a") == data

    async def test_an_object_that_need_not_be_durable_reads_like_any_other(self, storage: Storage) -> None:
        data = secrets.token_bytes(300_000)
        await storage.put("t/a", data, is_durable=False)
        await storage.put("t/b", stream(data), is_durable=False)

        assert await storage.get("t/a") == await storage.get("t/b") == data

    async def test_a_second_put_is_a_new_version_on_top(self, storage: Storage) -> None:
        first = await storage.put("t/a", b"one")
        second = await storage.put("t/a", b"two")

        assert first.version != second.version
        assert await storage.get("t/a") == b"two"
        assert await storage.get("t/a", version=first.version) == b"one"

    async def test_a_repeated_put_of_the_same_bytes_is_fine(self, storage: Storage) -> None:
        await storage.put("t/a", b"one")
        await storage.put("t/a", b"one")

        assert await storage.get("t/a") == b"one"
        assert len(await storage.versions("t/a")) == 2

    async def test_a_new_version_is_not_seen_before_it_is_whole(self, storage: Storage) -> None:
        await storage.put("t/a", b"old")
        seen: list[tuple[bytes, int]] = []

        async def body() -> AsyncIterator[bytes]:
            yield b"n" * 600_000
            seen.append((await storage.get("t/a"), len(await storage.versions("t/a"))))
            yield b"ew"

        await storage.put("t/a", body())

        assert seen == [(b"old", 1)]
        assert len(await storage.get("t/a")) == 600_002

    @pytest.mark.parametrize("sent_bytes", (0, 10, 900_000))
    async def test_a_body_that_raises_leaves_nothing_behind(self, storage: Storage, sent_bytes: int) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield b"x" * sent_bytes
            raise ConnectionResetError("the sender is gone")

        with pytest.raises(ConnectionResetError, match="the sender is gone"):
            await storage.put("t/a", body())

        assert await storage.versions("t/a") == []
        assert await storage.scan("") == []

    async def test_a_body_that_raises_leaves_the_old_version_on_top(self, storage: Storage) -> None:
        await storage.put("t/a", b"old")

        async def body() -> AsyncIterator[bytes]:
            yield b"new"
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await storage.put("t/a", body())

        assert await storage.get("t/a") == b"old"
        assert len(await storage.versions("t/a")) == 1

    async def test_a_put_cancelled_while_it_waits_for_its_body_leaves_nothing_behind(self, storage: Storage) -> None:
        waits = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"x" * 600_000
            waits.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(storage.put("t/a", body()))
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert await storage.versions("t/a") == []
        assert await storage.scan("") == []

    async def test_a_put_cancelled_at_any_moment_leaves_nothing_or_is_not_cancelled(self, storage: Storage) -> None:
        data = secrets.token_bytes(300_000)
        kept = set()
        for number in range(30):
            key = f"t/{number}"
            task = asyncio.create_task(storage.put(key, data if number % 2 else stream(data, data)))
            for _ in range(number % 6):
                await asyncio.sleep(0.0004)
            task.cancel()
            try:
                await task
                kept.add(key)
            except asyncio.CancelledError:
                pass

        assert {stored.key for stored in await storage.scan("")} == kept

    @pytest.mark.parametrize("key", REFUSED_KEYS, ids=ascii)
    async def test_a_key_that_is_not_allowed_raises_bad_request(self, storage: Storage, key: str) -> None:
        with pytest.raises(BadRequest):
            await storage.put(key, b"x")

    @pytest.mark.parametrize("key", REFUSED_KEYS, ids=ascii)
    async def test_nothing_is_found_under_a_key_that_is_not_allowed(self, storage: Storage, key: str) -> None:
        await storage.put("a/b", b"x")

        with pytest.raises(Missing):
            await storage.get(key)
        with pytest.raises(Missing):
            await storage.restore(key)
        await storage.delete(key)

        assert await storage.versions(key) == []

    @pytest.mark.parametrize("key", ODD_KEYS, ids=ascii)
    async def test_odd_keys_are_keys(self, storage: Storage, key: str) -> None:
        await storage.put(key, key.encode())

        assert await storage.get(key) == key.encode()
        assert [stored.key for stored in await storage.scan("")] == [key]
        assert [stored.key for stored in await storage.scan(key)] == [key]
        assert await storage.purge(key) == 1

    @SHARED
    @given(keys=st.lists(ALLOWED_KEYS, min_size=1, max_size=4, unique=True))
    async def test_every_allowed_key_holds_its_own_object(self, storage: Storage, keys: list[str]) -> None:
        prefix = fresh()
        for key in keys:
            await storage.put(f"{prefix}/_{key}", key.encode(), is_durable=False)

        got = {key: await storage.get(f"{prefix}/_{key}") for key in keys}
        listed = [stored.key for stored in await storage.scan(f"{prefix}/")]

        assert got == {key: key.encode() for key in keys}
        assert listed == sorted(f"{prefix}/_{key}" for key in keys)

    async def test_a_key_may_also_be_the_prefix_of_another(self, storage: Storage) -> None:
        await storage.put("a", b"1")
        await storage.put("a/b", b"2")
        await storage.put("a/b/c", b"3")

        assert [await storage.get(key) for key in ("a", "a/b", "a/b/c")] == [b"1", b"2", b"3"]

    async def test_keys_that_differ_by_case_or_form_are_different(self, storage: Storage) -> None:
        for key in ("a", "A", "\u00e9", "e\u0301"):
            await storage.put(key, key.encode())

        assert [await storage.get(key) for key in ("a", "A", "\u00e9", "e\u0301")] == [b"a", b"A", b"\xc3\xa9", b"e\xcc\x81"]

    # put if_absent

    async def test_if_absent_puts_where_nothing_is(self, storage: Storage) -> None:
        await storage.put("t/a", b"one", if_absent=True)

        assert await storage.get("t/a") == b"one"

    @pytest.mark.parametrize("is_streamed", (False, True))
    async def test_if_absent_raises_already_exists_where_something_is(self, storage: Storage, is_streamed: bool) -> None:  # noqa: FBT001
        await storage.put("t/a", b"one")

        with pytest.raises(AlreadyExists):
            await storage.put("t/a", stream(b"two") if is_streamed else b"two", if_absent=True)

        assert await storage.get("t/a") == b"one"
        assert len(await storage.versions("t/a")) == 1

    async def test_if_absent_puts_on_top_of_a_delete_marker(self, storage: Storage) -> None:
        await storage.put("t/a", b"one")
        await storage.delete("t/a")

        await storage.put("t/a", b"two", if_absent=True)

        assert await storage.get("t/a") == b"two"
        assert len(await storage.versions("t/a")) == 3

    async def test_of_sixteen_racers_one_wins(self, storage: Storage) -> None:
        bodies = [f"racer {number}".encode() * 1000 for number in range(16)]

        results = await asyncio.gather(
            *(
                storage.put("t/a", body if number % 2 else stream(body), if_absent=True, is_durable=number % 3 == 0)
                for number, body in enumerate(bodies)
            ),
            return_exceptions=True,
        )

        winners = [number for number, result in enumerate(results) if not isinstance(result, BaseException)]
        assert len(winners) == 1
        assert sum(isinstance(result, AlreadyExists) for result in results) == 15
        assert await storage.get("t/a") == bodies[winners[0]]
        assert len(await storage.versions("t/a")) == 1

    async def test_many_puts_of_one_key_at_once_are_all_kept(self, storage: Storage) -> None:
        stored = await asyncio.gather(*(storage.put("t/a", f"{number}".encode()) for number in range(24)))

        assert {each.version for each in await storage.versions("t/a")} == {each.version for each in stored}
        for number, each in enumerate(stored):
            assert await storage.get("t/a", version=each.version) == f"{number}".encode()

    # get, stat, open

    async def test_a_missing_key_raises_missing(self, storage: Storage) -> None:
        with pytest.raises(Missing):
            await storage.get("t/a")
        with pytest.raises(Missing):
            await storage.stat("t/a")
        with pytest.raises(Missing):
            await storage.open("t/a")

    @pytest.mark.parametrize("version", ("", "0" * 32, "no such version", "\ud83d", "é", "a\0"), ids=ascii)
    async def test_a_missing_version_raises_missing(self, storage: Storage, version: str) -> None:
        await storage.put("t/a", b"one")

        with pytest.raises(Missing):
            await storage.get("t/a", version=version)
        with pytest.raises(Missing):
            await storage.stat("t/a", version=version)
        with pytest.raises(Missing):
            await storage.open("t/a", version=version)
        with pytest.raises(Missing):
            await storage.restore("t/a", version=version)

    async def test_the_version_of_one_key_is_not_found_under_another(self, storage: Storage) -> None:
        stored = await storage.put("t/a", b"one")
        await storage.put("t/b", b"two")

        with pytest.raises(Missing):
            await storage.get("t/b", version=stored.version)
        await storage.delete("t/b", version=stored.version)

        assert await storage.get("t/a") == b"one"

    async def test_stat_of_an_old_version_tells_that_it_is_not_the_latest(self, storage: Storage) -> None:
        first = await storage.put("t/a", b"one", media_type="image/png")
        await storage.put("t/a", b"second", media_type="image/webp")

        stored = await storage.stat("t/a", version=first.version)

        assert (stored.size_bytes, stored.media_type, stored.is_latest) == (3, "image/png", False)

    async def test_open_tells_what_it_is_and_yields_its_bytes_in_chunks(self, storage: Storage) -> None:
        data = secrets.token_bytes(1_000_000)
        stored = await storage.put("t/a", data, media_type="image/avif")

        opened = await storage.open("t/a")

        assert opened.stored == stored
        assert await all_of(opened) == data

    async def test_open_reads_the_version_that_was_asked_for(self, storage: Storage) -> None:
        first = await storage.put("t/a", b"first")
        await storage.put("t/a", b"second")

        assert await all_of(await storage.open("t/a", version=first.version, start=1)) == b"irst"

    @SHARED
    @given(
        size=st.sampled_from((0, 1, 65_535, 65_536, 65_537, 262_144, 400_000)),
        start=st.integers(0, 450_000),
        end=st.none() | st.integers(0, 450_000),
    )
    async def test_a_range_is_a_slice(self, storage: Storage, size: int, start: int, end: int | None) -> None:
        data = _pattern(size)
        key = f"range/{size}"
        with contextlib.suppress(AlreadyExists):
            await storage.put(key, data, if_absent=True, is_durable=False)

        assert await all_of(await storage.open(key, start=start, end=end)) == data[start:end]

    @pytest.mark.parametrize(
        ("start", "end"),
        ((0, 1), (65_535, 65_537), (65_536, 65_536), (65_536, 131_072), (131_071, 131_073), (199_999, 200_000), (200_000, None)),
    )
    async def test_ranges_at_the_edges_are_exact(self, storage: Storage, start: int, end: int | None) -> None:
        data = _pattern(200_000)
        await storage.put("t/a", data)

        assert await all_of(await storage.open("t/a", start=start, end=end)) == data[start:end]

    async def test_a_range_is_clipped_to_the_object(self, storage: Storage) -> None:
        await storage.put("t/a", b"hello")

        assert await all_of(await storage.open("t/a", start=-3, end=2)) == b"he"
        assert await all_of(await storage.open("t/a", start=3, end=10**18)) == b"lo"
        assert await all_of(await storage.open("t/a", start=10**18)) == b""
        assert await all_of(await storage.open("t/a", start=4, end=-1)) == b""

    async def test_leaving_an_iteration_early_releases_everything(self, storage: Storage) -> None:
        await storage.put("t/a", bytes(2_000_000))
        await storage.get("t/a")
        before = _descriptors()

        for number in range(60):
            opened = await storage.open("t/a")
            if number % 2:
                async for _ in opened.chunks:
                    break
            del opened
        gc.collect()
        await asyncio.sleep(0)

        # Room for a pool of connections, not for one descriptor an iteration.
        assert _descriptors() < before + 20

    async def test_a_reader_keeps_its_bytes_when_the_object_is_purged(self, storage: Storage) -> None:
        data = secrets.token_bytes(900_000)
        await storage.put("t/a", data)
        opened = await storage.open("t/a")
        first = await anext(opened.chunks)

        await storage.purge("t/")

        assert first + b"".join([chunk async for chunk in opened.chunks]) == data

    # delete, restore, versions

    async def test_a_deleted_object_is_hidden(self, storage: Storage) -> None:
        await storage.put("t/a", b"one")
        await storage.delete("t/a")

        with pytest.raises(Missing):
            await storage.get("t/a")
        with pytest.raises(Missing):
            await storage.stat("t/a")
        with pytest.raises(Missing):
            await storage.open("t/a")

        assert await storage.scan("t/") == []

    async def test_a_version_below_a_delete_marker_still_reads(self, storage: Storage) -> None:
        stored = await storage.put("t/a", b"one")
        await storage.delete("t/a")

        assert await storage.get("t/a", version=stored.version) == b"one"

    async def test_a_delete_marker_has_no_bytes(self, storage: Storage) -> None:
        await storage.put("t/a", b"one")
        await storage.delete("t/a")
        marker = (await storage.versions("t/a"))[0]

        assert marker.is_marker
        assert marker.is_latest
        assert marker.size_bytes == 0
        with pytest.raises(Missing):
            await storage.get("t/a", version=marker.version)
        with pytest.raises(Missing):
            await storage.restore("t/a", version=marker.version)

    async def test_deleting_what_is_missing_is_fine(self, storage: Storage) -> None:
        await storage.delete("t/a")
        await storage.delete("t/a", version="no such version")

        with pytest.raises(Missing):
            await storage.get("t/a")

    async def test_deleting_a_version_removes_it_for_good(self, storage: Storage) -> None:
        first = await storage.put("t/a", b"one")
        second = await storage.put("t/a", b"two")

        await storage.delete("t/a", version=second.version)
        await storage.delete("t/a", version=second.version)

        assert await storage.get("t/a") == b"one"
        assert [stored.version for stored in await storage.versions("t/a")] == [first.version]
        with pytest.raises(Missing):
            await storage.get("t/a", version=second.version)

    async def test_deleting_the_only_version_leaves_nothing(self, storage: Storage) -> None:
        stored = await storage.put("t/a", b"one")
        await storage.delete("t/a", version=stored.version)

        assert await storage.versions("t/a") == []
        await storage.put("t/a", b"two", if_absent=True)

    async def test_deleting_the_marker_brings_the_object_back(self, storage: Storage) -> None:
        await storage.put("t/a", b"one")
        await storage.delete("t/a")
        marker = (await storage.versions("t/a"))[0]

        await storage.delete("t/a", version=marker.version)

        assert await storage.get("t/a") == b"one"

    async def test_restore_takes_the_marker_off(self, storage: Storage) -> None:
        put = await storage.put("t/a", b"one", media_type="image/png", metadata={"a": "b"})
        await storage.delete("t/a")

        restored = await storage.restore("t/a")

        assert restored == put
        assert await storage.get("t/a") == b"one"
        assert await storage.versions("t/a") == [put]

    async def test_one_restore_undoes_a_delete_that_was_repeated(self, storage: Storage) -> None:
        await storage.put("t/a", b"one")
        await storage.delete("t/a")
        await storage.delete("t/a")

        await storage.restore("t/a")

        assert await storage.get("t/a") == b"one"

    async def test_a_restore_reaches_the_newest_version_below_any_markers(self, storage: Storage) -> None:
        await storage.put("t/a", b"one")
        await storage.delete("t/a")
        second = await storage.put("t/a", b"two")
        await storage.delete("t/a")
        await storage.delete("t/a", version=second.version)

        restored = await storage.restore("t/a")

        assert restored.is_latest
        assert await storage.get("t/a") == b"one"

    async def test_a_repeated_restore_changes_nothing(self, storage: Storage) -> None:
        await storage.put("t/a", b"one")
        await storage.delete("t/a")
        first = await storage.restore("t/a")

        assert await storage.restore("t/a") == first
        assert len(await storage.versions("t/a")) == 1

    async def test_restoring_what_is_missing_raises_missing(self, storage: Storage) -> None:
        with pytest.raises(Missing):
            await storage.restore("t/a")
        stored = await storage.put("t/a", b"one")
        await storage.delete("t/a")
        await storage.delete("t/a", version=stored.version)

        with pytest.raises(Missing):
            await storage.restore("t/a")

    @pytest.mark.parametrize("is_hidden", (False, True))
    async def test_restoring_a_version_puts_a_copy_of_it_on_top(self, storage: Storage, is_hidden: bool) -> None:  # noqa: FBT001
        first = await storage.put("t/a", b"one", media_type="image/png", metadata={"a": "b"})
        await storage.put("t/a", b"two")
        if is_hidden:
            await storage.delete("t/a")

        copy = await storage.restore("t/a", version=first.version)

        assert copy.version != first.version
        assert (copy.size_bytes, copy.etag, copy.media_type, copy.metadata) == (3, first.etag, "image/png", {"a": "b"})
        assert copy.is_latest
        assert await storage.get("t/a") == b"one"
        assert (await storage.versions("t/a"))[0] == copy

    async def test_a_copy_outlives_what_it_was_copied_from(self, storage: Storage) -> None:
        first = await storage.put("t/a", b"one")
        copy = await storage.restore("t/a", version=first.version)

        await storage.delete("t/a", version=first.version)

        assert await storage.get("t/a", version=copy.version) == b"one"
        await storage.delete("t/a", version=copy.version)
        assert await storage.versions("t/a") == []

    async def test_versions_are_listed_newest_first(self, storage: Storage) -> None:
        first = await storage.put("t/a", b"one")
        second = await storage.put("t/a", b"two")
        await storage.delete("t/a")

        found = await storage.versions("t/a")

        assert [stored.version for stored in found[1:]] == [second.version, first.version]
        assert [stored.is_marker for stored in found] == [True, False, False]
        assert [stored.is_latest for stored in found] == [True, False, False]

    async def test_a_key_without_versions_has_an_empty_list(self, storage: Storage) -> None:
        await storage.put("t/a/b", b"one")

        assert await storage.versions("t/a") == []

    @SHARED
    @given(steps=st.lists(st.sampled_from(("put", "delete", "restore", "remove", "copy")), max_size=9), data=st.data())
    async def test_any_history_reads_as_the_pile_says(self, storage: Storage, steps: list[str], data: st.DataObject) -> None:
        key = f"history/{fresh()}"
        pile: list[tuple[str, bytes | None]] = []  # (version, bytes), newest last
        for number, step in enumerate(steps):
            readable = [(version, body) for version, body in pile if body is not None]
            if step == "put":
                sent = f"{number}".encode()
                pile.append(((await storage.put(key, sent, is_durable=False)).version, sent))
            elif step == "delete":
                await storage.delete(key)
                if pile and pile[-1][1] is not None:
                    pile.append(((await storage.versions(key))[0].version, None))
            elif step == "restore" and readable:
                assert (await storage.restore(key)).version == readable[-1][0]
                pile = pile[: pile.index(readable[-1]) + 1]
            elif step == "remove" and pile:
                gone = data.draw(st.sampled_from(pile))
                await storage.delete(key, version=gone[0])
                pile.remove(gone)
            elif step == "copy" and readable:
                wanted = data.draw(st.sampled_from(readable))
                pile.append(((await storage.restore(key, version=wanted[0])).version, wanted[1]))

            assert [stored.version for stored in await storage.versions(key)] == [version for version, _ in reversed(pile)]
            if pile and pile[-1][1] is not None:
                assert await storage.get(key) == pile[-1][1]
            else:
                with pytest.raises(Missing):
                    await storage.get(key)

        for version, kept in pile:
            if kept is not None:
                assert await storage.get(key, version=version) == kept

    # scan

    async def test_a_scan_of_nothing_is_empty(self, storage: Storage) -> None:
        assert await storage.scan("") == []

    async def test_a_scan_lists_by_key_what_starts_with_the_prefix(self, storage: Storage) -> None:
        for key in ("b/1", "a/2", "a/1", "a", "a1", "A/1", "a/\U0001f5bc", "a/\ufffd"):
            await storage.put(key, b"x")

        assert [stored.key for stored in await storage.scan("a/")] == ["a/1", "a/2", "a/\ufffd", "a/\U0001f5bc"]
        assert [stored.key for stored in await storage.scan("a")] == ["a", "a/1", "a/2", "a/\ufffd", "a/\U0001f5bc", "a1"]
        assert [stored.key for stored in await storage.scan("c")] == []

    async def test_a_scan_shows_the_top_version_once(self, storage: Storage) -> None:
        await storage.put("t/a", b"one")
        top = await storage.put("t/a", b"second")

        assert await storage.scan("t/") == [top]

    @pytest.mark.parametrize("prefix", ("%", "_", "*", "t_", "t%", "t/a\0", "\ud83d", "\U0010ffff"), ids=ascii)
    async def test_a_prefix_is_no_pattern(self, storage: Storage, prefix: str) -> None:
        await storage.put("t/a", b"x")

        assert await storage.scan(prefix) == []
        assert await storage.purge(prefix) == 0

    async def test_pages_of_a_scan_join_without_gap_or_repeat(self, storage: Storage) -> None:
        keys = [f"t/{number:02}" for number in range(23)]
        await asyncio.gather(*(storage.put(key, b"x", is_durable=False) for key in keys))
        await storage.delete("t/07")

        pages: list[list[str]] = []
        after = ""
        while page := await storage.scan("t/", after=after, limit=5):
            pages.append([stored.key for stored in page])
            after = page[-1].key

        assert [len(page) for page in pages] == [5, 5, 5, 5, 2]
        assert [key for page in pages for key in page] == [key for key in keys if key != "t/07"]

    async def test_after_need_not_be_a_key_nor_have_the_prefix(self, storage: Storage) -> None:
        for key in ("a/1", "b/1", "b/3", "c/1"):
            await storage.put(key, b"x")

        assert [stored.key for stored in await storage.scan("b/", after="b/2")] == ["b/3"]
        assert [stored.key for stored in await storage.scan("b/", after="a")] == ["b/1", "b/3"]
        assert [stored.key for stored in await storage.scan("b/", after="c")] == []

    async def test_a_scan_of_limit_zero_is_empty(self, storage: Storage) -> None:
        await storage.put("t/a", b"x")

        assert await storage.scan("t/", limit=0) == []

    # purge

    async def test_a_purge_removes_every_version_and_marker_and_counts_them(self, storage: Storage) -> None:
        first = await storage.put("t/a", b"one")
        await storage.put("t/a", b"two")
        await storage.delete("t/a")
        await storage.put("t/b/c", b"three")
        await storage.restore("t/a", version=first.version)

        assert await storage.purge("t/") == 5
        assert await storage.versions("t/a") == []
        assert await storage.scan("") == []
        with pytest.raises(Missing):
            await storage.get("t/a", version=first.version)
        with pytest.raises(Missing):
            await storage.restore("t/a")

    async def test_a_purge_leaves_its_neighbours_alone(self, storage: Storage) -> None:
        for key in ("a/a/b", "a/aaa/a", "a/a", "a/a0", "a/b"):
            await storage.put(key, b"x")

        assert await storage.purge("a/a/") == 1
        assert [stored.key for stored in await storage.scan("")] == ["a/a", "a/a0", "a/aaa/a", "a/b"]

    @SHARED
    @given(
        keys=st.lists(st.text("ab/\U0010ffff\ud7ff\ue000", min_size=1, max_size=4), max_size=6, unique=True),
        prefix=st.text("ab/\U0010ffff\ud7ff\ue000", max_size=3),
    )
    async def test_a_purge_takes_what_starts_with_the_prefix_and_only_that(
        self, storage: Storage, keys: list[str], prefix: str
    ) -> None:
        room = fresh()
        keys = [f"{room}_{key}" for key in keys if not key.endswith("/") and "//" not in key]
        for key in keys:
            await storage.put(key, b"x", is_durable=False)

        count = await storage.purge(f"{room}_{prefix}")

        left = [key for key in keys if not key.startswith(f"{room}_{prefix}")]
        assert count == len(keys) - len(left)
        assert [stored.key for stored in await storage.scan(room)] == sorted(left)

    async def test_a_repeated_purge_finds_nothing(self, storage: Storage) -> None:
        await storage.put("t/a", b"x")
        await storage.purge("t/")

        assert await storage.purge("t/") == 0

    async def test_reads_beside_puts_and_purges_see_a_whole_object_or_none(self, storage: Storage) -> None:
        bodies = {secrets.token_bytes(70_000) for _ in range(8)}
        is_over = False

        async def write() -> None:
            nonlocal is_over
            for _ in range(3):
                for body in bodies:
                    await storage.put("t/a", body, is_durable=False)
                    await storage.purge("t/")
            is_over = True

        async def read() -> int:
            seen = 0
            while not is_over:
                try:
                    assert await storage.get("t/a") in bodies
                    seen += 1
                except Missing:
                    await asyncio.sleep(0)
            return seen

        await asyncio.gather(write(), read(), read())


def _pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def _descriptors() -> int:
    folder = Path("/proc/self/fd") if Path("/proc/self/fd").exists() else Path("/dev/fd")
    return sum(1 for _ in folder.iterdir())
