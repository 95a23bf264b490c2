"""Meter: what each tenant uses, counted in memory and written down in batches, so that no request costs a row.

A process that is killed loses what it has counted since the last batch, EVERY_S seconds at most; one that is stopped loses nothing.
What is stored is not counted but looked at, once an hour by whichever process comes first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import structlog

from safelight.domain import access
from safelight.domain.accounts import Actor, Role, Tenant
from safelight.domain.ids import TenantId
from safelight.domain.tenants import exceeded
from safelight.domain.usage import Counts, Line, Prices, Usage, checked_month, estimate, hour_of, month_of, share_of
from safelight.errors import SafelightError, Stale
from safelight.ports.catalog import Catalog
from safelight.services.apart import apart
from safelight.services.standing import Standing

log = structlog.get_logger()

EVERY_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Report:
    """A tenant's month: what was used, what is stored now, and what it costs by the price list."""

    tenant: Tenant
    usage: Usage
    lines: Sequence[Line]


@dataclass(slots=True)
class Meter:
    """One per process, running between `open` and `close`."""

    catalog: Catalog
    clock: Callable[[], datetime]
    standing: Standing
    prices: Prices
    _month: str = field(init=False)
    _counted: dict[tuple[TenantId, str], Counts] = field(default_factory=dict)
    _made: dict[tuple[TenantId, str], int] = field(default_factory=dict)
    """Transformations of the month that are written down, as far as this process knows."""
    _flushing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _task: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self._month = month_of(self.clock())

    async def open(self) -> None:
        """Begin to write down."""
        self._task = asyncio.create_task(self._run(), name="meter")

    async def close(self) -> None:
        """Write down what is left."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await self.flush()

    def requested(self, tenant: TenantId) -> None:
        """A request to the API."""
        self._of(tenant).requests += 1

    def uploaded(self, tenant: TenantId, size_bytes: int) -> None:
        """An original that was kept."""
        counts = self._of(tenant)
        counts.uploads += 1
        counts.uploaded_bytes += size_bytes

    def delivered(self, tenant: TenantId, size_bytes: int) -> None:
        """A delivery, and what went over the wire."""
        counts = self._of(tenant)
        counts.deliveries += 1
        counts.delivered_bytes += size_bytes

    async def transforming(self, tenant_id: TenantId) -> None:
        """A rendition is about to be made on request. Raises QuotaExceeded when the month's are used up.

        Of other processes it knows what they had written down at its own last batch: together they may make a few seconds' more.
        """
        limit = self.standing.quotas(await self.standing.of(tenant_id)).transformations
        if limit:
            known = (tenant_id, self._month)
            if known not in self._made:
                async with self.catalog.ledger() as ledger:
                    self._made[known] = (await ledger.usage(*known)).counts.transformations
            used = self._made[known] + self._of(tenant_id).transformations
            if used >= limit:
                raise exceeded("transformations", limit, used)
        self._of(tenant_id).transformations += 1

    async def flush(self) -> None:
        """Write down what was counted; what cannot be is kept for the next time."""
        async with self._flushing:
            counted, self._counted = self._counted, {}
            self._month = month_of(self.clock())
            for (tenant, month), counts in counted.items():
                try:
                    async with self.catalog.ledger(writes=True) as ledger:
                        await ledger.add(tenant, month, counts)
                        if (tenant, month) in self._made:
                            self._made[tenant, month] = (await ledger.usage(tenant, month)).counts.transformations
                except SafelightError as error:
                    log.warning("usage.not_written", tenant=tenant, code=error.code)
                    self._counted[tenant, month] = self._counted.get((tenant, month), Counts()) + counts
            self._made = {known: made for known, made in self._made.items() if known[1] == self._month}

    async def sample(self) -> None:
        """Look at what everybody stores, unless somebody has in this hour."""
        now = self.clock()
        async with self.catalog.directory() as directory:
            tenants = [tenant for tenant in await directory.tenants() if tenant.erased_at is None]
        for tenant in tenants:
            with contextlib.suppress(Stale), apart("sample_usage", tenant.id):
                async with self.catalog.ledger(writes=True) as ledger:
                    await ledger.sample(tenant.id, month_of(now), hour_of(now), tenant.stored)

    async def reports(self, actor: Actor, *, month: str = "", tenant: TenantId | None = None) -> Sequence[Report]:
        """What tenants have used: an operator's answer has all of them or the one that is named, an admin's their own.

        Raises Forbidden, Missing, BadField.
        """
        access.require(actor, "usage.read")
        month = checked_month(month or month_of(self.clock()))
        await self.flush()
        if tenant is None and actor.role is Role.OPERATOR:
            async with self.catalog.directory() as directory:
                tenants = [tenant for tenant in await directory.tenants() if tenant.erased_at is None]
            async with self.catalog.ledger() as ledger:
                known = {usage.tenant: usage for usage in await ledger.usages(month)}
        else:
            async with self.catalog.tenant(tenant or actor.tenant) as records:
                tenants = [records.tenant]
            access.require(actor, "tenant.read", tenants[0])
            async with self.catalog.ledger() as ledger:
                known = {tenants[0].id: await ledger.usage(tenants[0].id, month)}
        nothing = Usage(tenant=TenantId(""), month=month, counts=Counts())
        return [self._report(each, known.get(each.id, replace(nothing, tenant=each.id))) for each in tenants]

    async def own(self, actor: Actor) -> Report:
        """This month of the actor's tenant, for whoever belongs to it: without what it costs."""
        access.require(actor, "image.list")
        await self.flush()
        async with self.catalog.tenant(actor.tenant) as records:
            tenant = records.tenant
        async with self.catalog.ledger() as ledger:
            usage = await ledger.usage(tenant.id, month_of(self.clock()))
        return Report(tenant, usage, ())

    def _report(self, tenant: Tenant, usage: Usage) -> Report:
        share = share_of(usage.month, since=tenant.created_at, now=self.clock())
        return Report(tenant, usage, tuple(estimate(usage, self.prices, share=share)))

    def _of(self, tenant: TenantId) -> Counts:
        key = (tenant, self._month)
        counts = self._counted.get(key)
        if counts is None:
            counts = self._counted[key] = Counts()
        return counts

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.flush()
            except Exception:
                log.exception("usage.flush_failed")
