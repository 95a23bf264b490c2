"""Seek: the quality at which a picture is encoded, where it was not said: good enough to the eye, or small enough. Called by apply.

Every try is a whole encoding, so their number is bounded, and quality is tried on at most nine tiles of a large picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pyvips
from numpy.typing import NDArray

from safelight.errors import OverMaxBytes
from safelight.imaging import encode, libvips
from safelight.imaging.formats import Format
from safelight.imaging.libvips import Pixels
from safelight.imaging.perception import LEAST_SIDE, Reference
from safelight.imaging.spec import RENDER_QUALITY

TARGET: Final = {Format.JPEG: 75.0, Format.WEBP: 75.0, Format.AVIF: 75.0}
"""Points of SSIMULACRA2 that `quality=auto` goes for: 70 is high quality, 90 cannot be told from the picture."""
SOUGHT: Final = {Format.JPEG: (40, 95), Format.WEBP: (35, 95), Format.AVIF: (25, 90)}
"""Least and highest quality that `quality=auto` gives."""
LOWEST: Final = 10
"""No quality is lowered further for `max_bytes`: below, a smaller picture says more."""
_NEAR_ENOUGH: Final = 0.97
_TILE: Final = 256
_TILES: Final = 3
"""Along each side."""

Make = Callable[[Pixels, int], bytes]
"""Encodes a picture at a quality."""


def good_enough(image: Pixels, format: Format, make: Make) -> int:
    """The least quality that reaches the TARGET, by at most six tries. `image` is in memory; alpha is seen on white."""
    # Of a single grey pixel libvips makes a number, not an array: ask the picture first.
    sample = _sample(encode.on_white(image)) if min(image.width, image.height) >= LEAST_SIDE else None
    low, high = SOUGHT[format]
    if sample is None or min(sample.shape[:2]) < LEAST_SIDE:
        return RENDER_QUALITY[format]  # too small to be judged, and to be worth it
    picture = _picture(sample)
    reference = Reference(sample)
    while low < high:
        quality = (low + high) // 2
        data = make(picture, quality)
        if reference.score(np.asarray(libvips.open_pixels(data, format).numpy())) >= TARGET[format]:
            high = quality
        else:
            low = quality + 1
    return high


def small_enough(make: Callable[[int], bytes], *, quality: int, max_bytes: int, data: bytes) -> bytes:
    """The best that fits: `data` at `quality`, or of at most eight tries below. Raises OverMaxBytes."""
    if len(data) <= max_bytes:
        return data
    low, high = min(LOWEST, quality), quality - 1
    best = make(low)
    if len(best) > max_bytes:
        raise OverMaxBytes(f"The smallest file of this size has {len(best)} bytes; ask for fewer pixels.")
    while low < high and len(best) < _NEAR_ENOUGH * max_bytes:
        middle = (low + 1 + high) // 2
        made = make(middle)
        if len(made) <= max_bytes:
            best, low = made, middle
        else:
            high = middle - 1
    return best


def _sample(image: Pixels) -> NDArray[np.uint8]:
    """All of a small picture; of a large one nine tiles spread over it, side by side."""
    if image.width * image.height <= (_TILES * _TILE) ** 2:
        return np.asarray(image.numpy())
    width, height = (min(_TILE, max(1, side // _TILES)) for side in (image.width, image.height))
    across = [round(at * (image.width - width) / (_TILES - 1)) for at in range(_TILES)]
    down = [round(at * (image.height - height) / (_TILES - 1)) for at in range(_TILES)]
    rows = [np.concatenate([np.asarray(image.crop(x, y, width, height).numpy()) for x in across], axis=1) for y in down]
    return np.concatenate(rows, axis=0)


def _picture(sample: NDArray[np.uint8]) -> Pixels:
    bands = sample.shape[2] if sample.ndim == 3 else 1
    image = pyvips.Image.new_from_memory(np.ascontiguousarray(sample), sample.shape[1], sample.shape[0], bands, "uchar")
    return image.copy(interpretation="b-w" if bands == 1 else "srgb")
