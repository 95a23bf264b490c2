"""Sign-up, sign-in, sessions and token keys on the wire."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from safelight.api.schemas.common import In, Out, Secretive
from safelight.domain.people import Algorithm, Session, TokenKey
from safelight.services.signin import Grant


class SignUpIn(Secretive):
    """A wish for an account."""

    email: str = Field(max_length=254)
    password: str = Field(max_length=1024)
    tenant: str = Field("default", max_length=200)
    language: str = Field("", max_length=35, description="Of your letters, as a BCP 47 tag. Default: as Accept-Language says.")


class TakenOut(Out):
    """It was taken; what becomes of it is told by mail, to the address alone."""

    detail: str = "If this address can have it, a mail is on its way."


class ProofIn(Secretive):
    """That you read mail at an address: the `token` of the link, or the address and its `code`."""

    token: str = Field("", max_length=1024)
    email: str = Field("", max_length=254)
    code: str = Field("", max_length=32)
    tenant: str = Field("default", max_length=200)


class SignInIn(Secretive):
    """An address and its password."""

    email: str = Field(max_length=254)
    password: str = Field(max_length=1024)
    tenant: str = Field("default", max_length=200)


class RefreshIn(In):
    """A refresh token."""

    refresh_token: str = Field(max_length=512)


class ForgotIn(In):
    """Whose password is to be chosen anew."""

    email: str = Field(max_length=254)
    tenant: str = Field("default", max_length=200)


class PasswordResetIn(ProofIn):
    """A new password, and what allows you to choose it."""

    password: str = Field(max_length=1024)


class PasswordChangeIn(Secretive):
    """The password now, and the next."""

    current: str = Field(max_length=1024)
    password: str = Field(max_length=1024)


class GrantOut(Out):
    """Tokens, named as in RFC 6749 section 5.1."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 (a scheme, not a secret)
    expires_in: int = Field(description="Seconds for which the access token is good.")
    refresh_token: str
    refresh_expires_at: datetime
    session: str


def grant_out(grant: Grant) -> GrantOut:
    """What the client keeps."""
    return GrantOut(
        access_token=grant.access.text,
        expires_in=grant.access.life_s,
        refresh_token=grant.refresh_token,
        refresh_expires_at=grant.session.expires_at,
        session=grant.session.id,
    )


class SessionOut(Out):
    """One of your sessions."""

    id: str
    created_at: datetime
    used_at: datetime = Field(description="Last refreshed.")
    expires_at: datetime
    address: str = Field(description="Where it was begun from.")
    agent: str = Field(description="What the client called itself.")
    is_current: bool


def session_out(session: Session, *, is_current: bool) -> SessionOut:
    """The session as its user gets it, without a secret."""
    return SessionOut(
        id=session.id,
        created_at=session.created_at,
        used_at=session.used_at,
        expires_at=session.expires_at,
        address=session.address,
        agent=session.agent,
        is_current=is_current,
    )


class TokenKeyIn(In):
    """A new key for access tokens."""

    algorithm: Algorithm | None = Field(None, description="Default: as `SAFELIGHT_AUTH__ALGORITHM` says.")


class TokenKeyOut(Out):
    """A key of the ring, without its private half."""

    kid: str
    algorithm: Algorithm
    created_at: datetime
    retired_at: datetime | None


def token_key_out(key: TokenKey) -> TokenKeyOut:
    """The key as an operator gets it."""
    return TokenKeyOut(kid=key.kid, algorithm=key.algorithm, created_at=key.created_at, retired_at=key.retired_at)


class TokenRetireIn(In):
    """When to stop believing the key."""

    after_s: int | None = Field(None, ge=0, le=10 * 365 * 86_400, description="Default: when its last token has expired.")
