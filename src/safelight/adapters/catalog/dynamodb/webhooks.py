"""The webhook endpoints of one tenant and their deliveries in DynamoDB. Secrets are sealed on the way.

A delivery is an item in its endpoint's partition, and while it waits another that tells when it is due. What an endpoint that is
gone leaves behind is found by nobody, and expires.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from safelight.adapters.catalog import rows
from safelight.adapters.catalog.dynamodb import items
from safelight.adapters.catalog.dynamodb.items import Item
from safelight.adapters.catalog.dynamodb.transaction import PRESENT, Transaction
from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.secretbox import SecretBox
from safelight.domain.ids import DeliveryId, EndpointId, TenantId
from safelight.domain.queries import micros
from safelight.domain.webhooks import Delivery, DeliveryState, Endpoint
from safelight.errors import AlreadyExists, DamagedRecord, Missing, Stale


@dataclass(frozen=True, slots=True)
class DynamoDeliveries:
    """Keeps DeliveryRecords."""

    transaction: Transaction
    tenant: TenantId

    async def add(self, delivery: Delivery) -> None:
        """A new item, as long as the endpoint is there."""
        self.transaction.require_writing()
        require_own(delivery.tenant, self.tenant)
        item = items.delivery_item(delivery)
        if not await self._is_there(delivery.endpoint):
            raise Missing
        if await self.transaction.item(items.key_of(item)) is not None:
            raise AlreadyExists
        unit = _unit(delivery)
        self.transaction.add(item, otherwise=AlreadyExists, unit=unit)
        self.transaction.check(items.endpoint_key(self.tenant, delivery.endpoint), PRESENT, otherwise=Missing, unit=unit)
        self._wait_for(item, unit)

    async def get(self, endpoint: EndpointId, delivery_id: DeliveryId) -> Delivery:
        """By its key."""
        return items.delivery_of(await self._found(endpoint, delivery_id))

    async def save(self, delivery: Delivery) -> None:
        """Change what differs."""
        self.transaction.require_writing()
        require_own(delivery.tenant, self.tenant)
        before = await self._found(delivery.endpoint, delivery.id)
        if before["revision"] != delivery.revision - 1:
            raise Stale
        after, unit = items.delivery_item(delivery), _unit(delivery)
        self.transaction.change(before, after, expected={"revision": before["revision"]}, unit=unit)
        if before.get("due_at") != after.get("due_at"):
            if before.get("due_at") is not None:
                self.transaction.remove(items.delivery_due_key(before), unit=unit)
            self._wait_for(after, unit)

    async def due(self, endpoint: EndpointId, at: datetime, limit: int = 10) -> list[Delivery]:
        """Along the endpoint's partition of what is due."""
        if not await self._is_there(endpoint):
            return []
        high = items.number_key(micros(at)) + "\U0010ffff"
        due = await self.transaction.collection(items.deliveries_due(self.tenant, endpoint), high=high, limit=limit)
        partition = items.deliveries(self.tenant, endpoint)
        found = await self.transaction.items((partition, one["delivery"]) for one in due)
        return [items.delivery_of(found[key]) for one in due if (key := (partition, one["delivery"])) in found]

    async def page(
        self, endpoint: EndpointId, *, before: str = "", state: DeliveryState | None = None, limit: int = 50
    ) -> list[Delivery]:
        """Along the endpoint's partition, backwards."""
        if not await self._is_there(endpoint):
            return []
        found: list[Delivery] = []
        while True:
            some = await self.transaction.collection(
                items.deliveries(self.tenant, endpoint), high=before or None, limit=limit + 1, is_descending=True
            )
            read = [item for item in some if item["id"] != before]  # bounds are inclusive
            found += [items.delivery_of(item) for item in read if state in (None, item["state"])]
            if len(found) >= limit or len(some) <= limit:
                return found[:limit]
            before = read[-1]["id"]

    async def sweep(self, endpoint: EndpointId, at: datetime, limit: int = 500) -> int:
        """The oldest of the endpoint's partition; what lies behind one that was replayed comes to its turn later."""
        self.transaction.require_writing()
        oldest = await self.transaction.collection(items.deliveries(self.tenant, endpoint), limit=limit)
        old = [item for item in oldest if item["forget_at_us"] <= micros(at)]
        for item in old:
            unit = f"{endpoint}/{item['id']}"
            self.transaction.remove(items.key_of(item), expected={"revision": item["revision"]}, unit=unit)
            if item.get("due_at") is not None:
                self.transaction.remove(items.delivery_due_key(item), unit=unit)
        return len(old)

    def _wait_for(self, item: Item, unit: str) -> None:
        if item.get("due_at") is not None:
            self.transaction.put(items.delivery_due(item), unit=unit)

    async def _is_there(self, endpoint: EndpointId) -> bool:
        return await self.transaction.item(items.endpoint_key(self.tenant, endpoint)) is not None

    async def _found(self, endpoint: EndpointId, delivery_id: DeliveryId) -> Item:
        item = await self.transaction.item((items.deliveries(self.tenant, endpoint), delivery_id))
        if item is None or not await self._is_there(endpoint):
            raise Missing
        return item


@dataclass(frozen=True, slots=True)
class DynamoWebhooks:
    """Keeps WebhookRecords."""

    transaction: Transaction
    tenant: TenantId
    box: SecretBox
    deliveries: DynamoDeliveries

    async def add(self, endpoint: Endpoint) -> None:
        """A new item with sealed secrets, and an entry in the list of all."""
        self.transaction.require_writing()
        require_own(endpoint.tenant, self.tenant)
        item = self._item(endpoint)
        if await self.transaction.item(items.key_of(item)) is not None:
            raise AlreadyExists
        self.transaction.add(item, otherwise=AlreadyExists, unit=endpoint.id)
        self._list(endpoint)

    async def get(self, endpoint_id: EndpointId) -> Endpoint:
        """By its key, unsealed."""
        return self._opened(await self._found(endpoint_id))

    async def all(self) -> list[Endpoint]:
        """All of them, sorted here."""
        found = await self.transaction.collection(items.tenant_key(self.tenant)[0], "WEBHOOK#")
        return sorted(map(self._opened, found), key=lambda one: (one.created_at, one.id), reverse=True)

    async def save(self, endpoint: Endpoint) -> None:
        """Change what differs, the list with it."""
        self.transaction.require_writing()
        require_own(endpoint.tenant, self.tenant)
        before = await self._found(endpoint.id)
        if before["revision"] != endpoint.revision - 1:
            raise Stale
        self.transaction.change(before, self._item(endpoint), expected={"revision": before["revision"]}, unit=endpoint.id)
        self._list(endpoint)

    async def remove(self, endpoint_id: EndpointId) -> None:
        """The item and its entry."""
        self.transaction.require_writing()
        before = await self._found(endpoint_id)
        self.transaction.remove(items.key_of(before), expected=PRESENT, otherwise=Missing, unit=endpoint_id)
        self.transaction.remove(items.endpoint_entry(endpoint_id), unit=endpoint_id)

    def _list(self, endpoint: Endpoint) -> None:
        pk, sk = items.endpoint_entry(endpoint.id)
        if endpoint.is_enabled:
            self.transaction.put({"PK": pk, "SK": sk, "tenant": self.tenant}, unit=endpoint.id)
        else:
            self.transaction.remove((pk, sk), unit=endpoint.id)

    def _item(self, endpoint: Endpoint) -> Item:
        previous, context = endpoint.previous_secret, f"webhook/{self.tenant}/{endpoint.id}"
        pk, sk = items.endpoint_key(self.tenant, endpoint.id)
        return rows.endpoint_columns(endpoint) | {
            "PK": pk,
            "SK": sk,
            "secret": self.box.seal(endpoint.secret, context=context),
            "previous_secret": self.box.seal(previous, context=f"{context}/previous") if previous else None,
        }

    def _opened(self, item: Item) -> Endpoint:
        previous, context = item.get("previous_secret"), f"webhook/{self.tenant}/{item['id']}"
        columns: dict[str, Any] = {one.name: item.get(one.name) for one in fields(Endpoint)}
        try:
            return rows.endpoint_of(
                columns,
                secret=self.box.unseal(item["secret"], context=context),
                previous_secret=self.box.unseal(previous, context=f"{context}/previous") if previous else b"",
            )
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedRecord("An item of the catalog cannot be read.") from error

    async def _found(self, endpoint_id: EndpointId) -> Item:
        item = await self.transaction.item(items.endpoint_key(self.tenant, endpoint_id))
        if item is None:
            raise Missing
        return item


def _unit(delivery: Delivery) -> str:
    return f"{delivery.endpoint}/{delivery.id}"
