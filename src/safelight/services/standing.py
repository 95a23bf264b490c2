"""Standing: whether a tenant may do anything now, and how much more it may take in. Every door asks.

A tenant's record is believed for a few seconds, so that a request costs no read of its own; in the process that changes it, not
at all. What is left of a quota is read anew, and only where there is a quota.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from safelight.concurrency import Believed
from safelight.domain.accounts import Tenant
from safelight.domain.ids import TenantId
from safelight.domain.tenants import Quotas, Room
from safelight.errors import Misdirected
from safelight.ports.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Standing:
    """One per process. `defaults` are the quotas of tenants that have none of their own."""

    catalog: Catalog
    defaults: Quotas
    known: Believed[TenantId, Tenant]
    pages: Believed[str, Mapping[str, frozenset[TenantId]]]
    hosts: Believed[str, Mapping[str, TenantId]]
    lists: Believed[str, tuple[TenantId, ...]]
    own_host: str = ""
    """Everybody's; without one, no tenant has a name of its own."""

    async def of(self, tenant_id: TenantId) -> Tenant:
        """The tenant as it was a moment ago. Raises Missing."""
        return await self.known.read(tenant_id, lambda: self._read(tenant_id))

    async def origins(self) -> Mapping[str, frozenset[TenantId]]:
        """Whose pages these are, by origin; as of a few seconds ago, since a preflight does not say for whom it asks."""
        return await self.pages.read("", self._origins)

    async def with_sources(self) -> tuple[TenantId, ...]:
        """Tenants that deliver pictures from elsewhere, oldest first; as of a few seconds ago."""
        return await self.lists.read("", self._with_sources)

    async def require_home(self, tenant: Tenant, host: str) -> None:
        """Raises Misdirected for a host name of another tenant. Everybody's, and names that nobody has, are anybody's."""
        host = host.partition(":")[0].lower()
        if not self.own_host or host == self.own_host or host in tenant.domains:
            return
        if (await self.hosts.read("", self._hosts)).get(host, tenant.id) != tenant.id:
            raise Misdirected

    def forget(self, tenant_id: TenantId) -> None:
        """The record has changed."""
        self.known.drop(tenant_id)
        self.pages.clear()
        self.hosts.clear()
        self.lists.clear()

    async def require_active(self, tenant_id: TenantId) -> None:
        """Raises TenantSuspended, Missing."""
        (await self.of(tenant_id)).require_active()

    def quotas(self, tenant: Tenant) -> Quotas:
        """What holds for this tenant."""
        return tenant.quotas.over(self.defaults)

    async def room(self, tenant_id: TenantId, size_bytes: int = 0, *, images: int = 1) -> Room:
        """What is left, for whoever is about to read a body. Raises QuotaExceeded if so much does not fit, TenantSuspended."""
        tenant = await self.of(tenant_id)
        if self.quotas(tenant).limits_storage:
            tenant = await self._read(tenant_id)
        return self.room_of(tenant, size_bytes, images=images)

    def room_of(self, tenant: Tenant, size_bytes: int = 0, *, images: int = 1) -> Room:
        """The same for a record that has just been read."""
        tenant.require_active()
        room = Room(self.quotas(tenant), tenant.stored)
        room.require(size_bytes, images=images)
        return room

    async def _origins(self) -> Mapping[str, frozenset[TenantId]]:
        tenants = await self._tenants()
        named = {origin for tenant in tenants for origin in tenant.origins}
        return {origin: frozenset(one.id for one in tenants if origin in one.origins) for origin in named}

    async def _with_sources(self) -> tuple[TenantId, ...]:
        return tuple(tenant.id for tenant in await self._tenants() if tenant.sources)

    async def _hosts(self) -> Mapping[str, TenantId]:
        # Newest first, so that of two who were given one name at the same moment the older one has it.
        return {domain: one.id for one in reversed(await self._tenants()) for domain in one.domains}

    async def _tenants(self) -> list[Tenant]:
        async with self.catalog.directory() as directory:
            return await directory.tenants()

    async def _read(self, tenant_id: TenantId) -> Tenant:
        async with self.catalog.tenant(tenant_id) as records:
            return records.tenant
