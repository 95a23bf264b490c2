"""Picture: rows as they were when the table was read from end to end, sorted, in a file that is gone with it.

DynamoDB gives items in the order of a hash, and `safelight move` compares rows in the order of their primary keys. The file is SQLite
with the catalog's own tables, so that rows are asked of it as of any SQL catalog. Secrets lie in it as they are sealed in the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from sqlalchemy import JSON, Column, MetaData, Table, Text, create_engine, delete, exists, insert, select
from sqlalchemy.pool import StaticPool
from sqlalchemy.schema import CreateTable

from safelight.adapters.catalog.carried import TABLES, as_row, last_of, page_of
from safelight.adapters.catalog.dynamodb.carrying import tags_of
from safelight.ports.archive import Row

_LARGEST: Final = 2**63 - 1
_NUMBERED: Final = ("events", "journal")
_beyond: Final = Table(
    "beyond", MetaData(), Column("table", Text, primary_key=True), Column("place", Text, primary_key=True), Column("row", JSON)
)
"""Rows that wait for a number, since theirs may be more than SQL keeps."""


class Picture:
    """Everything in it is done by one thread at a time.

    Args:
        folder: Where the file lies while the picture is open; it is about as large as the rows.

    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder: Final = TemporaryDirectory(prefix="picture-", dir=folder)
        url = f"sqlite:///{Path(self._folder.name) / 'rows.db'}"
        engine = create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
        self._engine: Final = engine
        self._connection: Final = engine.connect()
        # It is read by nobody after a crash.
        self._connection.exec_driver_sql("PRAGMA journal_mode = OFF")
        self._connection.exec_driver_sql("PRAGMA synchronous = OFF")
        for table in (*TABLES.values(), _beyond):
            self._connection.execute(CreateTable(table))

    def close(self) -> None:
        """The file with it."""
        self._connection.close()
        self._engine.dispose()
        self._folder.cleanup()

    def add(self, found: Mapping[str, Sequence[Row]]) -> None:
        """Rows by their tables, in any order; an image's tags come with it."""
        for name, rows in found.items():
            if name in _NUMBERED:
                waiting = [{"table": name, "place": f"{row['number']:038d}", "row": dict(row)} for row in rows]
                self._connection.execute(insert(_beyond), waiting)
            elif rows:
                self._connection.execute(insert(TABLES[name]), list(map(dict, rows)))
            if name == "images" and (tags := [tag for row in rows for tag in tags_of(row)]):
                self._connection.execute(insert(TABLES["image_tags"]), tags)

    def settle(self) -> None:
        """Give numbers, and leave out what leads nowhere.

        A number that SQL cannot keep becomes the one behind the last: only their order says anything. What has lost its parent
        was on its way out when whoever removed it ended early.
        """
        for name in _NUMBERED:
            last = 0
            waiting = select(_beyond.c.row).where(_beyond.c.table == name).order_by(_beyond.c.place)
            for some in self._connection.execute(waiting).scalars().partitions(500):
                numbered: list[dict[str, Any]] = []
                for row in some:
                    last = row["number"] if last < row["number"] <= _LARGEST else last + 1
                    numbered.append(row | {"number": last})
                self._connection.execute(insert(TABLES[name]), numbered)
        self._connection.execute(delete(_beyond))
        for table in TABLES.values():
            for key in table.foreign_keys:
                parent = key.column.table
                if parent is not table:
                    self._connection.execute(delete(table).where(~exists().where(key.column == key.parent)))

    def page(self, table: Table, after: Row | None, limit: int) -> list[Row]:
        """Rows by primary key, from behind that one."""
        return [as_row(table, row) for row in self._connection.execute(page_of(table, after, limit))]

    def last(self, table: Table) -> Row | None:
        """The row with the highest primary key."""
        row = self._connection.execute(last_of(table)).first()
        return None if row is None else as_row(table, row)
