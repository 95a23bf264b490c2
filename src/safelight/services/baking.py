"""Baking: AVIFs that were encoded in a hurry, encoded again while nobody waits. The flow `bake`, once for each key.

Until then the one that was made for the first visitor lies beside the place of the better one, and is delivered as something that
may change within a minute. The better one is published at once and whole, and never replaced again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from safelight.concurrency import beating
from safelight.domain.ids import ImageId, TenantId
from safelight.domain.images import Image
from safelight.errors import Busy, Missing, SafelightError
from safelight.ports.catalog import Catalog
from safelight.services.delivery import Delivery

log = structlog.get_logger()

_REST_S: Final = 1.0
"""Before another try, when so many ask for renditions that there is no room even for waiting."""


@dataclass(frozen=True, slots=True)
class Baking:
    """Asked for by delivery."""

    catalog: Catalog
    delivery: Delivery

    async def bake(self, payload: Mapping[str, Any]) -> None:
        """The step. May run twice. Raises what is worth another try."""
        image = await self._image(TenantId(payload["tenant"]), ImageId(payload["image"]))
        if image is None:
            return None
        key = payload["key"]
        baked = partial(self._baked, image, payload["text"], key)
        async with beating():
            while True:
                try:
                    return await self.delivery.renditions.replace_draft(key, payload["draft"], baked)
                except Busy:
                    await asyncio.sleep(_REST_S)

    async def _baked(self, image: Image, text: str, key: str) -> bytes | None:
        """None where it cannot be: then the draft is as good as it gets."""
        try:
            wanted = await self.delivery.at_its_best(image, text)
            if wanted.key != key:
                return None  # the image has other bytes by now, or another generation
            return await self.delivery.renditions.make(wanted)
        except SafelightError as error:
            if error.is_transient:
                raise
            log.info("delivery.not_baked", key=key, code=error.code)
            return None

    async def _image(self, tenant: TenantId, image_id: ImageId) -> Image | None:
        try:
            async with self.catalog.tenant(tenant) as records:
                return await records.images.get(image_id)
        except Missing:
            return None
