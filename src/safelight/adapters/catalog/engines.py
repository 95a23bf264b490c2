"""Engines: the one place that knows which database this is, an SQLite file or a PostgreSQL server.

Readers and writers are apart: readers cannot write whatever they are asked, and SQLite has room for one writer only.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError
from sqlalchemy.pool import NullPool, Pool, QueuePool

from safelight.adapters.catalog.rows import dump_json, load_json
from safelight.errors import BackendUnavailable, BadField

if TYPE_CHECKING:
    import psycopg

    from safelight.adapters import postgres

_MIGRATION_WAIT_S: Final = 60.0
"""How long a second process waits for the first to finish migrating."""

_DDL_LOCK_S: Final = 4.0
_DDL_STATEMENT_S: Final = 5.0
"""A migration on PostgreSQL gives up rather than keep the release that is still running from its tables."""


class Database(Protocol):
    """What the catalog asks of a database beyond SQL."""

    @property
    def writers(self) -> int:
        """How many transactions may write at once."""
        ...

    @property
    def ends_reads_inline(self) -> bool:
        """Whether ending a read is done without I/O."""
        ...

    def prepare(self) -> None:
        """Make what must be there before anybody connects. Raises BackendUnavailable."""
        ...

    def exists(self) -> bool:
        """Whether there is anything to connect to."""
        ...

    def readers(self, connections: int) -> Engine:
        """Connections that can only read."""
        ...

    def writer(self) -> Engine:
        """Connections for transactions that may write."""
        ...

    def migrator(self) -> Engine:
        """A connection whose transaction keeps every other migration out until it ends."""
        ...

    def check(self, connection: Connection) -> None:
        """After a migration: what it made is sound. Raises BackendUnavailable."""
        ...

    def attempt(self, connection: Connection) -> AbstractContextManager[object]:
        """A context for statements that may fail without the transaction failing."""
        ...

    def keep_others_out(self, connection: Connection, name: str) -> None:
        """Wait for the end of every other transaction that has asked for the same name."""
        ...

    def require_whole(self, connection: Connection) -> None:
        """Before a commit: every statement of the transaction counts. Raises BackendUnavailable."""
        ...

    def names_missing_parent(self, error: IntegrityError) -> bool:
        """Whether a row points to one that is not there, rather than repeating a key."""
        ...

    def starting(self) -> AbstractContextManager[object]:
        """A context for what connects at the start: what keeps it from connecting is told with the setting to look at."""
        ...

    def count_on(self, connection: Connection, table: str, column: str) -> None:
        """After rows came with numbers of their own: the next number is a new one."""
        ...


def database_at(url: str, *, busy_timeout_s: float, writers: int, statement_s: float | None = None) -> Database:
    """The database that the URL names. Raises BadField.

    Args:
        url: SQLite file or PostgreSQL server.
        busy_timeout_s: How long a transaction waits for what another one holds.
        writers: How many may write at once, where the database can have several.
        statement_s: How long a statement may take on a server, None for its default.

    """
    if url.startswith(("postgresql:", "postgres:")):
        return Postgres(url, busy_timeout_s=busy_timeout_s, writers=writers, statement_s=statement_s)
    return Sqlite(url, busy_timeout_s=busy_timeout_s)


_EXPECTED: Final = "sqlite:///path/to/catalog.db or postgresql://user:password@host:5432/database"


class Sqlite:
    """A SQLite file. Several processes of one host may share it; never put it on a network disk."""

    writers: Final = 1
    """SQLite has one write lock: more of our threads waiting for it would only starve the one that holds it."""

    ends_reads_inline: Final = True
    """Ending a read does no I/O here, so it needs no thread."""

    def __init__(self, url: str, *, busy_timeout_s: float) -> None:
        try:
            self._url = make_url(url)
        except ArgumentError:
            raise BadField(f"The catalog's URL cannot be read; expected {_EXPECTED}.", field="url") from None
        if self._url.get_backend_name() != "sqlite" or self._url.database in (None, "", ":memory:"):
            raise BadField(f"The catalog needs an SQLite file or a PostgreSQL server: {_EXPECTED}.", field="url")
        self._busy_timeout_s = busy_timeout_s
        self.path: Final = Path(str(self._url.database))

    def prepare(self) -> None:
        """Folder (0700) and file (0600), where they are not there yet. Raises BackendUnavailable."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # SQLite gives its -wal and -shm files the mode of the database.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise BackendUnavailable("The catalog's file cannot be opened.") from error

    def exists(self) -> bool:
        """Whether the file is there and begun."""
        return self.path.is_file() and self.path.stat().st_size > 0

    def readers(self, connections: int) -> Engine:
        """Connections that can only read."""
        return self._engine("BEGIN", poolclass=QueuePool, pool_size=connections, read_only=True)

    def writer(self) -> Engine:
        """The connection that takes the right to write at the start of a transaction.

        A deferred transaction that reads first and writes later fails at once, without waiting, when another process has
        written in between.
        """
        return self._engine("BEGIN IMMEDIATE", poolclass=QueuePool, pool_size=self.writers)

    def migrator(self) -> Engine:
        """A connection whose transaction keeps every other migration out until it ends.

        Foreign keys are off, as SQLite asks for when a table is made anew; `check` looks at them afterwards.
        """
        return self._engine("BEGIN IMMEDIATE", poolclass=NullPool, foreign_keys=False, busy_timeout_s=_MIGRATION_WAIT_S)

    def check(self, connection: Connection) -> None:
        """After a migration: every reference still holds. Raises BackendUnavailable."""
        if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
            raise BackendUnavailable("The migration would leave rows without their parents.")

    def attempt(self, connection: Connection) -> AbstractContextManager[object]:
        """Nothing to do: a statement that fails undoes itself alone."""
        return nullcontext()

    def keep_others_out(self, connection: Connection, name: str) -> None:
        """Nothing to do: one transaction writes at a time."""

    def require_whole(self, connection: Connection) -> None:
        """Nothing to do: such a statement leaves the transaction as it was."""

    def names_missing_parent(self, error: IntegrityError) -> bool:
        """Whether a row points to one that is not there, rather than repeating a key."""
        return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY

    def starting(self) -> AbstractContextManager[object]:
        """Nothing to do: what is wrong with a file, `prepare` tells."""
        return nullcontext()

    def count_on(self, connection: Connection, table: str, column: str) -> None:
        """Nothing to do: AUTOINCREMENT looks at the highest number that ever was."""

    def _engine(
        self,
        begin: str,
        *,
        poolclass: type[Pool],
        read_only: bool = False,
        foreign_keys: bool = True,
        busy_timeout_s: float | None = None,
        **pool: Any,
    ) -> Engine:
        wait_s = self._busy_timeout_s if busy_timeout_s is None else busy_timeout_s
        if poolclass is QueuePool:
            # Turns decide who may have a connection; every transaction is ended before its connection goes back.
            pool |= {"max_overflow": 0, "pool_timeout": wait_s, "pool_reset_on_return": None}
        engine = create_engine(
            self._url,
            poolclass=poolclass,
            json_serializer=dump_json,
            json_deserializer=load_json,
            connect_args={"check_same_thread": False, "timeout": wait_s},
            **pool,
        )

        @event.listens_for(engine, "connect")
        def configure(connection: sqlite3.Connection, _record: object) -> None:
            connection.isolation_level = None  # the driver would begin transactions of its own
            _use_wal(connection, wait_s)
            for pragma in (
                "synchronous=FULL",  # an acknowledged upload survives the loss of power
                f"foreign_keys={'ON' if foreign_keys else 'OFF'}",
                "cache_size=-4096",  # KiB, per connection: the writer's fills to its bound with everything that it ever touched
                # A read after a write by somebody else begins with an empty map, and faulting its pages in costs more than reading
                # them; an error of the disk under a map is a SIGBUS that ends the process (sqlite.org/mmap.html).
                "mmap_size=0",
                "temp_store=MEMORY",
                "journal_size_limit=67108864",
                f"query_only={'ON' if read_only else 'OFF'}",
            ):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def start(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return engine


def _use_wal(connection: sqlite3.Connection, wait_s: float) -> None:
    """Switching the journal does not wait for a lock as other statements do, and it is done only once in a file's life."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


class Postgres:
    """A PostgreSQL server, 14 or newer, perhaps behind a pooler in transaction mode.

    Transactions that write to one tenant come one after another, as on SQLite: they lock the tenant's row when they read it.
    So what a service has read in such a transaction still holds when it writes, at the default isolation, and nothing has to be
    tried again. Readers wait for nobody; each sees one moment of the database for as long as its transaction lasts.
    """

    ends_reads_inline: Final = False

    def __init__(self, url: str, *, busy_timeout_s: float, writers: int, statement_s: float | None = None) -> None:
        # Here and not on top: an installation on SQLite need not have the driver.
        from safelight.adapters import postgres

        self._postgres = postgres
        self._url = postgres.checked(url)
        self._busy_timeout_s = busy_timeout_s
        self._statement_s = postgres.STATEMENT_S if statement_s is None else statement_s
        self._patience = postgres.Patience(self._statement_s)
        self.writers: Final = writers

    def prepare(self) -> None:
        """Nothing to do: who gave us the server made the database."""

    def exists(self) -> bool:
        """Always: connecting tells."""
        return True

    def readers(self, connections: int) -> Engine:
        """Connections whose transactions can only read, from one snapshot."""
        return self._engine(connections, self._begin("ISOLATION LEVEL REPEATABLE READ READ ONLY"))

    def writer(self) -> Engine:
        """Each statement sees what was committed before it, which is what a lock that has been waited for asks for."""
        return self._engine(self.writers, self._begin("ISOLATION LEVEL READ COMMITTED"))

    def migrator(self) -> Engine:
        """The lock is waited for as long as another may migrate; what follows gives up soon, because requests wait behind it."""
        postgres = self._postgres
        begin = postgres.beginning(
            "ISOLATION LEVEL READ COMMITTED",
            statement_s=_MIGRATION_WAIT_S,
            lock_s=_MIGRATION_WAIT_S,
            settings=f" SELECT pg_advisory_xact_lock({postgres.Lock.MIGRATION.value}, 1);"
            f" SET LOCAL lock_timeout = '{_DDL_LOCK_S}s'; SET LOCAL statement_timeout = '{_DDL_STATEMENT_S}s';",
        )
        return self._engine(0, begin, postgres.Patience(_MIGRATION_WAIT_S))

    def check(self, connection: Connection) -> None:
        """Nothing to do: references were held all the time."""

    def attempt(self, connection: Connection) -> AbstractContextManager[object]:
        """A savepoint: without it PostgreSQL takes no further statement after one that failed."""
        return connection.begin_nested()

    def keep_others_out(self, connection: Connection, name: str) -> None:
        """A lock that ends with the transaction; two names of one hash only wait for each other."""
        digest = hashlib.sha256(name.encode()).digest()
        number = int.from_bytes(digest[:4], "big", signed=True)
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({self._postgres.Lock.NAME.value}, {number})")

    def require_whole(self, connection: Connection) -> None:
        """A COMMIT after a failed statement is answered with a quiet ROLLBACK, which must not pass for success."""
        driver: psycopg.Connection[Any] | None = connection.connection.driver_connection
        if driver is not None and driver.info.transaction_status.name == "INERROR":
            raise BackendUnavailable("A statement of the transaction has failed, so it cannot be committed.")

    def names_missing_parent(self, error: IntegrityError) -> bool:
        """Foreign key violation, SQLSTATE 23503."""
        return getattr(error.orig, "sqlstate", None) == "23503"

    def starting(self) -> AbstractContextManager[object]:
        """Wrong passwords, missing databases and absent servers are told apart."""
        return self._postgres.starting(self._url, "SAFELIGHT_CATALOG__URL")

    def count_on(self, connection: Connection, table: str, column: str) -> None:
        """The sequence goes on behind the highest number; without numbers it stays."""
        last = f'SELECT max("{column}") FROM "{table}"'  # noqa: S608 (names of our own tables)
        connection.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), ({last}))")

    def _begin(self, mode: str) -> str:
        # The server's default takes the disk for one that has to turn: it would rather read a whole table than walk an index.
        settings = " SET LOCAL random_page_cost = 1.1;"
        return self._postgres.beginning(mode, statement_s=self._statement_s, lock_s=self._busy_timeout_s, settings=settings)

    def _engine(self, connections: int, begin: str, patience: postgres.Patience | None = None) -> Engine:
        return self._postgres.engine(
            self._url,
            size=connections,
            wait_s=self._busy_timeout_s,
            begin=begin,
            patience=patience or self._patience,
            json_serializer=dump_json,
            json_deserializer=load_json,
        )
