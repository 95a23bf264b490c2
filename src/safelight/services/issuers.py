"""Which outside issuers a tenant trusts: named, listed, tried and dismissed by its admins. Their tokens are read in `outside`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from safelight import jose
from safelight.domain import access, issuers
from safelight.domain.accounts import Actor, Role, Scope, scopes_of
from safelight.domain.ids import IssuerId, new_id
from safelight.domain.issuers import ISSUERS, Terms, TrustedIssuer
from safelight.errors import BadField, Missing, Stale, WrongState
from safelight.jose import BadToken, PublicKey
from safelight.ports.catalog import Catalog
from safelight.services.key_sets import KeySets
from safelight.services.stepup import StepUp

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a token would be taken for: `refusal` says why it opens nothing, and is empty for one that does."""

    refusal: str
    subject: str = ""
    name: str = ""
    role: Role | None = None
    scopes: tuple[Scope, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What an issuer publishes now. `reading` when a token was brought."""

    jwks_url: str
    keys: tuple[PublicKey, ...]
    reading: Reading | None


@dataclass(frozen=True, slots=True)
class TrustedIssuers:
    """`settled` are those of the settings, which are nobody's to change here; `forget` ends what this process believes."""

    catalog: Catalog
    key_sets: KeySets
    step_up: StepUp
    clock: Callable[[], datetime]
    own: str
    settled: tuple[TrustedIssuer, ...]
    is_http_allowed: bool
    forget: Callable[[], None]

    async def all(self, actor: Actor) -> Sequence[TrustedIssuer]:
        """Those of the tenant, oldest first; operators see the settings' before them."""
        access.require(actor, "issuer.read")
        async with self.catalog.tenant(actor.tenant) as records:
            own = await records.accounts.issuers.all()
        return [*(self.settled if actor.role is Role.OPERATOR else ()), *own]

    async def add(self, actor: Actor, issuer: str, terms: Terms) -> TrustedIssuer:
        """Believe this issuer's tokens from now on. Raises BadField, AlreadyExists, WrongState when there are many; StepUpRequired."""
        access.require(actor, "issuer.manage")
        await self.step_up.require(actor)
        now = self.clock()
        made = TrustedIssuer(
            id=IssuerId(new_id(now.timestamp())), tenant=actor.tenant, issuer=issuer, created_at=now, terms=terms
        )
        self._require_ours(made)
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            if len(await records.accounts.issuers.all()) >= ISSUERS:
                raise WrongState(f"A tenant trusts at most {ISSUERS} issuers; remove one first.")
            await records.accounts.issuers.add(made)
        self.forget()
        log.info("issuer.added", tenant=actor.tenant, issuer=issuer)
        return made

    async def change(
        self, actor: Actor, issuer_id: IssuerId, change: Callable[[Terms], Terms], *, if_revision: int | None = None
    ) -> TrustedIssuer:
        """Believe its tokens on other terms from now on. Raises Missing, BadField, AlreadyExists, Stale, StepUpRequired."""
        access.require(actor, "issuer.manage")
        await self.step_up.require(actor)
        async with self.catalog.tenant(actor.tenant) as records:
            before = next((one for one in await records.accounts.issuers.all() if one.id == issuer_id), None)
        if before is None:
            raise Missing
        if if_revision is not None and before.revision != if_revision:
            raise Stale
        after = replace(before, terms=change(before.terms), revision=before.revision + 1)
        self._require_ours(after)
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            await records.accounts.issuers.save(after)
        self.forget()
        log.info("issuer.changed", tenant=actor.tenant, id=issuer_id)
        return after

    def _require_ours(self, issuer: TrustedIssuer) -> None:
        """Raises BadField for terms that are not sound, AlreadyExists where the settings lead its tokens elsewhere.

        Other tenants are asked by the catalog, in the transaction that writes.
        """
        issuers.require_sound(issuer, is_http_allowed=self.is_http_allowed)
        if issuer.issuer == self.own:
            raise BadField("That is this installation itself.", field="issuer")
        issuers.require_alone(issuer, [one for one in self.settled if one.issuer == issuer.issuer])

    async def remove(self, actor: Actor, issuer_id: IssuerId) -> None:
        """Believe its tokens no more; its users stay. Raises Missing, also for those of the settings."""
        access.require(actor, "issuer.manage")
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            await records.accounts.issuers.remove(issuer_id)
        self.forget()
        log.info("issuer.removed", tenant=actor.tenant, id=issuer_id)

    async def check(self, actor: Actor, issuer_id: str, token: str = "") -> Check:
        """Ask it for its keys now, and read a token as the door would, with reasons; nobody is added by that.

        Raises Missing, and why its keys cannot be had.
        """
        access.require(actor, "issuer.manage")
        issuer = next((one for one in await self.all(actor) if one.id == issuer_id), None)
        if issuer is None:
            raise Missing
        found = await self.key_sets.fetch(issuer.source)
        reading = self._read(issuer, found.keys.get, token) if token else None
        return Check(jwks_url=found.url, keys=tuple(found.keys.values()), reading=reading)

    def _read(self, issuer: TrustedIssuer, key_of: Callable[[tuple[str, str]], PublicKey | None], token: str) -> Reading:
        try:
            peek = jose.peek(token)
            if peek.issuer != issuer.issuer:
                raise BadToken("of another issuer")
            issuers.peeked(issuer, peek)
            key = key_of((peek.kid, peek.algorithm))
            if key is None:
                raise BadToken("no such key")
            claims = jose.verified(token, key, issuer=issuer.issuer, audience=None, now=self.clock(), skew_s=issuer.terms.skew_s)
            person = issuers.person(issuer, claims)
        except BadToken as error:
            return Reading(refusal=str(error))
        allowed = scopes_of(person.first_role)
        scopes = allowed if person.scopes is None else allowed & person.scopes
        return Reading(refusal="", subject=person.subject, name=person.name, role=person.first_role, scopes=tuple(sorted(scopes)))
