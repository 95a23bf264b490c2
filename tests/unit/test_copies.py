"""Copies of what comes in pieces: believed at one revision of the row only, bounded, and never worth an upload."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest

from safelight.domain.ids import TenantId, UserId, new_id
from safelight.domain.uploads import Method
from safelight.services import copies as module
from safelight.services.copies import MOST, Copies
from safelight.services.spool import chunks_of
from safelight.testing.factories import make_upload


def upload(**fields):
    return replace(make_upload(TenantId(new_id()), UserId(new_id()), method=Method.TUS), **fields)


def further(before, data):
    return replace(before, offset_bytes=before.offset_bytes + len(data), revision=before.revision + 2)


def open_files():
    return len(os.listdir("/proc/self/fd"))


async def test_a_copy_goes_on_with_the_next_request_of_its_upload(tmp_path):
    copies, first = Copies(tmp_path), upload()
    copy = copies.begin(first)
    await copy.add(b"one ")
    assert await copy.holds(4)
    second = further(first, b"one ")
    copies.leave(copy, second)

    again = copies.begin(second)
    await again.add(b"x" * 3_000_000)

    assert again is copy
    assert await again.holds(3_000_004)
    assert b"".join([chunk async for chunk in chunks_of(again.spool.written().fd)]) == b"one " + b"x" * 3_000_000


async def test_bytes_that_came_elsewhere_meanwhile_end_a_copy(tmp_path):
    copies, first = Copies(tmp_path), upload()
    before = open_files()
    copy = copies.begin(first)
    copies.leave(copy, further(first, b"one"))

    assert copies.begin(replace(first, offset_bytes=3, revision=first.revision + 4)) is None
    assert open_files() == before


async def test_a_copy_that_lacks_bytes_is_none(tmp_path):
    copy = Copies(tmp_path).begin(upload())
    await copy.add(b"one")

    assert not await copy.holds(4)


@pytest.mark.parametrize("other", [{"offset_bytes": 1}, {"tus_concat": "partial"}], ids=["begun elsewhere", "a part of another"])
async def test_what_cannot_be_whole_here_is_not_copied(tmp_path, other):
    assert Copies(tmp_path).begin(upload(**other)) is None


async def test_there_are_so_many_and_those_that_wait_give_way(tmp_path):
    copies, before = Copies(tmp_path), open_files()
    sending = [copies.begin(upload()) for _ in range(MOST)]
    assert None not in sending
    assert copies.begin(upload()) is None

    waits = upload()
    copies.leave(sending[0], waits)
    assert copies.begin(upload()) is not None
    assert copies.begin(further(waits, b"x")) is None
    assert open_files() == before + MOST


async def test_a_copy_that_nobody_comes_back_for_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "IDLE_S", 0.01)
    copies, before, first = Copies(tmp_path), open_files(), upload()
    copies.leave(copies.begin(first), first)

    async with asyncio.timeout(30):
        while open_files() > before:
            await asyncio.sleep(0.01)
    assert copies.begin(replace(first, offset_bytes=1)) is None


async def test_of_two_that_are_left_for_one_upload_the_later_counts(tmp_path):
    copies, before, first = Copies(tmp_path), open_files(), upload()
    early, late = copies.begin(first), copies.begin(first)
    second = replace(first, revision=2)
    copies.leave(early, first)
    copies.leave(late, second)

    assert copies.begin(second) is late
    copies.end(late)
    assert open_files() == before


async def test_a_full_disk_ends_the_copy_and_nothing_else(tmp_path, monkeypatch):
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr("safelight.services.spool.nameless", lambda folder: full)
    copy = Copies(tmp_path).begin(upload())
    await copy.add(b"x" * 2_000_000)
    await copy.add(b"x" * 2_000_000)

    assert not await copy.holds(4_000_000)


async def test_without_a_folder_there_is_no_copy(tmp_path):
    assert Copies(tmp_path / "away").begin(upload()) is None
