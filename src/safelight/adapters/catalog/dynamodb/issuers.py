"""Whose tokens are believed, in DynamoDB: a tenant's issuers and identities; the installation's ring of keys, sealed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import orjson

from safelight.adapters.catalog import rows
from safelight.adapters.catalog.carried import opened
from safelight.adapters.catalog.dynamodb import items
from safelight.adapters.catalog.dynamodb.accounts import user_of
from safelight.adapters.catalog.dynamodb.items import Item, key_of, placed
from safelight.adapters.catalog.dynamodb.transaction import PRESENT, Transaction
from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.secretbox import SecretBox
from safelight.adapters.catalog.tables import inherited_keys
from safelight.domain.accounts import User
from safelight.domain.ids import IssuerId, TenantId, new_id
from safelight.domain.issuers import Identity, TrustedIssuer, require_alone
from safelight.domain.people import TokenKey
from safelight.domain.queries import micros
from safelight.errors import AlreadyExists, Busy, Missing, Stale


@dataclass(frozen=True, slots=True)
class DynamoIssuers:
    """Keeps IssuerRecords."""

    transaction: Transaction
    tenant: TenantId

    async def add(self, issuer: TrustedIssuer) -> None:
        """The issuer, and an entry in the list of those who trust its `iss`."""
        self._begin(issuer.tenant)
        columns = rows.issuer_columns(issuer)
        item = placed(items.issuer_key(self.tenant, issuer.id), columns | {"terms": orjson.dumps(columns["terms"]).decode()})
        entry = placed(items.issuer_entry(issuer.issuer, self.tenant), {"issuer_id": issuer.id})
        if await self.transaction.items([key_of(item), key_of(entry)]):
            raise AlreadyExists
        await self._require_alone(issuer)
        self.transaction.add(item, otherwise=AlreadyExists, unit=issuer.id)
        self.transaction.add(entry, otherwise=AlreadyExists, unit=issuer.id)

    async def all(self) -> list[TrustedIssuer]:
        """All of them, sorted here."""
        found = await self.transaction.collection(items.tenant_key(self.tenant)[0], "ISSUER#")
        return sorted(map(_issuer_of, found), key=lambda one: (one.created_at, one.id))

    async def save(self, issuer: TrustedIssuer) -> None:
        """On condition that it is the one that was read."""
        self._begin(issuer.tenant)
        before = await self.transaction.item(items.issuer_key(self.tenant, issuer.id))
        if before is None:
            raise Missing
        if before["revision"] != issuer.revision - 1:
            raise Stale
        await self._require_alone(replace(issuer, issuer=before["issuer"]))
        terms = orjson.dumps(rows.issuer_columns(issuer)["terms"]).decode()
        changes = {"terms": terms, "revision": issuer.revision}
        self.transaction.change(before, changes, expected={"revision": before["revision"]}, unit=issuer.id)

    async def _require_alone(self, issuer: TrustedIssuer) -> None:
        """On condition that nobody else has had a turn since we looked, of whichever tenant."""
        key = items.issuer_turn(issuer.issuer)
        turn = await self.transaction.item(key)  # before the look that it stands for
        require_alone(issuer, await _named(self.transaction, issuer.issuer))
        taken = {"turn": new_id()}
        if turn is None:
            self.transaction.add(placed(key, taken), otherwise=Busy, unit=issuer.id)
        else:
            self.transaction.change(turn, taken, expected={"turn": turn["turn"]}, otherwise=Busy, unit=issuer.id)

    async def remove(self, issuer_id: IssuerId) -> None:
        """The issuer and its entry."""
        self.transaction.require_writing()
        before = await self.transaction.item(items.issuer_key(self.tenant, issuer_id))
        if before is None:
            raise Missing
        self.transaction.remove(key_of(before), unit=issuer_id)
        self.transaction.remove(items.issuer_entry(before["issuer"], self.tenant), unit=issuer_id)

    async def identity(self, issuer: str, subject: str) -> tuple[Identity, User]:
        """By its key, then its user."""
        found = await self.transaction.item(items.identity_key(self.tenant, issuer, subject))
        user = None if found is None else await self.transaction.item(items.user_key(self.tenant, found["user"]))
        if found is None or user is None:
            raise Missing
        return _identity_of(found), user_of(user)

    async def add_identity(self, identity: Identity) -> None:
        """A new item."""
        self._begin(identity.tenant)
        user = items.user_key(self.tenant, identity.user)
        if await self.transaction.item(user) is None:
            raise Missing
        item = _identity_item(identity)
        if await self.transaction.item(key_of(item)) is not None:
            raise AlreadyExists
        self.transaction.add(item, otherwise=AlreadyExists, unit=identity.user)
        self.transaction.put(placed(items.identity_entry(self.tenant, identity.user, item["PK"]), {}), unit=identity.user)
        self.transaction.check(user, PRESENT, otherwise=Missing, unit=identity.user)

    async def save_identity(self, identity: Identity) -> None:
        """Change what differs, of the identity as it was read."""
        self._begin(identity.tenant)
        item = _identity_item(identity)
        before = await self.transaction.item(key_of(item))
        if before is None:
            raise Missing
        self.transaction.change(before, item, expected={"role_at": before["role_at"]}, otherwise=Busy, unit=identity.user)

    def _begin(self, tenant: TenantId | None) -> None:
        self.transaction.require_writing()
        require_own(tenant, self.tenant)


@dataclass(frozen=True, slots=True)
class DynamoTrust:
    """Keeps TrustDirectory. Private keys are sealed on the way."""

    transaction: Transaction
    box: SecretBox

    async def token_keys(self) -> list[TokenKey]:
        """The ring, unsealed."""
        ring = [
            TokenKey(
                kid=item["kid"],
                algorithm=item["algorithm"],
                private=self.box.unseal(item["private"], context=self._context(item["kid"])),
                created_at=rows.moment(item["created_at"]),
                retired_at=rows.maybe_moment(item.get("retired_at")),
            )
            for item in await self.transaction.collection(items.token_key("")[0])
        ]
        return sorted(ring, key=lambda key: (key.created_at, key.kid), reverse=True)

    async def add_token_key(self, key: TokenKey) -> None:
        """A new item with a sealed key."""
        self.transaction.require_writing()
        columns = {
            "kid": key.kid,
            "algorithm": key.algorithm,
            "private": self.box.seal(key.private, context=self._context(key.kid)),
            "created_at": micros(key.created_at),
            "retired_at": rows.maybe_micros(key.retired_at),
        }
        item = placed(items.token_key(key.kid), columns)
        if await self.transaction.item(key_of(item)) is not None:
            raise AlreadyExists
        self.transaction.add(item, otherwise=AlreadyExists, unit=key.kid)

    async def retire_token_key(self, kid: str, at: datetime) -> None:
        """The last time stands: a retirement that lies ahead may be moved."""
        self.transaction.require_writing()
        before = await self.transaction.item(items.token_key(kid))
        if before is None:
            raise Missing
        self.transaction.change(before, {"retired_at": micros(at)}, unit=kid)

    async def issuers(self, issuer: str) -> list[TrustedIssuer]:
        """By the list of those who trust it."""
        return await _named(self.transaction, issuer)

    async def inherited_keys(self) -> list[tuple[str, bytes]]:
        """Their partition, unsealed."""
        found = await self.transaction.collection(items.inherited_key("", "")[0])
        return [(item["purpose"], opened(self.box, inherited_keys, item)["key"]) for item in found]

    def _context(self, kid: str) -> str:
        return f"token/{kid}"


async def _named(transaction: Transaction, issuer: str) -> list[TrustedIssuer]:
    entries = await transaction.collection(items.issuer_entry(issuer, "")[0])
    found = await transaction.items(items.issuer_key(entry["SK"], entry["issuer_id"]) for entry in entries)
    return sorted(map(_issuer_of, found.values()), key=lambda one: (one.created_at, one.id))


def _issuer_of(item: Item) -> TrustedIssuer:
    return rows.issuer_of(item | {"terms": orjson.loads(item["terms"])})


def _identity_item(identity: Identity) -> Item:
    key = items.identity_key(identity.tenant, identity.issuer, identity.subject)
    return placed(key, rows.identity_columns(identity))


def _identity_of(item: Item) -> Identity:
    return rows.identity_of({name: item[name] for name in ("tenant", "issuer", "subject", "user", "created_at", "role_at")})
