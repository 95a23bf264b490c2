"""API keys: made, renamed, bound to networks and revoked, by admins for the tenant and by users for themselves.

A key cannot do any of that for its own user: one that is bound to a network or ends tomorrow would otherwise make one that is not
and does not. Who comes in with a key is asked in `accounts`.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from safelight.domain import access
from safelight.domain.accounts import Actor, ApiKey, Role, Scope, User, allow_list, hash_of, scopes_of
from safelight.domain.ids import KeyId, UserId, new_id
from safelight.errors import BadField, Forbidden, Missing, WrongState
from safelight.ports.catalog import Catalog
from safelight.services.stepup import StepUp

TOKEN_PREFIX: Final = "sl"  # noqa: S105 (a prefix, not a secret)
LIVE_KEYS: Final = 50
"""Live keys of one user that they made themselves or were given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWish:
    """What a new key is to be; `networks` are addresses or CIDR."""

    name: str
    scopes: frozenset[Scope]
    expires_at: datetime | None = None
    networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """`forget` ends what this process believes of keys."""

    catalog: Catalog
    clock: Callable[[], datetime]
    forget: Callable[[], None]
    step_up: StepUp

    async def add(self, actor: Actor, user_id: UserId, wish: KeyWish) -> tuple[str, ApiKey]:
        """A new key for a user, and its token: this is the only time that it is known.

        Raises Missing, Forbidden, BadField; StepUpRequired for one that administers.
        """
        access.require(actor, "users.manage")
        await self._stepped_up(actor, wish)
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            user = next((user for user in await records.accounts.users() if user.id == user_id), None)
            if user is None:
                raise Missing
            if user.role is Role.OPERATOR and actor.role is not Role.OPERATOR:
                raise Forbidden
            token, key = self._wished(user, wish)
            await records.accounts.api_keys.add(key)
        return token, key

    async def all(self, actor: Actor) -> Sequence[ApiKey]:
        """Every key of the tenant, newest first."""
        access.require(actor, "users.manage")
        async with self.catalog.tenant(actor.tenant) as records:
            return await records.accounts.api_keys.all()

    async def change(
        self, actor: Actor, key_id: KeyId, *, name: str | None = None, networks: Sequence[str] | None = None
    ) -> ApiKey:
        """Another name, other networks. Raises Missing, BadField."""
        access.require(actor, "users.manage")
        return await self._save(actor, key_id, None, name=name, networks=networks)

    async def revoke(self, actor: Actor, key_id: KeyId) -> None:
        """End a key now. Raises Missing."""
        access.require(actor, "users.manage")
        await self._save(actor, key_id, None, revoked_at=self.clock())

    async def add_own(self, actor: Actor, wish: KeyWish) -> tuple[str, ApiKey]:
        """A key for the actor, which may do no more than the actor may.

        Raises Forbidden, BadField, WrongState when there are many; StepUpRequired for one that administers.
        """
        access.require(actor, "key.manage")
        await self._stepped_up(actor, wish)
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            user = next((user for user in await records.accounts.users() if user.id == actor.user), None)
            if user is None:
                raise Missing
            if not wish.scopes <= actor.scopes & scopes_of(user.role):
                raise Forbidden("A key of yours may do what you may do, and no more.")
            now = self.clock()
            if sum(key.is_live(now) for key in await records.accounts.api_keys.all(actor.user)) >= LIVE_KEYS:
                raise WrongState(f"You have {LIVE_KEYS} live keys; revoke one first.")
            token, key = self._wished(user, wish)
            await records.accounts.api_keys.add(key)
        return token, key

    async def own(self, actor: Actor) -> Sequence[ApiKey]:
        """The actor's keys, newest first."""
        access.require(actor, "key.list")
        async with self.catalog.tenant(actor.tenant) as records:
            return await records.accounts.api_keys.all(actor.user)

    async def change_own(
        self, actor: Actor, key_id: KeyId, *, name: str | None = None, networks: Sequence[str] | None = None
    ) -> ApiKey:
        """Another name, other networks. Raises Missing, for others' keys too, and BadField."""
        access.require(actor, "key.manage")
        return await self._save(actor, key_id, actor.user, name=name, networks=networks)

    async def revoke_own(self, actor: Actor, key_id: KeyId) -> None:
        """End one of the actor's keys now. Raises Missing, for others' too."""
        access.require(actor, "key.manage")
        await self._save(actor, key_id, actor.user, revoked_at=self.clock())

    async def _stepped_up(self, actor: Actor, wish: KeyWish) -> None:
        if Scope.ADMIN in wish.scopes:
            await self.step_up.require(actor)

    def _wished(self, user: User, wish: KeyWish) -> tuple[str, ApiKey]:
        now = self.clock()
        if not wish.scopes:
            raise BadField("A key needs at least one scope.", field="scopes")
        if wish.expires_at is not None and wish.expires_at <= now:
            raise BadField("A key expires some time from now.", field="expires_at")
        token, key = new_key(user, _name(wish.name), wish.scopes, now, expires_at=wish.expires_at)
        return token, replace(key, networks=allow_list(wish.networks))

    async def _save(
        self,
        actor: Actor,
        key_id: KeyId,
        owner: UserId | None,
        *,
        name: str | None = None,
        networks: Sequence[str] | None = None,
        revoked_at: datetime | None = None,
    ) -> ApiKey:
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            key = next((key for key in await records.accounts.api_keys.all(owner) if key.id == key_id), None)
            if key is None:
                raise Missing
            key = replace(
                key,
                name=key.name if name is None else _name(name),
                networks=key.networks if networks is None else allow_list(networks),
                revoked_at=key.revoked_at or revoked_at,
            )
            await records.accounts.api_keys.save(key)
        self.forget()
        return key


def new_key(user: User, name: str, scopes: frozenset[Scope], now: datetime, *, expires_at: datetime | None) -> tuple[str, ApiKey]:
    """A key that nobody keeps yet, and its token."""
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    key = ApiKey(
        id=KeyId(new_id(now.timestamp())),
        tenant=user.tenant,
        user=user.id,
        name=name,
        secret_hash=hash_of(secret),
        scopes=scopes,
        created_at=now,
        expires_at=expires_at,
    )
    return f"{TOKEN_PREFIX}_{key.id}_{secret}", key


def _name(text: str) -> str:
    if len(text) > 200 or (text and not text.isprintable()):
        raise BadField("A name has at most 200 printable characters.", field="name")
    return text.strip()
