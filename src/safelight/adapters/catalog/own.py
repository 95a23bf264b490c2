"""Own: a tenant's records are written through the transaction of that tenant, and found in no other. For the catalogs beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safelight.domain.ids import TenantId
from safelight.errors import Forbidden, Missing

if TYPE_CHECKING:
    from safelight.adapters.catalog.transactions import Transaction


def require_own(tenant: TenantId | None, mine: TenantId) -> None:
    """Raises Forbidden for another tenant's record, and for one that is no tenant's."""
    if tenant != mine:
        raise Forbidden("The record belongs to another tenant.")


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
