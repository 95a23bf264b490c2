"""Transform: any size, cut, colour and format of a picture, as one URL asks for it. Called by delivery.

`Spec` is the value, `parse` reads the native spelling, `plan` and `estimate` tell size and memory before anything is fetched.
What moves pixels (`safelight.imaging.transform.apply.transform`) is imported by name: it brings libvips.
"""

from __future__ import annotations

from safelight.imaging.transform.cost import estimate
from safelight.imaging.transform.fonts import Fonts
from safelight.imaging.transform.foreign import Order, Origin
from safelight.imaging.transform.grammar import Named, Request, is_transform, parse, parse_request, read_named
from safelight.imaging.transform.hints import NO_HINTS, Hints
from safelight.imaging.transform.negotiation import best_format
from safelight.imaging.transform.original import Original, Settled, settle
from safelight.imaging.transform.plan import Plan, Size, Source, plan
from safelight.imaging.transform.spec import Spec
from safelight.imaging.transform.values import (
    Animation,
    Fit,
    Flip,
    Focal,
    Gravity,
    Metadata,
    Padding,
    Profile,
    Region,
    Rgba,
)
from safelight.imaging.transform.watermark import MARK_SIDE, Edge, Layer, Margin, Position, Scale, Watermark

__all__ = [
    "MARK_SIDE",
    "NO_HINTS",
    "Animation",
    "Edge",
    "Fit",
    "Flip",
    "Focal",
    "Fonts",
    "Gravity",
    "Hints",
    "Layer",
    "Margin",
    "Metadata",
    "Named",
    "Order",
    "Origin",
    "Original",
    "Padding",
    "Plan",
    "Position",
    "Profile",
    "Region",
    "Request",
    "Rgba",
    "Scale",
    "Settled",
    "Size",
    "Source",
    "Spec",
    "Watermark",
    "best_format",
    "estimate",
    "is_transform",
    "parse",
    "parse_request",
    "plan",
    "read_named",
    "settle",
]
