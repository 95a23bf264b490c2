"""Tiles: a stranger's large picture cut into the pyramid that `transform.pyramid` lays out. Runs in the sandbox only."""

from __future__ import annotations

from safelight.imaging import encode, libvips, light
from safelight.imaging.pipeline import still
from safelight.imaging.probe import probe
from safelight.imaging.spec import Limits
from safelight.imaging.transform.plan import Size
from safelight.imaging.transform.pyramid import QUALITY, levels, packed


def tiled(data: bytes, limits: Limits) -> bytes:
    """The pyramid's file of the upright picture, on white, in sRGB; every level halves the one above. `data` may be any buffer.

    Raises what `probe` and `pipeline.develop` raise.
    """
    header = probe(data, limits)
    original = Size(header.width, header.height)
    tiles = []
    with libvips.decoding():
        image = encode.on_white(still(data, header, max(original))).copy_memory()
        for level in levels(original):
            image = light.reduced(image, *level.size).copy_memory()
            tiles += [encode.jpeg(image.crop(*box), quality=QUALITY, is_progressive=False) for box in level.tiles]
    return packed(original, tiles)
