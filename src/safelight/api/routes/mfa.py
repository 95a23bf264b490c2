"""/auth/mfa and /auth/step-up: authenticator apps, recovery codes, the second leg of a sign-in, and a fresh proof within a session."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header, Request, Response

from safelight.api.auth import Asking, Hall, address_of
from safelight.api.refusals import refuses
from safelight.api.routes.room import room
from safelight.api.schemas.factors import (
    AccessOut,
    CodeIn,
    EnrolmentOut,
    MfaOut,
    RecoveryCodesOut,
    SecondLegIn,
    StepUpIn,
    access_out,
)
from safelight.api.schemas.signin import GrantOut, grant_out
from safelight.errors import (
    BadCode,
    BadPasskey,
    Busy,
    LockedOut,
    Missing,
    StepUpRequired,
    TenantSuspended,
    Unauthenticated,
    WrongState,
)

router = room("auth", "/auth")
PRIVATE = {"cache-control": "no-store"}  # RFC 6749 section 5.1


@router.post("/mfa/verify", response_model=GrantOut)
@refuses(BadCode, Busy, LockedOut, TenantSuspended, Unauthenticated)
async def verify_second(
    request: Request,
    response: Response,
    hall: Hall,
    body: SecondLegIn,
    user_agent: Annotated[str, Header(include_in_schema=False)] = "",
) -> GrantOut:
    """Complete a sign-in that answered `mfa_required`: its `ticket` and a code of the authenticator app, or a recovery code."""
    response.headers.update(PRIVATE)
    grant = await hall.second_leg.verify(ticket=body.ticket, code=body.code, address=address_of(request), agent=user_agent)
    return grant_out(grant)


@router.get("/mfa", response_model=MfaOut)
async def mfa(hall: Hall, actor: Asking) -> MfaOut:
    """What you have beside a password."""
    held = await hall.factors.held(actor)
    return MfaOut(totp_since=held.totp_since, recovery_codes=held.recovery_codes, passkeys=held.passkeys)


@router.post("/mfa/totp", status_code=201, response_model=EnrolmentOut)
@refuses(Missing, StepUpRequired, WrongState)
async def enrol_totp(response: Response, hall: Hall, actor: Asking) -> EnrolmentOut:
    """A secret for an authenticator app (RFC 6238), as text, URI and QR code. Nothing asks for it before it is confirmed."""
    response.headers.update(PRIVATE)
    told = await hall.factors.enrol(actor)
    return EnrolmentOut(secret=told.secret, uri=told.uri, qr_svg=told.qr_svg, qr_png=told.qr_png)


@router.post("/mfa/totp/confirm", response_model=RecoveryCodesOut)
@refuses(BadCode, LockedOut, Missing, WrongState)
async def confirm_totp(response: Response, hall: Hall, actor: Asking, body: CodeIn) -> RecoveryCodesOut:
    """Show that the app works: from now on sign-ins ask for it, and your other sessions end. The recovery codes are in this answer and never again."""
    response.headers.update(PRIVATE)
    return RecoveryCodesOut(recovery_codes=list(await hall.factors.confirm(actor, code=body.code)))


@router.delete("/mfa/totp", status_code=204)
@refuses(Missing, StepUpRequired)
async def disable_totp(hall: Hall, actor: Asking) -> Response:
    """Sign in without an authenticator app again; its recovery codes go with it. Asks for a recent proof."""
    await hall.factors.disable(actor)
    return Response(status_code=204)


@router.post("/mfa/recovery-codes", response_model=RecoveryCodesOut)
@refuses(Missing, StepUpRequired)
async def regenerate_recovery_codes(response: Response, hall: Hall, actor: Asking) -> RecoveryCodesOut:
    """Ten new recovery codes; those before open nothing any more. Asks for a recent proof."""
    response.headers.update(PRIVATE)
    return RecoveryCodesOut(recovery_codes=list(await hall.factors.regenerate(actor)))


@router.post("/step-up", response_model=AccessOut)
@refuses(BadCode, BadPasskey, Busy, LockedOut, Missing, Unauthenticated)
async def step_up(request: Request, response: Response, hall: Hall, actor: Asking, body: StepUpIn) -> AccessOut:
    """Prove who you are once more, after `step_up_required`: by a code where you have an authenticator app, else by the password, or by a passkey. Go on with the token of the answer."""
    response.headers.update(PRIVATE)
    if body.credential is not None:
        return access_out(await hall.passkeys.prove(actor, body.credential.as_told()))
    token = await hall.step_up.prove(actor, password=body.password, code=body.code, address=address_of(request))
    return access_out(token)


@router.post("/step-up/options")
async def step_up_options(response: Response, hall: Hall, actor: Asking) -> dict[str, Any]:
    """Options for `navigator.credentials.get`, to step up with one of your passkeys."""
    response.headers.update(PRIVATE)
    return await hall.passkeys.to_step_up(actor)
