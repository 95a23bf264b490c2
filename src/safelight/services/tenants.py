"""Tenants: made, configured, suspended and resumed. What they may take in is asked of `standing`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import structlog

from safelight.domain import access
from safelight.domain.accounts import Actor, Role, Scope, Tenant, User
from safelight.domain.ids import TenantId, UserId, new_id
from safelight.domain.tenants import Quotas, checked_quotas
from safelight.errors import AlreadyExists, BadField, Stale, WrongState
from safelight.ports.catalog import Catalog
from safelight.services.accounts import new_signing_key
from safelight.services.api_keys import new_key
from safelight.services.standing import Standing

log = structlog.get_logger()

OWN: Final = frozenset({"trash_days", "duplicates"})
"""What an admin may change of their own tenant; the rest is the operator's."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RACES: Final = 5


@dataclass(frozen=True, slots=True)
class Made:
    """A new tenant, its first admin, and the token of the admin's API key, which is known only now."""

    tenant: Tenant
    admin: User
    token: str


@dataclass(frozen=True, slots=True)
class Tenants:
    """The records of tenants, by whoever may see them."""

    catalog: Catalog
    clock: Callable[[], datetime]
    standing: Standing
    trash_days: int

    async def list(self, actor: Actor) -> Sequence[Tenant]:
        """All, oldest first. Raises Forbidden."""
        access.require(actor, "tenant.manage")
        async with self.catalog.directory() as directory:
            return await directory.tenants()

    async def get(self, actor: Actor, tenant_id: TenantId) -> Tenant:
        """One; an admin's own, an operator's any. Raises Missing, Forbidden."""
        access.require(actor, "tenant.read")
        async with self.catalog.tenant(tenant_id) as records:
            tenant = records.tenant
        access.require(actor, "tenant.read", tenant)
        return tenant

    async def add(self, actor: Actor, *, name: str, admin: str = "admin", quotas: Quotas, **fields: Any) -> Made:
        """A tenant with a ring of its own, an admin and the admin's first API key. Raises BadField, AlreadyExists.

        One that a crash has left without anybody in it is finished when it is asked for again.
        """
        access.require(actor, "tenant.manage")
        now = self.clock()
        tenant = Tenant(
            id=TenantId(new_id(now.timestamp())),
            name=_checked_name(name),
            created_at=now,
            quotas=checked_quotas(quotas),
            **{"trash_days": self.trash_days, **_checked(fields)},
        )
        try:
            async with self.catalog.directory(writes=True) as directory:
                await directory.add_tenant(tenant)
        except AlreadyExists:
            tenant = await self._deserted(tenant)
        user = User(id=UserId(new_id(now.timestamp())), tenant=tenant.id, name=admin, role=Role.ADMIN, created_at=now)
        token, key = new_key(user, "first key", frozenset(Scope), now, expires_at=None)
        async with self.catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_user(user)
            await records.accounts.api_keys.add(key)
            await records.accounts.add_signing_key(new_signing_key(tenant.id, now))
        log.info("tenant.added", tenant=tenant.id, by=actor.user)
        return Made(tenant, user, token)

    async def change(
        self, actor: Actor, tenant_id: TenantId, changes: Mapping[str, Any], *, if_revision: int | None = None
    ) -> Tenant:
        """Name, trash_days, duplicates, and single quotas by their names. Raises Missing, Forbidden, BadField, Stale, AlreadyExists."""
        tenant = await self.get(actor, tenant_id)
        access.require(actor, "tenant.configure" if changes.keys() <= OWN else "tenant.manage", tenant)
        if "name" in changes:
            _checked_name(changes["name"])
        _checked(changes)

        def changed(tenant: Tenant) -> Tenant:
            if if_revision is not None and tenant.revision != if_revision:
                raise Stale
            quotas = checked_quotas(replace(tenant.quotas, **changes.get("quotas", {})))
            return replace(tenant, **{**changes, "quotas": quotas})

        return await self._changed(tenant_id, changed)

    async def suspend(self, actor: Actor, tenant_id: TenantId) -> Tenant:
        """From now on nobody of it comes in, and nothing of it goes out; what is kept stays. Suspending again is fine.

        Raises Missing, Forbidden, WrongState for the operator's own.
        """
        access.require(actor, "tenant.manage")
        if tenant_id == actor.tenant:
            raise WrongState("This is your own tenant; nobody could resume it.")
        now = self.clock()
        return await self._changed(tenant_id, lambda tenant: replace(tenant, suspended_at=tenant.suspended_at or now))

    async def resume(self, actor: Actor, tenant_id: TenantId) -> Tenant:
        """All is as it was. Resuming again is fine. Raises Missing, Forbidden."""
        access.require(actor, "tenant.manage")
        return await self._changed(tenant_id, lambda tenant: replace(tenant, suspended_at=None))

    async def _changed(self, tenant_id: TenantId, change: Callable[[Tenant], Tenant]) -> Tenant:
        for _ in range(_RACES):
            async with self.catalog.tenant(tenant_id) as records:
                before = records.tenant
            after = change(before)
            if after == before:
                return before
            try:
                async with self.catalog.directory(writes=True) as directory:
                    await directory.save_tenant(after := replace(after, revision=before.revision + 1))
            except Stale:
                continue  # somebody else has changed it: look again at what that leaves to do
            finally:
                self.standing.known.drop(tenant_id)
            log.info("tenant.changed", tenant=tenant_id, is_suspended=after.suspended_at is not None)
            return after
        raise Stale

    async def _deserted(self, wanted: Tenant) -> Tenant:
        async with self.catalog.directory() as directory:
            found = next((tenant for tenant in await directory.tenants() if tenant.name == wanted.name), None)
        if found is None:
            raise AlreadyExists
        async with self.catalog.tenant(found.id) as records:
            if await records.accounts.users():
                raise AlreadyExists("There is a tenant of this name.")
        return found


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadField("A tenant's name has 1 to 64 letters, digits, dots, dashes and underscores.", field="name")
    return name


def _checked(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    if not 0 <= fields.get("trash_days", 0) <= 36_500:
        raise BadField("trash_days is a whole number from 0 to 36500.", field="trash_days")
    return fields
