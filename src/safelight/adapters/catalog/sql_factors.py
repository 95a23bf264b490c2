"""What users prove themselves with beside a password, in SQL: authenticator apps, passkeys, marks of what was used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select, update

from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.rows import passkey_columns, passkey_of, totp_columns, totp_context, totp_of
from safelight.adapters.catalog.secretbox import SecretBox
from safelight.adapters.catalog.sql_own import change_own_row, own_row, require_own_user
from safelight.adapters.catalog.tables import passkeys, spent, totps
from safelight.adapters.catalog.transactions import Transaction, claiming, reading, writing
from safelight.domain.factors import Passkey, Totp
from safelight.domain.ids import PasskeyId, TenantId, UserId
from safelight.domain.queries import micros

_TOTP: Final = select(totps).where(totps.c.user == bindparam("id"), totps.c.tenant == bindparam("tenant"))
_DROP_TOTP: Final = delete(totps).where(totps.c.user == bindparam("old_id"), totps.c.tenant == bindparam("old_tenant"))
_PASSKEY: Final = select(passkeys).where(passkeys.c.id == bindparam("id"), passkeys.c.tenant == bindparam("tenant"))
_PASSKEYS: Final = (
    select(passkeys)
    .where(passkeys.c.user == bindparam("id"), passkeys.c.tenant == bindparam("tenant"))
    .order_by(passkeys.c.created_at, passkeys.c.id)
)
_SAVE_PASSKEY: Final = update(passkeys).where(passkeys.c.id == bindparam("old_id"), passkeys.c.tenant == bindparam("old_tenant"))
_REMOVE_PASSKEY: Final = delete(passkeys).where(
    passkeys.c.id == bindparam("old_id"), passkeys.c.tenant == bindparam("old_tenant")
)


@dataclass(frozen=True, slots=True)
class SqlFactors:
    """Keeps FactorRecords. Writers of a tenant take turns, so what was read in a transaction is still so when it writes."""

    transaction: Transaction
    tenant: TenantId
    box: SecretBox

    @reading
    def totp(self, user: UserId) -> Totp:
        """By the user, unsealed."""
        row = dict(own_row(self.transaction, self.tenant, _TOTP, user))
        return totp_of({**row, "secret": self.box.unseal(row["secret"], context=totp_context(self.tenant, user))})

    @claiming
    def put_totp(self, totp: Totp) -> None:
        """Out with the old, in with the new and its sealed secret."""
        require_own_user(self.transaction, self.tenant, totp)
        sealed = self.box.seal(totp.secret, context=totp_context(totp.tenant, totp.user))
        self.transaction.connection.execute(_DROP_TOTP, {"old_id": totp.user, "old_tenant": self.tenant})
        self.transaction.connection.execute(insert(totps), totp_columns(totp) | {"secret": sealed})

    @writing
    def drop_totp(self, user: UserId) -> None:
        """By the user."""
        self.transaction.connection.execute(_DROP_TOTP, {"old_id": user, "old_tenant": self.tenant})

    @claiming
    def add_passkey(self, passkey: Passkey) -> None:
        """A new row."""
        require_own_user(self.transaction, self.tenant, passkey)
        self.transaction.connection.execute(insert(passkeys), passkey_columns(passkey))

    @reading
    def passkey(self, passkey_id: PasskeyId) -> Passkey:
        """By its id."""
        return passkey_of(own_row(self.transaction, self.tenant, _PASSKEY, passkey_id))

    @reading
    def passkeys(self, user: UserId) -> list[Passkey]:
        """Along ix_passkeys_user."""
        rows: Any = self.transaction.connection.execute(_PASSKEYS, {"id": user, "tenant": self.tenant}).mappings()
        return [passkey_of(row) for row in rows]

    @writing
    def save_passkey(self, passkey: Passkey) -> None:
        """Replace the row."""
        require_own(passkey.tenant, self.tenant)
        change_own_row(self.transaction, self.tenant, _SAVE_PASSKEY, passkey.id, passkey_columns(passkey))

    @writing
    def remove_passkey(self, passkey_id: PasskeyId) -> None:
        """By its id."""
        change_own_row(self.transaction, self.tenant, _REMOVE_PASSKEY, passkey_id, {})

    @claiming
    def spend(self, mark: str, until: datetime) -> None:
        """A new row; the key is everybody's."""
        self.transaction.connection.execute(insert(spent), {"mark": mark, "tenant": self.tenant, "expires_at": micros(until)})
