"""The journal of one tenant in DynamoDB: each entry under its tenant, and again under its image.

Numbers are taken from the clock before the commit, so that of two entries the later may be there first. Entries therefore count
as told only when they are old enough for everything before them to have been committed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson

from safelight.adapters.catalog import rows
from safelight.adapters.catalog.dynamodb import items
from safelight.adapters.catalog.dynamodb.items import Item
from safelight.adapters.catalog.dynamodb.numbers import first_at, numbers
from safelight.adapters.catalog.dynamodb.transaction import Transaction
from safelight.domain.ids import ImageId, TenantId, UserId
from safelight.domain.journal import Entry, Numbered
from safelight.domain.queries import micros

SETTLED_S: Final = 2.0
"""How much younger than another entry one can be that is committed before it: a commit's time and the difference of two clocks."""
_PAGE: Final = 500


def write_entry(transaction: Transaction, tenant: TenantId, entry: Entry) -> None:
    """Two items, committed with what else belongs to the image."""
    columns: Item = {
        "number": numbers.next(),
        "image": entry.image,
        "owner": entry.owner,
        "name": entry.name,
        "at": micros(entry.at),
        "details": orjson.dumps(entry.details()).decode(),
    }
    for item in items.journal_items(tenant, columns):
        transaction.put(item, unit=entry.image)


@dataclass(frozen=True, slots=True)
class DynamoJournal:
    """Keeps JournalRecords."""

    transaction: Transaction
    tenant: TenantId

    async def add(self, entry: Entry) -> None:
        """Its items."""
        self.transaction.require_writing()
        write_entry(self.transaction, self.tenant, entry)

    async def after(
        self, number: int, *, owner: UserId | None = None, image: ImageId | None = None, limit: int = 200
    ) -> list[Numbered]:
        """Along the partition of the tenant, or of the image; an owner's are picked out of the tenant's."""
        end = _settled()
        partition = items.journal(self.tenant) if image is None else items.journal_of_image(self.tenant, image)
        found: list[Numbered] = []
        while len(found) < limit and number < end:
            low, high = items.journal_place(number + 1), items.journal_place(end)
            page = await self.transaction.collection(partition, low=low, high=high, limit=_PAGE)
            read = [_read(item) for item in page]
            found += [one for one in read if owner in (None, one.entry.owner)]
            if len(page) < _PAGE:
                break
            number = read[-1].number
        return found[:limit]

    async def last(self) -> int:
        """A place between what is told and what is to come."""
        return _settled()

    async def sweep(self, before: datetime, limit: int = 1000) -> int:
        """From the beginning of the tenant's partition."""
        self.transaction.require_writing()
        oldest = await self.transaction.collection(items.journal(self.tenant), high=items.journal_place(_settled()), limit=limit)
        count = 0
        for item in oldest:
            if item["at"] >= micros(before):
                break
            for key in _keys(self.tenant, item["image"], item["number"]):
                self.transaction.remove(key, unit=item["image"])
            count += 1
        return count

    async def forget(self, owner: UserId, limit: int) -> int:
        """Picked out of the tenant's partition, what is not settled yet too."""
        self.transaction.require_writing()
        count, low = 0, items.journal_place(0)
        while True:
            page = await self.transaction.collection(items.journal(self.tenant), low=low, limit=_PAGE)
            for item in page:
                if item["owner"] == owner and count < limit:
                    for key in _keys(self.tenant, item["image"], item["number"]):
                        self.transaction.remove(key, unit=item["image"])
                    count += 1
            if len(page) < _PAGE or count == limit:
                return count
            low = page[-1]["SK"] + "\x00"


def _settled() -> int:
    return first_at(time.time() - SETTLED_S)


def _keys(tenant: TenantId, image: str, number: int) -> tuple[items.Key, items.Key]:
    place = items.journal_place(number)
    return (items.journal(tenant), place), (items.journal_of_image(tenant, image), place)


def _read(item: Item) -> Numbered:
    entry = Entry(
        image=ImageId(item["image"]),
        owner=UserId(item["owner"]),
        name=item["name"],
        at=rows.moment(item["at"]),
        **orjson.loads(item["details"]),
    )
    return Numbered(item["number"], entry)
