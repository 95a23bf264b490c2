"""Outside issuers: whose tokens are believed beside our own, and whom their claims stand for. Pure: nothing is fetched here.

A token is taken when its issuer was named by the settings or by an admin, and only on that one's terms: these audiences, these
algorithms. Somebody is who the issuer says they are by (`iss`, `sub`) alone: an e-mail address in a token links to nobody, since
not every issuer makes sure of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from safelight import jose
from safelight.domain import addresses
from safelight.domain.accounts import Role, Scope
from safelight.domain.ids import IssuerId, TenantId, UserId
from safelight.errors import AlreadyExists, BadField
from safelight.jose import BadToken

ISSUERS: Final = 20
"""Issuers of one tenant."""
MAX_SKEW_S: Final = 300
_MOST: Final = 50
_LONGEST: Final = 255
"""Characters of a `sub` (OpenID Connect Core 1.0 section 2), and of other names here."""
_LONGEST_URL: Final = 512
_RANK: Final = {Role.USER: 0, Role.ADMIN: 1, Role.OPERATOR: 2}
_TYPES: Final = jose.AT_JWT | {"jwt"}
"""An ID token or an access token. A logout token, a DPoP proof or a set of security events is typed otherwise."""
_UNPROVEN: Final = ("cnf", "events")
"""Claims of what is no bearer token: bound to a key whose proof nobody checks here (RFC 7800), or a logout token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms somebody's tokens count, and whom they stand for."""

    audiences: tuple[str, ...]
    """One of them is in `aud`; a Cognito access token, which has no `aud`, names one in `client_id`."""
    jwks_url: str = ""
    """Where its keys are; empty: where its openid-configuration says."""
    algorithms: tuple[str, ...] = ("RS256",)
    authorized_parties: tuple[str, ...] = ()
    """When there are any, `azp` or `client_id` is one of them."""
    token_use: tuple[str, ...] = ()
    """When there are any, Cognito's `token_use` is one of them."""
    skew_s: int = 30
    name_claims: tuple[str, ...] = ("preferred_username", "cognito:username", "name", "email", "username")
    """What a new user is called by: the first that is there."""
    role_claim: str = ""
    """Groups or roles; when named, the role is the issuer's to say. Nested ones by a path: `realm_access.roles`."""
    roles: Mapping[str, Role] = field(default_factory=dict)
    default_role: Role | None = Role.USER
    """For who has none of those groups. None: they stay out."""
    scope_claim: str = "scope"
    scopes: Mapping[str, Scope] = field(default_factory=dict)
    """From its scopes to ours. Empty: a token may do what its user's role allows."""
    tenant_name: str = ""
    tenant_claim: str = ""
    """From the settings alone: whose users they are, by name, or by a claim that has the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedIssuer:
    """Somebody else's issuer whose tokens are believed. `tenant` None: the installation's own settings name it."""

    id: IssuerId
    tenant: TenantId | None
    issuer: str
    """The `iss` of its tokens, exactly."""
    created_at: datetime
    terms: Terms
    revision: int = 1

    @property
    def source(self) -> tuple[str, str]:
        """What decides which keys are its own: two who trust one issuer share them only if they look in the same place."""
        return self.issuer, self.terms.jwks_url

    def wants(self, audiences: tuple[str, ...]) -> bool:
        """Whether a token for these is meant for us."""
        return not set(self.terms.audiences).isdisjoint(audiences)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """That a user of a tenant is who an issuer calls `subject`."""

    tenant: TenantId
    issuer: str
    subject: str
    user: UserId
    created_at: datetime
    role_at: datetime
    """When the token was issued that the role came from: an older one does not bring it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What verified claims say of their subject."""

    subject: str
    name: str
    tenant_name: str
    role: Role | None
    """None: the issuer does not decide it."""
    first_role: Role
    scopes: frozenset[Scope] | None
    """None: those of the role."""
    issued_at: datetime
    proven_at: datetime | None
    """When they last showed who they are, if the issuer tells."""


def require_alone(issuer: TrustedIssuer, others: Iterable[TrustedIssuer]) -> None:
    """Return when its tokens lead to its tenant alone. Raises AlreadyExists.

    Its users would come to one of two tenants, and nobody could say to which.
    """
    if any(one.tenant != issuer.tenant and one.wants(issuer.terms.audiences) for one in others):
        raise AlreadyExists("Tokens of this issuer for that audience lead elsewhere in this installation.")


def require_sound(issuer: TrustedIssuer, *, is_http_allowed: bool) -> None:
    """Return when these terms can be kept and are safe. Raises BadField."""
    _url("issuer", issuer.issuer, is_http_allowed=is_http_allowed)
    if "?" in issuer.issuer or "#" in issuer.issuer:
        raise BadField("An issuer has no query and no fragment.", field="issuer")
    if len(issuer.issuer) > _LONGEST_URL:
        raise BadField(f"An issuer has at most {_LONGEST_URL} characters.", field="issuer")
    if issuer.terms.jwks_url:
        _url("jwks_url", issuer.terms.jwks_url, is_http_allowed=is_http_allowed)
    for name in ("audiences", "authorized_parties", "token_use", "name_claims", "algorithms"):
        words = getattr(issuer.terms, name)
        if len(words) > _MOST or not all(map(_is_word, words)):
            raise BadField(f"{name}: at most {_MOST} words of 1 to {_LONGEST} printable characters.", field=name)
    if not issuer.terms.audiences:
        raise BadField("Without an audience, tokens that were made for others would open the door.", field="audiences")
    if not issuer.terms.algorithms or not set(issuer.terms.algorithms) <= set(jose.ACCEPTED):
        raise BadField(f"algorithms: some of {', '.join(jose.ACCEPTED)}.", field="algorithms")
    if not 0 <= issuer.terms.skew_s <= MAX_SKEW_S:
        raise BadField(f"skew_s is 0 to {MAX_SKEW_S}.", field="skew_s")
    for name in ("role_claim", "scope_claim", "tenant_name", "tenant_claim"):
        if getattr(issuer.terms, name) and not _is_word(getattr(issuer.terms, name)):
            raise BadField(f"{name} has 1 to {_LONGEST} printable characters.", field=name)
    for name in ("roles", "scopes"):
        pairs = getattr(issuer.terms, name)
        if len(pairs) > _MOST or not all(map(_is_word, pairs)):
            raise BadField(f"{name}: at most {_MOST} pairs.", field=name)
    if issuer.terms.roles and not issuer.terms.role_claim:
        raise BadField("roles needs a role_claim to find them in.", field="role_claim")
    if issuer.terms.default_role is None and not issuer.terms.roles:
        raise BadField("Nobody could come in: there is neither a default role nor a group that has one.", field="default_role")
    if issuer.tenant is not None:
        if Role.OPERATOR in issuer.terms.roles.values() or issuer.terms.default_role is Role.OPERATOR:
            raise BadField("Only the installation's settings let an issuer name operators.", field="roles")
        if issuer.terms.tenant_name or issuer.terms.tenant_claim:
            raise BadField("An issuer of a tenant brings users to that tenant alone.", field="tenant_claim")


def peeked(issuer: TrustedIssuer, peek: jose.Peek) -> None:
    """Return when the token's header is one that this issuer's may have. Raises BadToken."""
    if peek.algorithm not in issuer.terms.algorithms:
        raise BadToken("not an algorithm of this issuer")
    if peek.type not in _TYPES:
        raise BadToken("not a type of token that opens anything")


def person(issuer: TrustedIssuer, claims: Mapping[str, Any]) -> Person:
    """Whom claims stand for whose signature and times were verified. Raises BadToken."""
    _require_meant(issuer, claims)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST or not subject.isprintable():
        raise BadToken("no subject")
    tenant_name = issuer.terms.tenant_name
    if issuer.terms.tenant_claim:
        named = _claim(claims, issuer.terms.tenant_claim)
        if not isinstance(named, str) or not named:
            raise BadToken("names no tenant")
        tenant_name = named
    role = _role(issuer, claims) if issuer.terms.role_claim else None
    if not issuer.terms.role_claim and issuer.terms.default_role is None:
        raise BadToken("nobody's role")
    scopes: frozenset[Scope] | None = None
    if issuer.terms.scopes:
        told = _words(_claim(claims, issuer.terms.scope_claim))
        scopes = frozenset(ours for theirs, ours in issuer.terms.scopes.items() if theirs in told)
    return Person(
        subject=subject,
        name=_name(issuer, claims) or subject[:200],
        tenant_name=tenant_name,
        role=role,
        first_role=role or issuer.terms.default_role or Role.USER,
        scopes=scopes,
        issued_at=_moment(claims["iat"]),
        proven_at=_proven_at(issuer, claims),
    )


def _require_meant(issuer: TrustedIssuer, claims: Mapping[str, Any]) -> None:
    if not issuer.wants(jose.audiences_of(claims)):
        raise BadToken("for another audience")
    if any(name in claims for name in _UNPROVEN):
        raise BadToken("no bearer token")
    if issuer.terms.token_use and claims.get("token_use") not in issuer.terms.token_use:
        raise BadToken("another token_use")
    if issuer.terms.authorized_parties and claims.get("azp", claims.get("client_id")) not in issuer.terms.authorized_parties:
        raise BadToken("for another authorized party")


def _role(issuer: TrustedIssuer, claims: Mapping[str, Any]) -> Role:
    told = _words(_claim(claims, issuer.terms.role_claim))
    found = [role for group, role in issuer.terms.roles.items() if group in told]
    role = max(found, key=_RANK.__getitem__, default=issuer.terms.default_role)
    if role is None:
        raise BadToken("in no group that may come in")
    return role


def _proven_at(issuer: TrustedIssuer, claims: Mapping[str, Any]) -> datetime | None:
    """One that lies behind the token itself proves nothing, and would for ever be recent."""
    at = claims.get("auth_time")
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at <= claims["iat"] + issuer.terms.skew_s:
        return None
    return _moment(at)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(max(0, int(seconds)), UTC)


def _name(issuer: TrustedIssuer, claims: Mapping[str, Any]) -> str:
    for name in issuer.terms.name_claims:
        told = _claim(claims, name)
        if isinstance(told, str) and told.strip() and told.isprintable():
            return told.strip()[:200]
    return ""


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of this very name (`https://example.com/roles`), else along the path that its dots make."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _words(value: Any) -> frozenset[str]:
    """A list of text, or text with blanks between the words as OAuth writes scopes (RFC 6749 section 3.3)."""
    if isinstance(value, str):
        return frozenset({value, *value.split()})
    return frozenset(word for word in value if isinstance(word, str)) if isinstance(value, list) else frozenset()


def _url(name: str, text: str, *, is_http_allowed: bool) -> None:
    try:
        target = addresses.parse(text)
    except BadField as error:
        raise BadField(f"{name}: {error.detail}", field=name) from None
    if target.scheme == "http" and not is_http_allowed:  # whoever is on the way could put in a key of theirs
        raise BadField(f"{name} begins with https://; SAFELIGHT_ISSUERS__IS_HTTP_ALLOWED opens http://.", field=name)


def _is_word(text: str) -> bool:
    return 0 < len(text) <= _LONGEST and text.isprintable() and re.search(r"\S", text) is not None
