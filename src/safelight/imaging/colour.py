"""Colour: whatever comes in leaves as 8-bit sRGB, so that outputs need no profile. Called by the pipeline.

A broken or mislabelled profile costs some fidelity, never the picture.
"""

from __future__ import annotations

from typing import Any, Final

import pyvips

from safelight.imaging.libvips import Pixels
from safelight.imaging.metadata.icc import describe

_PROFILE: Final = "icc-profile-data"
_DEVICE_SPACES: Final = frozenset({"srgb", "rgb", "b-w", "rgb16", "grey16"})
"""Near enough to what is seen that pixels may be averaged before the profile is applied, on fewer of them."""
_SRGB_NAMES: Final = ("srgb", "iec 61966-2-1", "iec61966-2.1", "c2")
_FULL: Final = {"float": 1.0, "double": 1.0, "short": 2**15 - 1, "int": 2**31 - 1, "uint": 2**32 - 1, "char": 127}
"""What is white in samples that are neither 8 nor 16 bits (scientific TIFFs), where nothing else is said."""


def is_reducible(image: Pixels) -> bool:
    """May be made smaller before `to_srgb`. CMYK and Lab may not: the average of two inks is not the ink between."""
    return image.interpretation in _DEVICE_SPACES and image.format in {"uchar", "ushort"}


def to_srgb(image: Pixels) -> Pixels:
    """The same picture as uint8 sRGB with 1, 3 or 4 bands (the fourth is alpha, not premultiplied); no profile left."""
    if image.format in _FULL and image.interpretation in _DEVICE_SPACES | {"multiband", "matrix"}:
        name = "b-w" if image.bands < 3 else "srgb"
        image = (image * (255 / _FULL[image.format])).cast("uchar").copy(interpretation=name)
    if image.get_typeof(_PROFILE):
        profile = image.get(_PROFILE)
        # Most cameras say sRGB; a transform onto itself would cost a tenth of all the work.
        if not (image.bands >= 3 and image.format == "uchar" and describe(profile).lower().startswith(_SRGB_NAMES)):
            image = _through_profile(image)
        image = image.copy()
        image.remove(_PROFILE)
    if image.interpretation not in {"srgb", "b-w"} or image.bands == 2:
        image = _as_srgb(image)
    if image.format != "uchar":
        image = image.cast("uchar")
    if image.bands == 2:
        image = image.colourspace("srgb")
    return image if image.bands in {1, 3, 4} else image.extract_band(0, n=min(3, image.bands) if image.bands > 4 else 1)


def _through_profile(image: Pixels) -> Pixels:
    fallback: dict[str, Any] = {"input_profile": "cmyk"} if image.interpretation == "cmyk" else {}
    try:
        return image.icc_transform("srgb", embedded=True, intent="perceptual", depth=8, **fallback)
    except pyvips.Error:
        # Damaged, or made for another kind of pixels: go on as if there were none.
        return image


def _as_srgb(image: Pixels) -> Pixels:
    try:
        return image.colourspace("b-w" if image.bands == 1 and image.interpretation in {"grey16", "b-w"} else "srgb")
    except pyvips.Error:
        # An interpretation that libvips has no way from ("multiband" TIFFs and the like): take the bands for what they are.
        name = "b-w" if image.bands < 3 else "srgb"
        return image.extract_band(0, n=1 if image.bands < 3 else 3).cast("uchar").copy(interpretation=name)
