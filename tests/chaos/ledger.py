"""The ledger: what was sent, what was answered and what was never answered, as JSON lines that are on the disk before anybody goes on.

    {"n": 7, "at": 12.31, "is": "sent", "client": "tell-0", "op": "edit", "image": "01…", "write": "qzab", …}
    {"n": 7, "at": 12.40, "is": "told", "status": 200, …}          or "lost", with why: nobody knows what became of it

It is written by the load and the fault-maker, and read by the audit, which knows nothing else of what should be.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Ledger:
    """Append-only. Times are seconds since it was opened."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL, 0o644)
        self._lock = threading.Lock()
        self._count = 0
        self._began = time.monotonic()

    def now(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def sent(self, client: str, op: str, **words: Any) -> int:
        """Written before the request leaves; its number."""
        with self._lock:
            self._count += 1
            number = self._count
        self._write({"n": number, "at": self.now(), "is": "sent", "client": client, "op": op, **words})
        return number

    def told(self, number: int, status: int, answer: dict[str, Any] | None = None) -> None:
        """The status of its answer, and what of it the audit needs; 0: it was never sent, since nobody listens."""
        self._write({"n": number, "at": self.now(), "is": "told", "status": status, "answer": answer or {}})

    def lost(self, number: int, why: str) -> None:
        self._write({"n": number, "at": self.now(), "is": "lost", "why": why})

    def note(self, kind: str, /, **words: Any) -> None:
        """Anything else: a fault that begins or ends, a picture with wrong bytes."""
        self._write({"at": self.now(), "is": kind, **words})

    def close(self) -> None:
        os.close(self._fd)

    def _write(self, entry: dict[str, Any]) -> None:
        os.write(self._fd, json.dumps(entry).encode() + b"\n")
        os.fdatasync(self._fd)


@dataclass
class Op:
    """One request with what became of it; `status` None: nobody knows."""

    n: int
    client: str
    op: str
    sent: dict[str, Any]
    began: float
    ended: float = 0.0
    status: int | None = None
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def is_acknowledged(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_unknown(self) -> bool:
        """It may have been done, or not, or be done a little later: no answer, or one that says that a part was away."""
        return self.status is None or self.status >= 500


@dataclass
class Book:
    """The ledger, read again: requests in the order in which they were sent, and the notes."""

    ops: list[Op]
    notes: list[dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> Book:
        ops: dict[int, Op] = {}
        notes = []
        with path.open() as lines:
            for line in lines:
                entry = json.loads(line)
                kind, at = entry.pop("is"), entry.pop("at")
                if kind == "sent":
                    n = entry.pop("n")
                    ops[n] = Op(n, entry.pop("client"), entry.pop("op"), entry, at, ended=float("inf"))
                elif kind in ("told", "lost"):
                    op = ops[entry.pop("n")]
                    op.ended, op.status, op.answer = at, entry.get("status"), entry.get("answer", entry)
                else:
                    notes.append(entry | {"is": kind, "at": at})
        return cls(list(ops.values()), notes)
