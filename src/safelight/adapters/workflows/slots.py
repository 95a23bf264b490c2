"""Slots: the lease that tells a living process from a dead one. Used by the dispatcher of the dbos adapter only.

A process that takes part in the work holds one numbered slot until it ends, however it ends. Who can take a slot that
unfinished runs are written under knows that their process is gone and may adopt them. On SQLite a slot is an flock on a file
beside the database: the kernel drops it with the process, kill -9 included. On PostgreSQL it is an advisory lock of a session: the
server drops it with the connection, and the connection ends with the process, or seconds after the machine has gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from safelight.errors import BackendUnavailable

if TYPE_CHECKING:
    from safelight.adapters.postgres import BoundedConnection

MAX_SLOTS = 4096
"""More processes than any one database serves; the search for a free slot ends here."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The slot that is held, and whether it was lost for a while since somebody last looked."""

    slot: int
    was_lost: bool


class Slots(Protocol):
    """Leases on small numbers, beginning with 1."""

    def hold(self) -> int:
        """Take the lowest free slot for this process, until `close`. Raises BackendUnavailable when none is left."""
        ...

    def borrowed(self, slot: int) -> AbstractContextManager[bool]:
        """A context: True inside it when nobody held the slot, which then cannot be taken by anyone else."""
        ...

    def held(self) -> int:
        """How many processes hold a slot now."""
        ...

    def look_after(self) -> Lease:
        """The slot held now: another one when the lease was lost and somebody else has it.

        Raises BackendUnavailable while none can be had; until then this process must not take work.
        """
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


class FileSlots:
    """flock on `<database>.slot-<k>`. One host only, as SQLite itself; the files stay, so that no lock is on a name that is gone."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._held: int | None = None
        self._held_slot: int | None = None

    def hold(self) -> int:
        """Take the lowest slot whose file nobody has locked."""
        for slot in range(1, MAX_SLOTS + 1):
            held = self._lock(slot)
            if held is not None:
                self._held, self._held_slot = held, slot
                return slot
        raise BackendUnavailable("Every slot is taken")

    @contextmanager
    def borrowed(self, slot: int) -> Iterator[bool]:
        """Lock the slot while the context lasts, if nobody has."""
        held = self._lock(slot)
        try:
            yield held is not None
        finally:
            if held is not None:
                os.close(held)

    def held(self) -> int:
        """By trying every file there is."""
        count = 0
        for path in self._database.parent.glob(f"{glob.escape(self._database.name)}.slot-*"):
            with self.borrowed(int(path.name.rpartition("-")[2])) as is_free:
                count += not is_free
        return count

    def look_after(self) -> Lease:
        """The kernel takes no lock away."""
        if self._held_slot is None:
            raise BackendUnavailable("No slot is held.")
        return Lease(self._held_slot, was_lost=False)

    def close(self) -> None:
        """Unlock; the file stays."""
        if self._held is not None:
            os.close(self._held)
            self._held = self._held_slot = None

    def _lock(self, slot: int) -> int | None:
        """The descriptor that holds the lock, or None when another process has it."""
        # A descriptor opened by Python does not survive exec, so a decoder process started from here cannot keep the lease alive.
        descriptor = os.open(f"{self._database}.slot-{slot}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor


_ANSWER_S: Final = 3.0
"""How long a question about a lock may take."""

_PROBE_S: Final = 5.0
"""How often to ask a server that says nothing whether it is still there. A closed connection is noticed at every look."""

# For the server's end: a machine that is gone loses its slot after 5 + 3 * 3 seconds, not after the two hours of the system.
_NOTICE_THE_DEAD: Final = (
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3; SET tcp_user_timeout = 14000"
)


class PostgresSlots:
    """pg_advisory_lock(SLOT, k) on a connection that does nothing else. For one thread at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: BoundedConnection | None = None
        self._held: int | None = None
        self._asked_at = 0.0

    def hold(self) -> int:
        """Take the lowest free slot, on a new connection where there is none."""
        # The server tries one number after the other and stops at the first that it can lock.
        found = self._ask(
            "SELECT slot FROM generate_series(1, %s) slot WHERE pg_try_advisory_lock(%s, slot) LIMIT 1", MAX_SLOTS, self._number
        )
        if found is None:
            raise BackendUnavailable("Every slot is taken")
        self._held = found
        return found

    @contextmanager
    def borrowed(self, slot: int) -> Iterator[bool]:
        """Lock the slot while the context lasts, if nobody has."""
        is_free = slot != self._held and bool(self._ask("SELECT pg_try_advisory_lock(%s, %s)", self._number, slot))
        try:
            yield is_free
        finally:
            if is_free:
                self._ask("SELECT pg_advisory_unlock(%s, %s)", self._number, slot)

    def held(self) -> int:
        """The server shows every lock to everybody. Closes the connection unless it holds a slot itself."""
        count = self._ask(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objsubid = 2 AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            self._number,
        )
        if self._held is None:
            self._hang_up()
        return count or 0

    def look_after(self) -> Lease:
        """Whether the session lives; a new one asks for the same slot first, so that the runs under it stay ours."""
        if self._is_alive() and self._held is not None:
            return Lease(self._held, was_lost=False)
        self._hang_up()
        before = self._held
        if before is not None and self._ask("SELECT pg_try_advisory_lock(%s, %s)", self._number, before):
            return Lease(before, was_lost=True)
        return Lease(self.hold(), was_lost=True)

    def close(self) -> None:
        """The server drops the lock with the connection."""
        self._hang_up()
        self._held = None

    @property
    def _number(self) -> int:
        from safelight.adapters.postgres import Lock

        return Lock.SLOT.value

    def _is_alive(self) -> bool:
        from safelight.adapters.postgres import is_over

        if self._connection is None or is_over(self._connection):
            return False
        if time.monotonic() - self._asked_at > _PROBE_S:
            with contextlib.suppress(BackendUnavailable):
                return bool(self._ask("SELECT 1"))
            return False
        return True

    def _ask(self, question: str, *values: int) -> int | None:
        """The one value of the answer, None without a row. Raises BackendUnavailable; the connection is closed then."""
        import psycopg

        from safelight.adapters.postgres import Patience, connect

        try:
            if self._connection is None:
                self._connection = connect(self._url, patience=Patience(_ANSWER_S))
                self._connection.execute(_NOTICE_THE_DEAD)
            row: tuple[int] | None = self._connection.execute(question.encode(), values or None).fetchone()
        except psycopg.Error as error:
            self._hang_up()
            raise BackendUnavailable("The slots cannot be asked for.") from error
        self._asked_at = time.monotonic()
        return None if row is None else row[0]

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
