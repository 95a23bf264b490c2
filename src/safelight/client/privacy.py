"""Everything that is kept of a user or a tenant: taken out, or erased with a certificate. A room of the client."""

from __future__ import annotations

from collections.abc import Iterator

from safelight.client.documents import Erasure
from safelight.client.wire import Connection, segment


class Privacy(Connection):
    """Export and erasure below `/admin/users` and `/admin/tenants`."""

    def export_user(self, user_id: str) -> Iterator[bytes]:
        """Everything that is kept of a user, as a ZIP, piece by piece."""
        with self._streamed("POST", f"/admin/users/{segment(user_id)}/export") as pieces:
            yield from pieces

    def erase_user(self, user_id: str) -> Erasure:
        """Erase a user with everything of theirs, for good."""
        started: Erasure = self._ask("DELETE", f"/admin/users/{segment(user_id)}")
        return started

    def export_tenant(self, tenant_id: str) -> Iterator[bytes]:
        """Everything of a tenant, as a ZIP, piece by piece."""
        with self._streamed("POST", f"/admin/tenants/{segment(tenant_id)}/export") as pieces:
            yield from pieces

    def erase_tenant(self, tenant_id: str) -> Erasure:
        """Erase a suspended tenant with everything of it, for good."""
        started: Erasure = self._ask("DELETE", f"/admin/tenants/{segment(tenant_id)}")
        return started

    def erasure(self, certificate_url: str) -> Erasure:
        """How it stands, with its certificate once it is done."""
        found: Erasure = self._ask("GET", certificate_url)
        return found
