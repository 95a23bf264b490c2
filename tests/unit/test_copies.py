"""Copies of what comes in pieces: believed at one revision of the row only, and bounded."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest

from safelight.domain.ids import TenantId, UserId, new_id
from safelight.domain.uploads import Method
from safelight.errors import Unavailable
from safelight.services import copies as module
from safelight.services.copies import MOST, Copies, Copy
from safelight.services.spool import chunks_of
from safelight.testing.factories import make_upload

LARGE = os.urandom(3_000_000)


def upload(**fields):
    return replace(make_upload(TenantId(new_id()), UserId(new_id()), method=Method.TUS), **fields)


def further(before, data):
    return replace(before, offset_bytes=before.offset_bytes + len(data), revision=before.revision + 2)


async def sent(copies, before, data):
    """The copy and the row, after a request."""
    copy, after = copies.begin(before), further(before, data)
    await copy.add(data)
    assert await copy.read(before.offset_bytes, len(data)) == data
    copies.leave(copy, after)
    return copy, after


async def test_a_copy_goes_on_with_the_next_request_of_its_upload(tmp_path):
    copies = Copies(tmp_path)
    copy, second = await sent(copies, upload(), b"one ")
    again, third = await sent(copies, second, LARGE)

    assert again is copy
    assert again.is_of(third)
    assert b"".join([chunk async for chunk in chunks_of(again.spool.written().fd)]) == b"one " + LARGE


async def test_any_bytes_that_were_added_can_be_read_while_more_come(tmp_path):
    copy = Copy(tmp_path, 100)
    await copy.add(LARGE)
    await copy.add(b"more")

    assert await copy.read(102, 1_500_000) == LARGE[2:1_500_002]
    assert await copy.read(100 + len(LARGE), 4) == b"more"
    with pytest.raises(Unavailable):
        await copy.read(100 + len(LARGE), 5)


async def test_bytes_that_came_elsewhere_meanwhile_end_a_copy(tmp_path):
    copies = Copies(tmp_path)
    early, first = await sent(copies, upload(), b"one")
    elsewhere = replace(first, offset_bytes=6, revision=first.revision + 2)
    late, second = await sent(copies, elsewhere, b"two")

    assert not late.is_of(second)
    assert not early.spool.is_open
    assert not late.spool.is_open


async def test_a_copy_that_lacks_bytes_is_not_kept(tmp_path):
    copies, first = Copies(tmp_path), upload()
    copy = copies.begin(first)
    await copy.add(b"one")
    await copy.read(0, 3)
    copies.leave(copy, further(first, b"ones"))

    assert not copy.spool.is_open


async def test_a_part_of_another_upload_is_not_kept(tmp_path):
    copy, _ = await sent(Copies(tmp_path), upload(tus_concat="partial"), b"one")

    assert not copy.spool.is_open


async def test_so_many_wait_for_their_next_request_and_the_oldest_gives_way(tmp_path):
    copies = Copies(tmp_path)
    (oldest, first), (next_one, second), *others = [await sent(copies, upload(), b"one") for _ in range(MOST + 1)]

    assert [copy.spool.is_open for copy in (oldest, next_one, *(copy for copy, _ in others))] == [False] + [True] * MOST
    assert copies.begin(second) is next_one
    assert copies.begin(first) is not oldest


async def test_a_copy_that_nobody_comes_back_for_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "IDLE_S", 0.01)
    copy, _ = await sent(Copies(tmp_path), upload(), b"one")

    async with asyncio.timeout(30):
        while copy.spool.is_open:
            await asyncio.sleep(0.01)


async def test_of_two_that_are_left_for_one_upload_the_later_counts(tmp_path):
    copies, first = Copies(tmp_path), upload()
    early, late = copies.begin(first), copies.begin(first)
    copies.leave(early, first)
    second = replace(first, revision=2)
    copies.leave(late, second)

    assert copies.begin(second) is late
    assert not early.spool.is_open


async def test_a_full_disk_and_a_folder_that_is_away_are_unavailable(tmp_path, monkeypatch):
    with pytest.raises(Unavailable):
        Copies(tmp_path / "away").begin(upload())
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr("safelight.services.spool.nameless", lambda folder: full)
    copy = Copies(tmp_path).begin(upload())
    with pytest.raises(Unavailable):
        await copy.add(LARGE)
