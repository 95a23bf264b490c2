"""Announcing: from what has happened to what webhook endpoints are to be told. Called by the relay with what the outbox holds.

A message's id follows from its event, so an event that is relayed twice is written down once. Its data is the record as it is when
the message is written, with the record's own revision: not before the event, perhaps a moment after it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final

import orjson
import structlog

from safelight.domain.events import AlbumEvent, EndpointDisabled, Event, ImageArrived, ImageEvent, ImageReady, UploadRejected
from safelight.domain.ids import DeliveryId, EndpointId, ImageId, TenantId, derived_id
from safelight.domain.images import Image
from safelight.domain.webhooks import (
    TYPES,
    Delivery,
    Endpoint,
    album_data,
    endpoint_data,
    image_data,
    message,
    upload_data,
    wanted_by,
)
from safelight.errors import AlreadyExists, Busy, Missing, SafelightError
from safelight.ports.catalog import Catalog, Records, Told

log = structlog.get_logger()

_RACES: Final = 5


@dataclass(frozen=True, slots=True)
class Announcing:
    """Writes down deliveries."""

    catalog: Catalog
    clock: Callable[[], datetime]
    kept: timedelta
    """How long a delivery stays in the log."""
    written: Callable[[], None]
    """Called when there is something to send."""

    async def announce(self, told: Sequence[Told]) -> None:
        """Write down whom to tell of these. Raises what is worth another try; the same again writes nothing anew."""
        public = sorted((one for one in told if one.event.name in TYPES), key=lambda one: (one.event.tenant, one.number))
        for tenant, events in groupby(public, key=lambda one: one.event.tenant):
            try:
                await self._announce(tenant, list(events))
            except Missing:
                continue  # there is no such tenant any more
            except SafelightError as error:
                if error.is_transient:
                    raise
                # It would come back for ever and hold up everybody's events: an endpoint's secret that cannot be unsealed, say.
                log.exception("webhook.not_written", tenant=tenant, code=error.code)

    async def _announce(self, tenant: TenantId, told: Sequence[Told]) -> None:
        async with self.catalog.tenant(tenant) as records:
            endpoints = await records.webhooks.all()
            wanted = [(one, wanted_by(endpoints, TYPES[one.event.name][0])) for one in told]
            wanted = [(one, by) for one, by in wanted if by]
            if not wanted:
                return
            images = await _images(records, [one for one, _ in wanted])
            wanted = [(one, by) for one, by in wanted if not _is_quiet(one.event, images)]
            bodies = [await _body(records, one, images, endpoints) for one, _ in wanted]
        deliveries = [
            self._delivery(one, endpoint, body) for (one, by), body in zip(wanted, bodies, strict=True) for endpoint in by
        ]
        for _ in range(_RACES):
            try:
                await self._write(tenant, deliveries)
            except AlreadyExists:
                continue  # another relay had the same at the same moment; what it wrote is there now
            self.written()
            return
        raise Busy

    async def _write(self, tenant: TenantId, deliveries: Sequence[Delivery]) -> None:
        async with self.catalog.tenant(tenant, writes=True) as records:
            for delivery in deliveries:
                # Relayed before; or the endpoint went in between.
                with contextlib.suppress(AlreadyExists, Missing):
                    await records.webhooks.deliveries.add(delivery)

    def _delivery(self, told: Told, endpoint: Endpoint, body: str) -> Delivery:
        now, event = self.clock(), told.event
        return Delivery(
            id=DeliveryId(derived_id(told.at.timestamp(), f"{event.tenant}\n{event.key}")),
            tenant=event.tenant,
            endpoint=endpoint.id,
            type=TYPES[event.name][0],
            body=body,
            created_at=now,
            due_at=now,
            forget_at=now + self.kept,
        )


async def _images(records: Records, told: Sequence[Told]) -> Mapping[ImageId, Image]:
    ids = list({one.event.image for one in told if isinstance(one.event, ImageEvent)})
    return {image.id: image for image in await records.images.get_many(ids)} if ids else {}


def _is_quiet(event: Event, images: Mapping[ImageId, Image]) -> bool:
    """Whether the recipe of the image says that nobody wants to hear of this."""
    image = images.get(event.image) if isinstance(event, ImageArrived | ImageReady) else None
    return image is not None and image.recipe is not None and not image.recipe.webhooks


async def _body(records: Records, told: Told, images: Mapping[ImageId, Image], endpoints: Sequence[Endpoint]) -> str:
    data = await _data(records, told, images, {endpoint.id: endpoint for endpoint in endpoints})
    return orjson.dumps(message(TYPES[told.event.name][0], told.at, data)).decode()


async def _data(
    records: Records, told: Told, images: Mapping[ImageId, Image], endpoints: Mapping[EndpointId, Endpoint]
) -> dict[str, Any]:
    """The record that the event is about; of one that is gone, what the event knows of it."""
    match told.event:
        case ImageEvent() as event:
            known = {"id": event.image, "version": event.version, "revision": event.revision}
            return image_data(images[event.image]) if event.image in images else known
        case AlbumEvent() as event:
            try:
                return album_data(await records.albums.get(event.album))
            except Missing:
                return {"id": event.album}
        case UploadRejected() as event:
            try:
                return upload_data(await records.uploads.get(event.upload))
            except Missing:
                return {"id": event.upload}
        case EndpointDisabled() as event:
            return endpoint_data(endpoints[event.endpoint]) if event.endpoint in endpoints else {"id": event.endpoint}
        case event:
            raise TypeError(type(event))  # a name in TYPES without its data is a mistake of ours
