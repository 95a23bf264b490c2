"""The uploads of one tenant in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select, update

from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.rows import upload_columns, upload_of
from safelight.adapters.catalog.tables import uploads
from safelight.adapters.catalog.transactions import Transaction, claiming, reading, writing
from safelight.domain.ids import TenantId, UploadId
from safelight.domain.queries import micros
from safelight.domain.uploads import Upload
from safelight.errors import DamagedRecord, Missing, Stale

_this: Final = (uploads.c.id == bindparam("old_id")) & (uploads.c.tenant == bindparam("old_tenant"))
_ADD: Final = insert(uploads)
_GET: Final = select(uploads).where(_this)
_SAVE: Final = update(uploads).where(_this, uploads.c.revision == bindparam("old_revision"))
_REMOVE: Final = delete(uploads).where(_this)
_DUE: Final = (
    select(uploads)
    .where(uploads.c.tenant == bindparam("old_tenant"), uploads.c.due_at <= bindparam("at"))
    .order_by(uploads.c.due_at, uploads.c.id)
    .limit(bindparam("limit"))
)


@dataclass(frozen=True, slots=True)
class SqlUploads:
    """Keeps UploadRecords."""

    transaction: Transaction
    tenant: TenantId

    @claiming
    def add(self, upload: Upload) -> None:
        """A new row."""
        require_own(upload.tenant, self.tenant)
        self.transaction.connection.execute(_ADD, upload_columns(upload))

    @reading
    def get(self, upload_id: UploadId) -> Upload:
        """By its key."""
        return _read(self._row(upload_id))

    @writing
    def save(self, upload: Upload) -> None:
        """Replace the row of the revision before."""
        require_own(upload.tenant, self.tenant)
        columns = upload_columns(upload)
        old = {"old_id": columns.pop("id"), "old_tenant": columns.pop("tenant"), "old_revision": upload.revision - 1}
        if self.transaction.connection.execute(_SAVE, columns | old).rowcount != 1:
            self._row(upload.id)
            raise Stale

    @writing
    def remove(self, upload_id: UploadId) -> None:
        """The row."""
        if self.transaction.connection.execute(_REMOVE, self._key(upload_id)).rowcount != 1:
            raise Missing

    @reading
    def due(self, at: datetime, limit: int = 100) -> list[Upload]:
        """Along ix_uploads_due_at."""
        values = {"old_tenant": self.tenant, "at": micros(at), "limit": limit}
        rows: Any = self.transaction.connection.execute(_DUE, values).mappings()
        return [_read(row) for row in rows]

    def _row(self, upload_id: UploadId) -> Mapping[str, Any]:
        row: Any = self.transaction.connection.execute(_GET, self._key(upload_id)).mappings().first()
        if row is None:
            raise Missing
        return dict(row)

    def _key(self, upload_id: UploadId) -> dict[str, str]:
        return {"old_id": upload_id, "old_tenant": self.tenant}


def _read(row: Mapping[str, Any]) -> Upload:
    try:
        return upload_of(row)
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedRecord("A row of the catalog cannot be read.") from error
