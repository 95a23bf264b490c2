"""/admin/purges: what caches are to let go of, and how far that has come; for admins."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from safelight.api.auth import Asking, Hall
from safelight.api.refusals import refuses
from safelight.api.routes.room import room
from safelight.api.schemas.common import Id
from safelight.api.schemas.purges import PurgeIn, PurgeOut, PurgePage, purge_out, purge_wish
from safelight.domain.ids import is_id
from safelight.errors import BadCursor, Missing, WrongState

router = room("purges", "/admin/purges")


@router.post("", status_code=202, response_model=PurgeOut)
@refuses(Missing, WrongState)
async def add(hall: Hall, actor: Asking, body: PurgeIn, response: Response) -> PurgeOut:
    """Let our own caches and CDNs forget an image, the images with a tag or, for operators, everything; it goes on by itself."""
    purge = purge_out(await hall.purges.ask(actor, *purge_wish(body)))
    response.headers["location"] = f"/admin/purges/{purge.id}"
    return purge


@router.get("", response_model=PurgePage, name="list")
@refuses(BadCursor)
async def page(
    hall: Hall, actor: Asking, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> PurgePage:
    """Purges of the last 30 days, those that Safelight began by itself among them, newest first."""
    if cursor is not None and not is_id(cursor):
        raise BadCursor
    purges = [purge_out(purge) for purge in await hall.purges.page(actor, before=cursor or "", limit=limit)]
    return PurgePage(purges=purges, next=purges[-1].id if len(purges) == limit else None)


@router.get("/{id}", response_model=PurgeOut)
async def get(hall: Hall, actor: Asking, id: Id) -> PurgeOut:
    """How far one has come."""
    return purge_out(await hall.purges.get(actor, id))
