"""What the law gives to people: everything that is kept of them (GDPR article 20), and its erasure (article 17) with a certificate."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Response
from fastapi.responses import StreamingResponse

from safelight.api.auth import Asking, Hall
from safelight.api.conditions import tenant_id, user_id
from safelight.api.refusals import refuses
from safelight.api.routes.room import room
from safelight.api.schemas.audit import ErasureOut
from safelight.api.schemas.common import Id
from safelight.domain.ids import ErasureId, TenantId
from safelight.errors import StepUpRequired, WrongState

router = room("privacy")
_TAKEOUT: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "A ZIP.", "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}
_ZIP: Final = {"content-disposition": 'attachment; filename="safelight.zip"', "cache-control": "no-store"}


@router.post("/me/export", response_class=StreamingResponse, responses=_TAKEOUT)
async def export_own(hall: Hall, actor: Asking) -> StreamingResponse:
    """Everything that is kept of you, as a ZIP: originals, what is known of them, albums, account, and your audit trail."""
    return StreamingResponse(await hall.takeout.own(actor), media_type="application/zip", headers=_ZIP)


@router.post("/admin/users/{id}/export", response_class=StreamingResponse, responses=_TAKEOUT)
async def export_user(hall: Hall, actor: Asking, id: Id) -> StreamingResponse:
    """The same of a user of the tenant."""
    return StreamingResponse(await hall.takeout.of(actor, user_id(id)), media_type="application/zip", headers=_ZIP)


@router.delete("/me", status_code=202, response_model=ErasureOut)
@refuses(StepUpRequired, WrongState)
async def erase_own(hall: Hall, actor: Asking, response: Response) -> ErasureOut:
    """Erase yourself with everything of yours, for good. Asks for a recent proof; keep the address of the certificate."""
    return _told(response, actor.tenant, await hall.erasure.request_own(actor))


@router.delete("/admin/users/{id}", status_code=202, response_model=ErasureOut)
@refuses(StepUpRequired, WrongState)
async def erase_user(hall: Hall, actor: Asking, id: Id, response: Response) -> ErasureOut:
    """Erase a user with everything of theirs, for good."""
    return _told(response, actor.tenant, await hall.erasure.request(actor, user_id(id)))


@router.post("/admin/tenants/{id}/export", response_class=StreamingResponse, responses=_TAKEOUT)
async def export_tenant(hall: Hall, actor: Asking, id: Id) -> StreamingResponse:
    """Everything of a tenant: originals, albums, users, what was set and used, and its audit trail; an operator any, an admin their own."""
    return StreamingResponse(await hall.takeout.of_tenant(actor, tenant_id(id)), media_type="application/zip", headers=_ZIP)


@router.delete("/admin/tenants/{id}", status_code=202, response_model=ErasureOut)
@refuses(StepUpRequired, WrongState)
async def erase_tenant(hall: Hall, actor: Asking, id: Id, response: Response) -> ErasureOut:
    """Erase a suspended tenant with everything of it, for good; for operators. Asking again answers with the same erasure."""
    tenant = tenant_id(id)
    erasure = await hall.tenant_erasure.request(actor, tenant)
    hall.delivery.forget_rings()
    return _told(response, tenant, erasure)


@router.get("/erasures/{tenant}/{id}", response_model=ErasureOut)
async def erasure(hall: Hall, response: Response, tenant: Id, id: Id) -> ErasureOut:
    """How an erasure stands, with its certificate once it is done. Whoever knows the address may ask: whose it was, it does not say."""
    response.headers["cache-control"] = "no-store"
    found = await hall.erasure.certificate(tenant, id)
    state = "pending" if found is None else "done"
    return ErasureOut(id=id, state=state, certificate_url=f"/erasures/{tenant}/{id}", certificate=found)


def _told(response: Response, tenant: TenantId, erasure: ErasureId) -> ErasureOut:
    url = f"/erasures/{tenant}/{erasure}"
    response.headers["location"] = url
    return ErasureOut(id=erasure, state="pending", certificate_url=url, certificate=None)
