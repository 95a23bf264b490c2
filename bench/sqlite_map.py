"""Reads of a database that is mapped into memory, and of one that is not: `python bench/sqlite_map.py [rows]`, 50,000 unless said.

Microseconds of CPU for four reads by key in one transaction, and for a list of fifty, with as many writes by another connection
in between; medians of rounds in which the connections take turns. Why the catalog is not mapped.
"""

from __future__ import annotations

import random
import sqlite3
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

from processes import scratch

ROUNDS, READS = 5, 240
MAPS = {"read": 0, "mapped": 1 << 28}
BEFORE = {0: "no writes", 8: "a write before every eighth", 1: "a write before every one"}


def connected(path: Path, mapped: int) -> sqlite3.Connection:
    """As the catalog's, but for the map, and for waiting for the disk."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=OFF", "cache_size=-4096", f"mmap_size={mapped}"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def fill(connection: sqlite3.Connection, rows: int) -> list[str]:
    """Rows of 1.4 KB in no order, with an index; their keys."""
    rng = random.Random(1)
    keys = [f"{rng.getrandbits(100):025x}" for _ in range(rows)]
    connection.execute("CREATE TABLE images (id TEXT PRIMARY KEY, tenant TEXT, at INT, doc TEXT) WITHOUT ROWID")
    connection.execute("CREATE INDEX listed ON images (tenant, at, id)")
    connection.execute("BEGIN")
    made = ((key, f"t{n % 3}", n, "x" * 1400) for n, key in enumerate(keys))
    connection.executemany("INSERT INTO images VALUES (?, ?, ?, ?)", made)
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return rng.sample(keys, min(2000, rows))


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    with scratch() as folder:
        writer = connected(folder / "rows.db", 0)
        hot = fill(writer, rows)
        for every, words in BEFORE.items():
            readers = {name: connected(folder / "rows.db", size) for name, size in MAPS.items()}
            took: dict[tuple[str, str], list[float]] = defaultdict(list)
            for turn in range(ROUNDS):
                for name, reader in readers.items():
                    rng, gets, lists = random.Random(turn), 0.0, 0.0
                    for n in range(READS):
                        if every and n % every == 0:
                            writer.execute("UPDATE images SET at = at + 1 WHERE id = ?", (rng.choice(hot),))
                        began = time.process_time()
                        reader.execute("BEGIN")
                        for _ in range(4):
                            reader.execute("SELECT * FROM images WHERE id = ?", (rng.choice(hot),)).fetchone()
                        reader.execute("COMMIT")
                        between = time.process_time()
                        page = "SELECT * FROM images WHERE tenant = 't1' AND at < ? ORDER BY at DESC LIMIT 50"
                        reader.execute(page, (rng.randrange(rows // 10, rows // 3),)).fetchall()
                        gets, lists = gets + between - began, lists + time.process_time() - between
                    took["four reads", name].append(gets / READS * 1e6)
                    took["list", name].append(lists / READS * 1e6)
            for (what, name), each in sorted(took.items()):
                print(f"{words}: {what}, {name}: {statistics.median(each):.0f} us")
            for reader in readers.values():
                reader.close()
        writer.close()


if __name__ == "__main__":
    main()
