"""Negotiation: which format a client gets that left it open. Pure; called by the door before a cache is asked.

Accept headers are many, formats few: collapsing them first keeps one cached object per format instead of one per browser.
"""

from __future__ import annotations

from safelight.imaging.formats import Format
from safelight.imaging.transform.spec import Spec

_PREFERRED = (Format.AVIF, Format.WEBP)


def best_format(accept: str, spec: Spec, *, plays: bool = False, has_alpha: bool = False) -> Format:
    """The smallest that the client names (RFC 9110 section 12.5.1). Wildcards do not count: every browser sends them.

    Without a modern format it is JPEG, or PNG where something of the result is clear; what plays is WebP or GIF.
    `has_alpha` says that some of the picture is clear by itself.
    """
    named = set()
    for item in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in item.split(";"))
        if not any(_is_zero(parameter) for parameter in parameters):
            named.add(media_type)
    if plays:
        return Format.WEBP if Format.WEBP.media_type in named else Format.GIF
    for format in _PREFERRED:
        if format.media_type in named:
            return format
    return Format.PNG if (spec.has_paper or has_alpha) and spec.paper.alpha < 255 else Format.JPEG


def _is_zero(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and value.strip() in {"0", "0.", "0.0", "0.00", "0.000"}
