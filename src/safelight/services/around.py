"""A catalog around a catalog, for what has to see every transaction: everything goes to the one inside."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from safelight.domain.ids import TenantId
from safelight.ports.catalog import Catalog, Directory, Journal, Records
from safelight.ports.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Around:
    """Keeps Catalog. Who inherits writes only the transactions that are to be seen."""

    inner: Catalog

    async def open(self) -> None:
        """See the port, here and below."""
        await self.inner.open()

    async def close(self) -> None:
        """Only the one inside."""
        await self.inner.close()

    async def migrate(self) -> list[str]:
        """Only the one inside."""
        return await self.inner.migrate()

    async def plan(self) -> list[str]:
        """Only the one inside."""
        return await self.inner.plan()

    async def ping(self) -> None:
        """Only the one inside."""
        await self.inner.ping()

    def tenant(self, tenant: TenantId, *, writes: bool = False) -> AbstractAsyncContextManager[Records]:
        """Unseen."""
        return self.inner.tenant(tenant, writes=writes)

    def journal(self, tenant: TenantId, *, writes: bool = False) -> AbstractAsyncContextManager[Journal]:
        """Unseen: told for those who watch, and never changed."""
        return self.inner.journal(tenant, writes=writes)

    def ledger(self, *, writes: bool = False) -> AbstractAsyncContextManager[Ledger]:
        """Unseen: sums of what has happened, nobody's act."""
        return self.inner.ledger(writes=writes)

    def directory(self, *, writes: bool = False) -> AbstractAsyncContextManager[Directory]:
        """Unseen."""
        return self.inner.directory(writes=writes)
