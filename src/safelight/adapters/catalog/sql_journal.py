"""The journal of one tenant in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, insert, select

from safelight.adapters.catalog.rows import moment
from safelight.adapters.catalog.tables import journal
from safelight.adapters.catalog.transactions import Transaction, reading, writing
from safelight.domain.ids import ImageId, TenantId, UserId
from safelight.domain.journal import Entry, Numbered
from safelight.domain.queries import micros

_ADD: Final = insert(journal)
_mine: Final = journal.c.tenant == bindparam("old_tenant")
_AFTER: Final = (
    select(journal).where(_mine, journal.c.number > bindparam("after")).order_by(journal.c.number).limit(bindparam("limit"))
)
_OF_OWNER: Final = _AFTER.where(journal.c.owner == bindparam("old_owner"))
_OF_IMAGE: Final = _AFTER.where(journal.c.image == bindparam("old_image"))
_LAST: Final = select(func.max(journal.c.number)).where(_mine)
_OLDEST: Final = select(journal.c.number, journal.c.at).where(_mine).order_by(journal.c.number).limit(bindparam("limit"))
_FORGET: Final = delete(journal).where(_mine, journal.c.number <= bindparam("last"))


def write_entry(transaction: Transaction, tenant: TenantId, entry: Entry) -> None:
    """A row at the end."""
    transaction.connection.execute(
        _ADD,
        {
            "tenant": tenant,
            "image": entry.image,
            "owner": entry.owner,
            "name": entry.name,
            "at": micros(entry.at),
            "details": entry.details(),
        },
    )


@dataclass(frozen=True, slots=True)
class SqlJournal:
    """Keeps JournalRecords."""

    transaction: Transaction
    tenant: TenantId

    @writing
    def add(self, entry: Entry) -> None:
        """A new row."""
        write_entry(self.transaction, self.tenant, entry)

    @reading
    def after(
        self, number: int, *, owner: UserId | None = None, image: ImageId | None = None, limit: int = 200
    ) -> list[Numbered]:
        """Along the tenant's numbers, or the image's."""
        statement = _OF_IMAGE if image is not None else _OF_OWNER if owner is not None else _AFTER
        if image is not None and owner is not None:
            statement = statement.where(journal.c.owner == bindparam("old_owner"))
        values = {"old_tenant": self.tenant, "after": number, "old_owner": owner, "old_image": image, "limit": limit}
        rows: Any = self.transaction.connection.execute(statement, values).mappings()
        return [_read(row) for row in rows]

    @reading
    def last(self) -> int:
        """The end of the tenant's numbers."""
        return self.transaction.connection.execute(_LAST, {"old_tenant": self.tenant}).scalar() or 0

    @writing
    def sweep(self, before: datetime, limit: int = 1000) -> int:
        """From the beginning, up to the first that is too young."""
        oldest = self.transaction.connection.execute(_OLDEST, {"old_tenant": self.tenant, "limit": limit}).all()
        last = 0
        count = 0
        for row in oldest:
            if row.at >= micros(before):
                break
            last, count = row.number, count + 1
        if count:
            self.transaction.connection.execute(_FORGET, {"old_tenant": self.tenant, "last": last})
        return count

    @writing
    def forget(self, owner: UserId, limit: int) -> int:
        """Along the tenant's numbers."""
        mine = (journal.c.tenant == self.tenant) & (journal.c.owner == owner)
        rows = self.transaction.connection.execute(select(journal.c.number).where(mine).order_by(journal.c.number).limit(limit))
        numbers = [row.number for row in rows]
        if numbers:
            self.transaction.connection.execute(delete(journal).where(journal.c.number.in_(numbers)))
        return len(numbers)


def _read(row: Any) -> Numbered:
    entry = Entry(image=row["image"], owner=row["owner"], name=row["name"], at=moment(row["at"]), **row["details"])
    return Numbered(row["number"], entry)
