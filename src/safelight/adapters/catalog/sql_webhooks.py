"""The webhook endpoints of one tenant and their deliveries in SQL. Secrets are sealed before they reach a statement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select, update

from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.rows import delivery_columns, delivery_of, endpoint_columns, endpoint_of
from safelight.adapters.catalog.secretbox import SecretBox
from safelight.adapters.catalog.tables import webhook_deliveries, webhooks
from safelight.adapters.catalog.transactions import Transaction, claiming, reading, writing
from safelight.domain.ids import DeliveryId, EndpointId, TenantId
from safelight.domain.queries import micros
from safelight.domain.webhooks import Delivery, DeliveryState, Endpoint
from safelight.errors import DamagedRecord, Missing, Stale

_this: Final = (webhooks.c.id == bindparam("old_id")) & (webhooks.c.tenant == bindparam("old_tenant"))
_GET: Final = select(webhooks).where(_this)
_ALL: Final = (
    select(webhooks)
    .where(webhooks.c.tenant == bindparam("old_tenant"))
    .order_by(webhooks.c.created_at.desc(), webhooks.c.id.desc())
)
_SAVE: Final = update(webhooks).where(_this, webhooks.c.revision == bindparam("old_revision"))
_REMOVE: Final = delete(webhooks).where(_this)

_sent: Final = webhook_deliveries.c
_of: Final = (_sent.endpoint == bindparam("old_endpoint")) & (_sent.tenant == bindparam("old_tenant"))
_GET_ONE: Final = select(webhook_deliveries).where(_of, _sent.id == bindparam("old_id"))
_SAVE_ONE: Final = update(webhook_deliveries).where(
    _of, _sent.id == bindparam("old_id"), _sent.revision == bindparam("old_revision")
)
_DUE: Final = (
    select(webhook_deliveries)
    .where(_of, _sent.due_at <= bindparam("at"))
    .order_by(_sent.due_at, _sent.id)
    .limit(bindparam("limit"))
)
_PAGE: Final = select(webhook_deliveries).where(_of).order_by(_sent.id.desc()).limit(bindparam("limit"))
_OLD: Final = select(_sent.id).where(_of, _sent.forget_at <= bindparam("at")).order_by(_sent.forget_at, _sent.id)
_SWEEP: Final = delete(webhook_deliveries).where(_of, _sent.id.in_(_OLD.limit(bindparam("limit")).scalar_subquery()))


@dataclass(frozen=True, slots=True)
class SqlDeliveries:
    """Keeps DeliveryRecords."""

    transaction: Transaction
    tenant: TenantId

    @claiming
    def add(self, delivery: Delivery) -> None:
        """A new row. Raises Missing for an endpoint that this tenant does not have."""
        require_own(delivery.tenant, self.tenant)
        endpoint = {"old_id": delivery.endpoint, "old_tenant": self.tenant}
        if self.transaction.connection.execute(_GET, endpoint).first() is None:
            raise Missing
        self.transaction.connection.execute(insert(webhook_deliveries), delivery_columns(delivery))

    @reading
    def get(self, endpoint: EndpointId, delivery_id: DeliveryId) -> Delivery:
        """By its key."""
        return self._found(endpoint, delivery_id)

    @writing
    def save(self, delivery: Delivery) -> None:
        """Replace the row of the revision before."""
        require_own(delivery.tenant, self.tenant)
        columns = delivery_columns(delivery)
        old = {
            "old_id": columns.pop("id"),
            "old_endpoint": columns.pop("endpoint"),
            "old_tenant": columns.pop("tenant"),
            "old_revision": delivery.revision - 1,
        }
        if self.transaction.connection.execute(_SAVE_ONE, columns | old).rowcount != 1:
            self._found(delivery.endpoint, delivery.id)
            raise Stale

    @reading
    def due(self, endpoint: EndpointId, at: datetime, limit: int = 10) -> list[Delivery]:
        """Along ix_webhook_deliveries_due_at."""
        return self._all(_DUE, endpoint, at=micros(at), limit=limit)

    @reading
    def page(
        self, endpoint: EndpointId, *, before: str = "", state: DeliveryState | None = None, limit: int = 50
    ) -> list[Delivery]:
        """Along the primary key, backwards."""
        statement = _PAGE if not before else _PAGE.where(_sent.id < before)
        return self._all(statement if state is None else statement.where(_sent.state == state.value), endpoint, limit=limit)

    @writing
    def sweep(self, endpoint: EndpointId, at: datetime, limit: int = 500) -> int:
        """Along ix_webhook_deliveries_forget_at."""
        values = {"old_endpoint": endpoint, "old_tenant": self.tenant, "at": micros(at), "limit": limit}
        return self.transaction.connection.execute(_SWEEP, values).rowcount

    def _found(self, endpoint: EndpointId, delivery_id: DeliveryId) -> Delivery:
        found = self._all(_GET_ONE, endpoint, old_id=delivery_id)
        if not found:
            raise Missing
        return found[0]

    def _all(self, statement: Any, endpoint: EndpointId, **values: Any) -> list[Delivery]:  # select() has no useful type
        values |= {"old_endpoint": endpoint, "old_tenant": self.tenant}
        rows: Any = self.transaction.connection.execute(statement, values).mappings()
        try:
            return [delivery_of(row) for row in rows]
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedRecord("A row of the catalog cannot be read.") from error


@dataclass(frozen=True, slots=True)
class SqlWebhooks:
    """Keeps WebhookRecords."""

    transaction: Transaction
    tenant: TenantId
    box: SecretBox
    deliveries: SqlDeliveries

    @claiming
    def add(self, endpoint: Endpoint) -> None:
        """A new row with sealed secrets."""
        require_own(endpoint.tenant, self.tenant)
        self.transaction.connection.execute(insert(webhooks), self._sealed(endpoint))

    @reading
    def get(self, endpoint_id: EndpointId) -> Endpoint:
        """By its key, unsealed."""
        return self._opened(self._row(endpoint_id))

    @reading
    def all(self) -> list[Endpoint]:
        """Along ix_webhooks_tenant, unsealed."""
        rows: Any = self.transaction.connection.execute(_ALL, {"old_tenant": self.tenant}).mappings()
        return [self._opened(row) for row in rows]

    @writing
    def save(self, endpoint: Endpoint) -> None:
        """Replace the row of the revision before."""
        require_own(endpoint.tenant, self.tenant)
        columns = self._sealed(endpoint)
        old = {"old_id": columns.pop("id"), "old_tenant": columns.pop("tenant"), "old_revision": endpoint.revision - 1}
        if self.transaction.connection.execute(_SAVE, columns | old).rowcount != 1:
            self._row(endpoint.id)
            raise Stale

    @writing
    def remove(self, endpoint_id: EndpointId) -> None:
        """The row; its deliveries go with it."""
        if self.transaction.connection.execute(_REMOVE, self._key(endpoint_id)).rowcount != 1:
            raise Missing

    def _row(self, endpoint_id: EndpointId) -> Mapping[str, Any]:
        row: Any = self.transaction.connection.execute(_GET, self._key(endpoint_id)).mappings().first()
        if row is None:
            raise Missing
        return dict(row)

    def _sealed(self, endpoint: Endpoint) -> dict[str, Any]:
        previous, context = endpoint.previous_secret, f"webhook/{self.tenant}/{endpoint.id}"
        return endpoint_columns(endpoint) | {
            "secret": self.box.seal(endpoint.secret, context=context),
            "previous_secret": self.box.seal(previous, context=f"{context}/previous") if previous else None,
        }

    def _opened(self, row: Mapping[str, Any]) -> Endpoint:
        previous, context = row["previous_secret"], f"webhook/{self.tenant}/{row['id']}"
        return endpoint_of(
            row,
            secret=self.box.unseal(row["secret"], context=context),
            previous_secret=self.box.unseal(previous, context=f"{context}/previous") if previous else b"",
        )

    def _key(self, endpoint_id: EndpointId) -> dict[str, str]:
        return {"old_id": endpoint_id, "old_tenant": self.tenant}
