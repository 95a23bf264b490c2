"""Perception: how near an encoded picture comes to what was given to its encoder: SSIMULACRA2, as far as it counts.

SSIMULACRA2 (Sneyers 2023, cloudinary/ssimulacra2) adds up 108 numbers; 23 of them carry the score, and most of those look at
halved pictures. Only these are worked out, in single precision: a tenth of the time, half a point away from the whole
(`bench/quality_auto.py metric`). Called by `transform.seek`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

LEAST_SIDE: Final = 128
"""Pixels; of a smaller picture the coarsest scale is too small to say anything."""
_SCALES: Final = 5

_X, _Y, _B = range(3)


class _Term(NamedTuple):
    """One number: channel, how often halved, 1 = mean or 4 = 4-norm, of the structure, of what was added or of what was lost."""

    channel: int
    scale: int
    norm: int
    kind: str
    weight: float


_TERMS: Final = (
    _Term(_X, 1, 4, "structure", 1.1041726426657346),
    _Term(_X, 2, 4, "structure", 1.8422455520539298),
    _Term(_X, 2, 4, "added", 11.441172603757666),
    _Term(_X, 3, 4, "structure", 1.8787594979546387),
    _Term(_X, 3, 4, "added", 10.94906990605142),
    _Term(_X, 4, 1, "added", 0.9677937080626833),
    _Term(_X, 4, 4, "added", 0.9981766977854967),
    _Term(_Y, 0, 4, "structure", 7.466890328078848),
    _Term(_Y, 0, 4, "lost", 17.445833984131262),
    _Term(_Y, 1, 4, "structure", 6.683678146179332),
    _Term(_Y, 1, 4, "lost", 1.027889937768264),
    _Term(_Y, 2, 1, "structure", 225.20515300849274),
    _Term(_Y, 2, 4, "structure", 19.213238186143016),
    _Term(_Y, 3, 1, "structure", 176.39317598450694),
    _Term(_Y, 3, 4, "structure", 24.43300999870476),
    _Term(_Y, 4, 4, "structure", 34.77906344483772),
    _Term(_Y, 4, 4, "added", 44.835625328877896),
    _Term(_B, 3, 4, "added", 8.826982764996862),
    _Term(_B, 3, 4, "lost", 23.19243343998926),
    _Term(_B, 4, 1, "added", 95.1080498811086),
    _Term(_B, 4, 1, "lost", 0.9863978034400682),
    _Term(_B, 4, 4, "structure", 0.9834382792465353),
    _Term(_B, 4, 4, "lost", 171.2667255897307),
)
"""Weights as published; those below 0.9 are left out."""
_PLANES: Final = {(term.scale, term.channel) for term in _TERMS}
_C2: Final = np.float32(0.0009)
_SIGMA: Final = 1.5
_RADIUS: Final = 5

# Opsin absorbance of JPEG XL (ISO/IEC 18181-1 annex L), rows for long, medium and short waves.
_OPSIN: Final = np.array(
    [[0.30, 0.622, 0.078], [0.23, 0.692, 0.078], [0.24342268924547819, 0.20476744424496821, 0.5518098665095536]], np.float32
)
_BIAS: Final = np.float32(0.0037930732552754493)


class Reference:
    """A picture to compare with, (height, width) or (height, width, 3) uint8 sRGB; what concerns it alone is worked out once."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._planes = {at: (plane, *_moments(plane)) for at, plane in _planes(pixels)}

    def score(self, pixels: NDArray[np.uint8]) -> float:
        """Points of SSIMULACRA2: 100 is the same picture, 90 cannot be told from it, 70 is high quality. The same shape."""
        total = 0.0
        for at, other in _planes(pixels):
            own, mean, variance = self._planes[at]
            kinds = {term.kind for term in _TERMS if (term.scale, term.channel) == at}
            maps: dict[str, Plane] = {}
            their_mean, their_variance = _moments(other)
            if "structure" in kinds:
                covariance = _blurred(own * other) - mean * their_mean
                alike = (1 - (mean - their_mean) ** 2) * (2 * covariance + _C2) / (variance + their_variance + _C2)
                maps["structure"] = np.maximum(1 - alike, 0)
            if kinds & {"added", "lost"}:
                change = (1 + np.abs(other - their_mean)) / (1 + np.abs(own - mean)) - 1
                maps |= {"added": np.maximum(change, 0), "lost": np.maximum(-change, 0)}
            for term in _TERMS:
                if (term.scale, term.channel) == at:
                    total += term.weight * _norm(maps[term.kind], term.norm)
        total *= 0.9562382616834844
        total = 2.326765642916932 * total - 0.020884521182843837 * total**2 + 6.248496625763138e-05 * total**3
        return 100.0 - 10.0 * float(max(0.0, total) ** 0.6276336467831387)


def _norm(plane: Plane, norm: int) -> float:
    if norm == 1:
        return float(plane.mean())
    squares = plane * plane
    return float((squares * squares).mean() ** 0.25)


def _planes(pixels: NDArray[np.uint8]) -> Iterator[tuple[tuple[int, int], Plane]]:
    """((scale, channel), plane) of what the terms ask for."""
    light = _linear()[pixels if pixels.ndim == 3 else pixels[..., None].repeat(3, -1)]
    for scale in range(_SCALES):
        wanted = {channel for at, channel in _PLANES if at == scale}
        mixed = np.cbrt(light @ _OPSIN[: 3 if _B in wanted else 2].T + _BIAS) - np.cbrt(_BIAS)
        x, y = (mixed[..., 0] - mixed[..., 1]) / 2, (mixed[..., 0] + mixed[..., 1]) / 2
        if _X in wanted:
            yield (scale, _X), x * 14 + np.float32(0.42)
        if _Y in wanted:
            yield (scale, _Y), y + np.float32(0.01)
        if _B in wanted:
            yield (scale, _B), mixed[..., 2] - y + np.float32(0.55)
        light = _halved(light)


@cache
def _linear() -> Plane:
    coded = np.arange(256) / 255  # IEC 61966-2-1
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _halved(light: Plane) -> Plane:
    """Means of 2 x 2; an odd last row or column is left out."""
    height, width = (side // 2 * 2 for side in light.shape[:2])
    whole = light[:height, :width]
    return (whole[::2, ::2] + whole[1::2, ::2] + whole[::2, 1::2] + whole[1::2, 1::2]) * np.float32(0.25)


def _moments(plane: Plane) -> tuple[Plane, Plane]:
    mean = _blurred(plane)
    return mean, _blurred(plane * plane) - mean * mean


def _blurred(plane: Plane) -> Plane:
    """Gaussian of 1.5 pixels; beyond the edge the picture is mirrored."""
    weights = np.exp(-(np.arange(_RADIUS + 1) ** 2) / (2 * _SIGMA**2)).astype(np.float32)
    weights /= 2 * weights.sum() - weights[0]
    for axis in (0, 1):
        length = plane.shape[axis]
        padded = np.pad(plane, [(_RADIUS, _RADIUS) if each == axis else (0, 0) for each in (0, 1)], mode="symmetric")

        def at(shift: int, padded: Plane = padded, axis: int = axis, length: int = length) -> Plane:
            start = _RADIUS + shift
            return padded[start : start + length] if axis == 0 else padded[:, start : start + length]

        plane = at(0) * weights[0]
        for shift in range(1, _RADIUS + 1):
            plane += (at(-shift) + at(shift)) * weights[shift]
    return plane
