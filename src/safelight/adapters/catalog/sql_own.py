"""Own, in SQL: rows of one tenant, by their key and the tenant together. For the SQL catalogs beside it."""

from __future__ import annotations

from typing import Any, Final, Protocol

from sqlalchemy import bindparam, select

from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.tables import users
from safelight.adapters.catalog.transactions import Transaction
from safelight.domain.ids import TenantId, UserId
from safelight.errors import Missing

_USER: Final = select(users.c.id).where(users.c.id == bindparam("id"), users.c.tenant == bindparam("tenant"))


class OfUser(Protocol):
    """A record that a user has."""

    @property
    def tenant(self) -> TenantId:
        """Whose user."""

    @property
    def user(self) -> UserId:
        """Whose it is."""


def own_row(
    transaction: Transaction, tenant: TenantId, statement: Any, id: str, **more: str
) -> Any:  # select() of several columns has no useful type
    """The one row that a select by `id` and `tenant` finds, by the names of its columns. Raises Missing."""
    row = transaction.connection.execute(statement, {**more, "id": id, "tenant": tenant}).mappings().first()
    if row is None:
        raise Missing
    return row


def change_own_row(transaction: Transaction, tenant: TenantId, statement: Any, id: str, columns: dict[str, Any]) -> None:
    """Do to the one row of `old_id` and `old_tenant` what the statement says. Raises Missing."""
    if transaction.connection.execute(statement, columns | {"old_id": id, "old_tenant": tenant}).rowcount != 1:
        raise Missing


def require_user(transaction: Transaction, tenant: TenantId, user: UserId) -> None:
    """Raises Missing for a user whom this tenant does not have."""
    own_row(transaction, tenant, _USER, user)


def require_own_user(transaction: Transaction, tenant: TenantId, record: OfUser) -> None:
    """Raises Forbidden for another tenant's record, Missing for one of a user whom this tenant does not have."""
    require_own(record.tenant, tenant)
    require_user(transaction, tenant, record.user)
