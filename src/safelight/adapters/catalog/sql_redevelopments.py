"""Redevelopments of one tenant in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select, update

from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.rows import redevelopment_columns, redevelopment_of
from safelight.adapters.catalog.tables import redevelopments
from safelight.adapters.catalog.transactions import Transaction, claiming, reading, writing
from safelight.domain.ids import RedevelopmentId, TenantId
from safelight.domain.queries import micros
from safelight.domain.redevelopments import ENDED, Redevelopment
from safelight.errors import DamagedRecord, Missing, Stale

_table: Final = redevelopments
_this: Final = (_table.c.id == bindparam("old_id")) & (_table.c.tenant == bindparam("old_tenant"))
_GET: Final = select(_table).where(_this)
_SAVE: Final = update(_table).where(_this, _table.c.revision == bindparam("old_revision"))
_PAGE: Final = (
    select(_table).where(_table.c.tenant == bindparam("old_tenant")).order_by(_table.c.id.desc()).limit(bindparam("limit"))
)
_OLD: Final = (
    select(_table.c.id)
    .where(
        _table.c.tenant == bindparam("old_tenant"),
        _table.c.is_at_work.is_(False),
        _table.c.state.in_(ENDED),
        _table.c.updated_at < bindparam("at"),
    )
    .order_by(_table.c.id)
    .limit(bindparam("limit"))
)
_SWEEP: Final = delete(_table).where(_table.c.id.in_(_OLD.scalar_subquery()))


@dataclass(frozen=True, slots=True)
class SqlRedevelopments:
    """Keeps RedevelopmentRecords."""

    transaction: Transaction
    tenant: TenantId

    @claiming
    def add(self, redevelopment: Redevelopment) -> None:
        """A new row."""
        require_own(redevelopment.tenant, self.tenant)
        self.transaction.connection.execute(insert(_table), redevelopment_columns(redevelopment))

    @reading
    def get(self, redevelopment_id: RedevelopmentId) -> Redevelopment:
        """By its key."""
        return self._found(redevelopment_id)

    @writing
    def save(self, redevelopment: Redevelopment) -> None:
        """Replace the row of the revision before."""
        require_own(redevelopment.tenant, self.tenant)
        columns = redevelopment_columns(redevelopment)
        old = {"old_id": columns.pop("id"), "old_tenant": columns.pop("tenant"), "old_revision": redevelopment.revision - 1}
        if self.transaction.connection.execute(_SAVE, columns | old).rowcount != 1:
            self._found(redevelopment.id)
            raise Stale

    @reading
    def page(self, *, before: str = "", limit: int = 50) -> list[Redevelopment]:
        """Along ix_redevelopments_tenant, backwards."""
        statement = _PAGE if not before else _PAGE.where(_table.c.id < before)
        return self._all(statement, old_tenant=self.tenant, limit=limit)

    @writing
    def sweep(self, before: datetime, limit: int = 500) -> int:
        """Along ix_redevelopments_tenant."""
        values = {"old_tenant": self.tenant, "at": micros(before), "limit": limit}
        return self.transaction.connection.execute(_SWEEP, values).rowcount

    def _found(self, redevelopment_id: RedevelopmentId) -> Redevelopment:
        found = self._all(_GET, old_id=redevelopment_id, old_tenant=self.tenant)
        if not found:
            raise Missing
        return found[0]

    def _all(self, statement: Any, **values: Any) -> list[Redevelopment]:  # select() has no useful type
        rows: Any = self.transaction.connection.execute(statement, values).mappings()
        try:
            return [redevelopment_of(row) for row in rows]
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedRecord("A row of the catalog cannot be read.") from error
