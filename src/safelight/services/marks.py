"""Marks: watermarks that are at hand, and what of a picture may be shown under one. Looked up and drawn by `delivery`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from safelight.domain.images import Image
from safelight.errors import BadOption
from safelight.imaging.transform import Spec, Watermark


@dataclass(frozen=True, slots=True)
class Mark:
    """A watermark that is at hand: words, or an image of the tenant whose picture carries it."""

    watermark: Watermark
    image: Image | None = None

    @property
    def tag(self) -> str:
        """Tells it from any other, also from itself before its image got new bytes or its name another meaning."""
        edition = self.image.edition if self.image else ""
        return hashlib.sha256(f"{sorted(self.watermark.said().items())}@{edition}".encode()).hexdigest()[:8]


def is_marked(image: Image) -> bool:
    """Whether whatever is delivered of it carries the watermark of its recipe."""
    return image.developed_recipe is not None and bool(image.developed_recipe.watermark)


def is_part(spec: Spec) -> bool:
    """Whether some of the picture is cut off."""
    return spec.crop is not None or spec.fit.cuts or spec.trim > 0 or spec.radius > 0


def no_watermark(watermark: Watermark) -> BadOption:
    """One answer for what is not there and what is somebody else's."""
    return BadOption(f"There is no watermark '{watermark.image}' here.", option="watermark")
