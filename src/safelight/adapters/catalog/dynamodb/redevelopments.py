"""Redevelopments in DynamoDB: an item in its tenant's partition, and while there is something to do another that says so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from safelight.adapters.catalog.dynamodb import items
from safelight.adapters.catalog.dynamodb.items import Item
from safelight.adapters.catalog.dynamodb.transaction import Transaction
from safelight.adapters.catalog.own import require_own
from safelight.domain.ids import RedevelopmentId, TenantId
from safelight.domain.queries import micros
from safelight.domain.redevelopments import ENDED, Redevelopment
from safelight.errors import AlreadyExists, Missing, Stale


@dataclass(frozen=True, slots=True)
class DynamoRedevelopments:
    """Keeps RedevelopmentRecords."""

    transaction: Transaction
    tenant: TenantId

    async def add(self, redevelopment: Redevelopment) -> None:
        """A new item."""
        self.transaction.require_writing()
        require_own(redevelopment.tenant, self.tenant)
        item = items.redevelopment_item(redevelopment)
        if await self.transaction.item(items.key_of(item)) is not None:
            raise AlreadyExists
        self.transaction.add(item, otherwise=AlreadyExists, unit=redevelopment.id)
        self._note(item)

    async def get(self, redevelopment_id: RedevelopmentId) -> Redevelopment:
        """By its key."""
        return items.redevelopment_of(await self._found(redevelopment_id))

    async def save(self, redevelopment: Redevelopment) -> None:
        """Change what differs."""
        self.transaction.require_writing()
        require_own(redevelopment.tenant, self.tenant)
        before = await self._found(redevelopment.id)
        if before["revision"] != redevelopment.revision - 1:
            raise Stale
        after = items.redevelopment_item(redevelopment)
        self.transaction.change(before, after, expected={"revision": before["revision"]}, unit=redevelopment.id)
        if before["is_at_work"] and not after["is_at_work"]:
            self.transaction.remove(items.key_of(items.at_work(before)), unit=redevelopment.id)
        elif after["is_at_work"] and not before["is_at_work"]:
            self._note(after)

    async def page(self, *, before: str = "", limit: int = 50) -> list[Redevelopment]:
        """Along the tenant's partition, backwards."""
        partition = items.redevelopments(self.tenant)
        some = await self.transaction.collection(partition, high=before or None, limit=limit + 1, is_descending=True)
        return [items.redevelopment_of(item) for item in some if item["id"] != before][:limit]  # bounds are inclusive

    async def sweep(self, before: datetime, limit: int = 500) -> int:
        """The oldest of the tenant's partition; what lies behind one that has not ended comes to its turn later."""
        self.transaction.require_writing()
        oldest = await self.transaction.collection(items.redevelopments(self.tenant), limit=limit)
        old = [
            item for item in oldest if not item["is_at_work"] and item["state"] in ENDED and item["updated_at"] < micros(before)
        ]
        for item in old:
            self.transaction.remove(items.key_of(item), expected={"revision": item["revision"]}, unit=item["id"])
        return len(old)

    def _note(self, item: Item) -> None:
        if item["is_at_work"]:
            self.transaction.put(items.at_work(item), unit=item["id"])

    async def _found(self, redevelopment_id: RedevelopmentId) -> Item:
        item = await self.transaction.item((items.redevelopments(self.tenant), redevelopment_id))
        if item is None:
            raise Missing
        return item
