"""IIIF's JSON: `info.json` of the Image API 3.0 and 2.1, manifests of the Presentation API 3.0. Pure; called by the door in `iiif`.

Nothing is promised here that `imaging.transform.iiif` does not keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any, Final

from safelight.domain.images import Image
from safelight.imaging.transform.iiif import FORMATS, QUALITIES, Api, Most, scale_factors, sizes
from safelight.imaging.transform.plan import Size
from safelight.imaging.transform.pyramid import TILE
from safelight.services.marks import is_marked
from safelight.services.originals import delivered_version

PROTOCOL: Final = "http://iiif.io/api/image"
CONTEXT: Final = {Api.V2: "http://iiif.io/api/image/2/context.json", Api.V3: "http://iiif.io/api/image/3/context.json"}
PROFILE: Final = {Api.V2: "http://iiif.io/api/image/2/level2.json", Api.V3: "http://iiif.io/api/image/3/level2.json"}
MANIFEST_CONTEXT: Final = "http://iiif.io/api/presentation/3/context.json"
THUMBNAIL: Final = 200
"""Pixels of the longer side that a thumbnail has at least."""
WHOLE_PROFILE: Final = {api: profile.replace("level2", "level0") for api, profile in PROFILE.items()}
_OF_WHOLES_3: Final = (
    "baseUriRedirect", "cors", "jsonldMediaType", "rotationBy90s", "sizeByConfinedWh", "sizeByH", "sizeByPct", "sizeByW", "sizeByWh",
)  # fmt: skip
"""Those of level 2 that no region is needed for (3.0: 5.7)."""
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


def profile_of(api: Api, image: Image) -> str:
    """What is conformed to. A picture under its recipe's watermark is shown as a whole only."""
    return WHOLE_PROFILE[api] if is_marked(image) else PROFILE[api]


def info(api: Api, image: Image, size: Size, *, id: str, most: Most) -> dict[str, Any]:
    """The image information document (3.0: 5, 2.1: 5). `id` is the image's base URI, `size` that of the upright original."""
    is_whole = is_marked(image)
    whole = [{"width": each.width, "height": each.height} for each in sizes(size, most)]
    tiles = {"tiles": [{"width": TILE, "height": TILE, "scaleFactors": list(scale_factors(size))}]} if not is_whole else {}
    licence, words = rights(image), credit(image)
    if api is Api.V2:
        profile = {
            "formats": list(FORMATS),
            "qualities": list(QUALITIES),
            "supports": [name for name in _FEATURES_2 if not (is_whole and name.startswith("region"))],
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
            **tiles,
            "profile": [profile_of(api, image), profile],
        }
        return document | ({"license": licence} if licence else {}) | ({"attribution": words} if words else {})
    document = {
        "@context": CONTEXT[api],
        "id": id,
        "type": "ImageService3",
        "protocol": PROTOCOL,
        "profile": "level0" if is_whole else "level2",
        "width": size.width,
        "height": size.height,
        "maxWidth": most.side,
        "maxHeight": most.side,
        "maxArea": most.area,
        "sizes": whole,
        **tiles,
        "extraFormats": ["png", "webp"] if is_whole else ["webp"],
        "extraQualities": [quality for quality in QUALITIES if quality != "default"],
        "extraFeatures": sorted({*_FEATURES_3, *_OF_WHOLES_3}) if is_whole else list(_FEATURES_3),
    }
    return document | ({"rights": licence} if licence else {})


def manifest(images: Sequence[Image], *, id: str, base: str, most: Most, label: str, summary: str = "") -> dict[str, Any]:
    """A manifest (Presentation 3.0: 5.2) with a canvas for each image. `base` is where `/iiif/` lies."""
    document: dict[str, Any] = {
        "@context": MANIFEST_CONTEXT,
        "id": id,
        "type": "Manifest",
        "label": _words(label),
        "items": [_canvas(image, base, most) for image in images],
    }
    if summary:
        document["summary"] = _words(summary)
    if len(images) == 1:
        document |= _told(images[0])
    return document


def _canvas(image: Image, base: str, most: Most) -> dict[str, Any]:
    version = delivered_version(image)
    size = Size(version.width, version.height)
    level = "level0" if is_marked(image) else "level2"
    service = {"id": f"{base}/iiif/3/{image.id}", "type": "ImageService3", "profile": level}
    canvas = f"{base}/iiif/images/{image.id}/canvas"

    def picture(said: str, shown: Size) -> dict[str, Any]:
        address = f"{service['id']}/full/{said}/0/default.jpg"
        sides = {"width": shown.width, "height": shown.height}
        return {"id": address, "type": "Image", "format": "image/jpeg", **sides, "service": [service]}

    thumbnail = next((each for each in sizes(size, most) if max(each) >= THUMBNAIL), size)
    body = picture("max", most.largest(size, enlarges=False))
    painting = {"id": f"{canvas}/painting", "type": "Annotation", "motivation": "painting", "target": canvas, "body": body}
    return {
        "id": canvas,
        "type": "Canvas",
        "label": _words(image.title or image.file_name or image.id),
        "width": size.width,
        "height": size.height,
        "thumbnail": [picture(f"{thumbnail.width},{thumbnail.height}", thumbnail)],
        "items": [{"id": f"{canvas}/page", "type": "AnnotationPage", "items": [painting]}],
        **_told(image),
    }


def _told(image: Image) -> dict[str, Any]:
    """What manifest and canvas say alike: summary, licence, whom to name, and when it was taken."""
    told: dict[str, Any] = {}
    if image.description:
        told["summary"] = _words(image.description)
    if licence := rights(image):
        told["rights"] = licence
    if words := credit(image):
        told["requiredStatement"] = {"label": {"en": ["Attribution"]}, "value": _words(words)}
    if image.taken_at:
        told["navDate"] = image.taken_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return told


def _words(text: str) -> dict[str, list[str]]:
    """Text whose language nobody told (Presentation 3.0: 4). Viewers may read it as HTML where it begins with `<`, so it never does."""
    return {"none": [f" {text}" if text.startswith("<") else text]}


def rights(image: Image) -> str:
    """The address of a licence (3.0: 5.6): the owner's own `custom.rights`, else XMP's web statement; '' where neither is one."""
    stated = (image.custom.get("rights"), image.metadata.get("public", {}).get("xmp", {}).get("xmpRights:WebStatement"))
    return next((text for text in stated if isinstance(text, str) and text.startswith(_LICENCES)), "")


def credit(image: Image) -> str:
    """Who is to be named, as the file says; '' where it does not."""
    public = image.metadata.get("public", {})
    return str(public.get("copyright") or public.get("creator") or "")
