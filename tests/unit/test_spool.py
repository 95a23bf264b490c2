"""The spool when the disk is full or the folder is away: refused like any part that does not answer, and the cause is kept."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from safelight.errors import Unavailable
from safelight.services.spool import Spool, nameless, spooled, write_all


def test_a_full_disk_is_unavailable_and_no_fault_of_ours():
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(Unavailable) as caught:
            write_all(full, b"x")
    finally:
        os.close(full)

    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.is_transient


async def test_a_folder_that_is_away_is_unavailable(tmp_path):
    async def chunks():
        yield b"x"

    with pytest.raises(Unavailable):
        nameless(tmp_path / "away")
    with pytest.raises(Unavailable):
        async with spooled(chunks(), tmp_path / "away", max_bytes=10):
            pass


async def test_a_file_is_not_closed_under_the_thread_that_still_writes_it(tmp_path, monkeypatch):
    """Its number would be another file's by then, and the bytes would go there."""
    writes, may_end = threading.Event(), threading.Event()

    def slow(fd, data):
        writes.set()
        may_end.wait(60)
        write_all(fd, data)

    monkeypatch.setattr("safelight.services.spool.write_all", slow)
    spool = Spool(tmp_path)
    fd = spool.written().fd
    writing = asyncio.create_task(spool.write(b"late"))
    await asyncio.to_thread(writes.wait, 60)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing

    spool.close()
    assert os.fstat(fd).st_size == 0
    may_end.set()
    async with asyncio.timeout(60):
        while is_open(fd):
            await asyncio.sleep(0.01)


def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
