"""Pyramid: a large picture as tiles at full size and every halving above the master, in one file. Its layout; pure. No pixels here.

Made once in the sandbox (`imaging.tiles`), kept beside the renditions, and read by ranges: a region costs the few tiles that it lies
on instead of a decoding of the whole original. The file is a header of known length, then the tiles, each a JPEG of at most
TILE x TILE, level by level from the largest, row by row:

    8 bytes MAGIC, width and height as uint32, then each tile's length in bytes as uint32; all in network order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

from safelight.imaging.formats import Format, sniff
from safelight.imaging.spec import Recipe
from safelight.imaging.transform.plan import Box, Size, Source, plan
from safelight.imaging.transform.spec import Spec
from safelight.imaging.transform.values import Gravity, Profile

MAGIC: Final = b"SLtiles1"
TILE: Final = 512
"""Pixels of a tile's side: what viewers are told to ask for, so that one request is one tile."""
QUALITY: Final = 90
"""As the master's."""
MAX_TILES: Final = 64
"""That one transform is made of; 4096 x 4096."""
_LEAST_SHARE: Final = 4
"""Only what is at most this part of a picture is made of tiles; of more, the original is as cheap and better."""
_FIXED: Final = struct.Struct("!8sII")


class Level(NamedTuple):
    """One size of the picture; `first` is the number of its first tile in the file."""

    size: Size
    first: int

    @property
    def columns(self) -> int:
        """Tiles in a row."""
        return -(-self.size.width // TILE)

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return -(-self.size.height // TILE)

    @property
    def tiles(self) -> Iterator[Box]:
        """Where each lies, row by row."""
        for top in range(0, self.size.height, TILE):
            for left in range(0, self.size.width, TILE):
                yield Box(left, top, min(TILE, self.size.width - left), min(TILE, self.size.height - top))


def levels(original: Size) -> tuple[Level, ...]:
    """The largest first; none for a picture that the master holds."""
    found: list[Level] = []
    size, first = original, 0
    while max(size) > Recipe().master_side:
        found.append(level := Level(size, first))
        first += level.columns * level.rows
        size = Size(-(-size.width // 2), -(-size.height // 2))
    return tuple(found)


def header_bytes(original: Size) -> int:
    """Where the first tile begins."""
    return _FIXED.size + 4 * sum(level.columns * level.rows for level in levels(original))


def packed(original: Size, tiles: Sequence[bytes]) -> bytes:
    """The file. `tiles` are all of them, in order."""
    return _FIXED.pack(MAGIC, *original) + struct.pack(f"!{len(tiles)}I", *map(len, tiles)) + b"".join(tiles)


@dataclass(frozen=True, slots=True)
class Index:
    """Where the tiles of one file lie: tile n is the bytes [offsets[n], offsets[n + 1])."""

    offsets: tuple[int, ...]

    @classmethod
    def read(cls, header: bytes, original: Size) -> Index:
        """Of the file's first `header_bytes`. Raises ValueError where it is not this picture's."""
        size = header_bytes(original)
        if len(header) < size or _FIXED.unpack_from(header) != (MAGIC, *original):
            raise ValueError("no pyramid of this picture")
        lengths = struct.unpack_from(f"!{(size - _FIXED.size) // 4}I", header, _FIXED.size)
        return cls(tuple(accumulate(lengths, initial=size)))

    def rows(self, window: Window, original: Size) -> Iterator[tuple[int, ...]]:
        """For each row of the window where its tiles begin, and where the last one ends: one range of the file."""
        level = levels(original)[window.level]
        for row in range(window.top, window.top + window.rows):
            first = level.first + row * level.columns + window.left
            yield self.offsets[first : first + window.columns + 1]


def check(data: bytes, original: Size) -> None:
    """Raises ValueError for what is not a whole file of JPEGs."""
    index = Index.read(data, original)
    if index.offsets[-1] != len(data):
        raise ValueError("tiles are missing")
    if not all(sniff(data[start : start + 16]) is Format.JPEG for start in index.offsets[:-1]):
        raise ValueError("a tile is no JPEG")


class Window(NamedTuple):
    """Tiles of one level, counted in tiles."""

    level: int
    left: int
    top: int
    columns: int
    rows: int


def window(spec: Spec, original: Size) -> Window | None:
    """The tiles that a settled spec of a still, opaque picture is made of; None where the original has to be asked.

    Taken from the smallest level that has no fewer pixels than the result. Raises what `plan` raises.
    """
    pyramid = levels(original)
    is_looked_for = spec.trim or spec.gravity is Gravity.AUTO
    if not pyramid or is_looked_for or spec.page > 1 or spec.icc is Profile.KEEP:
        return None
    whole = plan(spec, Source.whole(*original))
    crop, resize = whole.crop, whole.resize
    if crop.width * crop.height * _LEAST_SHARE > original.width * original.height:
        return None
    for number in range(len(pyramid) - 1, -1, -1):
        level = pyramid[number]
        planned = plan(spec, Source(original, level.size))
        box = planned.crop
        if number and (planned.resize != resize or box.width < resize.width or box.height < resize.height):
            continue
        left, top = box.left // TILE, box.top // TILE
        columns, rows = -(-(box.left + box.width) // TILE) - left, -(-(box.top + box.height) // TILE) - top
        return Window(number, left, top, columns, rows) if columns * rows <= MAX_TILES else None
    return None
