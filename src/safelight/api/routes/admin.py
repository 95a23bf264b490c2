"""/admin: users, API keys, signing keys, dead letters and the search index; for admins and operators."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Depends, Query, Request, Response

from safelight.api.auth import Asking, Hall
from safelight.api.conditions import IfMatch
from safelight.api.refusals import refuses
from safelight.api.routes.room import room
from safelight.api.schemas.common import Id, Instant
from safelight.api.schemas.images import CloudFrontCookies
from safelight.api.schemas.issuers import (
    IssuerCheckIn,
    IssuerCheckOut,
    IssuerIn,
    IssuerOut,
    IssuerPatch,
    issuer_check_out,
    issuer_out,
)
from safelight.api.schemas.progress import FailureOut, FailurePage, MendedOut, failure_out
from safelight.api.schemas.signin import TakenOut, TokenKeyIn, TokenKeyOut, TokenRetireIn, token_key_out
from safelight.api.schemas.signing import RetireIn, SigningKeyIn, SigningKeyOut, signing_key_fields, signing_key_out
from safelight.api.schemas.users import (
    ApiKeyChangeIn,
    ApiKeyIn,
    ApiKeyOut,
    InviteIn,
    UserIn,
    UserOut,
    api_key_out,
    key_wish,
    user_out,
)
from safelight.domain import access
from safelight.domain.accounts import Actor
from safelight.domain.ids import IssuerId, KeyId, UserId, is_id
from safelight.errors import (
    AlreadyExists,
    BadField,
    Missing,
    SearchUnavailable,
    SourceNotAllowed,
    SourceUnavailable,
    SourceUnreachable,
    StepUpRequired,
    Unavailable,
    WrongState,
)
from safelight.ports.workflows import Letters
from safelight.wiring import Safelight

router = room("admin", "/admin")


@router.get("/users", response_model=list[UserOut])
async def users(hall: Hall, actor: Asking) -> list[UserOut]:
    """Everybody of the tenant."""
    return [user_out(user) for user in await hall.accounts.users(actor)]


@router.post("/users", status_code=201, response_model=UserOut)
@refuses(AlreadyExists)
async def add_user(hall: Hall, actor: Asking, body: UserIn) -> UserOut:
    """A new user; with an `email`, invited to sign in."""
    if not body.email:
        return user_out(await hall.accounts.add_user(actor, name=body.name, role=body.role))
    user = hall.accounts.new_user(actor, name=body.name, role=body.role)
    await hall.signup.add_invited(actor, user, email=body.email, language=body.language)
    return user_out(user)


@router.post("/users/{id}/invite", status_code=202, response_model=TakenOut)
@refuses(AlreadyExists)
async def invite_user(hall: Hall, actor: Asking, id: Id, body: InviteIn) -> TakenOut:
    """Send a user a mail by which they choose a password, and then sign in with that address."""
    if not is_id(id):
        raise Missing
    await hall.signup.invite(actor, UserId(id), email=body.email, language=body.language)
    return TakenOut()


@router.post("/users/{id}/disable", response_model=UserOut)
@refuses(WrongState)
async def disable_user(hall: Hall, actor: Asking, id: Id) -> UserOut:
    """Let nobody in as this user: sessions end, API keys and tokens open nothing; images and albums stay."""
    if not is_id(id):
        raise Missing
    return user_out(await hall.accounts.disable(actor, UserId(id)))


@router.post("/users/{id}/enable", response_model=UserOut)
async def enable_user(hall: Hall, actor: Asking, id: Id) -> UserOut:
    """Let a user in again, with the API keys that they had."""
    if not is_id(id):
        raise Missing
    return user_out(await hall.accounts.enable(actor, UserId(id)))


@router.delete("/users/{id}/mfa", status_code=204)
@refuses(StepUpRequired)
async def reset_mfa(hall: Hall, actor: Asking, id: Id) -> Response:
    """Take authenticator app, recovery codes and passkeys from a user who has lost them, and end their sessions."""
    if not is_id(id):
        raise Missing
    await hall.factors.reset(actor, UserId(id))
    return Response(status_code=204)


@router.get("/api-keys", response_model=list[ApiKeyOut])
async def api_keys(hall: Hall, actor: Asking) -> list[ApiKeyOut]:
    """Every API key of the tenant, without its token."""
    return [api_key_out(key) for key in await hall.api_keys.all(actor)]


@router.post("/api-keys", status_code=201, response_model=ApiKeyOut)
@refuses(Missing, StepUpRequired)
async def add_api_key(hall: Hall, actor: Asking, body: ApiKeyIn) -> ApiKeyOut:
    """A new API key; the token is in this answer and never again."""
    if not is_id(body.user):
        raise Missing
    token, key = await hall.api_keys.add(actor, UserId(body.user), key_wish(body))
    return api_key_out(key, token)


@router.patch("/api-keys/{id}", response_model=ApiKeyOut)
async def change_api_key(hall: Hall, actor: Asking, id: Id, body: ApiKeyChangeIn) -> ApiKeyOut:
    """Another name for an API key, or other networks; scopes and expiry stay."""
    if not is_id(id):
        raise Missing
    return api_key_out(await hall.api_keys.change(actor, KeyId(id), name=body.name, networks=body.networks))


@router.delete("/api-keys/{id}", status_code=204)
async def revoke_api_key(hall: Hall, actor: Asking, id: Id) -> Response:
    """End an API key now."""
    if not is_id(id):
        raise Missing
    await hall.api_keys.revoke(actor, KeyId(id))
    return Response(status_code=204)


@router.get("/signing-keys", response_model=list[SigningKeyOut])
async def signing_keys(hall: Hall, actor: Asking) -> list[SigningKeyOut]:
    """The ring, newest first, without secrets."""
    return [signing_key_out(key) for key in await hall.accounts.signing_keys(actor)]


@router.post("/signing-keys", status_code=201, response_model=SigningKeyOut)
async def add_signing_key(hall: Hall, actor: Asking, body: SigningKeyIn | None = None) -> SigningKeyOut:
    """A new key: it signs from now on, the others still verify. The secret is in this answer and never again."""
    key = await hall.accounts.add_signing_key(actor, **signing_key_fields(body or SigningKeyIn()))
    hall.delivery.forget_rings()
    return signing_key_out(key, with_secret=True)


@router.post("/signing-keys/{kid}/retire", status_code=204)
@refuses(WrongState)
async def retire_signing_key(hall: Hall, actor: Asking, kid: str, body: RetireIn | None = None) -> Response:
    """Stop believing its signatures, now or in `after_s` seconds."""
    after = timedelta(seconds=body.after_s if body else 0)
    await hall.accounts.retire_signing_key(actor, kid, after=after)
    hall.delivery.forget_rings()
    return Response(status_code=204)


@router.post("/cloudfront-cookies", response_model=CloudFrontCookies)
@refuses(WrongState)
async def cloudfront_cookies(hall: Hall, actor: Asking) -> CloudFrontCookies:
    """Cookies that open every stored rendition of the tenant at CloudFront, for a page that you let somebody in to."""
    access.require(actor, "signing.manage")
    signer = await hall.delivery.signer(actor.tenant)
    resource, cookies = signer.at_cloudfront.cookies(actor.tenant, signer.exp)
    return CloudFrontCookies(resource=resource, cookies=cookies, expires_at=datetime.fromtimestamp(signer.exp, UTC))


@router.get("/token-keys", response_model=list[TokenKeyOut])
async def token_keys(hall: Hall, actor: Asking) -> list[TokenKeyOut]:
    """The ring for access tokens, newest first, without private keys."""
    return [token_key_out(key) for key in await hall.tokens.keys(actor)]


@router.post("/token-keys", status_code=201, response_model=TokenKeyOut)
async def add_token_key(hall: Hall, actor: Asking, body: TokenKeyIn | None = None) -> TokenKeyOut:
    """A new key: published at once, signs as soon as verifiers have had five minutes to fetch it."""
    return token_key_out(await hall.tokens.add_key(actor, algorithm=body.algorithm if body else None))


@router.post("/token-keys/{kid}/retire", response_model=TokenKeyOut)
@refuses(WrongState)
async def retire_token_key(hall: Hall, actor: Asking, kid: str, body: TokenRetireIn | None = None) -> TokenKeyOut:
    """Sign nothing with it any more, and believe nothing of it when its last token has expired, or in `after_s` seconds."""
    after = timedelta(seconds=body.after_s) if body and body.after_s is not None else None
    await hall.tokens.retire_key(actor, kid, after=after)
    return token_key_out(next(key for key in await hall.tokens.keys(actor) if key.kid == kid))


@router.get("/issuers", response_model=list[IssuerOut], name="issuers")
async def trusted_issuers(hall: Hall, actor: Asking) -> list[IssuerOut]:
    """Outside issuers whose tokens the tenant believes, oldest first; operators see those of the settings before them."""
    return [issuer_out(issuer) for issuer in await hall.issuers.all(actor)]


@router.post("/issuers", status_code=201, response_model=IssuerOut)
@refuses(AlreadyExists, SourceNotAllowed, SourceUnreachable, StepUpRequired, WrongState)
async def add_issuer(hall: Hall, actor: Asking, body: IssuerIn) -> IssuerOut:
    """Believe an outside issuer's tokens: its users become the tenant's when they are first seen."""
    return issuer_out(await hall.issuers.add(actor, body.issuer, body.terms()))


@router.patch("/issuers/{id}", response_model=IssuerOut)
@refuses(AlreadyExists, SourceNotAllowed, SourceUnreachable, StepUpRequired)
async def change_issuer(response: Response, hall: Hall, actor: Asking, id: Id, revision: IfMatch, body: IssuerPatch) -> IssuerOut:
    """Believe an issuer's tokens on other terms, under If-Match if you like; its users stay who they are."""
    if not is_id(id):
        raise Missing
    issuer = issuer_out(await hall.issuers.change(actor, IssuerId(id), body.changed, if_revision=revision))
    response.headers["etag"] = f'"{issuer.revision}"'
    return issuer


@router.delete("/issuers/{id}", status_code=204)
async def remove_issuer(hall: Hall, actor: Asking, id: Id) -> Response:
    """Believe an issuer's tokens no more. Its users stay, and come back with it."""
    if not is_id(id):
        raise Missing
    await hall.issuers.remove(actor, IssuerId(id))
    return Response(status_code=204)


@router.post("/issuers/{id}/check", response_model=IssuerCheckOut)
@refuses(SourceUnavailable, SourceUnreachable, Unavailable)
async def check_issuer(hall: Hall, actor: Asking, id: str, body: IssuerCheckIn | None = None) -> IssuerCheckOut:
    """Ask an issuer for its keys now, and tell what a token of it would be taken for, or why it would not."""
    return issuer_check_out(await hall.issuers.check(actor, id, body.token if body else ""))


async def letters(
    request: Request,
    flow: Annotated[str, Query(max_length=100)] = "",
    tenant: Annotated[Id | None, Query(max_length=26, description="A tenant's id.")] = None,
    cause: Annotated[str, Query(max_length=500, description="A part of the error, whatever its case.")] = "",
    after: Annotated[Instant | None, Query(description="Given up then or later.")] = None,
    before: Annotated[Instant | None, Query(description="Given up before then.")] = None,
) -> Letters:
    """Which dead letters are meant. Raises BadField for a filter that does not exist: without it, it would be every one."""
    for name in request.query_params:
        if name not in ("flow", "tenant", "cause", "after", "before", "limit", "all"):
            raise BadField(f"{name[:100]!r} is not a parameter here.", field=name[:100])
    return Letters(flow=flow, party=tenant or "", cause=cause, after=after, before=before)


Which = Annotated[Letters, Depends(letters)]
All = Annotated[bool, Query(description="Every one there is: what a call without filter has to say.")]
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("/failures", response_model=FailurePage)
async def failures(hall: Hall, actor: Asking, which: Which, limit: Limit = 100) -> FailurePage:
    """Dead letters: work that was given up, with its cause, its input and what was noted of its tries."""
    access.require(actor, "failures.read")
    return FailurePage(failures=[failure_out(run) for run in await hall.workflows.dead(which, limit=limit)])


@router.post("/failures/retry", status_code=202, response_model=MendedOut)
async def retry_failures(hall: Hall, actor: Asking, which: Which, all: All = False, limit: Limit = 100) -> MendedOut:
    """Try some again: the newest of those that fit the filter. Say `before`, or one that fails again is met again."""
    return await _mended(hall, actor, which, hall.workflows.retry, is_all=all, limit=limit)


@router.delete("/failures", response_model=MendedOut)
async def discard_failures(hall: Hall, actor: Asking, which: Which, all: All = False, limit: Limit = 100) -> MendedOut:
    """Forget some: the newest of those that fit the filter."""
    return await _mended(hall, actor, which, hall.workflows.discard, is_all=all, limit=limit)


async def _mended(
    hall: Safelight, actor: Actor, which: Letters, mend: Callable[[str], Awaitable[None]], *, is_all: bool, limit: int
) -> MendedOut:
    access.require(actor, "failures.manage")
    if (which == Letters()) != is_all:
        raise BadField("Say which by flow, tenant, cause, after or before; or all=true, and none of these.", field="all")
    found = await hall.workflows.dead(which, limit=limit + 1)
    count = 0
    for run in found[:limit]:
        with contextlib.suppress(Missing, WrongState):  # somebody else was faster
            await mend(run.id)
            count += 1
    return MendedOut(count=count, has_more=len(found) > limit)


@router.get("/failures/{id}", response_model=FailureOut)
async def failure(hall: Hall, actor: Asking, id: str) -> FailureOut:
    """One dead letter with the steps that it got through."""
    access.require(actor, "failures.read")
    return failure_out(await hall.workflows.get(id), await hall.workflows.steps(id))


@router.post("/failures/{id}/retry", status_code=202, response_class=Response, name="retry_failure")
@refuses(WrongState)
async def retry(hall: Hall, actor: Asking, id: str) -> Response:
    """Try again from the step that failed."""
    access.require(actor, "failures.manage")
    await hall.workflows.retry(id)
    return Response(status_code=202)


@router.delete("/failures/{id}", status_code=204, name="discard_failure")
@refuses(WrongState)
async def discard(hall: Hall, actor: Asking, id: str) -> Response:
    """Forget a dead letter."""
    access.require(actor, "failures.manage")
    await hall.workflows.discard(id)
    return Response(status_code=204)


@router.post("/reindex", status_code=202)
@refuses(SearchUnavailable)
async def reindex(hall: Hall, actor: Asking) -> dict[str, int]:
    """Build the search index anew from the catalog, then switch to it."""
    access.require(actor, "failures.manage")
    return {"documents": await hall.library.reindex()}
