"""Pyramids: large originals as tiles, made once in the sandbox and read by ranges. Called by delivery, and by development for the largest.

A pyramid is kept with the renditions of its version, and like them it can be made again: whoever needs one that is not there makes it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import structlog

from safelight.concurrency import ByteLru, Gate, SingleFlight
from safelight.domain.images import Image, Version
from safelight.errors import DamagedObject, Missing
from safelight.imaging import Sandbox
from safelight.imaging.transform import Size
from safelight.imaging.transform.original import tiling_weight
from safelight.imaging.transform.pyramid import Index, Window, header_bytes
from safelight.observability import Instruments
from safelight.ports.storage import Storage
from safelight.services.originals import descriptor, original_of
from safelight.services.turns import Turns

log = structlog.get_logger()

PATIENCE_S: Final = 60.0
"""For which another server is waited for before the work is done here, too."""
MEDIA_TYPE: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Pyramids:
    """One per process. `gate` admits the making as it admits renders."""

    originals: Storage
    renditions: Storage
    sandbox: Sandbox
    gate: Gate
    turns: Turns
    instruments: Instruments
    headers: ByteLru[str]
    """Where the tiles lie, of the pyramids that were used last."""
    _flights: SingleFlight[str, None] = field(default_factory=SingleFlight)

    async def ensure(self, image: Image, version: Version) -> None:
        """Make the pyramid of a version unless it is there. Raises Busy, and what decoding the original raises."""
        key = key_of(image)
        if await self._index(key, Size(version.width, version.height)) is None:
            await self._flights.do(key, lambda: self._make(image, version))

    async def tiles(self, image: Image, version: Version, window: Window) -> list[bytes]:
        """The tiles of a window, row by row. Raises Missing, DamagedObject where the pyramid is not there or not whole."""
        key, size = key_of(image), Size(version.width, version.height)
        index = await self._index(key, size)
        if index is None:
            raise Missing
        found: list[bytes] = []
        try:
            for ends in index.rows(window, size):
                opened = await self.renditions.open(key, start=ends[0], end=ends[-1])
                row = await _joined(opened.chunks)
                if len(row) != ends[-1] - ends[0]:
                    raise DamagedObject
                found += [row[start - ends[0] : end - ends[0]] for start, end in itertools.pairwise(ends)]
        except (Missing, DamagedObject):
            self.headers.drop(key)
            raise
        return found

    async def _make(self, image: Image, version: Version) -> None:
        key, size = key_of(image), Size(version.width, version.height)
        weight = tiling_weight(original_of(image, version))
        since_s = time.monotonic()
        for attempt in itertools.count():
            async with (
                self.gate.admit(weight, party=image.tenant),
                self.turns.turn(f"render:{key}", since_s=since_s, patience_s=PATIENCE_S) as is_ours,
            ):
                if is_ours:
                    if await self.turns.late_look(lambda: self._index(key, size)) is not None:
                        return
                    async with descriptor(self.originals, image, version) as fd:
                        pyramid = await self.sandbox.tile(fd, size)
                    await self.renditions.put(key, pyramid, media_type=MEDIA_TYPE, is_durable=False)
                    self.instruments.renders.labels("pyramid").inc()
                    log.info("image.tiled", image_id=image.id, size_bytes=len(pyramid))
                    return
            await self.turns.rest(attempt)
            if await self._index(key, size) is not None:
                return

    async def _index(self, key: str, size: Size) -> Index | None:
        header = self.headers.get(key)
        if header is None:
            try:
                opened = await self.renditions.open(key, start=0, end=header_bytes(size))
                header = await _joined(opened.chunks)
            except (Missing, DamagedObject):
                return None
        try:
            index = Index.read(header, size)
        except ValueError:
            return None  # torn, or of another layout
        self.headers.put(key, header)
        return index


def key_of(image: Image) -> str:
    """Where the pyramid of what is delivered lies, in the renditions bucket."""
    return image.made_key("pyramid", "tiles", folder=image.developed_folder)


async def _joined(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])
