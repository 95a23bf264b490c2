"""/admin/tenants: an operator makes, configures, suspends and resumes tenants; an admin sees their own and sets what is theirs to set."""

from __future__ import annotations

from fastapi import Response

from safelight.api.auth import Asking, Hall
from safelight.api.conditions import IfMatch, tenant_id
from safelight.api.refusals import refuses
from safelight.api.routes.room import room
from safelight.api.schemas.common import Id
from safelight.api.schemas.tenants import TenantIn, TenantMadeOut, TenantOut, TenantPatch, quotas_of, tenant_changes, tenant_out
from safelight.domain.accounts import Tenant
from safelight.errors import AlreadyExists, WrongState
from safelight.wiring import Safelight

router = room("tenants", "/admin/tenants")


@router.get("", response_model=list[TenantOut], name="list")
async def tenants(hall: Hall, actor: Asking) -> list[TenantOut]:
    """Every tenant of the installation, oldest first, with what it may have and what it has."""
    return [tenant_out(tenant, hall.standing.quotas(tenant)) for tenant in await hall.tenants.list(actor)]


@router.post("", status_code=201, response_model=TenantMadeOut, name="add")
@refuses(AlreadyExists)
async def add_tenant(response: Response, hall: Hall, actor: Asking, body: TenantIn) -> TenantMadeOut:
    """A new tenant with an admin; the token of the admin's API key is in this answer and never again."""
    response.headers["cache-control"] = "no-store"
    made = await hall.tenants.add(
        actor,
        name=body.name,
        admin=body.admin,
        quotas=quotas_of(body.quotas),
        **body.model_dump(exclude={"name", "admin", "quotas"}, exclude_unset=True),
    )
    shown = tenant_out(made.tenant, hall.standing.quotas(made.tenant))
    return TenantMadeOut(**shown.model_dump(), admin=made.admin.id, token=made.token)


@router.get("/{id}", response_model=TenantOut, name="get")
async def tenant(response: Response, hall: Hall, actor: Asking, id: Id) -> TenantOut:
    """One tenant; an admin's own."""
    return _shown(response, hall, await hall.tenants.get(actor, tenant_id(id)))


@router.patch("/{id}", response_model=TenantOut, name="change")
@refuses(AlreadyExists, WrongState)
async def change_tenant(response: Response, hall: Hall, actor: Asking, id: Id, revision: IfMatch, body: TenantPatch) -> TenantOut:
    """Change what the body names, under If-Match if you like. An admin may set `trash_days` and `duplicates`; a quota of null is the installation's."""
    changed = await hall.tenants.change(actor, tenant_id(id), tenant_changes(body), if_revision=revision)
    hall.delivery.forget_rings()
    return _shown(response, hall, changed)


@router.post("/{id}/suspend", response_model=TenantOut, name="suspend")
@refuses(WrongState)
async def suspend_tenant(response: Response, hall: Hall, actor: Asking, id: Id) -> TenantOut:
    """Let nobody of it in and nothing of it out, within seconds everywhere; what it has is kept. May be repeated."""
    suspended = await hall.tenants.suspend(actor, tenant_id(id))
    hall.delivery.forget_rings()
    return _shown(response, hall, suspended)


@router.post("/{id}/resume", response_model=TenantOut, name="resume")
@refuses(WrongState)
async def resume_tenant(response: Response, hall: Hall, actor: Asking, id: Id) -> TenantOut:
    """End a suspension. May be repeated, unless the tenant is being erased."""
    resumed = await hall.tenants.resume(actor, tenant_id(id))
    hall.delivery.forget_rings()
    return _shown(response, hall, resumed)


def _shown(response: Response, hall: Safelight, tenant: Tenant) -> TenantOut:
    response.headers["etag"] = f'"{tenant.revision}"'
    return tenant_out(tenant, hall.standing.quotas(tenant))
