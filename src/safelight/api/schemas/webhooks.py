"""Webhook endpoints and deliveries on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from safelight.api.schemas.common import In, Instant, Out
from safelight.domain.addresses import MAX_URL
from safelight.domain.webhooks import Delivery, Endpoint
from safelight.signing.webhooks import secret_text as webhook_secret


class WebhookIn(In):
    """A new webhook endpoint."""

    url: str = Field(max_length=MAX_URL, description="`https`, at a public address.")
    events: list[str] = Field(
        default=[], max_length=100, description="Types, or families like `image.*`; see the reference. Default: every one."
    )
    description: str = Field("", max_length=500)


class WebhookPatch(In):
    """What to change; what is not named stays."""

    url: str | None = Field(None, max_length=MAX_URL)
    events: list[str] | None = Field(None, max_length=100)
    description: str | None = Field(None, max_length=500)
    is_enabled: bool | None = None


class WebhookRotateIn(In):
    """How long the secret before signs beside the new one."""

    grace_s: int = Field(86_400, ge=0, le=30 * 86_400)


class WebhookReplayIn(In):
    """What to send again."""

    since: Instant = Field(description="With its offset from UTC; by the time of what happened.")
    state: Literal["delivered", "failed"] | None = Field(None, description="Only what ended so. Default: both.")


class WebhookOut(Out):
    """A webhook endpoint; its secret is shown only when it is made."""

    id: str
    url: str
    events: list[str] = Field(description="Empty: every one.")
    description: str
    created_at: datetime
    updated_at: datetime
    is_enabled: bool
    disabled_at: datetime | None
    disabled_for: Literal["asked", "gone", "failing"] | None = Field(
        description="`asked`: an administrator did; `gone`: it answered 410; `failing`: everything failed for days."
    )
    failing_since: datetime | None
    previous_secret_until: datetime | None = Field(description="Until then the secret before signs too.")
    etag: str
    secret: str | None = Field(None, description="`whsec_…`; only in the answers that make one.")


def webhook_out(endpoint: Endpoint, *, with_secret: bool = False) -> WebhookOut:
    """The endpoint as an admin gets it."""
    return WebhookOut(
        id=endpoint.id,
        url=endpoint.url,
        events=list(endpoint.events),
        description=endpoint.description,
        created_at=endpoint.created_at,
        updated_at=endpoint.updated_at,
        is_enabled=endpoint.is_enabled,
        disabled_at=endpoint.disabled_at,
        disabled_for=endpoint.disabled_for.value if endpoint.disabled_for else None,
        failing_since=endpoint.failing_since,
        previous_secret_until=endpoint.previous_until,
        etag=f'"{endpoint.revision}"',
        secret=webhook_secret(endpoint.secret) if with_secret else None,
    )


class AttemptOut(Out):
    """One try to deliver."""

    at: datetime
    duration_ms: int
    status: int | None = Field(description="None: there was no answer.")
    error: str | None = Field(description="Why not, as a code.")
    excerpt: str = Field(description="How the answer's body began.")


class WebhookDeliveryOut(Out):
    """One message for one endpoint, and what became of it."""

    id: str
    message_id: str = Field(description="`webhook-id`, the same in every attempt and at every endpoint.")
    type: str
    state: Literal["waiting", "delivered", "failed"]
    created_at: datetime
    next_attempt_at: datetime | None
    tries: int = Field(description="Since it was made or replayed.")
    attempts: list[AttemptOut]
    body: str = Field(description="What is sent, byte for byte.")


def webhook_delivery_out(delivery: Delivery) -> WebhookDeliveryOut:
    """The delivery as an admin gets it."""
    return WebhookDeliveryOut(
        id=delivery.id,
        message_id=delivery.message_id,
        type=delivery.type,
        state=delivery.state.value,
        created_at=delivery.created_at,
        next_attempt_at=delivery.due_at,
        tries=delivery.tries,
        attempts=[
            AttemptOut(
                at=one.at, duration_ms=one.duration_ms, status=one.status or None, error=one.error or None, excerpt=one.excerpt
            )
            for one in delivery.attempts
        ],
        body=delivery.body,
    )


class WebhookDeliveryPage(Out):
    """A page of the log, newest first."""

    deliveries: list[WebhookDeliveryOut]
    next: str | None = Field(description="The cursor of the next page.")


class WebhookReplayed(Out):
    """How much is sent again."""

    deliveries: int
