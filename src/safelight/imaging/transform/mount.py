"""Mount: a finished picture on its paper, corners rounded. Called by apply; uint8 sRGB, alpha (never premultiplied) only where needed."""

from __future__ import annotations

import numpy as np
import pyvips
from numpy.typing import NDArray

from safelight.imaging.libvips import Pixels
from safelight.imaging.transform.plan import Plan
from safelight.imaging.transform.values import Rgba


def rounded(image: Pixels, radius: int) -> Pixels:
    """With an alpha band whose corners are quarter circles, at most half of the shorter side."""
    mask = corner_mask(image.width, image.height, radius)
    alpha = pyvips.Image.new_from_memory(mask, image.width, image.height, 1, "uchar")
    if image.hasalpha():
        alpha = (image.extract_band(image.bands - 1) * alpha / 255).rint().cast("uchar")
        image = image.extract_band(0, n=image.bands - 1)
    return _rgb(image).bandjoin(alpha).copy(interpretation="srgb").copy_memory()


def corner_mask(width: int, height: int, radius: int) -> NDArray[np.uint8]:
    """(height, width): 255 inside, 0 outside, in between where the edge passes through a pixel."""
    side = min(float(radius), min(width, height) / 2)
    cells = int(np.ceil(side))
    mask = np.full((height, width), 255, np.uint8)
    # How much of a pixel lies inside is near enough its centre's distance to the edge, when it is within half a pixel.
    away = side - (np.arange(cells) + 0.5)
    distance = np.sqrt(away[:, None] ** 2 + away[None, :] ** 2)
    inside = np.where((away[:, None] > 0) & (away[None, :] > 0), np.clip(side + 0.5 - distance, 0, 1), 1)
    corner = np.round(255 * inside).astype(np.uint8)
    for rows, columns, quarter in (
        (slice(0, cells), slice(0, cells), corner),
        (slice(0, cells), slice(width - cells, width), corner[:, ::-1]),
        (slice(height - cells, height), slice(0, cells), corner[::-1]),
        (slice(height - cells, height), slice(width - cells, width), corner[::-1, ::-1]),
    ):
        mask[rows, columns] = np.minimum(mask[rows, columns], quarter)
    return mask


def mounted(image: Pixels, plan: Plan, paper: Rgba) -> Pixels:
    """On a canvas of the paper's colour. An opaque paper leaves no alpha."""
    is_larger = (image.width, image.height) != plan.canvas
    if image.hasalpha() and paper.alpha:
        image = _over(image, paper)
    if is_larger:
        image = _rgb(image)
        if paper.alpha < 255 and not image.hasalpha():
            image = image.bandjoin(255).copy(interpretation="srgb")
        colour = list(paper) if image.hasalpha() else list(paper.rgb)
        image = image.embed(plan.left, plan.top, plan.canvas.width, plan.canvas.height, extend="background", background=colour)
    return image


def _over(image: Pixels, paper: Rgba) -> Pixels:
    if paper.alpha == 255:
        return image.flatten(background=list(paper.rgb))
    sheet = (pyvips.Image.black(image.width, image.height, bands=4) + list(paper)).cast("uchar").copy(interpretation="srgb")
    return sheet.composite2(image, "over").cast("uchar")


def _rgb(image: Pixels) -> Pixels:
    return image.colourspace("srgb") if image.bands == 1 else image
