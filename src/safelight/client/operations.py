"""The operator's desk: work that was given up, the audit trail, the search index, and which part answers. A room of the client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import httpx

from safelight.client.documents import AuditEntry, AuditHead, Failure, Mended, Ready
from safelight.client.wire import CONNECT_S, Connection, parsed, refusal, said, segment


class Operations(Connection):
    """`/admin/failures`, `/admin/audit`, `/admin/reindex` and `/health/ready`."""

    def failures(self, *, limit: int = 100, **which: Any) -> Sequence[Failure]:
        """Dead letters, newest first; `which` are the filters of `GET /admin/failures`: flow, tenant, cause, after, before."""
        return cast("Sequence[Failure]", self._ask("GET", "/admin/failures", params=said(which | {"limit": limit}))["failures"])

    def retry_failures(self, *, limit: int = 100, **which: Any) -> Mended:
        """Try those again that fit the filters, `limit` at most, and tell how many and whether there are more."""
        return cast("Mended", self._ask("POST", "/admin/failures/retry", params=said(which | {"limit": limit})))

    def discard_failures(self, *, limit: int = 100, **which: Any) -> Mended:
        """Forget those that fit the filters, in the same way."""
        return cast("Mended", self._ask("DELETE", "/admin/failures", params=said(which | {"limit": limit})))

    def failure(self, failure_id: str) -> Failure:
        """One dead letter with its steps. Raises Missing."""
        return cast("Failure", self._ask("GET", f"/admin/failures/{segment(failure_id)}"))

    def retry_failure(self, failure_id: str) -> None:
        """Try it again from the step that failed. Raises Missing, WrongState."""
        self._ask("POST", f"/admin/failures/{segment(failure_id)}/retry")

    def discard_failure(self, failure_id: str) -> None:
        """Forget it. Raises Missing, WrongState."""
        self._ask("DELETE", f"/admin/failures/{segment(failure_id)}")

    def audit(self, **filters: Any) -> Iterator[AuditEntry]:
        """Entries of the audit trail, newest first; `filters` as `GET /admin/audit` has them."""
        query = {name: value for name, value in filters.items() if value is not None}
        while True:
            page = self._ask("GET", "/admin/audit", params=query)
            yield from page["entries"]
            if not page["cursor"]:
                return
            query["cursor"] = page["cursor"]

    def audit_head(self, *, chain: str | None = None) -> AuditHead:
        """Where a chain ends, to be noted elsewhere."""
        found: AuditHead = self._ask("GET", "/admin/audit/head", params={"chain": chain} if chain else {})
        return found

    def audit_export(self, *, format: str = "ndjson", **filters: Any) -> Iterator[bytes]:
        """The trail as a file, oldest first, piece by piece."""
        query = {"format": format} | {name: value for name, value in filters.items() if value is not None}
        with self._streamed("GET", "/admin/audit/export", params=query) as pieces:
            yield from pieces

    def reindex(self) -> int:
        """Build the search index anew, and wait for it; how many documents."""
        return int(self._ask("POST", "/admin/reindex", timeout=httpx.Timeout(None, connect=CONNECT_S))["documents"])

    def ready(self) -> Ready:
        """Which part answers; a part that does not is told, not raised."""
        response = self._sent("GET", "/health/ready")
        if response.status_code not in (200, 503):
            raise refusal(response)
        document = parsed(response)
        if "parts" not in document:
            raise refusal(response)
        return cast("Ready", document)
