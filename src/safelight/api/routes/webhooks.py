"""/admin/webhooks: whom your tenant wants told of what happens, and the log of what they were told; for admins."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import Query, Response

from safelight.api.auth import Asking, Hall
from safelight.api.conditions import IfMatch
from safelight.api.refusals import refuses
from safelight.api.routes.room import room
from safelight.api.schemas.common import Id
from safelight.api.schemas.webhooks import (
    WebhookDeliveryOut,
    WebhookDeliveryPage,
    WebhookIn,
    WebhookOut,
    WebhookPatch,
    WebhookReplayed,
    WebhookReplayIn,
    WebhookRotateIn,
    webhook_delivery_out,
    webhook_out,
)
from safelight.domain.ids import DeliveryId, EndpointId, is_id
from safelight.domain.webhooks import DeliveryState
from safelight.errors import BadCursor, Missing, SourceNotAllowed, SourceUnreachable, StepUpRequired, WrongState

router = room("webhooks", "/admin/webhooks")


@router.get("", response_model=list[WebhookOut], name="list")
async def list_endpoints(hall: Hall, actor: Asking) -> list[WebhookOut]:
    """Every webhook endpoint of the tenant, newest first, without secrets."""
    return [webhook_out(endpoint) for endpoint in await hall.webhooks.list(actor)]


@router.post("", status_code=201, response_model=WebhookOut)
@refuses(SourceNotAllowed, SourceUnreachable, StepUpRequired, WrongState)
async def add(response: Response, hall: Hall, actor: Asking, body: WebhookIn) -> WebhookOut:
    """A new webhook endpoint; the secret that signs is in this answer and never again."""
    endpoint = await hall.webhooks.add(actor, url=body.url, events=body.events, description=body.description)
    response.headers["location"] = f"/admin/webhooks/{endpoint.id}"
    return webhook_out(endpoint, with_secret=True)


@router.get("/{id}", response_model=WebhookOut)
async def get(response: Response, hall: Hall, actor: Asking, id: Id) -> WebhookOut:
    """One webhook endpoint."""
    endpoint = webhook_out(await hall.webhooks.get(actor, _endpoint(id)))
    response.headers["etag"] = endpoint.etag
    return endpoint


@router.patch("/{id}", response_model=WebhookOut)
@refuses(SourceNotAllowed, SourceUnreachable, StepUpRequired)
async def patch(response: Response, hall: Hall, actor: Asking, id: Id, revision: IfMatch, body: WebhookPatch) -> WebhookOut:
    """Another URL, events or description, or on and off; under If-Match if you like."""
    given = {name: value for name, value in body.model_dump(exclude_unset=True).items() if value is not None}
    is_enabled = given.pop("is_enabled", None)
    if "events" in given:
        given["events"] = tuple(given["events"])
    endpoint = webhook_out(await hall.webhooks.edit(actor, _endpoint(id), given, is_enabled=is_enabled, if_revision=revision))
    response.headers["etag"] = endpoint.etag
    return endpoint


@router.delete("/{id}", status_code=204)
async def remove(hall: Hall, actor: Asking, id: Id) -> Response:
    """Remove a webhook endpoint and its log."""
    await hall.webhooks.remove(actor, _endpoint(id))
    return Response(status_code=204)


@router.post("/{id}/rotate", response_model=WebhookOut)
@refuses(StepUpRequired)
async def rotate(hall: Hall, actor: Asking, id: Id, body: WebhookRotateIn | None = None) -> WebhookOut:
    """A new secret, in this answer and never again; the one before signs beside it for `grace_s` seconds."""
    grace = timedelta(seconds=(body or WebhookRotateIn()).grace_s)
    return webhook_out(await hall.webhooks.rotate(actor, _endpoint(id), grace=grace), with_secret=True)


@router.post("/{id}/test", status_code=202, response_model=WebhookDeliveryOut)
@refuses(WrongState)
async def test(response: Response, hall: Hall, actor: Asking, id: Id) -> WebhookDeliveryOut:
    """Send it a `ping`; `Location` tells what becomes of it."""
    delivery = await hall.webhooks.test(actor, _endpoint(id))
    response.headers["location"] = f"/admin/webhooks/{delivery.endpoint}/deliveries/{delivery.id}"
    return webhook_delivery_out(delivery)


@router.post("/{id}/replay", status_code=202, response_model=WebhookReplayed)
@refuses(WrongState)
async def replay_since(hall: Hall, actor: Asking, id: Id, body: WebhookReplayIn) -> WebhookReplayed:
    """Send everything again that happened since a time, under the same ids."""
    state = DeliveryState(body.state) if body.state else None
    return WebhookReplayed(deliveries=await hall.webhooks.replay_since(actor, _endpoint(id), body.since, state=state))


@router.get("/{id}/deliveries", response_model=WebhookDeliveryPage)
@refuses(BadCursor)
async def deliveries(
    hall: Hall,
    actor: Asking,
    id: Id,
    cursor: str = "",
    state: Literal["waiting", "delivered", "failed"] | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> WebhookDeliveryPage:
    """The log of what it was told, newest first, with every attempt."""
    if cursor and not is_id(cursor):
        raise BadCursor
    wanted = DeliveryState(state) if state else None
    found = await hall.webhooks.deliveries(actor, _endpoint(id), before=cursor, state=wanted, limit=limit)
    return WebhookDeliveryPage(
        deliveries=[webhook_delivery_out(one) for one in found], next=found[-1].id if len(found) == limit else None
    )


@router.get("/{id}/deliveries/{delivery}", response_model=WebhookDeliveryOut)
async def delivery(hall: Hall, actor: Asking, id: Id, delivery: Id) -> WebhookDeliveryOut:
    """One delivery."""
    return webhook_delivery_out(await hall.webhooks.delivery(actor, _endpoint(id), _delivery(delivery)))


@router.post("/{id}/deliveries/{delivery}/replay", status_code=202, response_model=WebhookDeliveryOut)
@refuses(WrongState)
async def replay(hall: Hall, actor: Asking, id: Id, delivery: Id) -> WebhookDeliveryOut:
    """Send one again, under its id."""
    return webhook_delivery_out(await hall.webhooks.replay(actor, _endpoint(id), _delivery(delivery)))


def _endpoint(text: str) -> EndpointId:
    if not is_id(text):
        raise Missing
    return EndpointId(text)


def _delivery(text: str) -> DeliveryId:
    if not is_id(text):
        raise Missing
    return DeliveryId(text)
