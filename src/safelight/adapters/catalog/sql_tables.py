"""SqlTables: the catalog's rows as they lie, for `safelight move` and `backup`. Beside SqlCatalog on the same database, and knows no record.

Sealed columns say so where they are declared (`tables.sealed_for`), so that a secret leaves one catalog open and enters the next
sealed with that one's key, whatever table it is in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, delete, insert, select

from safelight.adapters.catalog.carried import TABLES, as_row, last_of, opened, page_of, require_columns, sealed, table_named
from safelight.adapters.catalog.engines import database_at
from safelight.adapters.catalog.secretbox import SecretBox
from safelight.adapters.catalog.sql import require_current
from safelight.adapters.catalog.tables import unfinished_moves
from safelight.adapters.catalog.transactions import told_as_ours
from safelight.errors import BackendUnavailable
from safelight.ports.archive import Row

T = TypeVar("T")

STATEMENT_S: Final = 600.0
"""Emptying a catalog of millions is one statement; nobody else is served meanwhile."""


class SqlTables:
    """Keeps Tables.

    Args:
        url: As SqlCatalog takes it.
        secrets: Opens and seals the sealed columns.

    """

    def __init__(self, url: str, *, secrets: SecretBox) -> None:
        self._database: Final = database_at(url, busy_timeout_s=10.0, writers=1, statement_s=STATEMENT_S)
        self._box: Final = secrets
        self._engines: tuple[Engine, Engine] | None = None
        self._held: Connection | None = None
        self._thread: Final = ThreadPoolExecutor(1, thread_name_prefix="tables")

    @property
    def names(self) -> Sequence[str]:
        """Parents first, as SQLAlchemy sorts them."""
        return tuple(TABLES)

    async def open(self) -> None:
        """Connect and look at the schema's revision."""
        await self._run(self._open)

    async def close(self) -> None:
        """Let go of both connections."""
        engines, self._engines = self._engines, None
        for engine in engines or ():
            await asyncio.to_thread(engine.dispose)

    @asynccontextmanager
    async def moment(self) -> AsyncIterator[None]:
        """One transaction of the reader, whose snapshot is taken at once."""
        await self._run(self._hold)
        try:
            yield
        finally:
            await self._run(self._let_go)

    async def read(self, table: str, *, after: Row | None = None, limit: int = 500) -> list[Row]:
        """Along the primary key."""
        asked = table_named(table)

        def work(connection: Connection) -> list[Row]:
            return [opened(self._box, asked, as_row(asked, row)) for row in connection.execute(page_of(asked, after, limit))]

        return await self._reading(work)

    async def last(self, table: str) -> Row | None:
        """From the end of the primary key."""
        asked = table_named(table)

        def work(connection: Connection) -> Row | None:
            row = connection.execute(last_of(asked)).first()
            return None if row is None else opened(self._box, asked, as_row(asked, row))

        return await self._reading(work)

    async def write(self, table: str, rows: Sequence[Row]) -> None:
        """In one transaction; a counter goes on behind the numbers that came."""
        asked = table_named(table)
        if not rows:
            return
        require_columns(asked, rows)

        def work(connection: Connection) -> None:
            connection.execute(insert(asked), [sealed(self._box, asked, row) for row in rows])
            counter = asked.autoincrement_column
            if counter is not None:
                self._database.count_on(connection, asked.name, counter.name)

        await self._writing(work)

    async def clear(self) -> None:
        """Children first."""

        def work(connection: Connection) -> None:
            for table in reversed(list(TABLES.values())):
                connection.execute(delete(table))

        await self._writing(work)

    async def filling(self) -> str | None:
        """The one row of `unfinished_moves`."""
        return await self._reading(lambda connection: connection.execute(select(unfinished_moves.c.source)).scalar())

    async def set_filling(self, by: str | None) -> None:
        """That row, written or removed."""

        def work(connection: Connection) -> None:
            connection.execute(delete(unfinished_moves))
            if by is not None:
                connection.execute(insert(unfinished_moves), {"source": by})

        await self._writing(work)

    def _open(self) -> None:
        if self._engines is None:
            engines = self._database.readers(1), self._database.writer()
            try:
                with self._database.starting(), told_as_ours(self._database), engines[0].connect() as connection:
                    require_current(connection)
            except BaseException:
                for engine in engines:
                    engine.dispose()
                raise
            self._engines = engines

    async def _reading(self, work: Callable[[Connection], T]) -> T:
        return await self._run(lambda: self._transacted(0, work))

    async def _writing(self, work: Callable[[Connection], T]) -> T:
        return await self._run(lambda: self._transacted(1, work))

    def _hold(self) -> None:
        if self._engines is None:
            raise BackendUnavailable("The catalog is not open.")
        with told_as_ours(self._database):
            connection = self._engines[0].connect()
            try:
                connection.begin()
                require_current(connection)
            except BaseException:
                connection.close()
                raise
        self._held = connection

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            with told_as_ours(self._database):
                held.close()

    def _transacted(self, which: int, work: Callable[[Connection], T]) -> T:
        if self._engines is None:
            raise BackendUnavailable("The catalog is not open.")
        if which == 0 and self._held is not None:
            with told_as_ours(self._database):
                return work(self._held)
        with told_as_ours(self._database), self._engines[which].begin() as connection:
            return work(connection)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
