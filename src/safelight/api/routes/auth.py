"""/auth: sign up, verify, sign in, refresh, sign out, sessions, passwords; and the published keys of our access tokens.

What strangers may ask is answered alike whoever exists: 202 and a letter, or a refusal that fits a wrong guess as well.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header, Request, Response

from safelight import jose
from safelight.api.auth import Asking, Hall, address_of
from safelight.api.refusals import refuses
from safelight.api.routes.room import room
from safelight.api.schemas.common import Id
from safelight.api.schemas.signin import (
    ForgotIn,
    GrantOut,
    PasswordChangeIn,
    PasswordResetIn,
    ProofIn,
    RefreshIn,
    SessionOut,
    SignInIn,
    SignUpIn,
    TakenOut,
    grant_out,
    session_out,
)
from safelight.domain.ids import SessionId, is_id
from safelight.errors import (
    BadCode,
    Busy,
    Forbidden,
    LockedOut,
    MfaRequired,
    Missing,
    StepUpRequired,
    TenantSuspended,
    Unauthenticated,
    WeakPassword,
    WrongState,
)
from safelight.services.signup import Proof
from safelight.services.tokens import PUBLISHED_S

router = room("auth", "/auth")
well_known = room("auth", "/.well-known")
Language = Annotated[str, Header(alias="accept-language", max_length=200, include_in_schema=False)]
_PRIVATE = {"cache-control": "no-store"}  # RFC 6749 section 5.1


@router.post("/signup", status_code=202, response_model=TakenOut)
@refuses(Busy, Forbidden, TenantSuspended, WeakPassword)
async def sign_up(hall: Hall, body: SignUpIn, accept_language: Language = "") -> TakenOut:
    """Ask for an account, where sign-up is open. The answer is the same whether the address has one or not; the mail tells."""
    language = body.language or accept_language.split(",")[0].split(";")[0].strip()[:35]
    await hall.signup.sign_up(tenant=body.tenant, email=body.email, password=body.password, language=language)
    return TakenOut()


@router.post("/verify", status_code=204)
@refuses(BadCode, LockedOut)
async def verify(request: Request, hall: Hall, body: ProofIn) -> Response:
    """Confirm an address: by the `token` of the mail's link, or by `email` and `code`."""
    await hall.signup.verify(_proof(body), address=address_of(request))
    return Response(status_code=204)


@router.post("/signin", response_model=GrantOut)
@refuses(Busy, LockedOut, MfaRequired, TenantSuspended, Unauthenticated)
async def sign_in(
    request: Request,
    response: Response,
    hall: Hall,
    body: SignInIn,
    user_agent: Annotated[str, Header(include_in_schema=False)] = "",
) -> GrantOut:
    """Begin a session by address and password: an access token for requests, a refresh token for the next."""
    response.headers.update(_PRIVATE)
    grant = await hall.signin.sign_in(
        tenant=body.tenant, email=body.email, password=body.password, address=address_of(request), agent=user_agent
    )
    return grant_out(grant)


@router.post("/refresh", response_model=GrantOut)
@refuses(TenantSuspended, Unauthenticated, WrongState)
async def refresh(response: Response, hall: Hall, body: RefreshIn) -> GrantOut:
    """The next access token, and the next refresh token: each is good once, and one that comes again ends the session."""
    response.headers.update(_PRIVATE)
    return grant_out(await hall.signin.refresh(body.refresh_token))


@router.post("/signout", status_code=204)
@refuses(Unauthenticated)
async def sign_out(hall: Hall, body: RefreshIn) -> Response:
    """End the session of this refresh token."""
    await hall.signin.sign_out(body.refresh_token)
    return Response(status_code=204)


@router.get("/sessions", response_model=list[SessionOut])
async def sessions(hall: Hall, actor: Asking) -> list[SessionOut]:
    """Your sessions, most recently used first."""
    return [session_out(session, is_current=session.id == actor.session) for session in await hall.signin.sessions(actor)]


@router.delete("/sessions", status_code=204)
async def end_sessions(hall: Hall, actor: Asking) -> Response:
    """Sign out everywhere, here too. API keys are not sessions and stay."""
    await hall.signin.end_all(actor)
    return Response(status_code=204)


@router.delete("/sessions/{id}", status_code=204)
async def end_session(hall: Hall, actor: Asking, id: Id) -> Response:
    """End one of your sessions."""
    if not is_id(id):
        raise Missing
    await hall.signin.end(actor, SessionId(id))
    return Response(status_code=204)


@router.post("/password/forgot", status_code=202, response_model=TakenOut)
async def forgot_password(hall: Hall, body: ForgotIn) -> TakenOut:
    """Ask for a mail with which to choose a new password. The answer is the same whether there is such a user or not."""
    await hall.signup.forgot(tenant=body.tenant, email=body.email)
    return TakenOut()


@router.post("/password/reset", status_code=204)
@refuses(BadCode, Busy, LockedOut, WeakPassword)
async def reset_password(request: Request, hall: Hall, body: PasswordResetIn) -> Response:
    """Choose a password by a mail's `token`, or by `email` and `code`; every session of yours ends. Accepts invitations too."""
    await hall.signup.reset(_proof(body), password=body.password, address=address_of(request))
    return Response(status_code=204)


@router.post("/password/change", status_code=204)
@refuses(Busy, LockedOut, Missing, StepUpRequired, WeakPassword)
async def change_password(request: Request, hall: Hall, actor: Asking, body: PasswordChangeIn) -> Response:
    """Another password, by the one you have; your other sessions end."""
    await hall.signin.change_password(actor, current=body.current, new=body.password, address=address_of(request))
    return Response(status_code=204)


@well_known.get("/jwks.json")
async def key_set(response: Response, hall: Hall) -> dict[str, Any]:
    """The public keys of our access tokens (RFC 7517), newest first."""
    response.headers["cache-control"] = f"public, max-age={PUBLISHED_S}"
    return {"keys": [jose.jwk_of(key) for key in await hall.tokens.published()]}


@well_known.get("/openid-configuration")
async def configuration(response: Response, hall: Hall) -> dict[str, Any]:
    """Where the keys are, for libraries that start from the issuer (OpenID Connect Discovery 1.0). No OAuth flows."""
    response.headers["cache-control"] = f"public, max-age={PUBLISHED_S}"
    algorithms = sorted({key.algorithm for key in await hall.tokens.published()})
    return {
        "issuer": hall.tokens.name,
        "jwks_uri": f"{hall.tokens.name}/.well-known/jwks.json",
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
        "scopes_supported": ["read", "write", "admin"],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "jti", "sid", "scope", "tenant", "amr", "auth_time"],
    }


def _proof(body: ProofIn) -> Proof:
    return Proof(token=body.token, tenant=body.tenant, email=body.email, digits=body.code)
