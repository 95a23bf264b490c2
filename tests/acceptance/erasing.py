"""What the tests of both erasures do: kill the server in the midst of one, and read what is left in its data directory."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
from tests.acceptance.conftest import Server, until


def killed_again_and_again(server: Server, url: str) -> dict:
    """The certificate of the erasure at `url`, once it has ended."""
    for pause_s in (0.0, 0.3):
        time.sleep(pause_s)  # wherever it is by then
        server.kill()
        server.start()
    return until(lambda: httpx.get(f"{server.url}{url}", timeout=30).json()["certificate"], within_s=180)


def rows(data_dir: Path) -> Iterator[tuple[Path, str, str]]:
    """Every row of every database: its file, its table, and what it says."""
    for path in sorted(data_dir.rglob("*.db")):
        if path.name == "workflows.db":  # runs are pruned by the engine's own clock; they hold ids and nothing else
            continue
        with closing(sqlite3.connect(path)) as database:
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for row in database.execute(f'SELECT * FROM "{table}"'):
                    yield path, table, repr(row)
