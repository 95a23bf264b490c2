"""The spool when the disk is full or the folder is away: refused like any part that does not answer, and the cause is kept."""

from __future__ import annotations

import os

import pytest

from safelight.errors import Unavailable
from safelight.services.spool import nameless, spooled, write_all


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
