"""/redevelopments: pictures of the tenant are developed again, many of them and not too fast; for admins."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from safelight.api.auth import Asking, Hall
from safelight.api.refusals import refuses
from safelight.api.routes.room import room
from safelight.api.schemas.common import Id
from safelight.api.schemas.redevelopments import RedevelopmentIn, RedevelopmentOut, RedevelopmentPage, redevelopment_out
from safelight.domain.ids import is_id
from safelight.domain.redevelopments import RedevelopmentState
from safelight.errors import BadCursor, Busy, Missing, WrongState

router = room("redevelopments", "/redevelopments")


@router.post("", status_code=202, response_model=RedevelopmentOut)
@refuses(Missing, WrongState)
async def add(hall: Hall, actor: Asking, body: RedevelopmentIn, response: Response) -> RedevelopmentOut:
    """Develop pictures again, by a recipe or by the one that is for each of them; it goes on by itself."""
    asked = await hall.redevelopments.ask(
        actor, body.filter.selection(), recipe=body.recipe, rate=body.rate, is_dry_run=body.dry_run
    )
    response.headers["location"] = f"/redevelopments/{asked.id}"
    return redevelopment_out(asked)


@router.get("", response_model=RedevelopmentPage, name="list")
@refuses(BadCursor)
async def page(
    hall: Hall, actor: Asking, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> RedevelopmentPage:
    """Redevelopments, newest first; those that have ended for 30 days."""
    if cursor is not None and not is_id(cursor):
        raise BadCursor
    found = [redevelopment_out(one) for one in await hall.redevelopments.page(actor, before=cursor or "", limit=limit)]
    return RedevelopmentPage(redevelopments=found, next=found[-1].id if len(found) == limit else None)


@router.get("/{id}", response_model=RedevelopmentOut)
async def get(hall: Hall, actor: Asking, id: Id) -> RedevelopmentOut:
    """How far one has come."""
    return redevelopment_out(await hall.redevelopments.get(actor, id))


@router.post("/{id}/pause", response_model=RedevelopmentOut)
@refuses(Busy, WrongState)
async def pause(hall: Hall, actor: Asking, id: Id) -> RedevelopmentOut:
    """Begin no more for now; what is under way goes on."""
    return redevelopment_out(await hall.redevelopments.move(actor, id, RedevelopmentState.PAUSED))


@router.post("/{id}/resume", response_model=RedevelopmentOut)
@refuses(Busy, WrongState)
async def resume(hall: Hall, actor: Asking, id: Id) -> RedevelopmentOut:
    """Go on with one that is paused."""
    return redevelopment_out(await hall.redevelopments.move(actor, id, RedevelopmentState.RUNNING))


@router.post("/{id}/cancel", response_model=RedevelopmentOut)
@refuses(Busy, WrongState)
async def cancel(hall: Hall, actor: Asking, id: Id) -> RedevelopmentOut:
    """Begin no more; what is under way goes on, and what was done stays."""
    return redevelopment_out(await hall.redevelopments.move(actor, id, RedevelopmentState.CANCELLED))
