"""Who may come in: the first start, users, credentials of requests, and the ring of signing keys.

Passwords and sessions are in `signin`, access tokens in `tokens`, the making of API keys in `api_keys`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from safelight.concurrency import Believed
from safelight.domain import access
from safelight.domain.accounts import Actor, ApiKey, DuplicatePolicy, Grammar, Role, Scope, SigningKey, Tenant, User, hash_of
from safelight.domain.ids import KeyId, TenantId, UserId, is_id, new_id
from safelight.domain.tenants import NOTHING
from safelight.errors import AlreadyExists, BadField, Forbidden, Missing, Unauthenticated, Unavailable, WrongState
from safelight.ports.catalog import Catalog, Records
from safelight.services.api_keys import TOKEN_PREFIX, new_key
from safelight.services.signin import end_others
from safelight.services.standing import Standing
from safelight.services.tokens import Bearers
from safelight.signing import KID_LENGTH
from safelight.signing.imgproxy import FULL_BYTES, MIN_BYTES

log = structlog.get_logger()

_FIRST_TENANT: Final = "default"
EVERY_SCOPE: Final = frozenset(Scope)
MIN_SECRET_BYTES: Final = 8
_KNOWN_SECRETS: Final = frozenset({b"MY_SECURE_KEY", b"my-security-key", b"ALWAYS_CHANGE_ME"})
"""From the documentation of others: everybody has these."""
_TOUCH_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Accounts:
    """Keys are believed for a few seconds after a look-up (`believed`), so that a read does not cost two."""

    catalog: Catalog
    clock: Callable[[], datetime]
    believed: Believed[str, tuple[Actor, ApiKey]]
    bearers: Bearers
    standing: Standing
    trash_days: int

    async def bootstrap(self, keep: Callable[[str], None]) -> str | None:
        """On an empty installation: a tenant, its operator, a signing key and an API key. The token, to be shown once; else None.

        `keep` gets the token before anything is committed: a crash in between leaves a token that opens nothing, and the next
        start makes another, while the other order could leave an installation that nobody can enter. So could a tenant that a
        crash has left without its operator: that is finished.
        """
        async with self.catalog.directory() as directory:
            tenants = await directory.tenants()
        now = self.clock()
        tenant = Tenant(
            id=TenantId(new_id(now.timestamp())),
            name=_FIRST_TENANT,
            created_at=now,
            trash_days=self.trash_days,
            duplicates=DuplicatePolicy.TELL,
        )
        if tenants:
            tenant = tenants[0]
            if not await self._is_unfinished(tenants):
                return None
        operator = User(id=UserId(new_id(now.timestamp())), tenant=tenant.id, name="operator", role=Role.OPERATOR, created_at=now)
        token, key = new_key(operator, "first key", EVERY_SCOPE, now, expires_at=None)
        keep(token)
        try:
            if not tenants:
                async with self.catalog.directory(writes=True) as directory:
                    await directory.add_tenant(tenant)
            async with self.catalog.tenant(tenant.id, writes=True) as records:
                if await records.accounts.users():
                    return None  # another server started at the same time, and has finished it
                await records.accounts.add_user(operator)
                await records.accounts.api_keys.add(key)
                await records.accounts.add_signing_key(new_signing_key(tenant.id, now))
        except AlreadyExists:
            return None  # another server started at the same time and was first
        log.info("installation.created", tenant=tenant.id)
        return token

    async def _is_unfinished(self, tenants: Sequence[Tenant]) -> bool:
        """Whether there is nothing but the first tenant, with nobody and nothing in it."""
        if len(tenants) != 1 or tenants[0].name != _FIRST_TENANT or tenants[0].stored != NOTHING:
            return False
        async with self.catalog.tenant(tenants[0].id) as records:
            return not await records.accounts.users()

    async def authenticate(self, token: str, address: str = "") -> Actor:
        """Whose API key or access token it is that came from this client address. Raises Unauthenticated, and never says why; TenantSuspended."""
        actor = await self._identified(token, address)
        try:
            await self.standing.require_active(actor.tenant)
        except Missing:
            raise Unauthenticated from None
        return actor

    async def _identified(self, token: str, address: str) -> Actor:
        if not token.startswith(f"{TOKEN_PREFIX}_"):
            return await self.bearers.authenticate(token)
        fingerprint = hashlib.sha256(token.encode(errors="replace")).hexdigest()
        now = self.clock()
        actor, key = await self.believed.read(fingerprint, lambda: self._looked_up(token, now))
        if not key.is_live(now) or not key.admits(address):
            log.info("key.refused", key=key.id, is_live=key.is_live(now))
            raise Unauthenticated
        return actor

    async def _looked_up(self, token: str, now: datetime) -> tuple[Actor, ApiKey]:
        prefix, _, rest = token.partition("_")
        key_id, _, secret = rest.partition("_")
        if prefix != TOKEN_PREFIX or not is_id(key_id):
            raise Unauthenticated
        try:
            async with self.catalog.directory() as directory:
                key, user = await directory.key(KeyId(key_id))
        except Missing:
            raise Unauthenticated from None
        right = hmac.compare_digest(hash_of(secret), key.secret_hash)
        if not right or not key.is_live(now) or user.disabled_at is not None:
            raise Unauthenticated
        if key.last_used_at is None or now - key.last_used_at > _TOUCH_EVERY:
            await self._touch(key.id, now)
        return Actor(tenant=key.tenant, user=user.id, role=user.role, scopes=key.scopes, key=key.id), key

    async def _touch(self, key_id: KeyId, now: datetime) -> None:
        """Once a minute at most. A catalog that takes no writes at the moment is no reason to turn a reader away."""
        try:
            async with self.catalog.directory(writes=True) as directory:
                await directory.people.touch_key(key_id, now)
        except Unavailable:
            log.warning("key.not_touched", key=key_id)

    async def add_user(self, actor: Actor, *, name: str, role: Role) -> User:
        """A new user of the tenant. Raises Forbidden, BadField, AlreadyExists."""
        user = self.new_user(actor, name=name, role=role)
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            await records.accounts.add_user(user)
        return user

    def new_user(self, actor: Actor, *, name: str, role: Role) -> User:
        """The record of a user that the actor may add, not kept yet. Raises Forbidden, BadField."""
        access.require(actor, "users.manage")
        if role is Role.OPERATOR and actor.role is not Role.OPERATOR:
            raise Forbidden("Only an operator makes operators.")
        if not name.strip() or len(name) > 200 or not name.isprintable():
            raise BadField("A name has 1 to 200 printable characters.", field="name")
        now = self.clock()
        return User(id=UserId(new_id(now.timestamp())), tenant=actor.tenant, name=name.strip(), role=role, created_at=now)

    async def users(self, actor: Actor) -> Sequence[User]:
        """Everybody of the tenant."""
        access.require(actor, "users.manage")
        async with self.catalog.tenant(actor.tenant) as records:
            return await records.accounts.users()

    async def disable(self, actor: Actor, user_id: UserId) -> User:
        """Let nobody in as this user any more: sessions end, keys and tokens open nothing. What is theirs stays.

        Raises Missing, Forbidden for an operator unless an operator asks, WrongState for oneself: who would undo it?
        """
        access.require(actor, "users.manage")
        if user_id == actor.user:
            raise WrongState("You cannot disable yourself.")
        now = self.clock()
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            user = await self._below(records, actor, user_id)
            user = replace(user, disabled_at=user.disabled_at or now)
            await records.accounts.save_user(user)
            await end_others(records, user_id, keep=None, now=now)
        self.believed.clear()
        self.bearers.believed.clear()
        log.info("user.disabled", user=user_id)
        return user

    async def enable(self, actor: Actor, user_id: UserId) -> User:
        """Let a user in again: keys that were not revoked are good again, sessions have to be begun anew. Raises Missing, Forbidden."""
        access.require(actor, "users.manage")
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            before = await self._below(records, actor, user_id)
            user = replace(before, disabled_at=None)
            await records.accounts.save_user(user)
            if before.disabled_at is not None:
                # A sign-in that was under way when they were disabled may have begun one a moment later. It opened nothing yet.
                await end_others(records, user_id, keep=None, now=self.clock())
        log.info("user.enabled", user=user_id)
        return user

    @staticmethod
    async def _below(records: Records, actor: Actor, user_id: UserId) -> User:
        """A user of the tenant whom the actor may manage."""
        user = next((one for one in await records.accounts.users() if one.id == user_id), None)
        if user is None:
            raise Missing
        if user.role is Role.OPERATOR and actor.role is not Role.OPERATOR:
            raise Forbidden
        return user

    async def signing_keys(self, actor: Actor) -> Sequence[SigningKey]:
        """The ring, newest first."""
        access.require(actor, "signing.read")
        async with self.catalog.tenant(actor.tenant) as records:
            return await records.accounts.signing_keys()

    async def add_signing_key(
        self,
        actor: Actor,
        *,
        grammar: Grammar = Grammar.NATIVE,
        secret: bytes = b"",
        salt: bytes = b"",
        size_bytes: int = FULL_BYTES,
    ) -> SigningKey:
        """A new key on the ring; it signs from now on, the others still verify.

        One of another server comes with its secret, so that URLs which are out there stay good; without one it is made.
        Raises BadField.
        """
        access.require(actor, "signing.manage")
        key = new_signing_key(actor.tenant, self.clock())
        if grammar is Grammar.NATIVE and (secret or salt or size_bytes != FULL_BYTES):
            raise BadField("Native keys are made here.", field="secret")
        if grammar is not Grammar.IMGPROXY and (salt or size_bytes != FULL_BYTES):
            raise BadField("Only imgproxy's keys have a salt and a size of signatures.", field="salt")
        if secret and (len(secret) < MIN_SECRET_BYTES or secret in _KNOWN_SECRETS):
            raise BadField(f"A secret has {MIN_SECRET_BYTES} bytes or more, and is not that of an example.", field="secret")
        if secret and grammar is Grammar.IMGPROXY and not salt:
            raise BadField("A key of imgproxy has a salt.", field="salt")
        if not MIN_BYTES <= size_bytes <= FULL_BYTES:
            raise BadField(f"A signature has {MIN_BYTES} to {FULL_BYTES} bytes.", field="size_bytes")
        if grammar is Grammar.IMGPROXY:
            salt = salt or secrets.token_bytes(32)
        elif grammar is Grammar.THUMBOR:
            secret = secret or secrets.token_urlsafe(32).encode()
        key = replace(key, grammar=grammar, secret=secret or key.secret, salt=salt, size_bytes=size_bytes)
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            await records.accounts.add_signing_key(key)
        return key

    async def retire_signing_key(self, actor: Actor, kid: str, *, after: timedelta = timedelta(0)) -> None:
        """Stop believing its signatures, now or later. Raises Missing, WrongState for the last live one."""
        access.require(actor, "signing.manage")
        now = self.clock()
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            ring = await records.accounts.signing_keys()
            if not any(key.kid == kid for key in ring):
                raise Missing
            if not any(key.kid != kid and key.retired_at is None and key.grammar is Grammar.NATIVE for key in ring):
                raise WrongState("This is the last live signing key; add another first.")
            await records.accounts.retire_signing_key(kid, now + after)


def new_signing_key(tenant: TenantId, now: datetime) -> SigningKey:
    """A native key that signs at once."""
    return SigningKey(kid=new_id()[-KID_LENGTH:], tenant=tenant, secret=secrets.token_bytes(32), created_at=now)
