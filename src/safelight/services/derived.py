"""Derived: what was made of images on request, let go of by hand. Called by purges.

Everything of that kind lies under a key with the image's generation in it. The next generation is one row away: every process sees
it when it reads the record anew, within two seconds, and finds nothing under the new keys, in its memory, on its disk or in the store.
So nobody has to be told. What lies under the old keys is removed afterwards; it is not served meanwhile.

What developing made of the original (presets) stays in the store: it is part of the record, and is fetched from there anew.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from safelight.concurrency import for_each
from safelight.domain.events import ImageUncached
from safelight.domain.ids import ImageId, TenantId
from safelight.domain.images import Image
from safelight.errors import Busy, Stale
from safelight.ports.archive import Archive
from safelight.ports.catalog import Catalog
from safelight.ports.shelf import Shelf

log = structlog.get_logger()

_TOGETHER: Final = 10
"""Images of one transaction: a tenant's row is held for as long as it lasts, and DynamoDB takes a hundred items."""
_TRIES: Final = 5
_AT_ONCE: Final = 8
"""Images whose objects are listed and removed at the same time."""


@dataclass(frozen=True, slots=True)
class Derived:
    """`changed` is told of each image whose record is another one now."""

    catalog: Catalog
    renditions: Archive
    shelf: Shelf | None
    clock: Callable[[], datetime]
    changed: Callable[[ImageId], None]

    async def forget(self, tenant: TenantId, images: Sequence[Image]) -> None:
        """Begin the next generation of each. May run twice: that is two generations, and nothing worse. Raises Busy, Missing."""
        for start in range(0, len(images), _TOGETHER):
            some = [image.id for image in images[start : start + _TOGETHER] if image.developed_version]
            for attempt in itertools.count(1):
                try:
                    await self._turn(tenant, some)
                    break
                except Stale:  # edited meanwhile
                    if attempt == _TRIES:
                        raise Busy("An image is being changed all the time.") from None
            for image_id in some:
                self.changed(image_id)

    async def remove(self, images: Sequence[Image]) -> None:
        """What lies under keys of generations before theirs goes for good, every version of it. May run twice."""
        await for_each(images, self._remove, _AT_ONCE)

    async def _turn(self, tenant: TenantId, image_ids: Sequence[ImageId]) -> None:
        async with self.catalog.tenant(tenant, writes=True) as records:
            for image in await records.images.get_many(image_ids):
                await records.images.save(after := image.uncached(at=self.clock()))
                await records.emit(ImageUncached.of(after))

    async def _remove(self, image: Image) -> None:
        outdated: set[str] = set()
        after = ""
        while page := await self.renditions.piles(image.prefix, after=after):
            outdated |= {pile.key.rpartition("/")[0] + "/" for pile in page if image.is_outdated(pile.key)}
            after = page[-1].key
        for folder in sorted(outdated):
            count = await self.renditions.purge(folder)
            log.info("image.derived_removed", image_id=image.id, objects=count)
        if self.shelf is not None:
            await self.shelf.drop(image.prefix)
