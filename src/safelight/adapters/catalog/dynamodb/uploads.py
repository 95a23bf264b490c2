"""The uploads of one tenant in DynamoDB: each an item, and another that tells when somebody has to look after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from safelight.adapters.catalog.dynamodb import items
from safelight.adapters.catalog.dynamodb.items import Item
from safelight.adapters.catalog.dynamodb.transaction import Transaction
from safelight.adapters.catalog.own import require_own
from safelight.domain.ids import TenantId, UploadId
from safelight.domain.queries import micros
from safelight.domain.uploads import Upload
from safelight.errors import AlreadyExists, Missing, Stale


@dataclass(frozen=True, slots=True)
class DynamoUploads:
    """Keeps UploadRecords."""

    transaction: Transaction
    tenant: TenantId

    async def add(self, upload: Upload) -> None:
        """A new item."""
        self.transaction.require_writing()
        require_own(upload.tenant, self.tenant)
        item = items.upload_item(upload)
        if await self.transaction.item(items.key_of(item)) is not None:
            raise AlreadyExists
        self.transaction.add(item, otherwise=AlreadyExists, unit=upload.id)
        self._wait_for(item)

    async def get(self, upload_id: UploadId) -> Upload:
        """By its key."""
        return items.upload_of(await self._found(upload_id))

    async def save(self, upload: Upload) -> None:
        """Change what differs."""
        self.transaction.require_writing()
        require_own(upload.tenant, self.tenant)
        before = await self._found(upload.id)
        if before["revision"] != upload.revision - 1:
            raise Stale
        after = items.upload_item(upload)
        self.transaction.change(before, after, expected={"revision": before["revision"]}, unit=upload.id)
        if items.due_key(before) != items.due_key(after):
            self.transaction.remove(items.due_key(before), unit=upload.id)
            self._wait_for(after)

    async def remove(self, upload_id: UploadId) -> None:
        """Both items."""
        self.transaction.require_writing()
        before = await self._found(upload_id)
        self.transaction.remove(items.upload_key(upload_id), expected={"revision": before["revision"]}, unit=upload_id)
        self.transaction.remove(items.due_key(before), unit=upload_id)

    async def due(self, at: datetime, limit: int = 100) -> list[Upload]:
        """Along the tenant's partition of what is due, in the table itself."""
        high = items.number_key(micros(at)) + "\U0010ffff"
        due = await self.transaction.collection(items.due(self.tenant), high=high, limit=limit)
        found = await self.transaction.items(items.upload_key(one["upload"]) for one in due)
        return [items.upload_of(found[key]) for one in due if (key := items.upload_key(one["upload"])) in found]

    def _wait_for(self, item: Item) -> None:
        self.transaction.put(items.upload_due(item), unit=item["id"])

    async def _found(self, upload_id: UploadId) -> Item:
        item = await self.transaction.item(items.upload_key(upload_id))
        if item is None or item["tenant"] != self.tenant:
            raise Missing
        return item
