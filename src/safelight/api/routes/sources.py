"""/sources: URLs for pictures that lie elsewhere, of places that an operator has listed for the tenant; for admins."""

from __future__ import annotations

from fastapi import Request

from safelight.api.auth import Asking, Hall
from safelight.api.conditions import base_url
from safelight.api.refusals import refuses
from safelight.api.routes.room import room
from safelight.api.schemas.images import SourceUrlsIn, UrlsOut
from safelight.errors import BadOption, PresetsOnly, SourceNotAllowed

router = room("sources", "/sources")


@router.post("/urls", response_model=UrlsOut, name="urls")
@refuses(BadOption, PresetsOnly, SourceNotAllowed)
async def urls(request: Request, hall: Hall, actor: Asking, body: SourceUrlsIn) -> UrlsOut:
    """Signed delivery URLs of any transforms of a picture that lies elsewhere."""
    paths, expires_at = await hall.remote_delivery.urls(actor, body.source, body.transforms)
    base = base_url(request)
    return UrlsOut(urls=[base + path for path in paths], expires_at=expires_at)
