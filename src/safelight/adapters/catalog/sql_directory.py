"""What is known before the tenant is known, and the outbox, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, exists, insert, select, union_all, update

from safelight.adapters.catalog.rows import key_of, moment, stored_columns, tenant_columns, tenant_of, user_of
from safelight.adapters.catalog.sql_images import chunks
from safelight.adapters.catalog.sql_journal import write_entry
from safelight.adapters.catalog.sql_people import SqlPeopleDirectory
from safelight.adapters.catalog.sql_purges import SqlPurges
from safelight.adapters.catalog.sql_trail import SqlTrail
from safelight.adapters.catalog.tables import (
    albums,
    api_keys,
    events,
    images,
    redevelopments,
    signing_keys,
    spent,
    tenants,
    usage,
    users,
    webhook_deliveries,
    webhooks,
)
from safelight.adapters.catalog.transactions import Transaction, claiming, reading, writing
from safelight.domain.accounts import ApiKey, Tenant, User
from safelight.domain.events import Event, ImageEvent, from_json
from safelight.domain.ids import AlbumId, EndpointId, ImageId, KeyId, RedevelopmentId, TenantId
from safelight.domain.journal import Entry
from safelight.domain.queries import micros
from safelight.errors import Missing, Stale
from safelight.ports.catalog import Told

_user: Final = [column.label(f"user_{column.name}") for column in users.c]
_KEY: Final = (
    select(*api_keys.c, *_user)
    .join_from(api_keys, users, (users.c.id == api_keys.c.user) & (users.c.tenant == api_keys.c.tenant))
    .where(api_keys.c.id == bindparam("id"))
)
_TENANT_OF: Final = union_all(
    select(images.c.tenant).where(images.c.id == bindparam("id")), select(albums.c.tenant).where(albums.c.id == bindparam("id"))
)
_TENANTS: Final = select(tenants).order_by(tenants.c.created_at, tenants.c.id)
_TENANT: Final = select(tenants).where(tenants.c.id == bindparam("id"))
# Not FOR UPDATE: rows that refer to the tenant could not be added meanwhile. SQLite has no row locks and needs none.
_LOCK_TENANT: Final = _TENANT.with_for_update(key_share=True)
_SAVE_TENANT: Final = update(tenants).where(tenants.c.id == bindparam("old_id"), tenants.c.revision == bindparam("old_revision"))
_EMIT: Final = insert(events)
_UNTOLD: Final = select(events).order_by(events.c.number).limit(bindparam("limit"))
_FORGET: Final = delete(events).where(events.c.number.in_(bindparam("numbers", expanding=True)))
_deliveries: Final = webhook_deliveries.c
# A probe of ix_webhook_deliveries_due_at for each endpoint, however long the queue of one of them is.
_REDEVELOPING: Final = (
    select(redevelopments.c.tenant, redevelopments.c.id)
    .where(redevelopments.c.is_at_work.is_(True))
    .order_by(redevelopments.c.id)
    .limit(bindparam("limit"))
)
_DUE: Final = select(webhooks.c.tenant, webhooks.c.id).where(
    webhooks.c.disabled_at.is_(None),
    exists().where(_deliveries.endpoint == webhooks.c.id, _deliveries.due_at <= bindparam("at")),
)
_STRIP: Final = tuple(delete(table).where(table.c.tenant == bindparam("old_tenant")) for table in (signing_keys, usage, spent))


def read_tenant(transaction: Transaction, tenant: TenantId, *, locks: bool) -> Tenant:
    """The tenant's row; `locks` takes the right to write to the tenant until the transaction ends. Raises Missing."""
    statement = _LOCK_TENANT if locks else _TENANT
    row: Any = transaction.connection.execute(statement, {"id": tenant}).mappings().first()
    if row is None:
        raise Missing
    return tenant_of(row)


def write_event(transaction: Transaction, event: Event) -> None:
    """A row in the outbox, and what it adds to the journal."""
    now = datetime.now(UTC)
    values = {"tenant": event.tenant, "name": event.name, "payload": event.to_json(), "created_at": micros(now)}
    transaction.connection.execute(_EMIT, values)
    if isinstance(event, ImageEvent):
        write_entry(transaction, event.tenant, Entry.of(event, now))


@dataclass(frozen=True, slots=True)
class SqlOutbox:
    """Keeps Outbox."""

    transaction: Transaction
    purges: SqlPurges

    @reading
    def untold(self, limit: int = 100) -> list[Told]:
        """Along the key of events."""
        rows = self.transaction.connection.execute(_UNTOLD, {"limit": limit})
        return [Told(row.number, from_json(row.name, row.payload), moment(row.created_at)) for row in rows]

    @writing
    def mark_told(self, numbers: Sequence[int]) -> None:
        """Told events are deleted; their numbers are not used again."""
        for chunk in chunks(numbers):
            self.transaction.connection.execute(_FORGET, {"numbers": chunk})

    @reading
    def due(self, at: datetime) -> list[tuple[TenantId, EndpointId]]:
        """All endpoints: an installation has some thousands at most."""
        rows = self.transaction.connection.execute(_DUE, {"at": micros(at)})
        return [(TenantId(row.tenant), EndpointId(row.id)) for row in rows]

    @reading
    def redeveloping(self, limit: int = 100) -> list[tuple[TenantId, RedevelopmentId]]:
        """Along ix_redevelopments_at_work."""
        rows = self.transaction.connection.execute(_REDEVELOPING, {"limit": limit})
        return [(TenantId(row.tenant), RedevelopmentId(row.id)) for row in rows]


@dataclass(frozen=True, slots=True)
class SqlDirectory:
    """Keeps Directory."""

    transaction: Transaction
    outbox: SqlOutbox
    people: SqlPeopleDirectory
    trail: SqlTrail

    @reading
    def key(self, key_id: KeyId) -> tuple[ApiKey, User]:
        """Key and user in one look-up."""
        row = self.transaction.connection.execute(_KEY, {"id": key_id}).first()
        if row is None:
            raise Missing
        names, values, keys = row._fields, tuple(row), len(api_keys.c)
        user = {name.removeprefix("user_"): value for name, value in zip(names[keys:], values[keys:], strict=True)}
        return key_of(dict(zip(names[:keys], values[:keys], strict=True))), user_of(user)

    @reading
    def tenant_of(self, id: ImageId | AlbumId) -> TenantId:
        """By its own key: an id is given once."""
        tenant = self.transaction.connection.execute(_TENANT_OF, {"id": id}).scalar()
        if tenant is None:
            raise Missing
        return TenantId(tenant)

    @reading
    def tenants(self) -> list[Tenant]:
        """All of them: an installation has few."""
        rows: Any = self.transaction.connection.execute(_TENANTS).mappings()
        return [tenant_of(row) for row in rows]

    @claiming
    def add_tenant(self, tenant: Tenant) -> None:
        """A new row."""
        self.transaction.connection.execute(insert(tenants), tenant_columns(tenant) | stored_columns(tenant.stored))

    @claiming
    def save_tenant(self, tenant: Tenant) -> None:
        """Replace the row; what is stored is not among its columns."""
        old = {"old_id": tenant.id, "old_revision": tenant.revision - 1}
        if self.transaction.connection.execute(_SAVE_TENANT, tenant_columns(tenant) | old).rowcount != 1:
            is_there = self.transaction.connection.execute(_TENANT, {"id": tenant.id}).first() is not None
            raise Stale if is_there else Missing

    @writing
    def strip_tenant(self, tenant: TenantId) -> None:
        """With the marks of what was used once: those refer to the tenant too."""
        if self.transaction.connection.execute(_TENANT, {"id": tenant}).first() is None:
            raise Missing
        for stripping in _STRIP:
            self.transaction.connection.execute(stripping, {"old_tenant": tenant})
