"""Tenants, and what they have used. A room of the client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from safelight.client.documents import Tenant, TenantMade, Usage
from safelight.client.wire import Connection, segment


class Tenants(Connection):
    """`/admin/tenants` and `/admin/usage`."""

    def tenants(self) -> Sequence[Tenant]:
        """Every tenant, oldest first. Raises Forbidden for who is no operator."""
        return cast("Sequence[Tenant]", self._ask("GET", "/admin/tenants"))

    def tenant(self, tenant_id: str) -> Tenant:
        """One. Raises Missing."""
        return cast("Tenant", self._ask("GET", f"/admin/tenants/{segment(tenant_id)}"))

    def add_tenant(self, name: str, *, admin: str = "admin", **fields: Any) -> TenantMade:
        """A new one; `fields` as the API takes them. Raises Forbidden, BadField, AlreadyExists."""
        return cast("TenantMade", self._ask("POST", "/admin/tenants", json={"name": name, "admin": admin, **fields}))

    def change_tenant(self, tenant_id: str, **changes: Any) -> Tenant:
        """Change what is named. Raises Missing, Forbidden, BadField, AlreadyExists."""
        return cast("Tenant", self._ask("PATCH", f"/admin/tenants/{segment(tenant_id)}", json=changes))

    def suspend_tenant(self, tenant_id: str) -> Tenant:
        """Let nobody of it in and nothing out. Raises Missing, WrongState for the operator's own."""
        return cast("Tenant", self._ask("POST", f"/admin/tenants/{segment(tenant_id)}/suspend"))

    def resume_tenant(self, tenant_id: str) -> Tenant:
        """End a suspension. Raises Missing."""
        return cast("Tenant", self._ask("POST", f"/admin/tenants/{segment(tenant_id)}/resume"))

    def usage(self, *, month: str = "", tenant_id: str = "") -> Sequence[Usage]:
        """What tenants have used in a month, this one by default: an operator's answer has all, an admin's their own."""
        asked = {name: value for name, value in (("month", month), ("tenant", tenant_id)) if value}
        return cast("Sequence[Usage]", self._ask("GET", "/admin/usage", params=asked))
