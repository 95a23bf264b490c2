"""Tenants, their presets and what they use, on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from safelight.api.schemas.common import In, Out
from safelight.domain.accounts import DuplicatePolicy, Tenant
from safelight.domain.tenants import LARGEST, Quotas
from safelight.services.meter import Report

_Amount = Annotated[int | None, Field(ge=0, le=LARGEST)]


class QuotasIn(In):
    """At most so much: 0 is any amount, null what the installation says."""

    bytes: _Amount = None
    images: _Amount = None
    transformations: _Amount = None
    requests_per_s: _Amount = None


class TenantIn(In):
    """A new tenant and its first admin."""

    name: str = Field(max_length=64)
    admin: str = Field("admin", min_length=1, max_length=200, description="What to call its first admin.")
    trash_days: int = Field(30, ge=0, le=36_500, description="Default: the installation's.")
    duplicates: DuplicatePolicy = DuplicatePolicy.TELL
    quotas: QuotasIn = QuotasIn()


class TenantPatch(In):
    """What to change; what is not named stays."""

    name: str = Field("", max_length=64)
    trash_days: int = Field(30, ge=0, le=36_500)
    duplicates: DuplicatePolicy = DuplicatePolicy.TELL
    domains: tuple[str, ...] = Field(
        (), max_length=20, description="Host names that are this tenant's alone; the first is in its URLs."
    )
    origins: tuple[str, ...] = Field(
        (), max_length=20, description="Of pages that may read answers to its users, as browsers send them."
    )
    sources: tuple[Annotated[str, Field(max_length=2048)], ...] = Field(
        (),
        max_length=20,
        description="Places elsewhere from which its pictures are delivered: `https://host/path` or `s3://bucket/prefix`; the operator's.",
    )
    quotas: QuotasIn = QuotasIn()


class QuotasOut(Out):
    """At most so much; 0 is any amount. Of a tenant's own, null is what the installation says."""

    bytes: int | None
    images: int | None
    transformations: int | None
    requests_per_s: int | None


class StoredOut(Out):
    """What a tenant has: bytes of originals, and images, with what is in the trash."""

    bytes: int
    images: int


class TenantOut(Out):
    """A tenant. `quotas` are its own, `limits` what holds."""

    id: str
    name: str
    created_at: datetime
    suspended_at: datetime | None
    erasure: str | None = Field(description="Where the certificate will be, of one that is being erased.")
    trash_days: int
    duplicates: DuplicatePolicy
    origins: list[str]
    domains: list[str]
    sources: list[str]
    quotas: QuotasOut
    limits: QuotasOut
    stored: StoredOut
    revision: int


class TenantMadeOut(TenantOut):
    """A new tenant, with the id of its admin and the token of the admin's API key."""

    admin: str
    token: str


def quotas_of(body: QuotasIn) -> Quotas:
    """As the domain has them."""
    return Quotas(**body.model_dump())


def tenant_changes(body: TenantPatch) -> dict[str, Any]:
    """What the body names, and of the quotas those that it names."""
    return body.model_dump(exclude_unset=True)


def tenant_out(tenant: Tenant, limits: Quotas) -> TenantOut:
    """The tenant as an operator gets it, or its admin."""
    return TenantOut(
        id=tenant.id,
        name=tenant.name,
        created_at=tenant.created_at,
        suspended_at=tenant.suspended_at,
        erasure=f"/erasures/{tenant.id}/{tenant.erasure}" if tenant.erasure else None,
        trash_days=tenant.trash_days,
        duplicates=tenant.duplicates,
        origins=list(tenant.origins),
        domains=list(tenant.domains),
        sources=list(tenant.sources),
        quotas=QuotasOut(**asdict(tenant.quotas)),
        limits=QuotasOut(**asdict(limits)),
        stored=StoredOut(**asdict(tenant.stored)),
        revision=tenant.revision,
    )


class PresetIn(In):
    """What a preset stands for from now on."""

    options: str = Field(min_length=1, max_length=500, examples=["w=400,h=300,fit=cover,gravity=auto"])


class PresetOut(Out):
    """A preset of the tenant's own. `/i/{id}/{name}.webp` is the last version, `/i/{id}/{name}@{n}.webp` the n-th for ever."""

    name: str
    options: str
    version: int
    versions: list[str]


def preset_out(name: str, versions: Sequence[str]) -> PresetOut:
    """The preset with all its versions, the first first."""
    return PresetOut(name=name, options=versions[-1], version=len(versions), versions=list(versions))


class UsageOut(Out):
    """A month of a tenant (UTC). Averages are of hourly looks; `limits` are its quotas, 0 for any amount."""

    tenant: str
    name: str
    month: str
    uploads: int
    uploaded_bytes: int
    transformations: int
    deliveries: int
    delivered_bytes: int
    requests: int
    average_bytes: int
    average_images: int
    stored: StoredOut
    limits: QuotasOut


class CostLine(Out):
    """So many units at that price."""

    what: str
    units: float
    price: float
    cost: float


class BilledUsageOut(UsageOut):
    """With what it costs by the price list of the settings; an estimate, not rounded."""

    currency: str
    lines: list[CostLine]
    cost: float


def usage_fields(report: Report, limits: Quotas) -> dict[str, Any]:
    """What both answers have."""
    usage = report.usage
    return {
        "tenant": report.tenant.id,
        "name": report.tenant.name,
        "month": usage.month,
        **asdict(usage.counts),
        "average_bytes": usage.average_bytes,
        "average_images": usage.average_images,
        "stored": StoredOut(**asdict(report.tenant.stored)),
        "limits": QuotasOut(**asdict(limits)),
    }


def billed_usage(report: Report, limits: Quotas, currency: str) -> BilledUsageOut:
    """As an operator or admin gets it."""
    lines = [CostLine(what=line.what, units=line.units, price=line.price, cost=line.cost) for line in report.lines]
    cost = sum(line.cost for line in lines)
    return BilledUsageOut(**usage_fields(report, limits), currency=currency, lines=lines, cost=cost)
