"""Carried: what `safelight move` and `backup` ask of rows, in whatever catalog they are kept. Beside `tables`; connects to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Select, Table, literal, select, tuple_

from safelight.adapters.catalog.secretbox import SecretBox
from safelight.adapters.catalog.tables import metadata, unfinished_moves
from safelight.errors import BadField
from safelight.ports.archive import Row

TABLES: Final = {str(table.name): table for table in metadata.sorted_tables if table is not unfinished_moves}
"""By name, parents first."""
HALF_FILLED: Final = "A move into this catalog is not finished; give `safelight move` the same words again ({source})."


def table_named(name: str) -> Table:
    """Raises BadField."""
    try:
        return TABLES[name]
    except KeyError:
        raise BadField(f"There is no table {name}.", field="table") from None


def require_columns(table: Table, rows: Sequence[Row]) -> None:
    """Raises BadField for rows of another release."""
    for row in rows:
        if unknown := set(row) ^ set(table.columns.keys()):
            raise BadField(f"Rows of {table.name} have other columns here: {', '.join(sorted(unknown))}.")


def page_of(table: Table, after: Row | None, limit: int) -> Select[Any]:
    """Rows along the primary key, from behind the one of `after`."""
    keys = table.primary_key.columns
    rows = select(table).order_by(*keys).limit(limit)
    if after is None:
        return rows
    return rows.where(tuple_(*keys) > tuple_(*(literal(after[column.name], column.type) for column in keys)))


def last_of(table: Table) -> Select[Any]:
    """The row at the end of the primary key."""
    return select(table).order_by(*(column.desc() for column in table.primary_key.columns)).limit(1)


def as_row(table: Table, values: Sequence[Any]) -> Row:
    """What SQLAlchemy has answered; its names are no plain text, which orjson would want."""
    return dict(zip(map(str, table.columns.keys()), values, strict=True))


def opened(box: SecretBox, table: Table, row: Row) -> Row:
    """The row with its secrets in the clear."""
    return dict(row) | {name: box.unseal(row[name], context=context) for name, context in _sealed(table, row)}


def sealed(box: SecretBox, table: Table, row: Row) -> dict[str, Any]:
    """The row as it is kept."""
    return dict(row) | {name: box.seal(row[name], context=context) for name, context in _sealed(table, row)}


def _sealed(table: Table, row: Row) -> list[tuple[str, str]]:
    """The sealed columns that hold something, each with what its secret is sealed for in this row."""
    found = [(str(column.name), column.info.get("sealed_for")) for column in table.columns]
    return [(name, context.format_map(row)) for name, context in found if context and row[name] is not None]
