"""What tenants have used, in SQL: a row a month, which is added to."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from safelight.adapters.catalog.tables import usage as table
from safelight.adapters.catalog.transactions import Transaction, reading, writing
from safelight.domain.ids import TenantId
from safelight.domain.tenants import Stored
from safelight.domain.usage import Counts, Usage
from safelight.errors import Stale

_COUNTS: Final = tuple(each.name for each in fields(Counts))
_SUMS: Final = ("samples", "byte_hours", "image_hours")
_this: Final = (table.c.tenant == bindparam("old_tenant")) & (table.c.month == bindparam("old_month"))
_READ: Final = select(table).where(_this)
_MONTH: Final = select(table).where(table.c.month == bindparam("old_month")).order_by(table.c.tenant)
_BEGIN: Final = insert(table)
_ADD: Final = update(table).where(_this).values({name: table.c[name] + bindparam(f"more_{name}") for name in _COUNTS})
_SAMPLE: Final = (
    update(table)
    .where(_this, table.c.last_hour < bindparam("hour"))
    .values({name: table.c[name] + bindparam(f"more_{name}") for name in _SUMS} | {"last_hour": bindparam("hour")})
)


@dataclass(frozen=True, slots=True)
class SqlLedger:
    """Keeps Ledger."""

    transaction: Transaction

    @writing
    def add(self, tenant: TenantId, month: str, counts: Counts) -> None:
        """Along the primary key."""
        more = {f"more_{name}": value for name, value in asdict(counts).items()}
        self._changed(_ADD, tenant, month, more)

    @writing
    def sample(self, tenant: TenantId, month: str, hour: int, stored: Stored) -> None:
        """Where the last hour lies before this one."""
        more = {"more_samples": 1, "more_byte_hours": stored.bytes, "more_image_hours": stored.images, "hour": hour}
        self._changed(_SAMPLE, tenant, month, more)

    @reading
    def usage(self, tenant: TenantId, month: str) -> Usage:
        """By the primary key."""
        row: Any = self.transaction.connection.execute(_READ, {"old_tenant": tenant, "old_month": month}).mappings().first()
        return _usage_of(row) if row else Usage(tenant=tenant, month=month, counts=Counts())

    @reading
    def usages(self, month: str) -> list[Usage]:
        """Along ix_usage_month."""
        rows: Any = self.transaction.connection.execute(_MONTH, {"old_month": month}).mappings()
        return [_usage_of(row) for row in rows]

    def _changed(self, statement: Any, tenant: TenantId, month: str, more: dict[str, int]) -> None:
        values = {"old_tenant": tenant, "old_month": month, **more}
        if self.transaction.connection.execute(statement, values).rowcount:
            return
        zeros = dict.fromkeys((*_COUNTS, *_SUMS), 0)
        # Who is taken aback by another's row, which has just been begun or whose hour is later, finds it now.
        with suppress(IntegrityError), self.transaction.attempt():
            self.transaction.connection.execute(_BEGIN, {"tenant": tenant, "month": month, "last_hour": -1, **zeros})
        if not self.transaction.connection.execute(statement, values).rowcount:
            raise Stale


def _usage_of(row: Any) -> Usage:
    return Usage(
        tenant=row["tenant"],
        month=row["month"],
        counts=Counts(**{name: row[name] for name in _COUNTS}),
        **{name: row[name] for name in _SUMS},
    )
