"""Ledger: what tenants have used, by month. Kept by catalogs, inside a transaction; checked by testing.contracts.ledger.

Doors count in memory and add what they have counted in batches, so there is a row a month and none a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from safelight.domain.ids import TenantId
from safelight.domain.tenants import Stored
from safelight.domain.usage import Counts, Usage


class Ledger(Protocol):
    """`month` is text like 2026-06."""

    async def add(self, tenant: TenantId, month: str, counts: Counts) -> None:
        """Add to the tenant's month; however many add at once, nothing is lost."""
        ...

    async def sample(self, tenant: TenantId, month: str, hour: int, stored: Stored) -> None:
        """Note what is stored in this hour, unless it or a later one has been noted already. Raises Stale for who comes second."""
        ...

    async def usage(self, tenant: TenantId, month: str) -> Usage:
        """One tenant's month; zeros where nothing is known."""
        ...

    async def usages(self, month: str) -> Sequence[Usage]:
        """Everybody's of whom something is known, by tenant."""
        ...
