"""Stamp: a mark laid over pixels. Runs in threads of the server and in the sandbox; opens nothing but the PNG that it is given.

That is our own file: words that `lettering` has drawn, or what was made of an image for this purpose, never what a stranger sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyvips

from safelight.imaging import libvips
from safelight.imaging.formats import Format
from safelight.imaging.libvips import Pixels
from safelight.imaging.transform.placing import Placing, is_large_enough, placed
from safelight.imaging.transform.plan import Size
from safelight.imaging.transform.watermark import Edge, Position, Watermark

_REACH: Final = 0.05
"""Of an edge, as a share of the mark's shorter side or of the height of its letters."""
_FIRM: Final = 2.5
"""How often an outline's blur is laid over itself, so that it hugs its mark."""
_SHADE: Final = 0.8
_LUMA: Final = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709


@dataclass(frozen=True, slots=True)
class Ink:
    """A mark ready for one size of picture: (height, width, 4) uint8 sRGB with alpha, whose upper left corner lies there."""

    pixels: Pixels
    left: int
    top: int


def marked(image: Pixels, mark: Watermark, data: bytes) -> Pixels:
    """The picture with the mark, whose PNG is given; unchanged where it is too small. uint8 sRGB of 1, 3 or 4 bands; 1 becomes 3."""
    ink = inked(mark, data, Size(image.width, image.height))
    return laid(image, ink) if ink else image


def inked(mark: Watermark, data: bytes, layer: Size) -> Ink | None:
    """Everything but the laying, for a layer of this size, once for all frames; None where that is too small. Raises CorruptImage."""
    if not is_large_enough(layer):
        return None
    with libvips.decoding():
        whole = _clear(libvips.open_pixels(data, Format.PNG)).copy_memory()
        if mark.image:
            whole = edged(whole, mark.edge)
        placing = placed(mark, Size(whole.width, whole.height), layer)
        pixels = _turned(_brought(whole, placing.inner), mark.rotate, placing.outer)
        if mark.opacity < 100:
            alpha = (pixels.extract_band(3) * (mark.opacity / 100)).rint().cast("uchar")
            pixels = _with_alpha(pixels, alpha)
        pixels = pixels.copy_memory()
        if mark.position is Position.TILE:
            return Ink(_tiled(pixels, placing, layer), 0, 0)
        return Ink(pixels, placing.left, placing.top)


def laid(image: Pixels, ink: Ink) -> Pixels:
    """The picture under the ink; what of it reaches outside is cut off."""
    if image.bands == 1:
        image = image.colourspace("srgb")
    left, top = max(0, ink.left), max(0, ink.top)
    width = min(image.width, ink.left + ink.pixels.width) - left
    height = min(image.height, ink.top + ink.pixels.height) - top
    over = ink.pixels.crop(left - ink.left, top - ink.top, width, height)
    if (width, height) == (image.width, image.height):
        return _over(image, over)
    # Only where the mark is: the rest is left as it is, and costs nothing.
    return image.insert(_over(image.crop(left, top, width, height), over), left, top)


def edged(image: Pixels, edge: Edge | None, *, lines: int = 1) -> Pixels:
    """With what sets it off, and room for that around it; sized by the height of one of its lines. (height, width, 4) uint8 sRGB."""
    if edge in {Edge.NONE, None}:
        return image
    reach = max(1.5, _REACH * min(image.width, image.height / lines))
    room = int(3 * reach + 1)
    image = image.embed(room, room, image.width + 2 * room, image.height + 2 * room).copy_memory()
    alpha = image.extract_band(3)
    if edge is Edge.OUTLINE:
        around = (alpha.gaussblur(reach, precision="integer") * _FIRM).cast("uchar")
    else:
        step = max(1, round(reach))
        moved = alpha.embed(step, step, alpha.width, alpha.height)
        around = (moved.gaussblur(reach, precision="integer") * _SHADE).cast("uchar")
    level = 0 if _brightness(image) > 96 else 255
    ground = (pyvips.Image.black(image.width, image.height, bands=3) + level).cast("uchar")
    under = ground.copy(interpretation="srgb").bandjoin(around).copy(interpretation="srgb")
    return under.composite2(image, "over").cast("uchar").copy_memory()


def _brightness(image: Pixels) -> float:
    """Mean level of what is seen, 0 to 255."""
    pixels = np.asarray(image.numpy(), float)
    seen = pixels[..., 3].sum()
    return float((pixels[..., :3] @ np.array(_LUMA) * pixels[..., 3]).sum() / seen) if seen else 255.0


def _clear(image: Pixels) -> Pixels:
    """Four bands of uint8 sRGB."""
    if image.interpretation != "srgb" or image.format != "uchar":
        image = image.colourspace("srgb")
    return image if image.bands == 4 else image.bandjoin(255).copy(interpretation="srgb")


def _brought(image: Pixels, size: Size) -> Pixels:
    if (image.width, image.height) == size:
        return image
    # Colours are weighted by how much of them is seen on the way.
    return image.thumbnail_image(size.width, height=size.height, size="force", no_rotate=True)


def _turned(image: Pixels, degrees: int, outer: Size) -> Pixels:
    match degrees:
        case 0:
            return image
        case 90:
            return image.rot90()
        case 180:
            return image.rot180()
        case 270:
            return image.rot270()
    clear = [0.0] * 4
    turned = image.premultiply().copy_memory().rotate(degrees, interpolate=pyvips.Interpolate.new("bicubic"), background=clear)
    turned = turned.gravity("centre", outer.width, outer.height, extend="background", background=clear)
    return turned.unpremultiply().rint().cast("uchar").copy(interpretation="srgb")


def _tiled(tile: Pixels, placing: Placing, layer: Size) -> Pixels:
    assert placing.step is not None  # of tiles
    width, height = placing.step
    cell = tile.embed(0, 0, width, height).copy_memory()
    across, down = (-placing.left) % width, (-placing.top) % height
    field = cell.replicate(-(-(layer.width + across) // width), -(-(layer.height + down) // height))
    return field.crop(across, down, *layer)


def _with_alpha(image: Pixels, alpha: Pixels) -> Pixels:
    return image.extract_band(0, n=3).bandjoin(alpha).copy(interpretation="srgb")


def _over(image: Pixels, over: Pixels) -> Pixels:
    if image.hasalpha():
        return image.composite2(over, "over").rint().cast("uchar").copy(interpretation="srgb")
    return over.extract_band(3).ifthenelse(over.extract_band(0, n=3), image, blend=True).copy(interpretation="srgb")
