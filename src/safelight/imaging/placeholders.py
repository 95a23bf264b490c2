"""Placeholders and fingerprints: ThumbHash, perceptual hash, dominant colour. numpy only; called by the pipeline."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

THUMBHASH_SIDE: Final = 100
PHASH_SIDE: Final = 32

# A channel without any variation leaves sums of about 1e-17 behind; the reference would scale that noise up to full size.
_NOISE: Final = 1e-10


def thumbhash(rgba: NDArray[np.uint8]) -> bytes:
    """ThumbHash (evanw/thumbhash, 2023): about 25 bytes that draw a blurred stand-in.

    Byte for byte the reference's, but for channels that are one flat colour: there the reference encodes rounding noise
    at scale 0 (it draws nothing), and this always writes the same bytes.

    Args:
        rgba: (height, width, 4) uint8, not premultiplied, at most 100 pixels a side.

    """
    height, width = rgba.shape[:2]
    pixels = rgba.astype(np.float64) / 255
    alpha = pixels[..., 3]
    covered = alpha.sum()
    average = (pixels[..., :3] * alpha[..., None]).sum((0, 1)) / (covered or 1.0)
    red, green, blue = np.moveaxis(average * (1 - alpha[..., None]) + pixels[..., :3] * alpha[..., None], -1, 0)

    has_alpha = bool((rgba[..., 3] < 255).any())
    most = 5 if has_alpha else 7
    longest = max(width, height)
    across, down = max(1, _half_up(most * width / longest)), max(1, _half_up(most * height / longest))
    light, light_ac, light_scale = _cosines((red + green + blue) / 3, max(3, across), max(3, down))
    yellow, yellow_ac, yellow_scale = _cosines((red + green) / 2 - blue, 3, 3)
    rouge, rouge_ac, rouge_scale = _cosines(red - green, 3, 3)
    is_landscape = width > height

    head = (
        _half_up(63 * light)
        | _half_up(31.5 + 31.5 * yellow) << 6
        | _half_up(31.5 + 31.5 * rouge) << 12
        | _half_up(31 * light_scale) << 18
        | has_alpha << 23
    )
    tail = (down if is_landscape else across) | _half_up(63 * yellow_scale) << 3 | _half_up(63 * rouge_scale) << 9
    out = bytearray(head.to_bytes(3, "little") + (tail | is_landscape << 15).to_bytes(2, "little"))
    channels = [light_ac, yellow_ac, rouge_ac]
    if has_alpha:
        opacity, opacity_ac, opacity_scale = _cosines(alpha, 5, 5)
        out.append(_half_up(15 * opacity) | _half_up(15 * opacity_scale) << 4)
        channels.append(opacity_ac)
    nibbles = [_half_up(15 * value) for channel in channels for value in channel]
    nibbles += [0] * (len(nibbles) % 2)
    return bytes(out) + bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))


def _half_up(value: float) -> int:
    return int(np.floor(value + 0.5))  # Math.round of the reference


def _cosines(channel: Floats, across: int, down: int) -> tuple[float, list[float], float]:
    """(mean, the other terms as 0..1, their scale): the triangle of lowest frequencies."""
    height, width = channel.shape
    x = np.cos(np.pi / width * np.arange(across)[:, None] * (np.arange(width) + 0.5))
    y = np.cos(np.pi / height * np.arange(down)[:, None] * (np.arange(height) + 0.5))
    terms = y @ channel @ x.T / (width * height)
    others = [
        float(terms[cy, cx]) for cy in range(down) for cx in range(across) if (cx or cy) and cx * down < across * (down - cy)
    ]
    scale = max((abs(term) for term in others), default=0.0)
    if scale < _NOISE:
        return float(terms[0, 0]), [0.0] * len(others), 0.0
    return float(terms[0, 0]), [0.5 + 0.5 / scale * term for term in others], scale


@cache
def _dct() -> Floats:
    """Rows of the DCT-II of length 32, unscaled: only signs against the median matter."""
    index = np.arange(PHASH_SIDE)
    return np.cos(np.pi / PHASH_SIDE * index[:8, None] * (index + 0.5))


def phash(luma: NDArray[Any]) -> str:
    """Perceptual hash (Zauner 2010, as in pHash and imagehash): which of the 8 x 8 lowest frequencies exceed their median.

    Args:
        luma: (32, 32) grey values.

    Returns:
        16 hex digits, row by row.

    """
    terms = _dct() @ luma.astype(np.float64) @ _dct().T
    middle = np.sort(terms, axis=None)[31:33].mean()  # np.median imports on first use, which the sandbox refuses
    return np.packbits(terms > middle).tobytes().hex()


def dominant_color(rgba: NDArray[np.uint8]) -> str:
    """'#rrggbb': the mean of the fullest of 512 boxes of colour, weighed by alpha; '#ffffff' where nothing is opaque.

    Args:
        rgba: (height, width, 4) uint8; some thousand pixels are plenty.

    """
    flat = rgba.reshape(-1, 4).astype(np.int64)
    weights = flat[:, 3].astype(np.float64)
    if not weights.any():
        return "#ffffff"
    box = (flat[:, 0] >> 5) << 6 | (flat[:, 1] >> 5) << 3 | flat[:, 2] >> 5
    fullest = np.bincount(box, weights, 512).argmax()
    chosen = np.where(box == fullest, weights, 0.0)
    red, green, blue = np.round((flat[:, :3] * chosen[:, None]).sum(0) / chosen.sum()).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"
