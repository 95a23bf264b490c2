"""/warm: renditions made before somebody asks for them."""

from __future__ import annotations

from fastapi import Response

from safelight.api.auth import Asking, Hall
from safelight.api.conditions import album_id, image_id
from safelight.api.refusals import refuses
from safelight.api.routes.room import room
from safelight.api.schemas.common import Id
from safelight.api.schemas.warmings import WarmImageIn, WarmIn, WarmingOut, warming_out
from safelight.domain.warmings import Warming
from safelight.errors import BadOption, Missing, PresetsOnly, WrongState

router = room("warmings")


@router.post("/images/{id}/warm", status_code=202, response_model=WarmingOut)
@refuses(BadOption, PresetsOnly, WrongState)
async def add_image(hall: Hall, actor: Asking, id: Id, body: WarmImageIn, response: Response) -> WarmingOut:
    """Make transforms of an image in the background, so that nobody waits for them."""
    return _begun(await hall.warmings.ask_image(actor, image_id(id), body.transforms), response)


@router.post("/warm", status_code=202, response_model=WarmingOut)
@refuses(BadOption, Missing, PresetsOnly, WrongState)
async def add(hall: Hall, actor: Asking, body: WarmIn, response: Response) -> WarmingOut:
    """Make transforms of the images in an album or with a tag; for admins. Visitors go first."""
    album = album_id(body.filter.album) if body.filter.album else None
    return _begun(await hall.warmings.ask(actor, body.transforms, album=album, tag=body.filter.tag), response)


@router.get("/warm/{id}", response_model=WarmingOut)
async def get(hall: Hall, actor: Asking, id: Id) -> WarmingOut:
    """How far one has come; for 30 days after its last page."""
    return warming_out(await hall.warmings.get(actor, id))


def _begun(warming: Warming, response: Response) -> WarmingOut:
    response.headers["location"] = f"/warm/{warming.id}"
    return warming_out(warming)
