"""What is known before the tenant is known, and the outbox, in DynamoDB. All of it in the table itself, so none of it lags."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson

from safelight.adapters.catalog import rows
from safelight.adapters.catalog.dynamodb import items
from safelight.adapters.catalog.dynamodb.accounts import api_key_of, user_of
from safelight.adapters.catalog.dynamodb.items import Item, placed
from safelight.adapters.catalog.dynamodb.journal import write_entry
from safelight.adapters.catalog.dynamodb.numbers import SHARDS, numbers
from safelight.adapters.catalog.dynamodb.people import DynamoPeopleDirectory
from safelight.adapters.catalog.dynamodb.purges import DynamoPurges
from safelight.adapters.catalog.dynamodb.trail import DynamoTrail
from safelight.adapters.catalog.dynamodb.transaction import Transaction
from safelight.domain.accounts import ApiKey, Tenant, User
from safelight.domain.events import AlbumEvent, Event, ImageEvent, from_json
from safelight.domain.ids import AlbumId, EndpointId, ImageId, KeyId, RedevelopmentId, TenantId
from safelight.domain.journal import Entry
from safelight.domain.queries import micros
from safelight.domain.usage import months
from safelight.errors import AlreadyExists, Missing, Stale
from safelight.ports.catalog import Told

_ASKED: Final = 8
"""Endpoints whose line is looked at at the same time."""


def tenant_of(item: Item) -> Tenant:
    """The tenant from its item."""
    return rows.tenant_of(defaultdict(lambda: None, item))


async def read_tenant(transaction: Transaction, tenant: TenantId) -> Tenant:
    """The tenant as it is now. Raises Missing."""
    item = await transaction.item(items.tenant_key(tenant))
    if item is None:
        raise Missing
    return tenant_of(item)


def write_event(transaction: Transaction, event: Event) -> None:
    """An item in the outbox, and what it adds to the journal; committed with what else belongs to the image, album or code."""
    now = datetime.now(UTC)
    match event:
        case ImageEvent():
            unit: str = event.image
        case AlbumEvent():
            unit = event.album
        case _:
            unit = event.occurrence
    number = numbers.next(sum(unit.encode()) % SHARDS)
    payload = orjson.dumps(event.to_json()).decode()
    columns = {"number": number, "name": event.name, "payload": payload, "created_at": micros(now)}
    transaction.put(placed(items.told_key(number), columns), unit=unit)
    if isinstance(event, ImageEvent):
        write_entry(transaction, event.tenant, Entry.of(event, now))


@dataclass(frozen=True, slots=True)
class DynamoOutbox:
    """Keeps Outbox."""

    transaction: Transaction
    purges: DynamoPurges

    async def untold(self, limit: int = 100) -> list[Told]:
        """The oldest of every shard, in one order."""
        shards = (self.transaction.collection(f"OUTBOX#{shard}", limit=limit) for shard in range(SHARDS))
        found = [item for shard in await asyncio.gather(*shards) for item in shard]
        told = [
            Told(item["number"], from_json(item["name"], orjson.loads(item["payload"])), rows.moment(item["created_at"]))
            for item in found
        ]
        return sorted(told, key=lambda one: one.number)[:limit]

    async def mark_told(self, numbers: Sequence[int]) -> None:
        """Told events are deleted."""
        self.transaction.require_writing()
        for number in numbers:
            self.transaction.remove(items.told_key(number), unit=str(number))

    async def due(self, at: datetime) -> list[tuple[TenantId, EndpointId]]:
        """The list of endpoints, then the first in line of each, some at a time."""
        turns = asyncio.Semaphore(_ASKED)
        high = items.number_key(micros(at)) + "\U0010ffff"

        async def is_due(entry: Item) -> bool:
            async with turns:
                line = items.deliveries_due(entry["tenant"], entry["SK"])
                return bool(await self.transaction.collection(line, high=high, limit=1))

        entries = await self.transaction.collection(items.ENDPOINTS)
        found = await asyncio.gather(*map(is_due, entries))
        return [(TenantId(one["tenant"]), EndpointId(one["SK"])) for one, waits in zip(entries, found, strict=True) if waits]

    async def redeveloping(self, limit: int = 100) -> list[tuple[TenantId, RedevelopmentId]]:
        """Along their partition."""
        entries = await self.transaction.collection(items.REDEVELOPING, limit=limit)
        return [(TenantId(one["tenant"]), RedevelopmentId(one["SK"])) for one in entries]


@dataclass(frozen=True, slots=True)
class DynamoDirectory:
    """Keeps Directory."""

    transaction: Transaction
    outbox: DynamoOutbox
    people: DynamoPeopleDirectory
    trail: DynamoTrail

    async def key(self, key_id: KeyId) -> tuple[ApiKey, User]:
        """Whose it is, then key and user at once."""
        holder = await self.transaction.item(items.api_key_holder(key_id))
        if holder is None:
            raise Missing
        key, user = items.api_key(holder["tenant"], key_id), items.user_key(holder["tenant"], holder["user"])
        found = await self.transaction.items([key, user])
        if len(found) != 2:
            raise Missing
        return api_key_of(found[key]), user_of(found[user])

    async def tenant_of(self, id: ImageId | AlbumId) -> TenantId:
        """By its own key: an id is given once."""
        item = await self.transaction.item(items.image_key(id)) or await self.transaction.item(items.album_key(id))
        if item is None:
            raise Missing
        return TenantId(item["tenant"])

    async def tenants(self) -> list[Tenant]:
        """All of them: an installation has few."""
        entries = await self.transaction.collection("TENANTS")
        found = await self.transaction.items(items.tenant_key(entry["SK"]) for entry in entries)
        return sorted(map(tenant_of, found.values()), key=lambda tenant: (tenant.created_at, tenant.id))

    async def add_tenant(self, tenant: Tenant) -> None:
        """The tenant, an entry in the list, and an item that holds the name."""
        self.transaction.require_writing()
        item = placed(items.tenant_key(tenant.id), rows.tenant_columns(tenant) | rows.stored_columns(tenant.stored))
        if await self.transaction.item(items.key_of(item)) is not None:
            raise AlreadyExists
        await self._claim(tenant)
        self.transaction.add(item, otherwise=AlreadyExists, unit=tenant.id)
        self.transaction.put(placed(items.tenant_entry(tenant.id), {}), unit=tenant.id)

    async def save_tenant(self, tenant: Tenant) -> None:
        """Change what differs, the holder of the name with it."""
        self.transaction.require_writing()
        before = await self.transaction.item(items.tenant_key(tenant.id))
        if before is None:
            raise Missing
        if before["revision"] != tenant.revision - 1:
            raise Stale
        columns = rows.tenant_columns(tenant)
        if before["name"] != tenant.name:
            await self._claim(tenant)
            self.transaction.remove(items.tenant_name(before["name"]), unit=tenant.id)
        self.transaction.change(before, columns, expected={"revision": before["revision"]}, unit=tenant.id)

    async def strip_tenant(self, tenant: TenantId) -> None:
        """Usage lies by month; marks of what was used once name no tenant, and expire."""
        self.transaction.require_writing()
        created_at = (await read_tenant(self.transaction, tenant)).created_at
        for key in await self.transaction.collection(items.tenant_key(tenant)[0], items.ring_key(tenant, "")[1]):
            self.transaction.remove(items.key_of(key), unit=key["SK"])
        for month in months(created_at, datetime.now(UTC)):
            self.transaction.remove(items.usage_key(tenant, month), unit=month)

    async def _claim(self, tenant: Tenant) -> None:
        rows.checked_text(tenant.name)
        name = items.tenant_name(tenant.name)
        if await self.transaction.item(name) is not None:
            raise AlreadyExists
        self.transaction.add(placed(name, {"tenant": tenant.id}), otherwise=AlreadyExists, unit=tenant.id)
