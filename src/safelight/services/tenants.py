"""Tenants: made, configured, suspended and resumed. What they may take in is asked of `standing`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import structlog

from safelight.domain import access
from safelight.domain.accounts import Actor, Role, Scope, Tenant, User
from safelight.domain.ids import TenantId, UserId, new_id
from safelight.domain.names import NAME
from safelight.domain.sources import places
from safelight.domain.tenants import Quotas, checked_name, checked_quotas, checked_terms
from safelight.errors import AlreadyExists, BadField, Missing, Stale, WrongState
from safelight.imaging import PRESETS
from safelight.imaging.transform import parse_request
from safelight.imaging.transform.grammar import Named
from safelight.ports.catalog import Catalog, Directory
from safelight.services.accounts import new_signing_key
from safelight.services.api_keys import new_key
from safelight.services.standing import Standing

log = structlog.get_logger()

BUILT_IN: Final = frozenset(preset.name for preset in PRESETS)
OWN: Final = frozenset({"trash_days", "duplicates", "origins"})
"""What an admin may change of their own tenant; the rest is the operator's."""
_RACES: Final = 5
MAX_PRESETS: Final = 50
MAX_VERSIONS: Final = 50


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
    watermarks: Named = field(default_factory=dict)
    own_buckets: frozenset[str] = frozenset()

    async def list(self, actor: Actor) -> Sequence[Tenant]:
        """All, oldest first. Raises Forbidden."""
        access.require(actor, "tenant.manage")
        async with self.catalog.directory() as directory:
            return [tenant for tenant in await directory.tenants() if tenant.erased_at is None]

    async def get(self, actor: Actor, tenant_id: TenantId) -> Tenant:
        """One; an admin's own, an operator's any. Raises Missing, Forbidden."""
        access.require(actor, "tenant.read")
        async with self.catalog.tenant(tenant_id) as records:
            tenant = records.tenant
        access.require(actor, "tenant.read", tenant)
        if tenant.erased_at is not None:
            raise Missing
        return tenant

    async def add(self, actor: Actor, *, name: str, admin: str = "admin", quotas: Quotas, **fields: Any) -> Made:
        """A tenant with a ring of its own, an admin and the admin's first API key. Raises BadField, AlreadyExists.

        One that a crash has left without anybody in it is finished when it is asked for again.
        """
        access.require(actor, "tenant.manage")
        now = self.clock()
        tenant = Tenant(
            id=TenantId(new_id(now.timestamp())),
            name=checked_name(name),
            created_at=now,
            quotas=checked_quotas(quotas),
            **{"trash_days": self.trash_days, **checked_terms(fields)},
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
        """Name, trash_days, duplicates, origins, domains, sources, and single quotas by their names.

        Raises Missing, Forbidden, BadField, Stale, AlreadyExists.
        """
        tenant = await self.get(actor, tenant_id)
        access.require(actor, "tenant.configure" if changes.keys() <= OWN else "tenant.manage", tenant)
        if "name" in changes:
            checked_name(changes["name"])
        checked_terms(changes)
        if "sources" in changes:
            changes = {**changes, "sources": places(changes["sources"], own_buckets=self.own_buckets)}

        def changed(tenant: Tenant) -> Tenant:
            if if_revision is not None and tenant.revision != if_revision:
                raise Stale
            _require_kept(tenant)
            quotas = checked_quotas(replace(tenant.quotas, **changes.get("quotas", {})))
            return replace(tenant, **{**changes, "quotas": quotas})

        return await self.rewrite(tenant_id, changed)

    async def suspend(self, actor: Actor, tenant_id: TenantId) -> Tenant:
        """From now on nobody of it comes in, and nothing of it goes out; what is kept stays. Suspending again is fine.

        Raises Missing, Forbidden, WrongState for the operator's own.
        """
        access.require(actor, "tenant.manage")
        if tenant_id == actor.tenant:
            raise WrongState("This is your own tenant; nobody could resume it.")
        now = self.clock()
        return await self.rewrite(tenant_id, lambda tenant: replace(tenant, suspended_at=tenant.suspended_at or now))

    async def resume(self, actor: Actor, tenant_id: TenantId) -> Tenant:
        """All is as it was. Resuming again is fine. Raises Missing, Forbidden, WrongState for one that is being erased."""
        access.require(actor, "tenant.manage")
        return await self.rewrite(tenant_id, lambda tenant: replace(_require_kept(tenant), suspended_at=None))

    async def presets(self, actor: Actor) -> Mapping[str, tuple[str, ...]]:
        """The tenant's own, by name, every version."""
        access.require(actor, "preset.read")
        async with self.catalog.tenant(actor.tenant) as records:
            return records.tenant.presets

    async def set_preset(self, actor: Actor, name: str, options: str) -> tuple[str, ...]:
        """What the name stands for from now on; the version before stays what it was. The versions. Raises BadField, BadOption, Forbidden."""
        access.require(actor, "preset.manage")
        if not NAME.fullmatch(name) or name in BUILT_IN:
            raise BadField(
                "A preset's name has 1 to 32 lower-case letters, digits, dashes and underscores, a letter first, and is not one of ours.",
                field="name",
            )
        parse_request(f"{options}.webp", named=self.watermarks)

        def changed(tenant: Tenant) -> Tenant:
            if tenant.recipes.has_size(name):
                raise BadField("A size of a recipe has this name.", field="name")
            versions = tenant.presets.get(name, ())
            if versions and versions[-1] == options:
                return tenant
            if len(versions) >= MAX_VERSIONS or (not versions and len(tenant.presets) >= MAX_PRESETS):
                raise BadField(f"A tenant has {MAX_PRESETS} presets of {MAX_VERSIONS} versions at most.", field="name")
            return replace(tenant, presets={**tenant.presets, name: (*versions, options)})

        return (await self.rewrite(actor.tenant, changed)).presets[name]

    async def remove_preset(self, actor: Actor, name: str) -> None:
        """The name and every version of it mean nothing any more. Raises Missing, Forbidden."""
        access.require(actor, "preset.manage")

        def changed(tenant: Tenant) -> Tenant:
            if name not in tenant.presets:
                raise Missing
            return replace(tenant, presets={other: texts for other, texts in tenant.presets.items() if other != name})

        await self.rewrite(actor.tenant, changed)

    async def rewrite(self, tenant_id: TenantId, change: Callable[[Tenant], Tenant]) -> Tenant:
        """The record as `change` has it, which may be called again if somebody else was faster. Whoever calls has asked who may."""
        for _ in range(_RACES):
            async with self.catalog.tenant(tenant_id) as records:
                before = records.tenant
            after = change(before)
            if after == before:
                return before
            try:
                async with self.catalog.directory(writes=True) as directory:
                    if after.domains != before.domains:
                        await self._require_free(directory, after)
                    await directory.save_tenant(after := replace(after, revision=before.revision + 1))
            except Stale:
                continue  # somebody else has changed it: look again at what that leaves to do
            finally:
                self.standing.forget(tenant_id)
            log.info("tenant.changed", tenant=tenant_id, is_suspended=after.suspended_at is not None)
            return after
        raise Stale

    async def _require_free(self, directory: Directory, tenant: Tenant) -> None:
        own = self.standing.own_host
        if tenant.domains and (not own or own in tenant.domains):
            raise WrongState("SAFELIGHT_SERVER__PUBLIC_URL says which host name is everybody's, and no tenant can have that.")
        taken = {domain for other in await directory.tenants() if other.id != tenant.id for domain in other.domains}
        if taken & set(tenant.domains):
            raise AlreadyExists("Another tenant has this host name.")

    async def _deserted(self, wanted: Tenant) -> Tenant:
        async with self.catalog.directory() as directory:
            found = next((tenant for tenant in await directory.tenants() if tenant.name == wanted.name), None)
        if found is None:
            raise AlreadyExists
        async with self.catalog.tenant(found.id) as records:
            if await records.accounts.users():
                raise AlreadyExists("There is a tenant of this name.")
        return found


def _require_kept(tenant: Tenant) -> Tenant:
    if tenant.erased_at is not None:
        raise Missing
    if tenant.erasure:
        raise WrongState("This tenant is being erased.")
    return tenant
