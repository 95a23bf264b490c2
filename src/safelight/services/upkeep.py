"""Upkeep: what crashes left behind is found and removed. Run by the worker's clock and once at the start of a server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import structlog

from safelight.domain.ids import ImageId, TenantId, is_id
from safelight.domain.images import Image
from safelight.errors import DamagedRecord, Missing
from safelight.ports.archive import Archive, Layer, Pile
from safelight.ports.catalog import Catalog, Records
from safelight.services.development import Buckets

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Bytes come before rows, so a crash in between leaves bytes that no row knows; never the other way round."""

    catalog: Catalog
    buckets: Buckets

    async def sweep_orphans(self, *, before: datetime) -> int:
        """Remove the objects of images that no row knows and that were written before then; of how many images.

        `before` has to lie further back than an upload may take from its bytes to its row.
        """
        swept = 0
        async for bucket, tenant, orphan in self.orphans(before=before):
            await bucket.purge(f"{tenant}/{orphan}/")
            swept += 1
        if swept:
            log.info("storage.orphans_removed", images=swept)
        return swept

    async def orphans(self, *, before: datetime) -> AsyncIterator[tuple[Archive, TenantId, ImageId]]:
        """What `sweep_orphans` removes: an image's objects in one of the buckets."""
        async with self.catalog.directory() as directory:
            tenants = await directory.tenants()
        for tenant in tenants:
            for bucket in (self.buckets.originals, self.buckets.renditions):
                async for image_ids in _images(bucket, tenant.id, before):
                    try:
                        async with self.catalog.tenant(tenant.id) as records:
                            known = await known_of(records, image_ids)
                    except Missing:
                        break  # the tenant is gone meanwhile: whoever erases it removes its bytes
                    for orphan in sorted(set(image_ids) - known.keys()):
                        yield bucket, tenant.id, orphan

    async def expire_noncurrent(self, *, before: datetime) -> int:
        """Remove versions that others have been laid upon since before then; how many.

        What lies under a delete marker alone is the trash, which is purged by the tenant's days and not by these.
        """
        expired = 0
        async with self.catalog.directory() as directory:
            tenants = await directory.tenants()
        for tenant in tenants:
            for bucket in (self.buckets.originals, self.buckets.renditions):
                after = ""
                while page := await bucket.piles(f"{tenant.id}/", after=after, limit=1000):
                    for pile in page:
                        for layer in noncurrent(pile, before):
                            await bucket.delete(pile.key, version=layer.version)
                            expired += 1
                    after = page[-1].key
        if expired:
            log.info("storage.noncurrent_expired", versions=expired)
        return expired


async def known_of(records: Records, image_ids: Sequence[ImageId]) -> dict[ImageId, Image | None]:
    """The images that have a row, None for a row that cannot be read: it knows its objects all the same."""
    try:
        return {image.id: image for image in await records.images.get_many(image_ids)}
    except DamagedRecord:
        known: dict[ImageId, Image | None] = {}
        for image_id in image_ids:
            with contextlib.suppress(Missing):
                try:
                    known[image_id] = await records.images.get(image_id)
                except DamagedRecord:
                    known[image_id] = None
        return known


def noncurrent(pile: Pile, before: datetime) -> list[Layer]:
    """The layers that another one has been laid upon before then, but for the newest version with nothing but markers above it."""
    versions = [layer for layer in pile.layers if not layer.is_marker]
    return [
        layer
        for layer, next_one in pairwise(pile.layers)
        if next_one.modified_at < before and layer is not (versions[-1] if versions else None)
    ]


async def _images(bucket: Archive, tenant: TenantId, before: datetime) -> AsyncIterator[list[ImageId]]:
    """The ids under the tenant all of whose listed objects were written before then, a page of the listing at a time.

    A listing tells when each version came, so nothing is asked of the single object; keys under a delete marker are in it too.
    """
    after = ""
    while page := await bucket.piles(f"{tenant}/", after=after, limit=1000):
        written_at: dict[ImageId, datetime] = {}
        for pile in page:
            image, last = ImageId(pile.key.split("/")[1]), max(layer.modified_at for layer in pile.layers)
            written_at[image] = max(last, written_at.get(image, last))
        # What was fetched for delivery lies beside images, and is nobody's orphan.
        yield [image for image, last in written_at.items() if last < before and is_id(image)]
        after = page[-1].key
        await asyncio.sleep(0)
