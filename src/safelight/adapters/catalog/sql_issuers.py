"""Whose tokens are believed, in SQL: a tenant's issuers and identities; the installation's ring of keys, sealed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select, update

from safelight.adapters.catalog.carried import opened
from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.rows import (
    identity_columns,
    identity_of,
    issuer_columns,
    issuer_of,
    maybe_micros,
    maybe_moment,
    moment,
    user_of,
)
from safelight.adapters.catalog.secretbox import SecretBox
from safelight.adapters.catalog.sql_own import require_own_user
from safelight.adapters.catalog.tables import identities, inherited_keys, token_keys, trusted_issuers, users
from safelight.adapters.catalog.transactions import Transaction, claiming, reading, writing
from safelight.domain.accounts import User
from safelight.domain.ids import IssuerId, TenantId
from safelight.domain.issuers import Identity, TrustedIssuer, require_alone
from safelight.domain.people import TokenKey
from safelight.domain.queries import micros
from safelight.errors import Missing, Stale

_user: Final = [column.label(f"user_{column.name}") for column in users.c]
_ISSUERS: Final = (
    select(trusted_issuers)
    .where(trusted_issuers.c.tenant == bindparam("tenant"))
    .order_by(trusted_issuers.c.created_at, trusted_issuers.c.id)
)
_NAMED: Final = (
    select(trusted_issuers)
    .where(trusted_issuers.c.issuer == bindparam("issuer"))
    .order_by(trusted_issuers.c.created_at, trusted_issuers.c.id)
)
_SAVE: Final = update(trusted_issuers).where(
    trusted_issuers.c.id == bindparam("old_id"),
    trusted_issuers.c.tenant == bindparam("old_tenant"),
    trusted_issuers.c.revision == bindparam("old_revision"),
)
_REMOVE: Final = delete(trusted_issuers).where(
    trusted_issuers.c.id == bindparam("old_id"), trusted_issuers.c.tenant == bindparam("old_tenant")
)
_IDENTITY: Final = (
    select(*identities.c, *_user)
    .join_from(identities, users, (users.c.id == identities.c.user) & (users.c.tenant == identities.c.tenant))
    .where(
        identities.c.tenant == bindparam("tenant"),
        identities.c.issuer == bindparam("issuer"),
        identities.c.subject == bindparam("subject"),
    )
)
_SAVE_IDENTITY: Final = update(identities).where(
    identities.c.tenant == bindparam("old_tenant"),
    identities.c.issuer == bindparam("old_issuer"),
    identities.c.subject == bindparam("old_subject"),
)
_RING: Final = select(token_keys).order_by(token_keys.c.created_at.desc(), token_keys.c.kid.desc())
_RETIRE: Final = update(token_keys).where(token_keys.c.kid == bindparam("old_kid")).values(retired_at=bindparam("at"))


@dataclass(frozen=True, slots=True)
class SqlIssuers:
    """Keeps IssuerRecords."""

    transaction: Transaction
    tenant: TenantId

    @claiming
    def add(self, issuer: TrustedIssuer) -> None:
        """A new row."""
        require_own(issuer.tenant, self.tenant)
        self._require_alone(issuer)
        self.transaction.connection.execute(insert(trusted_issuers), issuer_columns(issuer))

    @reading
    def all(self) -> list[TrustedIssuer]:
        """Along the unique index on tenant and issuer."""
        rows: Any = self.transaction.connection.execute(_ISSUERS, {"tenant": self.tenant}).mappings()
        return [issuer_of(row) for row in rows]

    @claiming
    def save(self, issuer: TrustedIssuer) -> None:
        """By its id and the revision before."""
        require_own(issuer.tenant, self.tenant)
        columns = issuer_columns(issuer)
        values = {"terms": columns["terms"], "revision": issuer.revision}
        key = {"old_id": issuer.id, "old_tenant": self.tenant}
        if self.transaction.connection.execute(_SAVE, key | {"old_revision": issuer.revision - 1} | values).rowcount != 1:
            rows = self.transaction.connection.execute(_ISSUERS, {"tenant": self.tenant})
            raise Stale if any(row.id == issuer.id for row in rows) else Missing
        self._require_alone(issuer)

    def _require_alone(self, issuer: TrustedIssuer) -> None:
        self.transaction.keep_others_out(issuer.issuer)
        require_alone(issuer, _named(self.transaction, issuer.issuer))

    @writing
    def remove(self, issuer_id: IssuerId) -> None:
        """By its id."""
        if self.transaction.connection.execute(_REMOVE, {"old_id": issuer_id, "old_tenant": self.tenant}).rowcount != 1:
            raise Missing

    @reading
    def identity(self, issuer: str, subject: str) -> tuple[Identity, User]:
        """Identity and user in one look-up."""
        values = {"tenant": self.tenant, "issuer": issuer, "subject": subject}
        row = self.transaction.connection.execute(_IDENTITY, values).first()
        if row is None:
            raise Missing
        names, found, count = row._fields, tuple(row), len(identities.c)
        user = {name.removeprefix("user_"): value for name, value in zip(names[count:], found[count:], strict=True)}
        return identity_of(dict(zip(names[:count], found[:count], strict=True))), user_of(user)

    @claiming
    def add_identity(self, identity: Identity) -> None:
        """A new row."""
        require_own_user(self.transaction, self.tenant, identity)
        self.transaction.connection.execute(insert(identities), identity_columns(identity))

    @claiming
    def save_identity(self, identity: Identity) -> None:
        """Replace the row."""
        require_own(identity.tenant, self.tenant)
        old = {"old_tenant": self.tenant, "old_issuer": identity.issuer, "old_subject": identity.subject}
        if self.transaction.connection.execute(_SAVE_IDENTITY, identity_columns(identity) | old).rowcount != 1:
            raise Missing


def _named(transaction: Transaction, issuer: str) -> list[TrustedIssuer]:
    """Whoever trusts this `iss`, of whichever tenant."""
    rows: Any = transaction.connection.execute(_NAMED, {"issuer": issuer}).mappings()
    return [issuer_of(row) for row in rows]


@dataclass(frozen=True, slots=True)
class SqlTrust:
    """Keeps TrustDirectory. Private keys are sealed before they reach a statement."""

    transaction: Transaction
    box: SecretBox

    @reading
    def token_keys(self) -> list[TokenKey]:
        """The ring, unsealed."""
        return [
            TokenKey(
                kid=row["kid"],
                algorithm=row["algorithm"],
                private=self.box.unseal(row["private"], context=self._context(row["kid"])),
                created_at=moment(row["created_at"]),
                retired_at=maybe_moment(row["retired_at"]),
            )
            for row in self.transaction.connection.execute(_RING).mappings()
        ]

    @claiming
    def add_token_key(self, key: TokenKey) -> None:
        """A new row with a sealed key."""
        values = {
            "kid": key.kid,
            "algorithm": key.algorithm,
            "private": self.box.seal(key.private, context=self._context(key.kid)),
            "created_at": micros(key.created_at),
            "retired_at": maybe_micros(key.retired_at),
        }
        self.transaction.connection.execute(insert(token_keys), values)

    @writing
    def retire_token_key(self, kid: str, at: datetime) -> None:
        """The last time stands: a retirement that lies ahead may be moved."""
        if self.transaction.connection.execute(_RETIRE, {"old_kid": kid, "at": micros(at)}).rowcount != 1:
            raise Missing

    @reading
    def issuers(self, issuer: str) -> list[TrustedIssuer]:
        """Along ix_trusted_issuers_issuer."""
        return _named(self.transaction, issuer)

    @reading
    def inherited_keys(self) -> list[tuple[str, bytes]]:
        """All of them, unsealed: a move leaves a few."""
        found = self.transaction.connection.execute(select(inherited_keys)).mappings()
        return [(row["purpose"], opened(self.box, inherited_keys, dict(row))["key"]) for row in found]

    def _context(self, kid: str) -> str:
        return f"token/{kid}"
