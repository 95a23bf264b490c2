"""Numbers of events and of entries in the journal, without a counter that everybody would have to write."""

from __future__ import annotations

import secrets
import threading
import time
from typing import Final

_RANDOM_BITS: Final = 40
_SHARD_BITS: Final = 2
SHARDS: Final = 1 << _SHARD_BITS
"""Partitions of the outbox: one takes a thousand writes a second."""


class _Numbers:
    """Microseconds, which never stand still in a process, then random bits, then the shard.

    Of one process they ascend; of several, as far as their clocks agree.
    """

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._last = 0

    def next(self, shard: int = 0) -> int:
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1000)
            return ((self._last << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)) * SHARDS + shard


numbers: Final = _Numbers()


def first_at(at_s: float) -> int:
    """The lowest number of that time, in seconds since 1970."""
    return int(at_s * 1_000_000) << (_RANDOM_BITS + _SHARD_BITS)
