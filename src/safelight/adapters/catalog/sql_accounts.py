"""Users, API keys and signing keys of one tenant in SQL. Signing secrets are sealed before they reach a statement."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, insert, select, update

from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.rows import (
    key_columns,
    key_of,
    maybe_micros,
    maybe_moment,
    moment,
    user_columns,
    user_of,
)
from safelight.adapters.catalog.secretbox import SecretBox
from safelight.adapters.catalog.sql_issuers import SqlIssuers
from safelight.adapters.catalog.sql_own import require_own_user, require_user
from safelight.adapters.catalog.tables import api_keys, metadata, signing_keys, users
from safelight.adapters.catalog.transactions import Transaction, claiming, reading, writing
from safelight.domain.accounts import ApiKey, Grammar, SigningKey, User
from safelight.domain.ids import TenantId, UserId
from safelight.domain.queries import micros
from safelight.errors import Missing

_USERS: Final = select(users).where(users.c.tenant == bindparam("tenant")).order_by(users.c.name)
_SAVE_USER: Final = update(users).where(users.c.id == bindparam("old_id"), users.c.tenant == bindparam("old_tenant"))
_KEYS: Final = (
    select(api_keys).where(api_keys.c.tenant == bindparam("tenant")).order_by(api_keys.c.created_at.desc(), api_keys.c.id.desc())
)
_KEYS_OF: Final = (
    select(api_keys)
    .where(api_keys.c.user == bindparam("id"), api_keys.c.tenant == bindparam("tenant"))
    .order_by(api_keys.c.created_at.desc(), api_keys.c.id.desc())
)
_SAVE_KEY: Final = (
    update(api_keys)
    .where(api_keys.c.id == bindparam("old_id"), api_keys.c.tenant == bindparam("old_tenant"))
    .values(
        name=bindparam("new_name"),
        networks=bindparam("new_networks"),
        revoked_at=func.coalesce(api_keys.c.revoked_at, bindparam("at")),
    )
)
_RING: Final = (
    select(signing_keys)
    .where(signing_keys.c.tenant == bindparam("tenant"))
    .order_by(signing_keys.c.created_at.desc(), signing_keys.c.kid.desc())
)
_RETIRE: Final = (
    update(signing_keys)
    .where(signing_keys.c.kid == bindparam("old_kid"), signing_keys.c.tenant == bindparam("old_tenant"))
    .values(retired_at=bindparam("at"))
)


@dataclass(frozen=True, slots=True)
class SqlApiKeys:
    """Keeps ApiKeyRecords."""

    transaction: Transaction
    tenant: TenantId

    @claiming
    def add(self, key: ApiKey) -> None:
        """A new row. Raises Missing for a user whom this tenant does not have."""
        require_own_user(self.transaction, self.tenant, key)
        self.transaction.connection.execute(insert(api_keys), key_columns(key))

    @reading
    def all(self, user: UserId | None = None) -> list[ApiKey]:
        """Along ix_api_keys_tenant, or ix_api_keys_user."""
        return [key_of(row) for row in (self._all(_KEYS) if user is None else self._all(_KEYS_OF, id=user))]

    @writing
    def save(self, key: ApiKey) -> None:
        """Of two revocations the first stands."""
        require_own(key.tenant, self.tenant)
        columns = key_columns(key)
        values = {
            "old_id": key.id,
            "old_tenant": self.tenant,
            "new_name": columns["name"],
            "new_networks": columns["networks"],
            "at": columns["revoked_at"],
        }
        if self.transaction.connection.execute(_SAVE_KEY, values).rowcount != 1:
            raise Missing

    def _all(self, statement: Any, **values: str) -> Any:  # select() of several columns has no useful type
        return self.transaction.connection.execute(statement, {"tenant": self.tenant, **values}).mappings()


@dataclass(frozen=True, slots=True)
class SqlAccounts:
    """Keeps AccountRecords."""

    transaction: Transaction
    tenant: TenantId
    box: SecretBox
    api_keys: SqlApiKeys
    issuers: SqlIssuers

    @claiming
    def add_user(self, user: User) -> None:
        """A new row."""
        require_own(user.tenant, self.tenant)
        self.transaction.connection.execute(insert(users), user_columns(user))

    @reading
    def users(self) -> list[User]:
        """Along the unique index on tenant and name."""
        return [user_of(row) for row in self._all(_USERS)]

    @claiming
    def save_user(self, user: User) -> None:
        """Replace the row."""
        require_own(user.tenant, self.tenant)
        values = user_columns(user) | {"old_id": user.id, "old_tenant": self.tenant}
        if self.transaction.connection.execute(_SAVE_USER, values).rowcount != 1:
            raise Missing

    @writing
    def remove_user(self, user_id: UserId) -> None:
        """Whatever refers to the user goes first, in whichever table: one that is made tomorrow too."""
        connection = self.transaction.connection
        require_user(self.transaction, self.tenant, user_id)
        for table in reversed(metadata.sorted_tables):
            for column in table.columns:
                if column.references(users.c.id):
                    connection.execute(delete(table).where(column == user_id))
        connection.execute(delete(users).where(users.c.id == user_id))

    @claiming
    def add_signing_key(self, key: SigningKey) -> None:
        """A new row with a sealed secret."""
        require_own(key.tenant, self.tenant)
        values = {
            "tenant": key.tenant,
            "kid": key.kid,
            "grammar": key.grammar.value,
            "secret": self.box.seal(key.secret, context=self._context(key.kid)),
            "salt": self.box.seal(key.salt, context=f"{self._context(key.kid)}/salt") if key.salt else None,
            "size_bytes": key.size_bytes,
            "created_at": micros(key.created_at),
            "retired_at": maybe_micros(key.retired_at),
        }
        self.transaction.connection.execute(insert(signing_keys), values)

    @reading
    def signing_keys(self) -> list[SigningKey]:
        """The ring, unsealed."""
        return [
            SigningKey(
                kid=row["kid"],
                tenant=row["tenant"],
                secret=self.box.unseal(row["secret"], context=self._context(row["kid"])),
                created_at=moment(row["created_at"]),
                retired_at=maybe_moment(row["retired_at"]),
                grammar=Grammar(row["grammar"]),
                salt=self.box.unseal(row["salt"], context=f"{self._context(row['kid'])}/salt") if row["salt"] else b"",
                size_bytes=row["size_bytes"],
            )
            for row in self._all(_RING)
        ]

    @writing
    def retire_signing_key(self, kid: str, at: datetime) -> None:
        """The last time stands: a retirement that lies ahead may be moved."""
        values = {"old_kid": kid, "old_tenant": self.tenant, "at": micros(at)}
        if self.transaction.connection.execute(_RETIRE, values).rowcount != 1:
            raise Missing

    def _all(self, statement: Any) -> Any:  # select() of several columns has no useful type
        return self.transaction.connection.execute(statement, {"tenant": self.tenant}).mappings()

    def _context(self, kid: str) -> str:
        return f"{self.tenant}/{kid}"
