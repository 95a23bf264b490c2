"""IIIF's JSON: `info.json` of the Image API 3.0 and 2.1, as plain dictionaries. Pure; called by the door in `iiif`.

Nothing is promised here that `imaging.transform.iiif` does not keep.
"""

from __future__ import annotations

from typing import Any, Final

from safelight.domain.images import Image
from safelight.imaging.transform.iiif import FORMATS, QUALITIES, Api, Most, scale_factors, sizes
from safelight.imaging.transform.plan import Size
from safelight.imaging.transform.pyramid import TILE

PROTOCOL: Final = "http://iiif.io/api/image"
CONTEXT: Final = {Api.V2: "http://iiif.io/api/image/2/context.json", Api.V3: "http://iiif.io/api/image/3/context.json"}
PROFILE: Final = {Api.V2: "http://iiif.io/api/image/2/level2.json", Api.V3: "http://iiif.io/api/image/3/level2.json"}
_FEATURES_3: Final = ("canonicalLinkHeader", "mirroring", "profileLinkHeader", "sizeUpscaling")
"""Beside those of level 2 (3.0: 5.7)."""
_FEATURES_2: Final = (
    "baseUriRedirect", "canonicalLinkHeader", "cors", "jsonldMediaType", "mirroring", "profileLinkHeader", "regionByPct",
    "regionByPx", "regionSquare", "rotationBy90s", "sizeAboveFull", "sizeByConfinedWh", "sizeByDistortedWh", "sizeByForcedWh",
    "sizeByH", "sizeByPct", "sizeByW", "sizeByWh",
)  # fmt: skip
_LICENCES: Final = (
    "http://creativecommons.org/",
    "https://creativecommons.org/",
    "http://rightsstatements.org/",
    "https://rightsstatements.org/",
)


def info(api: Api, image: Image, size: Size, *, id: str, most: Most) -> dict[str, Any]:
    """The image information document (3.0: 5, 2.1: 5). `id` is the image's base URI, `size` that of the upright original."""
    whole = [{"width": each.width, "height": each.height} for each in sizes(size, most)]
    tiles = [{"width": TILE, "height": TILE, "scaleFactors": list(scale_factors(size))}]
    licence, words = rights(image), credit(image)
    if api is Api.V2:
        profile = {
            "formats": list(FORMATS),
            "qualities": list(QUALITIES),
            "supports": list(_FEATURES_2),
            "maxWidth": most.side,
            "maxHeight": most.side,
            "maxArea": most.area,
        }
        document = {
            "@context": CONTEXT[api],
            "@id": id,
            "protocol": PROTOCOL,
            "width": size.width,
            "height": size.height,
            "sizes": whole,
            "tiles": tiles,
            "profile": [PROFILE[api], profile],
        }
        return document | ({"license": licence} if licence else {}) | ({"attribution": words} if words else {})
    document = {
        "@context": CONTEXT[api],
        "id": id,
        "type": "ImageService3",
        "protocol": PROTOCOL,
        "profile": "level2",
        "width": size.width,
        "height": size.height,
        "maxWidth": most.side,
        "maxHeight": most.side,
        "maxArea": most.area,
        "sizes": whole,
        "tiles": tiles,
        "extraFormats": ["webp"],
        "extraQualities": [quality for quality in QUALITIES if quality != "default"],
        "extraFeatures": list(_FEATURES_3),
    }
    return document | ({"rights": licence} if licence else {})


def rights(image: Image) -> str:
    """The address of a licence (3.0: 5.6): the owner's own `custom.rights`, else XMP's web statement; '' where neither is one."""
    stated = (image.custom.get("rights"), image.metadata.get("public", {}).get("xmp", {}).get("xmpRights:WebStatement"))
    return next((text for text in stated if isinstance(text, str) and text.startswith(_LICENCES)), "")


def credit(image: Image) -> str:
    """Who is to be named, as the file says; '' where it does not."""
    public = image.metadata.get("public", {})
    return str(public.get("copyright") or public.get("creator") or "")
