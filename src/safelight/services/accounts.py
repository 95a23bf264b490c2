"""Who may come in: the first start, API keys, users, and the ring of signing keys.

Passwords and sessions are in `signin`, access tokens in `tokens`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from safelight.concurrency import Expiring
from safelight.domain import access
from safelight.domain.accounts import Actor, ApiKey, DuplicatePolicy, Grammar, Role, Scope, SigningKey, Tenant, User
from safelight.domain.ids import KeyId, TenantId, UserId, is_id, new_id
from safelight.errors import AlreadyExists, BadField, Forbidden, Missing, Unauthenticated, WrongState
from safelight.ports.catalog import Catalog
from safelight.services.stepup import StepUp
from safelight.services.tokens import Bearers
from safelight.signing import KID_LENGTH
from safelight.signing.imgproxy import FULL_BYTES, MIN_BYTES

log = structlog.get_logger()

TOKEN_PREFIX: Final = "sl"  # noqa: S105 (a prefix, not a secret)
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
    believed: Expiring[str, tuple[Actor, ApiKey]]
    bearers: Bearers
    trash_days: int
    step_up: StepUp

    async def bootstrap(self, keep: Callable[[str], None]) -> str | None:
        """On an empty installation: a tenant, its operator, a signing key and an API key. The token, to be shown once; else None.

        `keep` gets the token before anything is committed: a crash in between leaves a token that opens nothing, and the next
        start makes another, while the other order could leave an installation that nobody can enter.
        """
        async with self.catalog.directory() as directory:
            if await directory.tenants():
                return None
        now = self.clock()
        tenant = Tenant(
            id=TenantId(new_id(now.timestamp())),
            name="default",
            created_at=now,
            trash_days=self.trash_days,
            duplicates=DuplicatePolicy.TELL,
        )
        operator = User(id=UserId(new_id(now.timestamp())), tenant=tenant.id, name="operator", role=Role.OPERATOR, created_at=now)
        token, key = _new_key(operator, "first key", EVERY_SCOPE, now, expires_at=None)
        keep(token)
        try:
            async with self.catalog.directory(writes=True) as directory:
                await directory.add_tenant(tenant)
        except AlreadyExists:
            return None  # another server started at the same time and was first
        async with self.catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_user(operator)
            await records.accounts.add_key(key)
            await records.accounts.add_signing_key(_new_signing_key(tenant.id, now))
        log.info("installation.created", tenant=tenant.id)
        return token

    async def authenticate(self, token: str) -> Actor:
        """Whose API key or access token it is. Raises Unauthenticated, and never says why."""
        if not token.startswith(f"{TOKEN_PREFIX}_"):
            return await self.bearers.authenticate(token)
        fingerprint = hashlib.sha256(token.encode(errors="replace")).hexdigest()
        now = self.clock()
        found = self.believed.get(fingerprint)
        if found is None:
            found = await self._looked_up(token, now)
            self.believed.put(fingerprint, found)
        actor, key = found
        if not key.is_live(now):
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
        right = hmac.compare_digest(hashlib.sha256(secret.encode(errors="replace")).digest(), key.secret_hash)
        if not right or not key.is_live(now) or user.disabled_at is not None:
            raise Unauthenticated
        if key.last_used_at is None or now - key.last_used_at > _TOUCH_EVERY:
            async with self.catalog.directory(writes=True) as directory:
                await directory.touch_key(key.id, now)
        return Actor(tenant=key.tenant, user=user.id, role=user.role, scopes=key.scopes, key=key.id), key

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

    async def add_key(
        self, actor: Actor, user_id: UserId, *, name: str, scopes: frozenset[Scope], expires_at: datetime | None = None
    ) -> tuple[str, ApiKey]:
        """A new API key for a user, and its token: this is the only time that it is known.

        Raises Missing, Forbidden, BadField; StepUpRequired for one that administers.
        """
        access.require(actor, "users.manage")
        if not scopes:
            raise BadField("A key needs at least one scope.", field="scopes")
        if Scope.ADMIN in scopes:
            await self.step_up.require(actor)
        now = self.clock()
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            user = next((user for user in await records.accounts.users() if user.id == user_id), None)
            if user is None:
                raise Missing
            if user.role is Role.OPERATOR and actor.role is not Role.OPERATOR:
                raise Forbidden
            token, key = _new_key(user, name.strip()[:200], scopes, now, expires_at=expires_at)
            await records.accounts.add_key(key)
        return token, key

    async def keys(self, actor: Actor) -> Sequence[ApiKey]:
        """Every API key of the tenant, newest first."""
        access.require(actor, "users.manage")
        async with self.catalog.tenant(actor.tenant) as records:
            return await records.accounts.keys()

    async def revoke_key(self, actor: Actor, key_id: KeyId) -> None:
        """End a key now. Raises Missing."""
        access.require(actor, "users.manage")
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            await records.accounts.revoke_key(key_id, self.clock())
        self.believed.clear()

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
        key = _new_signing_key(actor.tenant, self.clock())
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


def _new_key(
    user: User, name: str, scopes: frozenset[Scope], now: datetime, *, expires_at: datetime | None
) -> tuple[str, ApiKey]:
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    key = ApiKey(
        id=KeyId(new_id(now.timestamp())),
        tenant=user.tenant,
        user=user.id,
        name=name,
        secret_hash=hashlib.sha256(secret.encode()).digest(),
        scopes=scopes,
        created_at=now,
        expires_at=expires_at,
    )
    return f"{TOKEN_PREFIX}_{key.id}_{secret}", key


def _new_signing_key(tenant: TenantId, now: datetime) -> SigningKey:
    return SigningKey(kid=new_id()[-KID_LENGTH:], tenant=tenant, secret=secrets.token_bytes(32), created_at=now)
