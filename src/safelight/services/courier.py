"""The courier: sends what tenants' endpoints are to be told, tries again, and notes what became of it. One per working process.

What is to be sent is in the catalog, so nothing is lost with a process. A courier claims a delivery by moving its `due_at` past the
longest that an attempt may take: if the process dies, it becomes due again, and is sent again under the same id. So a message
comes at least once, and in no particular order. An endpoint has a few attempts at a time in a process, one as long as it fails, so
that one that is slow or down holds up nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog

from safelight.domain.accounts import Role
from safelight.domain.addresses import Reach, parse
from safelight.domain.events import EndpointDisabled
from safelight.domain.ids import EndpointId, TenantId
from safelight.domain.people import Letter
from safelight.domain.webhooks import Attempt, Delivery, DeliveryState, Endpoint, excerpt_of, retry_after, wait_after
from safelight.errors import DamagedRecord, Missing, SafelightError, Stale
from safelight.observability import Instruments
from safelight.ports.catalog import Catalog, Records
from safelight.ports.outbound import Answer, FetchLimits, Outbound
from safelight.services.post import due
from safelight.signing import webhooks as signing

log = structlog.get_logger()

AT_ONCE: Final = 64
"""Attempts of one process: each is a connection that a slow server may keep open."""
LOOKS_EVERY_S: Final = 3.0
"""For what other processes left, and for retries whose time has come; what this process wrote down is sent at once."""
SPARE: Final = timedelta(seconds=10)
"""Between the longest attempt and the time at which another courier takes the delivery for abandoned."""
GRACE_S: Final = 5.0
"""What attempts under way get when the process closes; the others are made again."""
_RACES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CourierRules:
    """Where it may go, how long one attempt may last, how many one endpoint gets at once, and how long it may fail."""

    reach: Reach
    limits: FetchLimits
    per_endpoint: int
    patience: timedelta


@dataclass(frozen=True, slots=True)
class Courier:
    """Sends."""

    catalog: Catalog
    outbound: Outbound
    emitted: Callable[[], None]
    """Called when an event has been put into the outbox."""
    clock: Callable[[], datetime]
    instruments: Instruments
    rules: CourierRules
    _nudged: asyncio.Event = field(default_factory=asyncio.Event)
    _afoot: Counter[EndpointId] = field(default_factory=Counter)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def nudge(self) -> None:
        """Something became due a moment ago; do not wait for the next look."""
        self._nudged.set()

    async def run(self) -> None:
        """Send for as long as the process lives."""
        try:
            while True:
                self._nudged.clear()
                try:
                    await self._round()
                except SafelightError as error:
                    log.warning("webhooks.round_failed", code=error.code)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOKS_EVERY_S):
                        await self._nudged.wait()
        finally:
            await self._end()

    async def _end(self) -> None:
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=GRACE_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _round(self) -> None:
        """Begin whatever there is room for."""
        async with self.catalog.directory() as directory:
            waiting = await directory.outbox.due(self.clock())
        random.shuffle(waiting)  # so that the first ones do not take every place every time
        for tenant, endpoint_id in waiting:
            if len(self._tasks) >= AT_ONCE:
                return
            if self._afoot[endpoint_id] >= self.rules.per_endpoint:
                continue
            try:
                claimed = await self._claimed(tenant, endpoint_id)
            except DamagedRecord as error:  # the others' messages go out
                log.error("webhook.unreadable", tenant=tenant, endpoint_id=endpoint_id, error=error.detail)
                continue
            for endpoint, delivery in claimed:
                self._afoot[endpoint_id] += 1
                task = asyncio.create_task(self._tell(endpoint, delivery), name=f"webhook {delivery.id}")
                self._tasks.add(task)
                task.add_done_callback(self._told)

    def _told(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("webhook.failed", exc_info=error)
        self._nudged.set()

    async def _claimed(self, tenant: TenantId, endpoint_id: EndpointId) -> list[tuple[Endpoint, Delivery]]:
        """What this courier sends next to the endpoint; nothing when another one was quicker."""
        until = timedelta(seconds=self.rules.limits.total_s) + SPARE
        try:
            async with self.catalog.tenant(tenant, writes=True) as records:
                endpoint = await records.webhooks.get(endpoint_id)
                places = 1 if endpoint.failing_since else self.rules.per_endpoint
                free = min(places - self._afoot[endpoint_id], AT_ONCE - len(self._tasks))
                if free <= 0 or not endpoint.is_enabled:
                    return []
                now = self.clock()
                claimed = [
                    delivery.claimed(until=now + until)
                    for delivery in await records.webhooks.deliveries.due(endpoint_id, now, limit=free)
                ]
                for delivery in claimed:
                    await records.webhooks.deliveries.save(delivery)
        except (Missing, Stale):
            return []
        return [(endpoint, delivery) for delivery in claimed]

    async def _tell(self, endpoint: Endpoint, delivery: Delivery) -> None:
        try:
            attempt, asked = await self._attempt(endpoint, delivery)
            await self._note(delivery, attempt, asked)
        finally:
            self._afoot[endpoint.id] -= 1
            if not self._afoot[endpoint.id]:
                del self._afoot[endpoint.id]

    async def _attempt(self, endpoint: Endpoint, delivery: Delivery) -> tuple[Attempt, timedelta | None]:
        """One try, and how long the endpoint asked us to stay away after it."""
        at, started = self.clock(), time.perf_counter()
        body = delivery.body.encode()
        signed = signing.headers(endpoint.secrets(at), id=delivery.message_id, at_s=int(at.timestamp()), body=body)
        headers = {"Content-Type": "application/json", "Accept": "*/*", **signed}
        answer, error = Answer(status=0), ""
        try:
            # The guard of addresses asks anew each time: the settings and what a name means may have changed.
            answer = await self.outbound.post(
                parse(endpoint.url), body, headers, reach=self.rules.reach, limits=self.rules.limits
            )
        except SafelightError as refused:
            error = refused.code
        took = time.perf_counter() - started
        attempt = Attempt(
            at=at,
            duration_ms=round(took * 1000),
            status=answer.status,
            error=error,
            excerpt=excerpt_of(answer.beginning),
        )
        self.instruments.webhook_attempts.labels("delivered" if attempt.is_success else "failed").observe(took)
        return attempt, retry_after(answer.retry_after, at) if not attempt.is_success else None

    async def _note(self, delivery: Delivery, attempt: Attempt, asked: timedelta | None) -> None:
        """Write down what became of it; who else has taken the delivery up meanwhile writes down their own."""
        wait = wait_after(delivery.tries + 1, chance=random.random(), asked=asked)  # noqa: S311 (spreads, guards nothing)
        after = delivery.tried(attempt, wait=wait)
        for _ in range(_RACES):
            try:
                async with self.catalog.tenant(delivery.tenant, writes=True) as records:
                    if (await records.webhooks.deliveries.get(delivery.endpoint, delivery.id)).revision != delivery.revision:
                        log.info("webhook.superseded", delivery_id=delivery.id)
                        return
                    endpoint = await records.webhooks.get(delivery.endpoint)
                    changed = endpoint.answered(attempt, after, patience=self.rules.patience)
                    await records.webhooks.deliveries.save(after)
                    if changed is not endpoint:
                        await records.webhooks.save(changed)
                    is_switched_off = endpoint.is_enabled and not changed.is_enabled
                    if is_switched_off:
                        await self._announce(records, changed)
            except Missing:
                return  # the endpoint was removed meanwhile
            except Stale:
                continue
            log.info(
                "webhook.tried", delivery_id=delivery.id, status=attempt.status, error=attempt.error, state=after.state.value
            )
            if after.state is not DeliveryState.WAITING:
                self.instruments.webhooks.labels(after.state.value).inc()
            if is_switched_off:
                self.emitted()
                log.warning("webhook.endpoint_disabled", endpoint_id=endpoint.id, why=str(changed.disabled_for))
            return

    async def _announce(self, records: Records, endpoint: Endpoint) -> None:
        """Tell the other endpoints, and the administrators by mail, in the transaction that switches it off."""
        await records.emit(EndpointDisabled(endpoint.tenant, endpoint.id, endpoint.revision))
        for user in await records.accounts.users():
            if user.role is Role.USER or user.disabled_at is not None:
                continue
            with contextlib.suppress(Missing):  # one who has no address
                if (await records.people.credential(user.id)).is_usable:
                    await due(records, user.id, Letter.WEBHOOK, self.clock())
