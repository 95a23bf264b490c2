"""Renderer: what a rendition is made of, and where. Called by `delivery` once there is a place among those at work.

From our own bytes, a master or tiles, in a thread of the server; from a stranger's, where those do not suffice, in the sandbox.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from safelight.domain.images import Image, Version
from safelight.errors import DamagedObject, DecodeBudgetExceeded, Missing
from safelight.imaging import File, Format, Sandbox
from safelight.imaging.metadata.packet import Credits, packet
from safelight.imaging.transform import Metadata, Settled, Spec, Watermark
from safelight.observability import Instruments
from safelight.ports.storage import Storage
from safelight.services.originals import descriptor
from safelight.services.pyramids import Pyramids


@dataclass(frozen=True, slots=True)
class Renderer:
    """One per process. What it raises beside its own is what `imaging` raises, and the storage."""

    originals: Storage
    """And our masters beside them."""
    pyramids: Pyramids
    sandbox: Sandbox
    instruments: Instruments
    render_s: float
    """Seconds that making one may take."""

    async def preset(
        self, image: Image, side: int, format: Format, quality: int | None, watermark: Watermark | None, mark: bytes
    ) -> bytes:
        """One of our presets that was lost, as developing makes it. `mark` is the PNG of the watermark."""
        from safelight.imaging.pipeline import render

        master = await self.originals.get(image.delivered_master_key)
        self.instruments.renders.labels("master").inc()
        made = partial(render, side=side, format=format, quality=quality, watermark=watermark, mark=mark)
        return (await asyncio.to_thread(made, master)).data

    async def transform(self, image: Image, version: Version, settled: Settled, mark: bytes, *, is_baked: bool = False) -> bytes:
        """Any transform, from the least that has the pixels. `version` is the delivered one, `mark` the PNG of the watermark.

        Raises DecodeBudgetExceeded when it takes too long.
        """
        from safelight.imaging.transform import apply

        xmp = packet(_credits(image, settled.spec.metadata))
        if settled.window is not None:
            with contextlib.suppress(Missing, DamagedObject):  # lost since: the original has the pixels, too
                tiles = await self.pyramids.tiles(image, version, settled.window)
                self.instruments.renders.labels("tiles").inc()
                work = partial(apply.transform_tiles, tiles, settled.window, is_baked=is_baked)
                return await self._in_a_thread(work, version, settled.spec, xmp, mark)
        if settled.needs_original:
            self.instruments.renders.labels("original").inc()
            async with descriptor(self.originals, image, version) as fd:
                return await self.of_file(fd, settled.spec, xmp=xmp, mark=mark)
        side = apply.lesser_side(settled.spec, version.width, version.height)
        master, is_lesser = await self._master(image, side)
        self.instruments.renders.labels("baked" if is_baked else "master").inc()
        work = partial(apply.transform, master, is_baked=is_baked, is_lesser=is_lesser)
        return await self._in_a_thread(work, version, settled.spec, xmp, mark)

    async def of_file(self, fd: int, spec: Spec, *, xmp: bytes = b"", mark: bytes = b"") -> bytes:
        """The transform of a stranger's file. Raises what the sandbox raises, DecodeBudgetExceeded."""
        try:
            async with asyncio.timeout(self.render_s):
                return (await self.sandbox.transform(fd, spec, xmp=xmp, mark=mark)).data
        except TimeoutError:
            raise DecodeBudgetExceeded("The transform takes more time than allowed.") from None

    async def _master(self, image: Image, side: int) -> tuple[bytes, bool]:
        """The lesser master of that side, if there is one, or else the large one; and whether it is a lesser one."""
        if side:
            with contextlib.suppress(Missing, DamagedObject):
                return await self.originals.get(image.delivered_lesser_key(side)), True
        return await self.originals.get(image.delivered_master_key), False

    async def _in_a_thread(self, work: Callable[..., File], version: Version, spec: Spec, xmp: bytes, mark: bytes) -> bytes:
        """The file that a function of `transform.apply` makes of our own bytes."""
        from safelight.imaging.libvips import Stop

        stop = Stop(self.render_s)
        made = partial(work, source_width=version.width, source_height=version.height, xmp=xmp, mark=mark, stop=stop)
        making = asyncio.ensure_future(asyncio.to_thread(made, spec))
        try:
            return (await asyncio.shield(making)).data
        except asyncio.CancelledError:
            stop.now()
            # The thread still holds what the gate has counted: leave only when it has.
            with contextlib.suppress(Exception):
                await making
            raise


def _credits(image: Image, wanted: Metadata) -> Credits:
    """From what the file said when it was developed, not from what its owner says now: renditions are not made again for words."""
    if wanted is Metadata.NONE:
        return Credits()
    public = image.metadata.get("public", {})
    named = Credits(creator=str(public.get("creator", "")), copyright=str(public.get("copyright", "")))
    if wanted is Metadata.COPYRIGHT:
        return named
    xmp, iptc, exif = (public.get(block, {}) for block in ("xmp", "iptc", "exif"))
    keywords = xmp.get("dc:subject") or iptc.get("Keywords") or ()
    return replace(
        named,
        title=str(xmp.get("dc:title") or iptc.get("ObjectName") or ""),
        description=str(xmp.get("dc:description") or iptc.get("Caption-Abstract") or exif.get("ImageDescription") or ""),
        keywords=[keywords] if isinstance(keywords, str) else [str(word) for word in keywords],
        camera=image.camera,
        lens=str(public.get("lens", "")),
        taken_at=image.taken_at.isoformat() if image.taken_at else "",
    )
