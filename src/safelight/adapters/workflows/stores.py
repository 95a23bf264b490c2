"""Stores: where DBOS keeps its rows, an SQLite file or a PostgreSQL server. Chosen by URL; used by the dbos adapter only.

A store is told apart by three things: the engine DBOS gets, the slots that go with it, and the statement that a ping asks.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from safelight.adapters.workflows.slots import FileSlots, PostgresSlots, Slots
from safelight.errors import BadField, BadOption

if TYPE_CHECKING:
    import sqlalchemy as sa
    from dbos import DBOSConfig

SCHEMA: Final = "safelight_dbos"
"""Of DBOS's tables on PostgreSQL, apart from the catalog's."""

POOL: Final = 8
"""Connections to PostgreSQL for all runs, questions and the dispatcher of one process, beside the one that holds the slot."""

_LAUNCH_S: Final = 300.0
"""A statement of DBOS's migrations may build an index over every run there is."""


class Store(Protocol):
    """What the adapter asks of a database beyond what DBOS does with it."""

    @property
    def ping(self) -> str:
        """A statement that reads one row of DBOS's at most."""
        ...

    def slots(self) -> Slots:
        """The leases of this database's processes."""
        ...

    def engine(self) -> sa.Engine:
        """For DBOS to launch with."""
        ...

    def config(self) -> DBOSConfig:
        """What DBOS is to know of it."""
        ...

    def settle(self) -> None:
        """DBOS has launched: from now on nothing takes long."""
        ...


def store_at(url: str) -> Store:
    """The store that the URL names. Raises BadOption."""
    if url.startswith(("postgresql:", "postgres:")):
        return PostgresStore(url)
    return SqliteStore(url)


class SqliteStore:
    """A file on a disk of this host, in a folder that exists; several processes of the host may share it."""

    ping: Final = "SELECT count(*) FROM (SELECT 1 FROM workflow_status LIMIT 1) AS one"

    def __init__(self, url: str) -> None:
        scheme, _, path = url.partition("://")
        if scheme != "sqlite" or not path.startswith("/") or path == "/" or ":memory:" in path or "?" in path:
            raise BadOption(
                "Workflows are kept in sqlite:////path/to/file or postgresql://user:password@host:5432/database,"
                f" not in {scheme or 'nothing'}."
            )
        self._url = url
        self._path = Path(path[1:])

    def slots(self) -> Slots:
        """Locked files beside the database."""
        return FileSlots(self._path)

    def engine(self) -> sa.Engine:
        """An engine that loses nothing: DBOS's own leaves the journal in rollback mode, which is slower and no safer."""
        import sqlalchemy as sa

        # Two connections for all threads: more only fight for SQLite's one write lock, whose waiters sleep and starve (16 runs at
        # once on 8 connections: the same throughput, the slowest 0.8-1.4 s; on 2: 0.3 s).
        engine = sa.create_engine(self._url, pool_size=2, max_overflow=0)

        @sa.event.listens_for(engine, "connect")
        def prepare(connection: Any, record: Any) -> None:  # a DBAPI connection has no common type
            # Take the write lock at BEGIN: a transaction that reads first and writes then cannot wait its turn in WAL mode.
            connection.isolation_level = "IMMEDIATE"
            for pragma in ("busy_timeout=30000", "foreign_keys=ON", "journal_mode=WAL", "synchronous=FULL"):
                connection.execute(f"PRAGMA {pragma}").close()

        return engine

    def config(self) -> DBOSConfig:
        """The URL decides which of its dialects DBOS speaks."""
        return {"system_database_url": self._url}

    def settle(self) -> None:
        """Nothing to do."""


class PostgresStore:
    """A schema of its own in a PostgreSQL database that any number of machines share.

    The slot is a lock of its session: a pooler between us and the server has to work in session mode.
    """

    ping: Final = f"SELECT count(*) FROM (SELECT 1 FROM {SCHEMA}.workflow_status LIMIT 1) AS one"  # noqa: S608  a constant

    def __init__(self, url: str) -> None:
        from safelight.adapters import postgres

        try:
            self._url = postgres.checked(url)
        except BadField as error:
            raise BadOption(error.detail) from None
        self._postgres = postgres
        self._patience = postgres.Patience(_LAUNCH_S)

    def slots(self) -> Slots:
        """Advisory locks on a connection of their own."""
        return PostgresSlots(self._url)

    def engine(self) -> sa.Engine:
        """Connections that wait for minutes while DBOS launches, and for seconds ever after."""
        self._patience.statement_s = _LAUNCH_S
        return self._postgres.engine(
            self._url,
            size=POOL,
            wait_s=30.0,  # a run waits for a connection rather than fail
            patience=self._patience,
            session=self._postgres.IDLE_LIMIT,
        )

    def config(self) -> DBOSConfig:
        """No LISTEN: we send no messages, and it would cost a connection. DBOS fixes that when it first makes its schema."""
        return {"dbos_system_schema": SCHEMA, "use_listen_notify": False}

    def settle(self) -> None:
        """The patience ends."""
        self._patience.statement_s = self._postgres.STATEMENT_S
