"""/auth/passkeys: add, list, rename and remove passkeys, and sign in with one. Options and answers in the JSON of WebAuthn Level 3."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from fastapi import Header, Request, Response

from safelight.api.auth import Asking, Hall, address_of
from safelight.api.refusals import refuses
from safelight.api.routes.mfa import PRIVATE
from safelight.api.routes.room import room
from safelight.api.schemas.factors import PasskeyIn, PasskeyNameIn, PasskeyOut, PasskeySignInIn, passkey_out
from safelight.api.schemas.signin import GrantOut, grant_out
from safelight.domain.ids import PasskeyId
from safelight.errors import BadPasskey, LockedOut, Missing, StepUpRequired, TenantSuspended, Unauthenticated, WrongState

router = room("auth", "/auth/passkeys")
_ID: Final = re.compile(r"[0-9a-f]{32}")


@router.post("/signin/options")
async def passkey_sign_in_options(response: Response, hall: Hall) -> dict[str, Any]:
    """Options for `navigator.credentials.get`, the same for everybody but for the challenge, which is good once and for five minutes."""
    response.headers.update(PRIVATE)
    return hall.passkeys.to_sign_in()


@router.post("/signin", response_model=GrantOut)
@refuses(LockedOut, TenantSuspended, Unauthenticated)
async def passkey_sign_in(
    request: Request,
    response: Response,
    hall: Hall,
    body: PasskeySignInIn,
    user_agent: Annotated[str, Header(include_in_schema=False)] = "",
) -> GrantOut:
    """Begin a session with a passkey. It is two factors by itself: no code is asked for."""
    response.headers.update(PRIVATE)
    grant = await hall.passkeys.sign_in(body.credential.as_told(), address=address_of(request), agent=user_agent)
    return grant_out(grant)


@router.post("/options")
@refuses(Missing, StepUpRequired)
async def passkey_options(response: Response, hall: Hall, actor: Asking) -> dict[str, Any]:
    """Options for `navigator.credentials.create`, to add a passkey. Asks for a recent proof."""
    response.headers.update(PRIVATE)
    return await hall.passkeys.to_register(actor)


@router.get("", response_model=list[PasskeyOut])
async def passkeys(hall: Hall, actor: Asking) -> list[PasskeyOut]:
    """Your passkeys, oldest first."""
    return [passkey_out(passkey) for passkey in await hall.passkeys.list(actor)]


@router.post("", status_code=201, response_model=PasskeyOut)
@refuses(BadPasskey, Missing, StepUpRequired, WrongState)
async def add_passkey(hall: Hall, actor: Asking, body: PasskeyIn) -> PasskeyOut:
    """Add the passkey that an authenticator has made from those options. Asks for a recent proof."""
    return passkey_out(await hall.passkeys.register(actor, name=body.name, answer=body.credential.as_told()))


@router.patch("/{id}", response_model=PasskeyOut)
async def rename_passkey(hall: Hall, actor: Asking, id: str, body: PasskeyNameIn) -> PasskeyOut:
    """Another name for one of your passkeys."""
    return passkey_out(await hall.passkeys.rename(actor, _id(id), body.name))


@router.delete("/{id}", status_code=204)
@refuses(StepUpRequired)
async def remove_passkey(hall: Hall, actor: Asking, id: str) -> Response:
    """Remove one of your passkeys. Asks for a recent proof."""
    await hall.passkeys.remove(actor, _id(id))
    return Response(status_code=204)


def _id(text: str) -> PasskeyId:
    if _ID.fullmatch(text) is None:
        raise Missing
    return PasskeyId(text)
