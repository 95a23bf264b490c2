"""Webhook endpoints, and the log of what they were told. A room of the client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from safelight.client.documents import Webhook, WebhookDelivery
from safelight.client.wire import Connection, said, segment


class Webhooks(Connection):
    """`/admin/webhooks`."""

    def webhooks(self) -> Sequence[Webhook]:
        """Every webhook endpoint of the tenant, newest first, without secrets."""
        return cast("Sequence[Webhook]", self._ask("GET", "/admin/webhooks"))

    def add_webhook(self, url: str, *, events: Sequence[str] = (), description: str = "") -> Webhook:
        """A new one, with its secret; no events: every one. Raises BadField, SourceNotAllowed, SourceUnreachable, WrongState."""
        body = {"url": url, "events": [*events], "description": description}
        return cast("Webhook", self._ask("POST", "/admin/webhooks", json=body))

    def edit_webhook(self, webhook_id: str, **changes: Any) -> Webhook:
        """Another `url`, `events` or `description`, or `is_enabled`. Raises Missing and what adding raises."""
        return cast("Webhook", self._ask("PATCH", f"/admin/webhooks/{segment(webhook_id)}", json=changes))

    def rotate_webhook(self, webhook_id: str, *, grace_s: int = 86_400) -> Webhook:
        """A new secret, told here; the one before signs beside it for so many seconds. Raises Missing."""
        return cast("Webhook", self._ask("POST", f"/admin/webhooks/{segment(webhook_id)}/rotate", json={"grace_s": grace_s}))

    def remove_webhook(self, webhook_id: str) -> None:
        """The endpoint gone, with its log. Raises Missing."""
        self._ask("DELETE", f"/admin/webhooks/{segment(webhook_id)}")

    def test_webhook(self, webhook_id: str) -> WebhookDelivery:
        """Send it a `ping`. Raises Missing, WrongState while it is off."""
        return cast("WebhookDelivery", self._ask("POST", f"/admin/webhooks/{segment(webhook_id)}/test"))

    def webhook_deliveries(self, webhook_id: str, *, state: str | None = None, limit: int = 50) -> Sequence[WebhookDelivery]:
        """What it was told, newest first. Raises Missing."""
        page = self._ask(
            "GET", f"/admin/webhooks/{segment(webhook_id)}/deliveries", params=said({"state": state, "limit": limit})
        )
        return cast("Sequence[WebhookDelivery]", page["deliveries"])

    def webhook_delivery(self, webhook_id: str, delivery_id: str) -> WebhookDelivery:
        """One of it. Raises Missing."""
        path = f"/admin/webhooks/{segment(webhook_id)}/deliveries/{segment(delivery_id)}"
        return cast("WebhookDelivery", self._ask("GET", path))

    def replay_webhook(self, webhook_id: str, delivery_id: str) -> WebhookDelivery:
        """Send it again, under its id. Raises Missing, WrongState."""
        path = f"/admin/webhooks/{segment(webhook_id)}/deliveries/{segment(delivery_id)}/replay"
        return cast("WebhookDelivery", self._ask("POST", path))

    def replay_webhooks(self, webhook_id: str, *, since: str, state: str | None = None) -> int:
        """Send everything again that happened since that RFC 3339 time; how many. Raises Missing, WrongState, BadField."""
        asked = {"since": since, "state": state}
        return int(self._ask("POST", f"/admin/webhooks/{segment(webhook_id)}/replay", json=asked)["deliveries"])
