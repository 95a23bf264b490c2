"""What caches are to let go of, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog
from sqlalchemy import ColumnElement, Select, bindparam, delete, func, insert, select, update

from safelight.adapters.catalog.rows import purge_columns, purge_of
from safelight.adapters.catalog.tables import purges
from safelight.adapters.catalog.transactions import Transaction, claiming, reading, writing
from safelight.domain.ids import PurgeId, TenantId
from safelight.domain.purges import OURS, Purge
from safelight.domain.queries import micros
from safelight.errors import DamagedRecord, Missing, Stale

log = structlog.get_logger()

_this: Final = (purges.c.id == bindparam("old_id")) & (purges.c.tenant == bindparam("old_tenant"))
_GET: Final = select(purges).where(_this)
_SAVE: Final = update(purges).where(_this, purges.c.revision == bindparam("old_revision"))
_is_ours: Final = purges.c.state.in_(sorted(OURS))
_turn: Final = func.row_number().over(partition_by=purges.c.tenant, order_by=[purges.c.due_at, purges.c.id])


def _due(which: ColumnElement[bool]) -> Select[Any]:
    waiting = select(purges.c.id, _turn.label("turn")).where(purges.c.due_at <= bindparam("at"), which).subquery()
    found = select(purges.c.id).join(waiting, waiting.c.id == purges.c.id)
    return found.order_by(waiting.c.turn, purges.c.due_at, purges.c.id).limit(bindparam("limit"))


_DUE: Final = {True: _due(_is_ours), False: _due(~_is_ours)}
_SOME: Final = select(purges).where(purges.c.id.in_(bindparam("ids", expanding=True)))
_PAGE: Final = (
    select(purges).where(purges.c.tenant == bindparam("old_tenant")).order_by(purges.c.id.desc()).limit(bindparam("limit"))
)
_OLD: Final = (
    select(purges.c.id)
    .where(purges.c.tenant == bindparam("old_tenant"), purges.c.due_at.is_(None), purges.c.updated_at < bindparam("at"))
    .order_by(purges.c.id)
    .limit(bindparam("limit"))
)
_SWEEP: Final = delete(purges).where(purges.c.id.in_(_OLD.scalar_subquery()))


@dataclass(frozen=True, slots=True)
class SqlPurges:
    """Keeps PurgeRecords."""

    transaction: Transaction

    @claiming
    def add(self, purge: Purge) -> None:
        """A new row."""
        self.transaction.connection.execute(insert(purges), purge_columns(purge))

    @reading
    def get(self, tenant: TenantId, purge_id: PurgeId) -> Purge:
        """By its key."""
        return self._found(tenant, purge_id)

    @writing
    def save(self, purge: Purge) -> None:
        """Replace the row of the revision before."""
        columns = purge_columns(purge)
        old = {"old_id": columns.pop("id"), "old_tenant": columns.pop("tenant"), "old_revision": purge.revision - 1}
        if self.transaction.connection.execute(_SAVE, columns | old).rowcount != 1:
            self._found(purge.tenant, purge.id)
            raise Stale

    @reading
    def due(self, at: datetime, *, is_ours: bool, limit: int = 100) -> list[Purge]:
        """What waits, along ix_purges_due_at; then those whose turn it is."""
        ids = list(self.transaction.connection.execute(_DUE[is_ours], {"at": micros(at), "limit": limit}).scalars())
        try:
            found = self._all(_SOME, ids=ids)
        except DamagedRecord:
            found = [purge for purge_id in ids for purge in self._if_readable(purge_id)]
        place = {purge_id: n for n, purge_id in enumerate(ids)}
        return sorted(found, key=lambda purge: place[purge.id])

    @reading
    def page(self, tenant: TenantId, *, before: str = "", limit: int = 50) -> list[Purge]:
        """Along ix_purges_tenant, backwards."""
        statement = _PAGE if not before else _PAGE.where(purges.c.id < before)
        return self._all(statement, old_tenant=tenant, limit=limit)

    @writing
    def sweep(self, tenant: TenantId, before: datetime, limit: int = 500) -> int:
        """Along ix_purges_tenant."""
        values = {"old_tenant": tenant, "at": micros(before), "limit": limit}
        return self.transaction.connection.execute(_SWEEP, values).rowcount

    def _if_readable(self, purge_id: str) -> list[Purge]:
        try:
            return self._all(_SOME, ids=[purge_id])
        except DamagedRecord:
            log.error("purge.unreadable", purge=purge_id)
            return []

    def _found(self, tenant: TenantId, purge_id: PurgeId) -> Purge:
        found = self._all(_GET, old_id=purge_id, old_tenant=tenant)
        if not found:
            raise Missing
        return found[0]

    def _all(self, statement: Any, **values: Any) -> list[Purge]:  # select() has no useful type
        rows: Any = self.transaction.connection.execute(statement, values).mappings()
        try:
            return [purge_of(row) for row in rows]
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedRecord("A row of the catalog cannot be read.") from error
