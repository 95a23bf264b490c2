"""Plan: where every pixel of a transform will come from and go to, in whole numbers, before any moves. Pure; called by apply.

Coordinates in a request are those of the upright original; the pixels at hand are those of our master, which is smaller for large
originals. Nothing is enlarged beyond the master unless the fit says so. All fractions are exact, half a pixel goes up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from safelight.errors import BadOption, TooManyPixels
from safelight.imaging.formats import Format
from safelight.imaging.geometry import fit_inside, shrink_on_load
from safelight.imaging.spec import Recipe, lesser_sides
from safelight.imaging.transform.spec import MAX_SIDE, Spec
from safelight.imaging.transform.values import Fit, Focal, Gravity, Region

MAX_OUTPUT_PIXELS: Final = 2**25
"""8192 x 4096, padding included: an enlargement beyond would buy nothing but work."""
MAX_GIF_PIXELS: Final = 2**22
"""Choosing 256 colours takes a quarter of a second per megapixel, ten times what the other encoders need."""
_MARGIN: Final = 2.0
"""How much larger than the target a JPEG stays when its decoder shrinks it: below, the decoder's crude averaging shows."""

_WEST: Final = frozenset({Gravity.WEST, Gravity.NORTH_WEST, Gravity.SOUTH_WEST})
_EAST: Final = frozenset({Gravity.EAST, Gravity.NORTH_EAST, Gravity.SOUTH_EAST})
_NORTH: Final = frozenset({Gravity.NORTH, Gravity.NORTH_EAST, Gravity.NORTH_WEST})
_SOUTH: Final = frozenset({Gravity.SOUTH, Gravity.SOUTH_EAST, Gravity.SOUTH_WEST})
_POINTS: Final = 10_000
"""A focal point's four decimals as a whole number."""
_PERCENTS: Final = 1000
"""A per cent's three decimals as a whole number."""


class Size(NamedTuple):
    """Pixels."""

    width: int
    height: int


class Box(NamedTuple):
    """A part of a picture, in its pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Source:
    """The upright original's size, by which coordinates go, and the size of the pixels at hand."""

    original: Size
    pixels: Size

    @classmethod
    def of(cls, width: int, height: int) -> Source:
        """An original and the master that development makes of it."""
        return cls(Size(width, height), Size(*fit_inside(width, height, Recipe().master_side)))

    @classmethod
    def whole(cls, width: int, height: int) -> Source:
        """An original and its own pixels."""
        return cls(Size(width, height), Size(width, height))

    @property
    def frame(self) -> Box:
        """All of the pixels at hand."""
        return Box(0, 0, *self.pixels)


@dataclass(frozen=True, slots=True)
class Plan:
    """`crop` is taken from the pixels at hand and brought to `resize`; turned, it lies at (`left`, `top`) on `canvas`."""

    crop: Box
    resize: Size
    left: int
    top: int
    canvas: Size

    @property
    def is_reducing(self) -> bool:
        """Smaller in some direction and larger in none."""
        size = Size(self.crop.width, self.crop.height)
        return size != self.resize and self.resize.width <= size.width and self.resize.height <= size.height


def plan(spec: Spec, source: Source, *, frame: Box | None = None, focus: Focal | None = None) -> Plan:
    """`frame` is what `trim` left of the pixels at hand, `focus` what `gravity=auto` has found; without one it is the centre.

    Raises BadOption where a crop lies wholly outside, TooManyPixels where the result would be larger than MAX_OUTPUT_PIXELS
    (a GIF: MAX_GIF_PIXELS).
    """
    region = wanted(spec.crop, source, frame or source.frame)
    lies_across = spec.rotate in {90, 270}
    asked = Size(spec.height, spec.width) if lies_across else Size(spec.width, spec.height)
    box = Size(asked.width or MAX_SIDE, asked.height or MAX_SIDE)
    crop, resize = region, Size(region.width, region.height)
    if asked != (0, 0):
        gravity = focus or spec.gravity
        match spec.fit:
            case Fit.SCALE_DOWN:
                resize = resize if _fits(resize, box) else _inside(resize, box)
            case Fit.CONTAIN | Fit.PAD:
                resize = _inside(resize, box)
            case Fit.COVER:
                crop, resize = _window(region, _widest(resize, box), gravity, source), box
            case Fit.CROP:
                covers = region.width >= box.width and region.height >= box.height
                resize = box if covers else Size(min(resize.width, box.width), min(resize.height, box.height))
                crop = _window(region, _widest(Size(region.width, region.height), box) if covers else resize, gravity, source)
            case Fit.ASPECT_CROP:
                crop = _window(region, _widest(resize, box), gravity, source)
                resize = box if crop.width >= box.width and crop.height >= box.height else Size(crop.width, crop.height)
            case Fit.FILL:
                resize = box
    turned = Size(resize.height, resize.width) if lies_across else resize
    inner = Size(spec.width, spec.height) if spec.fit is Fit.PAD else turned
    top, right, bottom, left = spec.pad
    canvas = Size(left + inner.width + right, top + inner.height + bottom)
    most = MAX_GIF_PIXELS if spec.format is Format.GIF else MAX_OUTPUT_PIXELS
    if canvas.width * canvas.height > most:
        raise TooManyPixels(
            f"The result would have {canvas.width} x {canvas.height} pixels; {most} in all are delivered.", limit=most
        )
    return Plan(crop, resize, left + (inner.width - turned.width) // 2, top + (inner.height - turned.height) // 2, canvas)


def shrink_for(crop: Box, resize: Size) -> int:
    """By how much (1, 2, 4, 8) the decoder of a JPEG may shrink it on the way, if that part of it becomes so large."""
    return min(
        shrink_on_load(crop.width, resize.width, margin=_MARGIN),
        shrink_on_load(crop.height, resize.height, margin=_MARGIN),
    )


def lesser_for(planned: Plan, source: Source) -> int:
    """The side of the smallest lesser master that has the pixels; 0 where it must be the large one, which the plan is for.

    A part of a picture asks for twice the pixels, as its edges come to lie between them (`between`). One pixel less is none: sizes
    of masters and of results are rounded apart.
    """
    margin = 1.0 if planned.crop == source.frame else _MARGIN
    for side in reversed(lesser_sides(max(source.pixels))):
        lesser = fit_inside(*source.original, side)
        across = planned.crop.width * lesser[0] / source.pixels.width
        down = planned.crop.height * lesser[1] / source.pixels.height
        if across >= margin * planned.resize.width - 1 and down >= margin * planned.resize.height - 1:
            return side
    return 0


def between(box: Box, whole: Size, decoded: Size) -> Box:
    """The same part of the same picture at another size. Inside, and never empty.

    Whole pixels again: with `shrink_for`, what is asked moves by at most a quarter of a pixel of the result.
    """
    left, width = _span(box.left, box.left + box.width, (decoded.width, whole.width), decoded.width)
    top, height = _span(box.top, box.top + box.height, (decoded.height, whole.height), decoded.height)
    return Box(left, top, width, height)


def wanted(crop: Region | None, source: Source, frame: Box) -> Box:
    """What a region means in pixels at hand, within the frame that `trim` left. Raises BadOption where it lies outside."""
    if crop is None:
        return frame
    if crop.is_percent:
        width, height = (frame.width, 100 * _PERCENTS), (frame.height, 100 * _PERCENTS)
    else:
        width, height = zip(source.pixels, source.original, strict=True)
    left, across = _along(crop.left, crop.width, width, frame.width)
    top, down = _along(crop.top, crop.height, height, frame.height)
    return Box(frame.left + left, frame.top + top, across, down)


def _along(start: float, length: float, scale: tuple[int, int], most: int) -> tuple[int, int]:
    """One axis of a region, from its own units to pixels at hand, of which there are `most`: (start, length)."""
    unit = 1 if isinstance(start, int) else _PERCENTS
    first, last = round(start * unit), round((start + length) * unit)
    if first * scale[0] >= most * scale[1]:
        raise BadOption("crop lies outside of the picture.", option="crop")
    return _span(first, last, scale, most)


def _span(first: int, last: int, scale: tuple[int, int], most: int) -> tuple[int, int]:
    """(start, length) of first..last times a fraction: both ends rounded, at least one pixel, within 0..most."""
    start = min(_half_up(first * scale[0], scale[1]), most - 1)
    return start, min(max(_half_up(last * scale[0], scale[1]), start + 1), most) - start


def _fits(size: Size, box: Size) -> bool:
    return size.width <= box.width and size.height <= box.height


def _inside(size: Size, box: Size) -> Size:
    """As large as goes inside of the box, smaller or larger, aspect kept."""
    if size.width * box.height >= size.height * box.width:
        return Size(box.width, max(1, _half_up(size.height * box.width, size.width)))
    return Size(max(1, _half_up(size.width * box.height, size.height)), box.height)


def _widest(size: Size, box: Size) -> Size:
    """The largest part with the box's aspect."""
    if size.width * box.height >= size.height * box.width:
        return Size(max(1, _half_up(size.height * box.width, box.height)), size.height)
    return Size(size.width, max(1, _half_up(size.width * box.height, box.width)))


def _window(region: Box, size: Size, gravity: Gravity | Focal, source: Source) -> Box:
    """A window of this size in the region, where gravity draws it."""
    if isinstance(gravity, Focal):
        left = _near(gravity.x, source.pixels.width, region.left, region.width, size.width)
        top = _near(gravity.y, source.pixels.height, region.top, region.height, size.height)
    else:
        left = region.left + _share(gravity, _WEST, _EAST, region.width - size.width)
        top = region.top + _share(gravity, _NORTH, _SOUTH, region.height - size.height)
    return Box(left, top, size.width, size.height)


def _share(gravity: Gravity, first: frozenset[Gravity], last: frozenset[Gravity], room: int) -> int:
    return 0 if gravity in first else room if gravity in last else room // 2


def _near(fraction: float, pixels: int, start: int, length: int, window: int) -> int:
    """Where a window begins that has the point in its middle, as near as the region's ends allow."""
    middle = _half_up(2 * round(fraction * _POINTS) * pixels - window * _POINTS, 2 * _POINTS)
    return min(max(middle, start), start + length - window)


def _half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
