"""Outside issuers on the wire."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from pydantic import Field

from safelight import jose
from safelight.api.schemas.common import In, Out
from safelight.domain.accounts import Role, Scope
from safelight.domain.issuers import MAX_SKEW_S, Terms, TrustedIssuer
from safelight.errors import BadField
from safelight.services.issuers import Check
from safelight.settings import IssuerTerms


class IssuerIn(IssuerTerms):
    """An outside issuer whose tokens are to be believed."""


class IssuerPatch(In):
    """Terms to change: those that are named, `null` for what the field says by itself (RFC 7396)."""

    audiences: list[str] | None = None
    jwks_url: str | None = Field(None, max_length=2048)
    algorithms: list[str] | None = None
    authorized_parties: list[str] | None = None
    token_use: list[str] | None = None
    skew_s: int | None = Field(None, ge=0, le=MAX_SKEW_S)
    name_claims: list[str] | None = None
    role_claim: str | None = None
    roles: dict[str, Role] | None = None
    default_role: Role | None = Field(None, description="`null`: who is in none of the groups stays out.")
    scope_claim: str | None = None
    scopes: dict[str, Scope] | None = None

    def changed(self, terms: Terms) -> Terms:
        """The terms with what the body names. Raises BadField without an audience."""
        named = self.model_dump(exclude_unset=True)
        kept = {name: value for name, value in named.items() if value is not None or name == "default_role"}
        if "audiences" in named and not named["audiences"]:
            raise BadField("Without an audience, tokens that were made for others would open the door.", field="audiences")
        usual = {name: getattr(Terms(audiences=terms.audiences), name) for name in named.keys() - kept.keys()}
        words: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}
        return replace(terms, **usual, **words)


class IssuerOut(Out):
    """An outside issuer. Those of the settings have an `id` that begins with `settings-`."""

    id: str
    issuer: str
    created_at: datetime
    audiences: list[str]
    jwks_url: str
    algorithms: list[str]
    authorized_parties: list[str]
    token_use: list[str]
    skew_s: int
    name_claims: list[str]
    role_claim: str
    roles: dict[str, Role]
    default_role: Role | None
    scope_claim: str
    scopes: dict[str, Scope]
    tenant_name: str
    tenant_claim: str
    revision: int


def issuer_out(issuer: TrustedIssuer) -> IssuerOut:
    """The issuer as an admin gets it."""
    return IssuerOut(
        id=issuer.id, issuer=issuer.issuer, created_at=issuer.created_at, revision=issuer.revision, **asdict(issuer.terms)
    )


class IssuerCheckIn(In):
    """What to read while trying an issuer."""

    token: str = Field("", max_length=jose.LONGEST, description="A token of it, to see what it would be taken for.")


class IssuerKeyOut(Out):
    """A key that an issuer publishes, for one of the algorithms that it may verify."""

    kid: str
    algorithm: str


class ReadingOut(Out):
    """What a token would be taken for; nobody is added by that."""

    is_taken: bool
    refusal: str = Field(description="Why it opens nothing. The door itself never says.")
    subject: str
    name: str
    role: Role | None
    scopes: list[Scope]


class IssuerCheckOut(Out):
    """What an issuer publishes now."""

    jwks_url: str
    keys: list[IssuerKeyOut]
    token: ReadingOut | None


def issuer_check_out(check: Check) -> IssuerCheckOut:
    """What was found."""
    reading = check.reading
    return IssuerCheckOut(
        jwks_url=check.jwks_url,
        keys=[IssuerKeyOut(kid=key.kid, algorithm=key.algorithm) for key in check.keys],
        token=reading
        and ReadingOut(
            is_taken=not reading.refusal,
            refusal=reading.refusal,
            subject=reading.subject,
            name=reading.name,
            role=reading.role,
            scopes=list(reading.scopes),
        ),
    )
