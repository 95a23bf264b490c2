"""SqlCatalog: the catalog in SQLite or PostgreSQL, written as portable SQLAlchemy Core. Wiring makes one per process.

SQLAlchemy runs synchronously in this adapter's own threads, as many as there are connections, so that a transaction that
has its turn never waits for a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Generic, TypeVar

import structlog
from sqlalchemy import Connection, Engine, inspect, select, text

from safelight.adapters.catalog.carried import HALF_FILLED
from safelight.adapters.catalog.engines import database_at
from safelight.adapters.catalog.migrations import HEAD
from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.secretbox import SecretBox
from safelight.adapters.catalog.sql_accounts import SqlAccounts, SqlApiKeys
from safelight.adapters.catalog.sql_albums import SqlAlbums
from safelight.adapters.catalog.sql_directory import SqlDirectory, SqlOutbox, read_tenant, write_event
from safelight.adapters.catalog.sql_factors import SqlFactors
from safelight.adapters.catalog.sql_images import SqlImages
from safelight.adapters.catalog.sql_issuers import SqlIssuers, SqlTrust
from safelight.adapters.catalog.sql_journal import SqlJournal
from safelight.adapters.catalog.sql_ledger import SqlLedger
from safelight.adapters.catalog.sql_people import SqlPeople, SqlPeopleDirectory
from safelight.adapters.catalog.sql_purges import SqlPurges
from safelight.adapters.catalog.sql_redevelopments import SqlRedevelopments
from safelight.adapters.catalog.sql_shares import SqlShares
from safelight.adapters.catalog.sql_trail import SqlTrail
from safelight.adapters.catalog.sql_uploads import SqlUploads
from safelight.adapters.catalog.sql_webhooks import SqlDeliveries, SqlWebhooks
from safelight.adapters.catalog.tables import unfinished_moves
from safelight.adapters.catalog.transactions import Transaction, told_as_ours, writing
from safelight.adapters.catalog.turns import Turns
from safelight.domain.accounts import Tenant
from safelight.domain.audit import INSTALLATION
from safelight.domain.events import Event
from safelight.domain.ids import TenantId
from safelight.errors import BackendUnavailable, WrongState
from safelight.ports.catalog import Directory, Journal, Records
from safelight.ports.ledger import Ledger

log = structlog.get_logger()

TURN_WAIT_S: Final = 10.0
"""How long a transaction waits for its turn; writers hold theirs for milliseconds."""


@dataclass(frozen=True, slots=True)
class SqlRecords:
    """Keeps Records."""

    transaction: Transaction
    tenant: Tenant
    images: SqlImages
    albums: SqlAlbums
    accounts: SqlAccounts
    uploads: SqlUploads
    people: SqlPeople
    factors: SqlFactors
    webhooks: SqlWebhooks
    trail: SqlTrail
    redevelopments: SqlRedevelopments

    @writing
    def emit(self, event: Event) -> None:
        """Into the outbox, in this transaction."""
        require_own(event.tenant, self.tenant.id)
        write_event(self.transaction, event)


@dataclass(frozen=True, slots=True)
class _Connected:
    """What an open catalog holds."""

    readers: Engine
    writer: Engine
    threads: ThreadPoolExecutor


class SqlCatalog:
    """Keeps Catalog.

    Args:
        url: sqlite:///path/to/catalog.db, or postgresql://user:password@host:5432/database as libpq reads it.
        secrets: Seals signing secrets: a SecretBox, or its key of 32 bytes.
        readers: Connections for transactions that read.
        writers: Connections for transactions that write; SQLite has one, whatever is said here.
        busy_timeout_s: How long a transaction waits for what another one holds, in seconds.
        statement_s: How long a statement may take on a server, in seconds; None for its default.
        is_whole: Open only on a catalog that no unfinished move is filling.

    """

    def __init__(
        self,
        url: str,
        *,
        secrets: SecretBox | bytes,
        readers: int = 4,
        writers: int = 4,
        busy_timeout_s: float = 5.0,
        statement_s: float | None = None,
        is_whole: bool = True,
    ) -> None:
        self._database: Final = database_at(url, busy_timeout_s=busy_timeout_s, writers=writers, statement_s=statement_s)
        self._is_whole: Final = is_whole
        self._box: Final = SecretBox(secrets) if isinstance(secrets, bytes) else secrets
        self._reading: Final = Turns(readers)
        self._writing: Final = Turns(self._database.writers)
        self._readers: Final = readers
        self._connected: _Connected | None = None

    async def open(self) -> None:
        """Connect and look at the schema's revision; alembic is not imported."""
        if self._connected is not None:
            return
        self._connected = await asyncio.to_thread(self._connect)

    async def close(self) -> None:
        """Running statements end first."""
        connected, self._connected = self._connected, None
        if connected is not None:
            await asyncio.to_thread(self._disconnect, connected)

    async def migrate(self) -> list[str]:
        """In one transaction that keeps others out: of two processes that start at once, one waits and finds it done."""
        applied = await asyncio.to_thread(self._migrate)
        if applied:
            log.info("catalog.migrated", revisions=applied)
        return applied

    async def plan(self) -> list[str]:
        """The revisions that `migrate` would apply, in order; nothing is changed. Raises WrongState for a newer schema."""
        return await asyncio.to_thread(self._plan)

    async def ping(self) -> None:
        """Read the schema's revision."""
        transaction = await self.begin(writes=False)
        try:
            await transaction.run(lambda: _revision(transaction.connection))
        finally:
            await transaction.end(commit=False)

    def tenant(self, tenant: TenantId, *, writes: bool = False) -> AbstractAsyncContextManager[Records]:
        """The tenant's row is read with the transaction's first statement, and locked by it where the transaction writes."""

        async def begun(transaction: Transaction) -> Records:
            row = await transaction.run(lambda: read_tenant(transaction, tenant, locks=writes))
            return SqlRecords(
                transaction,
                row,
                SqlImages(transaction, row.id),
                SqlAlbums(transaction, row.id, SqlShares(transaction, row.id)),
                SqlAccounts(transaction, row.id, self._box, SqlApiKeys(transaction, row.id), SqlIssuers(transaction, row.id)),
                SqlUploads(transaction, row.id),
                SqlPeople(transaction, row.id),
                SqlFactors(transaction, row.id, self._box),
                SqlWebhooks(transaction, row.id, self._box, SqlDeliveries(transaction, row.id)),
                SqlTrail(transaction, row.id),
                SqlRedevelopments(transaction, row.id),
            )

        return _Block(self, begun, writes=writes)

    def journal(self, tenant: TenantId, *, writes: bool = False) -> AbstractAsyncContextManager[Journal]:
        """The tenant's row is locked where the transaction writes, as by `tenant`: hence the order of numbers."""

        async def begun(transaction: Transaction) -> Journal:
            row = await transaction.run(lambda: read_tenant(transaction, tenant, locks=writes))
            return SqlJournal(transaction, row.id)

        return _Block(self, begun, writes=writes)

    def ledger(self, *, writes: bool = False) -> AbstractAsyncContextManager[Ledger]:
        """Begins with its first call."""

        async def begun(transaction: Transaction) -> Ledger:
            return SqlLedger(transaction)

        return _Block(self, begun, writes=writes)

    def directory(self, *, writes: bool = False) -> AbstractAsyncContextManager[Directory]:
        """Begins with its first call, so a single look-up is a single trip to a thread."""

        async def begun(transaction: Transaction) -> Directory:
            people = SqlPeopleDirectory(transaction, SqlTrust(transaction, self._box))
            return SqlDirectory(
                transaction, SqlOutbox(transaction, SqlPurges(transaction)), people, SqlTrail(transaction, INSTALLATION)
            )

        return _Block(self, begun, writes=writes)

    async def begin(self, *, writes: bool) -> Transaction:
        """A transaction that has its turn. Raises BackendUnavailable."""
        connected = self._connected
        if connected is None:
            raise BackendUnavailable("The catalog is not open.")
        turns = self._writing if writes else self._reading
        await turns.take(timeout_s=TURN_WAIT_S)
        engine = connected.writer if writes else connected.readers
        return Transaction(engine, self._database, connected.threads, turns, writes=writes)

    def _connect(self) -> _Connected:
        self._database.prepare()
        connected = _Connected(
            readers=self._database.readers(self._readers),
            writer=self._database.writer(),
            threads=ThreadPoolExecutor(self._readers + self._database.writers, thread_name_prefix="catalog"),
        )
        try:
            with self._database.starting(), told_as_ours(self._database), connected.readers.connect() as connection:
                require_current(connection)
                if self._is_whole:
                    _require_whole(connection)
        except BaseException:
            self._disconnect(connected)
            raise
        return connected

    def _disconnect(self, connected: _Connected) -> None:
        connected.threads.shutdown(wait=True)
        connected.readers.dispose()
        connected.writer.dispose()

    def _migrate(self) -> list[str]:
        self._database.prepare()
        engine = self._database.migrator()
        try:
            with self._database.starting(), told_as_ours(self._database), engine.begin() as connection:
                if _revision(connection) == HEAD:
                    return []
                # Alembic takes a quarter of a second to import, and most starts have nothing to migrate.
                from safelight.adapters.catalog.migrations.run import upgrade

                applied = upgrade(connection)
                self._database.check(connection)
                return applied
        finally:
            engine.dispose()

    def _plan(self) -> list[str]:
        if not self._database.exists():
            revision = None
        else:
            engine = self._database.readers(1)
            try:
                with self._database.starting(), told_as_ours(self._database), engine.connect() as connection:
                    revision = _revision(connection)
            finally:
                engine.dispose()
        if revision == HEAD:
            return []
        from safelight.adapters.catalog.migrations.run import pending

        return pending(revision)


T = TypeVar("T")


class _Block(Generic[T]):
    """`async with catalog.tenant(...)` and `catalog.directory(...)`: a turn, a transaction, what is done in it."""

    def __init__(self, catalog: SqlCatalog, begun: Callable[[Transaction], Awaitable[T]], *, writes: bool) -> None:
        self._catalog = catalog
        self._begun = begun
        self._writes = writes
        self._transaction: Transaction | None = None

    async def __aenter__(self) -> T:
        transaction = self._transaction = await self._catalog.begin(writes=self._writes)
        try:
            return await self._begun(transaction)
        except BaseException:
            await transaction.end(commit=False)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._transaction is not None
        await self._transaction.end(commit=error is None)


def _revision(connection: Connection) -> str | None:
    """What the schema says it is; None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def require_current(connection: Connection) -> None:
    """Raises WrongState when the schema is not the one that this release needs."""
    revision = _revision(connection)
    if revision is None:
        raise WrongState("The catalog has no schema yet; run `safelight migrate`.")
    if revision > HEAD:  # revisions begin with their number
        raise WrongState(
            f"The catalog's schema ({revision}) is newer than this release ({HEAD}), and `safelight migrate` "
            "only goes forward; run the newer release."
        )
    if revision < HEAD:
        raise WrongState(f"The catalog's schema is {revision}, this release needs {HEAD}; run `safelight migrate`.")


def _require_whole(connection: Connection) -> None:
    source = connection.execute(select(unfinished_moves.c.source)).scalar()
    if source is not None:
        raise WrongState(HALF_FILLED.format(source=source))
