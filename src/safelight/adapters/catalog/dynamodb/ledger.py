"""What tenants have used, in DynamoDB: an item a tenant in the partition of its month, which is added to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from safelight.adapters.catalog.dynamodb import items
from safelight.adapters.catalog.dynamodb.items import Item
from safelight.adapters.catalog.dynamodb.transaction import Transaction
from safelight.domain.ids import TenantId
from safelight.domain.tenants import Stored
from safelight.domain.usage import Counts, Usage
from safelight.errors import Stale

_COUNTS: Final = tuple(each.name for each in fields(Counts))
_SUMS: Final = ("samples", "byte_hours", "image_hours")


@dataclass(frozen=True, slots=True)
class DynamoLedger:
    """Keeps Ledger."""

    transaction: Transaction

    async def add(self, tenant: TenantId, month: str, counts: Counts) -> None:
        """Numbers are added to, whatever they have become, and made by that."""
        self.transaction.require_writing()
        before = await self._item(tenant, month)
        more = {name: value for name, value in asdict(counts).items() if value}
        self._add(before, more, expected={})

    async def sample(self, tenant: TenantId, month: str, hour: int, stored: Stored) -> None:
        """On condition that nobody has noted an hour since."""
        self.transaction.require_writing()
        before = await self._item(tenant, month)
        if before.get("last_hour", -1) >= hour:
            raise Stale
        more = {"samples": 1, "byte_hours": stored.bytes, "image_hours": stored.images}
        self._add(before, more, expected={"last_hour": before.get("last_hour")})
        after = await self._item(tenant, month)
        self.transaction.change(after, {"last_hour": hour}, expected={}, unit=before["SK"])

    async def usage(self, tenant: TenantId, month: str) -> Usage:
        """By its key."""
        return _usage_of(await self._item(tenant, month))

    async def usages(self, month: str) -> list[Usage]:
        """The month's partition."""
        return [_usage_of(item) for item in await self.transaction.collection(items.usage_key("", month)[0])]

    async def _item(self, tenant: TenantId, month: str) -> Item:
        key = items.usage_key(tenant, month)
        return await self.transaction.item(key) or {"PK": key[0], "SK": key[1]}

    def _add(self, before: Item, more: dict[str, int], *, expected: dict[str, Any]) -> None:
        for name, by in more.items():
            self.transaction.increase(before, name, by, unit=before["SK"], expected=expected)
            before = {**before, name: before.get(name, 0) + by}


def _usage_of(item: Item) -> Usage:
    return Usage(
        tenant=TenantId(item["SK"]),
        month=item["PK"].removeprefix("USAGE#"),
        counts=Counts(**{name: item.get(name, 0) for name in _COUNTS}),
        **{name: item.get(name, 0) for name in _SUMS},
    )
