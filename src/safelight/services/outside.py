"""Outside issuers at the door: from somebody else's token to one of our users, who is made when first seen.

Whose terms count for a token is decided once, by its issuer and its audience: the settings' before the tenants', the older before
the younger. No second one is tried, so that a tenant who names an issuer of others gets none of their users.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import structlog

from safelight import jose
from safelight.concurrency import Believed
from safelight.domain import issuers
from safelight.domain.accounts import Actor, User, scopes_of
from safelight.domain.ids import TenantId, UserId, new_id
from safelight.domain.issuers import Identity, Person, TrustedIssuer
from safelight.errors import AlreadyExists, Busy, Missing, Stale
from safelight.jose import BadToken
from safelight.ports.catalog import Catalog, Records
from safelight.services.key_sets import KeySets

log = structlog.get_logger()

_TRIES: Final = 4


@dataclass(frozen=True, slots=True)
class Outside:
    """All of them."""

    catalog: Catalog
    key_sets: KeySets
    clock: Callable[[], datetime]
    settled: Mapping[str, tuple[TrustedIssuer, ...]]
    """The settings', by `iss`."""
    known: Believed[str, tuple[TrustedIssuer, ...]]
    """The tenants', by `iss`; nobody's too, so that made-up issuers cost one look-up."""
    tenants: Believed[str, TenantId]
    """By name."""

    async def issuer(self, peek: jose.Peek) -> OutsideIssuer | None:
        """Who issued the token, as far as it says, on the terms that it is meant for; None: nobody whom anyone here trusts."""
        settled = self.settled.get(peek.issuer, ())
        found = next((one for one in settled if one.wants(peek.audiences)), None)
        if found is None:
            found = next((one for one in await self._named(peek.issuer) if one.wants(peek.audiences)), None)
        return None if found is None else OutsideIssuer(self, found)

    def forget(self) -> None:
        """Look anew who is trusted."""
        self.known.clear()

    async def tenant(self, name: str) -> TenantId:
        """The tenant of this name. Raises BadToken."""
        return await self.tenants.read(name, lambda: self._tenant(name))

    async def _tenant(self, name: str) -> TenantId:
        async with self.catalog.directory() as directory:
            found = next((tenant.id for tenant in await directory.tenants() if tenant.name == name), None)
        if found is None:
            raise BadToken("no such tenant")
        return found

    async def _named(self, issuer: str) -> tuple[TrustedIssuer, ...]:
        return await self.known.read(issuer, lambda: self._issuers(issuer))

    async def _issuers(self, issuer: str) -> tuple[TrustedIssuer, ...]:
        async with self.catalog.directory() as directory:
            return tuple(await directory.people.trust.issuers(issuer))


@dataclass(frozen=True, slots=True)
class OutsideIssuer:
    """Keeps tokens.Issuer, for one that is trusted."""

    outside: Outside
    trusted: TrustedIssuer

    @property
    def name(self) -> str:
        """Its `iss`."""
        return self.trusted.issuer

    @property
    def leeway_s(self) -> float:
        """As its terms say."""
        return float(self.trusted.terms.skew_s)

    async def verified(self, token: str, peek: jose.Peek) -> Mapping[str, Any]:
        """By a key that the issuer publishes, for an algorithm of its terms."""
        issuers.peeked(self.trusted, peek)
        key = await self.outside.key_sets.key(self.trusted.source, peek.kid, peek.algorithm)
        return jose.verified(
            token, key, issuer=self.trusted.issuer, audience=None, now=self.outside.clock(), skew_s=self.leeway_s
        )

    async def actor(self, claims: Mapping[str, Any]) -> Actor:
        """The user who was linked to the token's subject, or is now. Who was disabled stays out."""
        person = issuers.person(self.trusted, claims)
        tenant = self.trusted.tenant or await self.outside.tenant(person.tenant_name)
        user = await self._user(tenant, person)
        if user.disabled_at is not None:
            raise BadToken("disabled")
        allowed = scopes_of(user.role)
        scopes = allowed if person.scopes is None else allowed & person.scopes
        return Actor(tenant=tenant, user=user.id, role=user.role, scopes=scopes, proven_at=person.proven_at)

    async def _user(self, tenant: TenantId, person: Person) -> User:
        """Read, and only written when there is something to write. Raises BadToken, Busy."""
        for _ in range(_TRIES):
            try:
                async with self.outside.catalog.tenant(tenant) as records:
                    identity, user = await records.accounts.issuers.identity(self.trusted.issuer, person.subject)
                if user.disabled_at is not None or not _promotes(person, identity, user):
                    return user
            except Missing:
                pass
            try:
                async with self.outside.catalog.tenant(tenant, writes=True) as records:
                    return await self._kept(records, person)
            except (AlreadyExists, Busy, Stale):
                continue  # somebody came with the same person, or name, at the same time
            except Missing:
                raise BadToken("no such tenant") from None
        raise Busy(retry_after_s=1)

    async def _kept(self, records: Records, person: Person) -> User:
        try:
            identity, user = await records.accounts.issuers.identity(self.trusted.issuer, person.subject)
        except Missing:
            return await self._added(records, person)
        if person.role is not None and _promotes(person, identity, user):
            user = replace(user, role=person.role)
            await records.accounts.save_user(user)
            await records.accounts.issuers.save_identity(replace(identity, role_at=person.issued_at))
            log.info("user.role_by_issuer", user=user.id, role=user.role)
        return user

    async def _added(self, records: Records, person: Person) -> User:
        now = self.outside.clock()
        user = User(
            id=UserId(new_id(now.timestamp())),
            tenant=records.tenant.id,
            name=person.name,
            role=person.first_role,
            created_at=now,
        )
        try:
            await records.accounts.add_user(user)
        except AlreadyExists:  # a namesake, who is somebody else
            mark = hashlib.sha256(f"{self.trusted.issuer} {person.subject}".encode()).hexdigest()[:10]
            user = replace(user, name=f"{person.name[:180]} ({mark})")
            await records.accounts.add_user(user)
        await records.accounts.issuers.add_identity(
            Identity(
                tenant=user.tenant,
                issuer=self.trusted.issuer,
                subject=person.subject,
                user=user.id,
                created_at=now,
                role_at=person.issued_at,
            )
        )
        log.info("user.added_by_issuer", user=user.id, tenant=user.tenant, issuer=self.trusted.issuer)
        return user


def _promotes(person: Person, identity: Identity, user: User) -> bool:
    """Whether the token changes the role: only one that is younger than that which set it."""
    return person.role not in (None, user.role) and person.issued_at > identity.role_at
