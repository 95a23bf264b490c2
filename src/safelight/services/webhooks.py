"""Webhooks: what an administrator does with the endpoints of the tenant, and with the log of what they were told.

What is to be told is written down by `announcing`, and sent by `courier`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import orjson
import structlog

from safelight.domain import access
from safelight.domain.accounts import Actor
from safelight.domain.addresses import Reach, parse
from safelight.domain.ids import DeliveryId, EndpointId, TenantId, least_id, new_id
from safelight.domain.webhooks import (
    MAX_ENDPOINTS,
    MAX_GRACE,
    PING,
    Delivery,
    DeliveryState,
    DisabledFor,
    Endpoint,
    message,
)
from safelight.errors import BadField, Busy, Stale, WrongState
from safelight.ports.catalog import Catalog, Records
from safelight.services.apart import apart
from safelight.services.stepup import StepUp
from safelight.signing import webhooks as signing

log = structlog.get_logger()

T = TypeVar("T")

_PORTION: Final = 50
"""Deliveries that are replayed in one transaction."""
_RACES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRules:
    """Where endpoints may be, and how long the log is kept."""

    reach: Reach
    is_plain_http: bool
    kept: timedelta


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Endpoints and their log."""

    catalog: Catalog
    clock: Callable[[], datetime]
    rules: WebhookRules
    step_up: StepUp
    written: Callable[[], None]
    """Called when there is something to send."""

    async def add(self, actor: Actor, *, url: str, events: Sequence[str] = (), description: str = "") -> Endpoint:
        """A new endpoint with a secret of its own.

        Raises BadField, SourceNotAllowed, SourceUnreachable, WrongState; StepUpRequired, since it hears of everybody's images.
        """
        access.require(actor, "webhooks.manage")
        await self.step_up.require(actor)
        now = self.clock()
        blank = Endpoint(
            id=EndpointId(new_id(now.timestamp())),
            tenant=actor.tenant,
            url=self._checked(url),
            secret=signing.new_secret(),
            created_at=now,
            updated_at=now,
            revision=0,
        )
        endpoint = blank.edited(at=now, events=tuple(events), description=description.strip())
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            if len(await records.webhooks.all()) >= MAX_ENDPOINTS:
                raise WrongState(f"A tenant has at most {MAX_ENDPOINTS} webhook endpoints.")
            await records.webhooks.add(endpoint)
        log.info("webhook.added", endpoint_id=endpoint.id)
        return endpoint

    async def list(self, actor: Actor) -> Sequence[Endpoint]:
        """Every endpoint of the tenant, newest first."""
        access.require(actor, "webhooks.read")
        async with self.catalog.tenant(actor.tenant) as records:
            return await records.webhooks.all()

    async def get(self, actor: Actor, endpoint_id: EndpointId) -> Endpoint:
        """One endpoint. Raises Missing."""
        access.require(actor, "webhooks.read")
        async with self.catalog.tenant(actor.tenant) as records:
            return await records.webhooks.get(endpoint_id)

    async def edit(
        self,
        actor: Actor,
        endpoint_id: EndpointId,
        changes: dict[str, Any],
        *,
        is_enabled: bool | None = None,
        if_revision: int | None = None,
    ) -> Endpoint:
        """Another url, events or description; off, or on again. Stale is of `if_revision` alone.

        Raises Missing, Stale, BadField and, of a URL, what `add` raises.
        """
        access.require(actor, "webhooks.manage")
        if "url" in changes:
            await self.step_up.require(actor)
            changes = changes | {"url": self._checked(changes["url"])}
        now = self.clock()

        async def edited(records: Records) -> Endpoint:
            before = await records.webhooks.get(endpoint_id)
            if if_revision is not None and before.revision != if_revision:
                raise Stale
            endpoint = before
            if is_enabled is not None and is_enabled != before.is_enabled:
                endpoint = before.enabled(at=now) if is_enabled else before.disabled(DisabledFor.ASKED, at=now)
                await records.webhooks.save(endpoint)
            if changes:
                endpoint = endpoint.edited(at=now, **changes)
                await records.webhooks.save(endpoint)
            return endpoint

        return await (self._again if if_revision is None else self._once)(actor.tenant, edited)

    async def rotate(self, actor: Actor, endpoint_id: EndpointId, *, grace: timedelta) -> Endpoint:
        """A new secret, which signs from now on; the one before signs beside it until the grace is over.

        Raises Missing, BadField, StepUpRequired.
        """
        access.require(actor, "webhooks.manage")
        await self.step_up.require(actor)
        if not timedelta(0) <= grace <= MAX_GRACE:
            raise BadField(f"The grace has 0 to {int(MAX_GRACE.total_seconds())} seconds.", field="grace_s")

        async def rotated(records: Records) -> Endpoint:
            before = await records.webhooks.get(endpoint_id)
            endpoint = before.rotated(signing.new_secret(), at=self.clock(), grace=grace)
            await records.webhooks.save(endpoint)
            return endpoint

        endpoint = await self._again(actor.tenant, rotated)
        log.info("webhook.rotated", endpoint_id=endpoint_id)
        return endpoint

    async def remove(self, actor: Actor, endpoint_id: EndpointId) -> None:
        """The endpoint gone, with its log; what is under way may still arrive. Raises Missing."""
        access.require(actor, "webhooks.manage")
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            await records.webhooks.remove(endpoint_id)
        log.info("webhook.removed", endpoint_id=endpoint_id)

    async def test(self, actor: Actor, endpoint_id: EndpointId) -> Delivery:
        """Send a `ping`, as everything is sent. Raises Missing, WrongState while it is off."""
        access.require(actor, "webhooks.manage")
        now = self.clock()
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            endpoint = _on(await records.webhooks.get(endpoint_id))
            delivery = Delivery(
                id=DeliveryId(new_id(now.timestamp())),
                tenant=endpoint.tenant,
                endpoint=endpoint.id,
                type=PING,
                body=orjson.dumps(message(PING, now, {"endpoint": endpoint.id})).decode(),
                created_at=now,
                due_at=now,
                forget_at=now + self.rules.kept,
            )
            await records.webhooks.deliveries.add(delivery)
        self.written()
        return delivery

    async def deliveries(
        self, actor: Actor, endpoint_id: EndpointId, *, before: str = "", state: DeliveryState | None = None, limit: int = 50
    ) -> Sequence[Delivery]:
        """A page of the log, newest first. Raises Missing."""
        access.require(actor, "webhooks.read")
        async with self.catalog.tenant(actor.tenant) as records:
            await records.webhooks.get(endpoint_id)
            return await records.webhooks.deliveries.page(endpoint_id, before=before, state=state, limit=limit)

    async def delivery(self, actor: Actor, endpoint_id: EndpointId, delivery_id: DeliveryId) -> Delivery:
        """One of it. Raises Missing."""
        access.require(actor, "webhooks.read")
        async with self.catalog.tenant(actor.tenant) as records:
            return await records.webhooks.deliveries.get(endpoint_id, delivery_id)

    async def replay(self, actor: Actor, endpoint_id: EndpointId, delivery_id: DeliveryId) -> Delivery:
        """Send one again, under its id. Raises Missing, WrongState while it waits anyway or the endpoint is off."""
        access.require(actor, "webhooks.manage")

        async def one(records: Records) -> Delivery:
            _on(await records.webhooks.get(endpoint_id))
            before = await records.webhooks.deliveries.get(endpoint_id, delivery_id)
            delivery = before.replayed(at=self.clock(), kept=self.rules.kept)
            await records.webhooks.deliveries.save(delivery)
            return delivery

        return await self._again(actor.tenant, one)

    async def replay_since(
        self, actor: Actor, endpoint_id: EndpointId, since: datetime, *, state: DeliveryState | None = None
    ) -> int:
        """Send everything again that happened since then and has ended, or only what has ended so; how many.

        Raises Missing, BadField, WrongState while the endpoint is off.
        """
        access.require(actor, "webhooks.manage")
        if since.tzinfo is None:
            raise BadField("A time needs its offset from UTC.", field="since")
        if state is DeliveryState.WAITING:
            raise BadField("What waits is sent anyway.", field="state")
        least, before, count = least_id(max(0.0, since.timestamp())), "", 0

        async def portion(records: Records) -> tuple[Sequence[Delivery], int]:
            _on(await records.webhooks.get(endpoint_id))
            page = await records.webhooks.deliveries.page(endpoint_id, before=before, state=state, limit=_PORTION)
            ended = [each for each in page if each.id >= least and each.state is not DeliveryState.WAITING]
            for delivery in ended:
                await records.webhooks.deliveries.save(delivery.replayed(at=self.clock(), kept=self.rules.kept))
            return page, len(ended)

        while True:
            page, replayed = await self._again(actor.tenant, portion)
            count += replayed
            if len(page) < _PORTION or page[-1].id < least:
                return count
            before = page[-1].id

    async def _again(self, tenant: TenantId, work: Callable[[Records], Awaitable[T]]) -> T:
        """Change rows in a transaction, anew when others have changed them meanwhile. Raises Busy when they always have."""
        for _ in range(_RACES):
            with contextlib.suppress(Stale):  # a courier has noted an attempt, or another request was faster
                return await self._once(tenant, work)
        raise Busy

    async def _once(self, tenant: TenantId, work: Callable[[Records], Awaitable[T]]) -> T:
        async with self.catalog.tenant(tenant, writes=True) as records:
            done = await work(records)
        self.written()
        return done

    async def sweep(self) -> int:
        """Forget deliveries whose days are over; how many."""
        async with self.catalog.directory() as directory:
            tenants = await directory.tenants()
        swept = 0
        for tenant in tenants:
            with apart("sweep_webhooks", tenant.id):
                async with self.catalog.tenant(tenant.id) as records:
                    endpoints = await records.webhooks.all()
                for endpoint in endpoints:
                    swept += await self._sweep(tenant.id, endpoint.id)
        if swept:
            log.info("webhooks.swept", deliveries=swept)
        return swept

    async def _sweep(self, tenant: TenantId, endpoint_id: EndpointId) -> int:
        swept, portion = 0, 500
        while True:
            async with self.catalog.tenant(tenant, writes=True) as records:
                some = await records.webhooks.deliveries.sweep(endpoint_id, self.clock(), limit=portion)
            swept += some
            if some < portion:
                return swept

    def _checked(self, url: str) -> str:
        """The URL in one spelling, if webhooks may go there. What its name means is looked at again at each attempt."""
        target = parse(url)
        if target.scheme != "https" and not self.rules.is_plain_http:
            raise BadField("url begins with https://", field="url")
        self.rules.reach.admit(target)
        return str(target)


def _on(endpoint: Endpoint) -> Endpoint:
    if not endpoint.is_enabled:
        raise WrongState("The endpoint is switched off; switch it on first.")
    return endpoint
