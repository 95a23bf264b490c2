"""Own: a tenant's records are written through the transaction of that tenant, and found in no other. For the catalogs beside it."""

from __future__ import annotations

from safelight.domain.ids import TenantId
from safelight.errors import Forbidden


def require_own(tenant: TenantId | None, mine: TenantId) -> None:
    """Raises Forbidden for another tenant's record, and for one that is no tenant's."""
    if tenant != mine:
        raise Forbidden("The record belongs to another tenant.")
