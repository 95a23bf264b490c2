"""kill -9 of processes that write to one local store at random moments: nothing acknowledged is lost, nothing is half there.

Run as a program, this file is such a process: `python test_storage_crash.py ROOT KEY_FILE ACKNOWLEDGED SEED`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from safelight.adapters.storage.local import LocalStore, Swept

ROUNDS = 6
WRITERS = 6


async def write_for_ever(root: Path, key_file: Path, acknowledged: Path, seed: int) -> None:
    """Put, delete, copy and purge, each told in one appended line once it is acknowledged."""
    told = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def tell(*line: object) -> None:
        os.write(told, json.dumps(line).encode() + b"\n")

    async def pieces(data: bytes):
        for at in range(0, len(data), 50_000):
            yield data[at : at + 50_000]

    async def writer(number: int, store: LocalStore) -> None:
        rng = random.Random(seed * 100 + number)
        bucket = "originals" if number % 2 else "renditions"
        storage = store.bucket(bucket)
        while True:
            # Keys of a writer are its own, so that what it was told about them stays true.
            key = f"{seed}/{number}/{rng.randrange(8)}"
            data = rng.randbytes(rng.choice((0, 500, 20_000, 65_536, 300_000, 700_000)))
            stored = await storage.put(
                key, pieces(data) if rng.random() < 0.4 else data, is_durable=bucket == "originals" or rng.random() < 0.5
            )
            tell("put", bucket, key, stored.version, hashlib.sha256(data).hexdigest())
            what = rng.random()
            if what < 0.1:
                copy = await storage.restore(key, version=stored.version)
                tell("put", bucket, key, copy.version, copy.etag)
            elif what < 0.2:
                tell("removing", bucket, key, stored.version)
                await storage.delete(key, version=stored.version)
            elif what < 0.25:
                tell("purging", bucket, key)
                await storage.purge(key)

    async with LocalStore(root, key_file=key_file) as store, asyncio.TaskGroup() as tasks:
        for number in range(WRITERS):
            tasks.create_task(writer(number, store))


async def test_nothing_acknowledged_is_lost_to_kill_9_and_the_sweep_finds_the_rest(tmp_path):
    root, key_file, acknowledged = tmp_path / "objects", tmp_path / "key", tmp_path / "acknowledged"
    rng = random.Random(20261121)
    for number in range(ROUNDS):
        before = acknowledged.stat().st_size if acknowledged.exists() else 0
        processes = [
            subprocess.Popen([sys.executable, __file__, root, key_file, acknowledged, str(2 * number + each)]) for each in (0, 1)
        ]
        try:
            deadline = time.monotonic() + 60
            while not acknowledged.exists() or acknowledged.stat().st_size == before:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            await asyncio.sleep(rng.uniform(0.05, 0.5))
        finally:
            for process in processes:
                process.send_signal(signal.SIGKILL)
                process.wait()
        assert [process.returncode for process in processes] == [-signal.SIGKILL] * 2

    promised: dict[tuple[str, str, str], str] = {}
    for line in acknowledged.read_text().splitlines():
        what, *rest = json.loads(line)
        if what == "put":
            bucket, key, version, etag = rest
            promised[bucket, key, version] = etag
        else:
            # Told before it is done: from then on the version may be there or not.
            for gone in [each for each in promised if list(each[: len(rest)]) == rest]:
                del promised[gone]
    assert len(promised) > 100

    async with LocalStore(root, key_file=key_file) as store:
        # What was acknowledged reads back.
        for (bucket, key, version), etag in promised.items():
            assert hashlib.sha256(await store.bucket(bucket).get(key, version=version)).hexdigest() == etag

        # What was not acknowledged is whole or not there.
        count = 0
        for name in ("originals", "renditions"):
            bucket = store.bucket(name)
            for key in {
                f"{seed}/{number}/{each}" for seed in range(2 * ROUNDS) for number in range(WRITERS) for each in range(8)
            }:
                for stored in await bucket.versions(key):
                    data = await bucket.get(key, version=stored.version)
                    assert (len(data), hashlib.sha256(data).hexdigest()) == (stored.size_bytes, stored.etag)
                    count += 1
        assert count >= len(promised)

        swept = await store.sweep(older_than_s=0)
        assert await store.sweep(older_than_s=0) == Swept(0, 0)

    assert swept.blobs + swept.temporary > 0
    assert list((root / "tmp").iterdir()) == []
    index = sqlite3.connect(root / "objects.db")
    named = {blob for (blob,) in index.execute("select distinct blob from versions where blob is not null")}
    integrity = index.execute("pragma integrity_check").fetchall()
    index.close()
    assert {path.name for path in (root / "blobs").rglob("*") if path.is_file()} == named
    assert integrity == [("ok",)]


if __name__ == "__main__":
    asyncio.run(write_for_ever(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
