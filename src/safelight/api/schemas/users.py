"""Users and API keys on the wire."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from safelight.api.schemas.common import Id, In, Instant, Out
from safelight.domain.accounts import MAX_NETWORKS, ApiKey, Role, Scope, User
from safelight.services.api_keys import KeyWish


class UserIn(In):
    """A new user."""

    name: str
    role: Role = Role.USER
    email: str = Field("", max_length=254, description="Invites them to sign in with this address.")
    language: str = Field("", max_length=35, description="Of their letters, as a BCP 47 tag.")


class InviteIn(In):
    """An invitation to sign in."""

    email: str = Field(max_length=254)
    language: str = Field("", max_length=35, description="Of their letters, as a BCP 47 tag.")


class UserOut(Out):
    """A user of the tenant."""

    id: str
    name: str
    role: Role
    created_at: datetime
    disabled_at: datetime | None


def user_out(user: User) -> UserOut:
    """The user as an admin gets it."""
    return UserOut(id=user.id, name=user.name, role=user.role, created_at=user.created_at, disabled_at=user.disabled_at)


class ApiKeyIn(In):
    """A new API key for a user."""

    user: Id
    name: str = Field("", max_length=200)
    scopes: list[Scope] = Field(default=[Scope.READ, Scope.WRITE], min_length=1)
    expires_at: Instant | None = None
    networks: list[str] = Field(
        [], max_length=MAX_NETWORKS, description="Addresses or networks (CIDR) it may be used from. Empty: any."
    )


class OwnKeyIn(In):
    """A new API key of yours; it may do what you may do, and no more."""

    name: str = Field("", max_length=200)
    scopes: list[Scope] = Field(default=[Scope.READ, Scope.WRITE], min_length=1)
    expires_at: Instant | None = None
    networks: list[str] = Field(
        [], max_length=MAX_NETWORKS, description="Addresses or networks (CIDR) it may be used from. Empty: any."
    )


class ApiKeyChangeIn(In):
    """What is to change of an API key."""

    name: str | None = Field(None, max_length=200)
    networks: list[str] | None = Field(None, max_length=MAX_NETWORKS, description="An empty list: it may be used from anywhere.")


def key_wish(body: ApiKeyIn | OwnKeyIn) -> KeyWish:
    """What the service makes."""
    return KeyWish(name=body.name, scopes=frozenset(body.scopes), expires_at=body.expires_at, networks=tuple(body.networks))


class ApiKeyOut(Out):
    """An API key; its token is shown only when it is made."""

    id: str
    user: str
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    networks: list[str]
    token: str | None = Field(None, description="Only in the answer that makes the key.")


def api_key_out(key: ApiKey, token: str | None = None) -> ApiKeyOut:
    """The key as an admin gets it."""
    return ApiKeyOut(
        id=key.id,
        user=key.user,
        name=key.name,
        scopes=sorted(key.scopes),
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
        networks=[str(network) for network in key.networks],
        token=token,
    )
