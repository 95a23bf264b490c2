"""Usage by month: /admin/usage with what it costs, /me/usage for whoever wants to know what is left."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from safelight.api.auth import Asking, Hall
from safelight.api.refusals import refuses
from safelight.api.routes.room import room
from safelight.api.schemas.common import Id
from safelight.api.schemas.tenants import BilledUsageOut, UsageOut, billed_usage, usage_fields
from safelight.domain.ids import TenantId, is_id
from safelight.errors import Missing

router = room("usage")


@router.get("/admin/usage", response_model=list[BilledUsageOut], name="of_tenants")
@refuses(Missing)
async def usage(
    hall: Hall,
    actor: Asking,
    month: Annotated[str, Query(description="As 2026-06, in UTC. Default: this one.", max_length=10)] = "",
    tenant: Annotated[Id | None, Query(description="Only this one.", max_length=40)] = None,
) -> list[BilledUsageOut]:
    """What tenants have used in a month, and what that costs by the price list: an operator's answer has all, an admin's their own."""
    if tenant and not is_id(tenant):
        raise Missing
    reports = await hall.meter.reports(actor, month=month, tenant=TenantId(tenant) if tenant else None)
    currency = hall.settings.prices.currency
    return [billed_usage(report, hall.standing.quotas(report.tenant), currency) for report in reports]


@router.get("/me/usage", response_model=UsageOut, name="own")
async def own_usage(hall: Hall, actor: Asking) -> UsageOut:
    """What your tenant has used this month, what it stores, and what it may."""
    report = await hall.meter.own(actor)
    return UsageOut(**usage_fields(report, hall.standing.quotas(report.tenant)))
