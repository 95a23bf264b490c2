"""What every keeper of Workflows agrees on: what is worth another try and when, whose turn it is, what an operator reads.

Not the tries themselves: those are in `dbos_steps` and `memory`. No driver.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from safelight.concurrency import heard_by
from safelight.errors import SafelightError, StepTimedOut
from safelight.flows import Retry, Step
from safelight.observability import kept_by

ANNOUNCE: Final = Retry(attempts=5, first_wait_s=0.5, backoff=3.0)
"""Patience with `Bound.on_dead`: whoever reads the catalog must learn of a dead run, so it is told more than once."""

LINES: Final = 20
"""The last lines that a dead letter keeps."""
LINE: Final = 500
"""Characters of each."""

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


class Notes(deque[str]):
    """The last lines about a run, as they are kept with a dead letter."""

    def __init__(self) -> None:
        super().__init__(maxlen=LINES)

    def add(self, event: str, **words: Any) -> None:
        """One line: when, what, and its words."""
        said = " ".join(f"{name}={value}" for name, value in words.items())
        line = f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {event} {said}".rstrip()
        self.append(plain(line[:LINE]))


async def in_time(call: Callable[[], Awaitable[None]], step: Step, notes: Notes) -> None:
    """One try, within the step's timeout, and its heartbeat where it has one; `notes` gets what it logs. Raises StepTimedOut, and what the try raises."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + step.timeout_s

    def due() -> float:
        return ends_at if step.heartbeat_s is None else min(ends_at, loop.time() + step.heartbeat_s)

    limit = asyncio.timeout_at(due())

    def heard() -> None:
        with contextlib.suppress(RuntimeError):  # from a task that the try has left behind
            limit.reschedule(due())

    try:
        with heard_by(heard), kept_by(notes.add):
            async with limit:
                await call()
    except TimeoutError:
        if not limit.expired():
            raise
        seconds = step.timeout_s if loop.time() >= ends_at else step.heartbeat_s
        what = "took longer than" if seconds == step.timeout_s else "gave no sign of life for"
        raise StepTimedOut(f"The step {step.name} {what} {seconds:g} s and was broken off.") from None


def next_party(waiting: Collection[str], held: Mapping[str, int], served: Mapping[str, int], most: int) -> str | None:
    """Whose run begins next: of those with less than `most` places who holds fewest, then who was served longest ago.

    `held` is how many places each has, `served` when it was served last, in any growing numbers. None: everybody has enough.
    """
    able = [party for party in waiting if held.get(party, 0) < most]
    return min(able, key=lambda party: (held.get(party, 0), served.get(party, 0)), default=None)


def told(error: BaseException) -> str:
    """The error as one line of text that any database can store: its type, then its words."""
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return plain(words)


def plain(text: str) -> str:
    """Text that any database can store."""
    # A NUL is no text to PostgreSQL, a lone surrogate no UTF-8 to SQLite; either would lose the dead letter itself.
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
