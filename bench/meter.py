"""Meter: what questions to PostgreSQL take, in time and in CPU, ours and the server's. For servers_search and servers_catalog.

Time needs an otherwise idle machine. CPU holds beside other work, but for what that does to the caches.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg


class Meter:
    """Of one kind of question; make it when the connections that answer it are open."""

    def __init__(self, url: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'safelight'"
            )
            self._backends = [Path(f"/proc/{pid}/schedstat") for (pid,) in rows]
        self._took: list[float] = []
        self._cpu: list[float] = []

    @contextmanager
    def question(self, *, counts: bool = True) -> Iterator[None]:
        cpu, began = self._spent_ms(), time.perf_counter()
        yield
        took = (time.perf_counter() - began) * 1000
        if counts:
            self._took.append(took)
            self._cpu.append(self._spent_ms() - cpu)

    def figures(self) -> dict[str, float]:
        """Milliseconds."""
        return {
            f"{name}{percentile}_ms": round(sorted(values)[int(len(values) * share)], 2)
            for name, values in (("", self._took), ("cpu_", self._cpu))
            for percentile, share in (("p50", 0.5), ("p99", 0.99))
        }

    def _spent_ms(self) -> float:
        """Of this process and the server's that work for it: Linux counts theirs in nanoseconds, in the first number."""
        return sum(int(path.read_text().split()[0]) for path in self._backends) / 1e6 + time.process_time() * 1000
