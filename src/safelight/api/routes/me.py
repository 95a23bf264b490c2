"""/me: what users keep in order for themselves: their API keys."""

from __future__ import annotations

from fastapi import Response

from safelight.api.auth import Asking, Hall
from safelight.api.refusals import refuses
from safelight.api.routes.room import room
from safelight.api.schemas.common import Id
from safelight.api.schemas.users import ApiKeyChangeIn, ApiKeyOut, OwnKeyIn, api_key_out, key_wish
from safelight.domain.ids import KeyId, is_id
from safelight.errors import Missing, StepUpRequired, WrongState

router = room("me", "/me")


@router.get("/api-keys", response_model=list[ApiKeyOut])
async def own_keys(hall: Hall, actor: Asking) -> list[ApiKeyOut]:
    """Your API keys, newest first, without their tokens. Ask as yourself, not with a key."""
    return [api_key_out(key) for key in await hall.api_keys.own(actor)]


@router.post("/api-keys", status_code=201, response_model=ApiKeyOut)
@refuses(StepUpRequired, WrongState)
async def add_own_key(response: Response, hall: Hall, actor: Asking, body: OwnKeyIn) -> ApiKeyOut:
    """A new API key of yours; the token is in this answer and never again."""
    response.headers["cache-control"] = "no-store"
    token, key = await hall.api_keys.add_own(actor, key_wish(body))
    return api_key_out(key, token)


@router.patch("/api-keys/{id}", response_model=ApiKeyOut)
async def change_own_key(hall: Hall, actor: Asking, id: Id, body: ApiKeyChangeIn) -> ApiKeyOut:
    """Another name for a key of yours, or other networks."""
    if not is_id(id):
        raise Missing
    return api_key_out(await hall.api_keys.change_own(actor, KeyId(id), name=body.name, networks=body.networks))


@router.delete("/api-keys/{id}", status_code=204)
async def revoke_own_key(hall: Hall, actor: Asking, id: Id) -> Response:
    """End a key of yours now."""
    if not is_id(id):
        raise Missing
    await hall.api_keys.revoke_own(actor, KeyId(id))
    return Response(status_code=204)
