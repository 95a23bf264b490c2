"""Geometry: whole numbers of pixels, worked out before any pixel moves. Pure; called by the pipeline and the probe."""

from __future__ import annotations

from typing import Final

SWAPPED_ORIENTATIONS: Final = frozenset({5, 6, 7, 8})
"""EXIF orientations that lie on their side (Exif 3.0, tag 0x0112)."""


def fit_inside(width: int, height: int, side: int) -> tuple[int, int]:
    """(width, height) of the picture fitted into side x side: never enlarged, no side 0, the aspect kept to half a pixel."""
    longest = max(width, height)
    if longest <= side:
        return width, height
    return max(1, _scaled(width, side, longest)), max(1, _scaled(height, side, longest))


def _scaled(length: int, side: int, longest: int) -> int:
    # Half a pixel goes up, in whole numbers: round() would go to the even neighbour and floats differ by platform.
    return (2 * length * side + longest) // (2 * longest)


def upright(width: int, height: int, orientation: int) -> tuple[int, int]:
    """(width, height) as seen once the EXIF orientation (1-8) is applied."""
    return (height, width) if orientation in SWAPPED_ORIENTATIONS else (width, height)


def shrink_on_load(longest: int, side: int, *, margin: float = 1.1) -> int:
    """By how much (1, 2, 4, 8) a JPEG may shrink while it is decoded and still leave `margin` times `side`.

    The decoder averages in the frequency domain, nearly free. The margin of 1.1 leaves the last step to a proper
    kernel; libvips' own thumbnailer keeps 2.0, which decodes most camera pictures at full size for nothing.
    """
    return next((factor for factor in (8, 4, 2) if longest >= margin * factor * side), 1)
