"""Placing: how large a mark becomes and where it lies, in whole pixels. Pure; called by stamp."""

from __future__ import annotations

import math
from dataclasses import dataclass

from safelight.imaging.transform.plan import Plan, Size
from safelight.imaging.transform.spec import Spec
from safelight.imaging.transform.watermark import MIN_SIDE, Layer, Margin, Position, Watermark


@dataclass(frozen=True, slots=True)
class Placing:
    """A mark brought to `inner`, turned into `outer`, lies with its upper left corner at (`left`, `top`), which may be outside.

    Tiles lie there too, and again after every `step` in all directions.
    """

    inner: Size
    outer: Size
    left: int
    top: int
    step: Size | None = None


def layer_of(spec: Spec, planned: Plan) -> Size:
    """How large the picture is, or the canvas, that the spec's watermark lies on."""
    if spec.watermark is not None and spec.watermark.layer is Layer.CANVAS:
        return planned.canvas
    return Size(planned.resize.height, planned.resize.width) if spec.rotate in {90, 270} else planned.resize


def is_large_enough(layer: Size) -> bool:
    """Whether it carries a mark at all."""
    return min(layer) >= MIN_SIDE


def placed(mark: Watermark, own: Size, layer: Size) -> Placing:
    """Where a mark of this size of its own lies on a layer. Halves go up; no side is less than one pixel, none exceeds the layer's."""
    inner, outer = _sizes(mark, own, layer)
    x, y = _pixels(mark.gap, layer)
    if mark.position is Position.TILE:
        left, top = ((whole - part) // 2 for whole, part in zip(layer, outer, strict=True))
        # A gap below nothing would lay tiles over one another: they touch at the most.
        return Placing(inner, outer, left, top, Size(outer.width + max(0, x), outer.height + max(0, y)))
    across, down = mark.position.direction
    return Placing(
        inner,
        outer,
        _along(layer.width, outer.width, across, x),
        _along(layer.height, outer.height, down, y),
    )


def _sizes(mark: Watermark, own: Size, layer: Size) -> tuple[Size, Size]:
    turned = _turned(own.width, own.height, mark.rotate)
    most = min(whole / part for whole, part in zip(layer, turned, strict=True))
    if mark.scale.is_own:
        factor = min(mark.scale.width, most)
    else:
        shares = (mark.scale.width / 100, mark.scale.height / 100)
        factor = min(share * whole / part for share, whole, part in zip(shares, layer, turned, strict=True))
    inner = Size(*(max(1, math.floor(side * factor + 0.5)) for side in own))
    outer = Size(
        *(
            min(whole, max(1, math.floor(side + 0.5)))
            for whole, side in zip(layer, _turned(inner.width, inner.height, mark.rotate), strict=True)
        )
    )
    return inner, outer


def _turned(width: int, height: int, degrees: int) -> tuple[float, float]:
    """Sides of the upright box around a rectangle that is turned."""
    if degrees % 90 == 0:
        return (height, width) if degrees % 180 else (width, height)
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    return width * cos + height * sin, width * sin + height * cos


def _pixels(margin: Margin, layer: Size) -> tuple[int, int]:
    if not margin.is_percent:
        return int(margin.x), int(margin.y)
    # In hundredths of a per cent, so that halves are exact.
    x, y = ((2 * min(layer) * round(100 * side) + 10_000) // 20_000 for side in (margin.x, margin.y))
    return x, y


def _along(whole: int, part: int, direction: int, away: int) -> int:
    """Where on an axis a mark begins; one pixel of it is seen at the least."""
    match direction:
        case -1:
            at = away
        case 1:
            at = whole - part - away
        case _:
            at = (whole - part) // 2 + away
    return min(max(at, 1 - part), whole - 1)
