"""What caches are to let go of, in DynamoDB: an item in its tenant's partition, and while it waits another that tells when it is due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from safelight.adapters.catalog.dynamodb import items
from safelight.adapters.catalog.dynamodb.items import Item
from safelight.adapters.catalog.dynamodb.transaction import Transaction
from safelight.domain.ids import PurgeId, TenantId
from safelight.domain.purges import OURS, Purge, by_turns
from safelight.domain.queries import micros
from safelight.errors import AlreadyExists, DamagedRecord, Missing, Stale

log = structlog.get_logger()

_IN_LINE: Final = 5000
"""Of what is due, which is a hundred bytes each; who comes behind them waits until there are fewer."""


@dataclass(frozen=True, slots=True)
class DynamoPurges:
    """Keeps PurgeRecords."""

    transaction: Transaction

    async def add(self, purge: Purge) -> None:
        """A new item."""
        self.transaction.require_writing()
        item = items.purge_item(purge)
        if await self.transaction.item(items.key_of(item)) is not None:
            raise AlreadyExists
        self.transaction.add(item, otherwise=AlreadyExists, unit=purge.id)
        self._wait_for(item)

    async def get(self, tenant: TenantId, purge_id: PurgeId) -> Purge:
        """By its key."""
        return items.purge_of(await self._found(tenant, purge_id))

    async def save(self, purge: Purge) -> None:
        """Change what differs."""
        self.transaction.require_writing()
        before = await self._found(purge.tenant, purge.id)
        if before["revision"] != purge.revision - 1:
            raise Stale
        after = items.purge_item(purge)
        self.transaction.change(before, after, expected={"revision": before["revision"]}, unit=purge.id)
        if (before.get("due_at"), before["state"] in OURS) != (after.get("due_at"), purge.is_ours):
            if before.get("due_at") is not None:
                self.transaction.remove(items.purge_due_key(before), unit=purge.id)
            self._wait_for(after)

    async def due(self, at: datetime, *, is_ours: bool, limit: int = 100) -> list[Purge]:
        """Along the partition of what is due, of which so many take turns."""
        high = items.number_key(micros(at)) + "\U0010ffff"
        waiting = await self.transaction.collection(items.purges_due(is_ours=is_ours), high=high, limit=max(_IN_LINE, limit))
        due = by_turns(waiting, lambda one: str(one["tenant"]))[:limit]
        keys = [(items.purges(one["tenant"]), one["purge"]) for one in due]
        found = await self.transaction.items(keys)
        readable: list[Purge] = []
        for key in keys:
            try:
                readable += [items.purge_of(found[key])] if key in found else []
            except DamagedRecord:
                log.error("purge.unreadable", purge=key[1])
        return readable

    async def page(self, tenant: TenantId, *, before: str = "", limit: int = 50) -> list[Purge]:
        """Along the tenant's partition, backwards."""
        some = await self.transaction.collection(items.purges(tenant), high=before or None, limit=limit + 1, is_descending=True)
        return [items.purge_of(item) for item in some if item["id"] != before][:limit]  # bounds are inclusive

    async def sweep(self, tenant: TenantId, before: datetime, limit: int = 500) -> int:
        """The oldest of the tenant's partition; what lies behind one that has not ended comes to its turn later."""
        self.transaction.require_writing()
        oldest = await self.transaction.collection(items.purges(tenant), limit=limit)
        old = [item for item in oldest if item.get("due_at") is None and item["updated_at"] < micros(before)]
        for item in old:
            self.transaction.remove(items.key_of(item), expected={"revision": item["revision"]}, unit=item["id"])
        return len(old)

    def _wait_for(self, item: Item) -> None:
        if item.get("due_at") is not None:
            self.transaction.put(items.purge_due(item), unit=item["id"])

    async def _found(self, tenant: TenantId, purge_id: PurgeId) -> Item:
        item = await self.transaction.item((items.purges(tenant), purge_id))
        if item is None:
            raise Missing
        return item
