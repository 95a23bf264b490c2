"""Adjust: colour, blur and sharpness of a picture in memory. Called by apply; opaque uint8 sRGB of 1 or 3 bands in and out."""

from __future__ import annotations

from math import sqrt
from typing import Final

import numpy as np
import pyvips
from numpy.typing import NDArray

from safelight.imaging.libvips import Pixels
from safelight.imaging.transform.spec import Spec
from safelight.imaging.transform.values import Rgba

LUMA: Final = (0.2126, 0.7152, 0.0722)
"""ITU-R BT.709, on stored values."""
_WIDE: Final = 8.0
"""Pixels of blur from which a smaller picture is blurred instead: detail finer than this is gone either way."""
_BINOMIAL: Final = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]])


def coloured(image: Pixels, spec: Spec) -> Pixels:
    """Brightness, lift, contrast, gamma, then saturation, grayscale, duotone or threshold."""
    curve = _curve(spec)
    if curve is not None:
        image = image.maplut(_table(curve[None, :, None])).copy(interpretation=image.interpretation)
    if spec.threshold:
        return (_luma(image) >= spec.threshold).copy(interpretation="b-w")
    if spec.duotone:
        dark, bright = spec.duotone
        return _luma(image).maplut(_table(_ramp(dark, bright)[None])).copy(interpretation="srgb")
    if spec.grayscale:
        return _luma(image)
    if spec.saturation != 1 and image.bands == 3:
        matrix = (1 - spec.saturation) * np.array([LUMA] * 3) + spec.saturation * np.eye(3)
        return image.recomb(matrix.tolist()).rint().cast("uchar").copy(interpretation="srgb")
    return image


def blurred(image: Pixels, sigma: float) -> Pixels:
    """Gaussian of this standard deviation in pixels; beyond the edge the edge goes on."""
    if sigma < _WIDE:
        return image.gaussblur(sigma, min_ampl=0.02)
    factor = int(sigma // (_WIDE / 2))
    width, height = -(-image.width // factor), -(-image.height // factor)
    small = image.resize(width / image.width, vscale=height / image.height, kernel="linear")
    # Averaging and drawing out again blur a little themselves (variance of a box, and of a triangle, in pixels of the small one).
    own = 2 / 6
    small = small.gaussblur(sqrt((sigma / factor) ** 2 - own), min_ampl=0.02)
    return small.resize(image.width / width, vscale=image.height / height, kernel="linear")


def sharpened(image: Pixels, amount: float) -> Pixels:
    """Plus so much of the difference to its 3 x 3 binomial blur."""
    hundredths = round(100 * amount)
    kernel = -hundredths * _BINOMIAL
    kernel[1, 1] += 16 * (100 + hundredths)
    mask = pyvips.Image.new_from_array(kernel.tolist(), scale=1600)
    return image.conv(mask, precision="float").rint().cast("uchar").copy(interpretation=image.interpretation)


def crisped(image: Pixels, sigma: float) -> Pixels:
    """Lightness sharpened along edges of this sigma, flat parts left alone: libvips' own curve, which imgproxy's `sharpen` is."""
    return image.sharpen(sigma=sigma).cast("uchar").copy(interpretation=image.interpretation)


def pixelated(image: Pixels, cell: int) -> Pixels:
    """Squares of so many pixels, each of its mean; what is cut short at the right and below goes on as its edge does."""
    across, down = -(-image.width // cell), -(-image.height // cell)
    whole = image.embed(0, 0, across * cell, down * cell, extend="copy")
    return whole.shrink(cell, cell).zoom(cell, cell).crop(0, 0, image.width, image.height).cast("uchar")


def _curve(spec: Spec) -> NDArray[np.uint8] | None:
    if (spec.brightness, spec.lift, spec.contrast, spec.gamma) == (1, 0, 1, 1):
        return None
    values = np.arange(256) / 255 * spec.brightness + spec.lift / 100
    values = np.clip((values - 0.5) * spec.contrast + 0.5, 0, 1) ** (1 / spec.gamma)
    return np.round(255 * values).astype(np.uint8)


def _ramp(dark: Rgba, bright: Rgba) -> NDArray[np.uint8]:
    share = np.arange(256)[:, None] / 255
    mixed: NDArray[np.uint8] = np.round(np.array(dark.rgb) * (1 - share) + np.array(bright.rgb) * share).astype(np.uint8)
    return mixed


def _luma(image: Pixels) -> Pixels:
    if image.bands == 1:
        return image
    return image.recomb([list(LUMA)]).rint().cast("uchar").copy(interpretation="b-w")


def _table(values: NDArray[np.uint8]) -> Pixels:
    return pyvips.Image.new_from_array(np.ascontiguousarray(values))
