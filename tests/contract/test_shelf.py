"""DiskShelf: what is damaged is not there, what is full does not matter, and a restart finds what was kept."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from safelight.adapters.shelf import disk
from safelight.adapters.shelf.disk import DiskShelf
from safelight.errors import WrongState
from safelight.testing.contracts.shelf import ShelfContract, key

KEY = b"k" * 32


async def shelf(path: Path, capacity: int = 1_000_000, secret: bytes = KEY) -> DiskShelf:
    made = DiskShelf(path, capacity_bytes=capacity, key=secret)
    await made.open()
    return made


class TestDiskShelf(ShelfContract):
    @pytest.fixture
    async def shelf(self, tmp_path):
        yield await shelf(tmp_path, 100_000)
        assert {path.relative_to(tmp_path).parts[0] for path in files(tmp_path)} <= {"tenant", "a", "aa"}


def files(path: Path) -> list[Path]:
    return [found for found in path.rglob("*") if found.is_file()]


async def test_what_was_put_comes_back_also_after_a_restart_and_nothing_else_does(tmp_path):
    first = await shelf(tmp_path)
    await first.put(key(1), b"one")
    await first.put(key(1), b"two")
    await first.put(key(2), b"")
    second = await shelf(tmp_path)

    assert [await second.get(key(n)) for n in (1, 2, 3)] == [b"two", b"", None]
    assert not list((tmp_path / ".writing").iterdir())


@pytest.mark.parametrize("damage", ("cut", "empty", "flipped", "foreign", "exchanged"))
async def test_what_is_damaged_is_a_miss_and_is_removed(tmp_path, damage):
    made = await shelf(tmp_path)
    await made.put(key(1), b"picture" * 100)
    (path,) = files(tmp_path)
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:-1])
        case "empty":
            path.write_bytes(b"")
        case "flipped":
            data = bytearray(path.read_bytes())
            data[50] ^= 1
            path.write_bytes(data)
        case "foreign":
            path.write_bytes(b"GIF89a" * 20)
        case "exchanged":
            await made.put(key(2), b"another")
            path.write_bytes(next(other for other in files(tmp_path) if other != path).read_bytes())

    assert await made.get(key(1)) is None
    assert not path.exists()


async def test_nothing_can_be_read_without_the_key(tmp_path):
    await (await shelf(tmp_path)).put(key(1), b"a private picture")

    assert b"private" not in files(tmp_path)[0].read_bytes()
    assert await (await shelf(tmp_path, secret=b"x" * 32)).get(key(1)) is None


async def test_the_oldest_makes_room_and_what_is_asked_for_stays(tmp_path):
    made = await shelf(tmp_path, capacity=20_000)
    for number in range(19):
        await made.put(key(number), bytes(900))
        path = tmp_path / "tenant" / "image" / f"1.t-{number:08x}.webp"
        os.utime(path, (time.time() - 10_000 + number,) * 2)
    assert await made.get(key(0)) is not None  # asked for: as new

    for number in range(19, 25):
        await made.put(key(number), bytes(900))

    assert await made.get(key(0)) is not None
    assert await made.get(key(1)) is None
    assert await made.get(key(24)) is not None
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 20_000


async def test_a_smaller_capacity_holds_from_the_next_start(tmp_path):
    made = await shelf(tmp_path)
    for number in range(20):
        await made.put(key(number), bytes(1000))
    await shelf(tmp_path, capacity=5_000)

    assert sum(path.stat().st_size for path in files(tmp_path)) <= 5_000


async def test_two_processes_over_one_folder_keep_to_the_bound_together(tmp_path):
    one, other = await shelf(tmp_path, 20_000), await shelf(tmp_path, 20_000)
    for number in range(60):
        await (one if number % 2 else other).put(key(number), bytes(900))

    assert sum(path.stat().st_size for path in files(tmp_path)) <= 2 * 20_000
    await shelf(tmp_path, 20_000)
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 20_000


async def test_what_is_too_large_is_not_kept(tmp_path):
    made = await shelf(tmp_path, capacity=16_000)
    await made.put(key(1), bytes(1_001))

    assert not files(tmp_path)


async def test_a_full_disk_keeps_nothing_and_hurts_nobody(tmp_path, monkeypatch):
    made = await shelf(tmp_path)

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        await made.put(key(1), b"x")
    assert await made.get(key(1)) is None
    assert not files(tmp_path)
    await made.put(key(1), b"x")
    assert await made.get(key(1)) == b"x"


async def test_a_file_that_may_not_grow_leaves_nothing_half_written(tmp_path):
    """The kernel refuses in the middle of a write, as a full disk does."""
    script = textwrap.dedent(
        """
        import asyncio, resource, signal, sys
        from pathlib import Path
        from safelight.adapters.shelf.disk import DiskShelf
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        async def main():
            shelf = DiskShelf(Path(sys.argv[1]), capacity_bytes=10_000_000, key=b"k" * 32)
            await shelf.open()
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
            await shelf.put("t/i/1/a.webp", bytes(100_000))
            print(await shelf.get("t/i/1/a.webp"))
        asyncio.run(main())
        """
    )
    ran = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60)

    assert ran.stdout.strip().endswith("None")
    assert not files(tmp_path)


async def test_killed_while_writing_leaves_whole_files_or_none(tmp_path):
    script = textwrap.dedent(
        """
        import asyncio, sys
        from pathlib import Path
        from safelight.adapters.shelf.disk import DiskShelf
        async def main():
            shelf = DiskShelf(Path(sys.argv[1]), capacity_bytes=1_000_000_000, key=b"k" * 32)
            await shelf.open()
            number = 0
            while True:
                await shelf.put(f"tenant/image/1/t-{number % 50:08x}.webp", bytes([number % 251]) * 200_000)
                number += 1
                print(number, flush=True)
        asyncio.run(main())
        """
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as process:
        for _ in range(60):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    made = await shelf(tmp_path, capacity=1_000_000_000)
    bodies = await asyncio.gather(*(made.get(key(number)) for number in range(50)))

    assert sum(body is not None for body in bodies) >= 49
    assert all(len(body) == 200_000 and len(set(body)) == 1 for body in bodies if body is not None)


async def test_what_a_dead_process_was_writing_is_removed_in_time(tmp_path):
    await shelf(tmp_path)
    left = tmp_path / ".writing" / "left"
    left.write_bytes(b"half")
    os.utime(left, (time.time() - disk._STALE_S - 1,) * 2)
    young = tmp_path / ".writing" / "young"
    young.write_bytes(b"half")
    await shelf(tmp_path)

    assert not left.exists()
    assert young.exists()


async def test_a_folder_that_cannot_be_used_stops_the_start(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(WrongState, match="DISK_PATH"):
        await shelf(tmp_path / "file" / "shelf")
