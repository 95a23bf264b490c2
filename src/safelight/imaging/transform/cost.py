"""Cost: how much memory a transform will hold, told before it begins. Called by whoever admits work; pure.

Made to be no less than what is measured (tests/unit/imaging/transform/test_cost.py), not to be exact.
"""

from __future__ import annotations

from typing import Final

from safelight.imaging.formats import Format
from safelight.imaging.transform.placing import layer_of
from safelight.imaging.transform.plan import Plan, Source, plan, shrink_for
from safelight.imaging.transform.spec import Spec
from safelight.imaging.transform.values import Gravity

_BANDS: Final = 3
_LINES: Final = 256
"""Rows of the master that are about at any time while it streams through, decoder and resampler together."""
FIXED: Final = 24_000_000
"""What any transform holds: buffers of codecs, arenas of threads. From 5 MB to 14 MB from one run to the next."""
_MARK: Final = 24_000_000
"""A watermark before it has its size, with its edge."""
_TURNING: Final = 24
"""Bytes for each pixel of one that is turned: its colours are weighted in floating point."""
_ENCODER: Final = {
    Format.JPEG: (6, 6),
    Format.WEBP: (8, 16),
    Format.AVIF: (46, 54),
    Format.PNG: (4, 6),
    Format.GIF: (10, 12),
}
"""Bytes that an encoder holds for each pixel beside the pixels it is given, without and with alpha; measured, rounded up."""


def estimate(spec: Spec, source: Source) -> int:
    """Bytes of memory at the peak. Raises what `plan` raises, and so refuses before anything is fetched.

    An undecided format counts as the dearest. What `trim` will cut away is not known yet and counts.
    """
    planned = plan(spec, source)
    shrink = 1 if spec.trim else shrink_for(planned.crop, planned.resize)
    width, height = -(-source.pixels.width // shrink), -(-source.pixels.height // shrink)
    is_held = spec.trim or spec.gravity is Gravity.AUTO
    decoded = width * (height if is_held else min(height, _LINES)) * _BANDS * (2 if spec.trim else 1)
    picture = planned.resize.width * planned.resize.height
    held = picture * _BANDS * (1 + bool(spec.blur) + bool(spec.edges) + bool(spec.pixelate)) + (
        picture * (_BANDS + 2) if spec.radius else 0
    )
    canvas = planned.canvas.width * planned.canvas.height
    held += _ink(spec, planned)
    is_clear = spec.has_paper and spec.paper.alpha < 255
    encoder = (_ENCODER[spec.format] if spec.format else max(_ENCODER.values()))[is_clear]
    return FIXED + decoded + held + canvas * (encoder + _BANDS + 1)


def _ink(spec: Spec, planned: Plan) -> int:
    """What the watermark takes: as it came, and as it is laid."""
    if spec.watermark is None:
        return 0
    layer, scale = layer_of(spec, planned), spec.watermark.scale
    share = 1 if scale.is_own else scale.width * scale.height / 10_000
    return _MARK + int(layer.width * layer.height * share * (_TURNING if spec.watermark.rotate else _BANDS + 1))
