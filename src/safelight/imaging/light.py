"""Light: making pictures smaller, in linear light where it shows. Called by the pipeline.

Stored values are bent to the eye (gamma), so averaging them darkens fine bright detail: stars fade, foliage greys, text
thins. The right way is to average light. libvips does it in floating point and takes five times as long; here a table turns
8 bits into 16 linear ones, the resampling runs on those, and a table turns them back. What it costs and gains, per size,
is in docs/explanation/linear-light.md.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import pyvips

from safelight.imaging.libvips import Pixels

_FULL: Final = 65535


@cache
def _tables() -> tuple[Pixels, Pixels, Pixels, Pixels]:
    """(to linear, to sRGB) for one to three bands, then the same with a straight fourth band for alpha."""
    # IEC 61966-2-1, the sRGB transfer function and its inverse.
    coded = np.arange(256) / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    light = np.arange(_FULL + 1) / _FULL
    bent = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    up = np.round(linear * _FULL).astype(np.uint16)
    down = np.round(bent * 255).astype(np.uint8)
    alpha_up = (np.arange(256) * 257).astype(np.uint16)
    alpha_down = np.round(light * 255).astype(np.uint8)
    return (
        _table(up[None, :, None]),
        _table(down[None, :, None]),
        _table(np.stack([up, up, up, alpha_up], axis=-1)[None]),
        _table(np.stack([down, down, down, alpha_down], axis=-1)[None]),
    )


def _table(values: np.ndarray) -> Pixels:
    # A copy that libvips owns: a table in memory has no pipeline behind it and may be made before a fork.
    return pyvips.Image.new_from_array(np.ascontiguousarray(values))


def reduced(image: Pixels, width: int, height: int) -> Pixels:
    """`image` at width x height, averaged as stored (gamma light): fast, and exact enough up to a factor of two."""
    if (image.width, image.height) == (width, height):
        return image
    return image.thumbnail_image(width, height=height, size="force", no_rotate=True)


def to_linear(image: Pixels) -> Pixels:
    """uint8 sRGB (1, 3, 4 bands) to linear light: uint16, or premultiplied float with alpha. Both full at 65535."""
    straight, _, with_alpha, _ = _tables()
    if image.bands == 4:
        return image.maplut(with_alpha).copy(interpretation="rgb16").premultiply(max_alpha=_FULL)
    return image.maplut(straight).copy(interpretation="grey16" if image.bands == 1 else "rgb16")


def from_linear(image: Pixels) -> Pixels:
    """Back to uint8 sRGB, alpha no longer premultiplied."""
    _, straight, _, with_alpha = _tables()
    if image.bands == 4:
        pixels = image.unpremultiply(max_alpha=_FULL).rint().cast("ushort")
        return pixels.maplut(with_alpha).copy(interpretation="srgb")
    return image.maplut(straight).copy(interpretation="b-w" if image.bands == 1 else "srgb")


def resampled(image: Pixels, width: int, height: int, *, gap: float = 2.0) -> Pixels:
    """A linear-light image at width x height, by Lanczos 3. Pixels are averaged in blocks first while `gap` times the size is left."""
    if (image.width, image.height) == (width, height):
        return image
    return image.resize(width / image.width, vscale=height / image.height, gap=gap)
