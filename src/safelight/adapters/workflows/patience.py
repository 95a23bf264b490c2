"""What every keeper of Workflows agrees on: which errors are worth another try, how long to rest, what an operator reads.

Not the tries themselves: those are in `dbos_steps` and `memory`. Pure values, no driver.
"""

from __future__ import annotations

from typing import Final

from safelight.errors import SafelightError
from safelight.flows import Retry

ANNOUNCE: Final = Retry(attempts=5, first_wait_s=0.5, backoff=3.0)
"""Patience with `Bound.on_dead`: whoever reads the catalog must learn of a dead run, so it is told more than once."""

MAX_REST_S: Final = 3600.0
"""No rest between two tries is longer, whatever the backoff says."""


def is_permanent(error: BaseException) -> bool:
    """Another try would end the same way. Only our own errors know that; anything else may pass."""
    return isinstance(error, SafelightError) and not error.is_transient


def rest_s(retry: Retry, tries: int) -> float:
    """Seconds to rest after so many failed tries (1 = the first): first_wait_s * backoff ** (tries - 1), at most an hour."""
    try:
        return min(retry.first_wait_s * retry.backoff ** (tries - 1), MAX_REST_S)
    except OverflowError:
        return MAX_REST_S


def bulk_places(concurrency: int) -> int:
    """Places that runs nobody waits for may take: one always stays free for a run that somebody waits for."""
    return max(1, concurrency - 1)


def told(error: BaseException) -> str:
    """The error as one line of text that any database can store: its type, then its words."""
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    # A NUL is no text to PostgreSQL, a lone surrogate no UTF-8 to SQLite; either would lose the dead letter itself.
    return words.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
