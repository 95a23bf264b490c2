"""Facts: one answer from all metadata blocks of a picture, and who is believed when they differ. Called by the pipeline.

XMP first (written last, by people, in UTF-8), then IPTC, then EXIF for words; EXIF first for what the camera knows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from safelight.imaging.metadata.exif import Exif, read_exif
from safelight.imaging.metadata.icc import describe
from safelight.imaging.metadata.iptc import read_iptc
from safelight.imaging.metadata.xmp import read_xmp
from safelight.imaging.spec import Facts, Location

MAX_KEYWORDS: Final = 200
MAX_BLOCK: Final = 8_000_000
"""Bytes of a metadata block; a larger one is not looked at."""

_BOILERPLATE: Final = frozenset({"OLYMPUS DIGITAL CAMERA", "SONY DSC", "DCIM\\100MEDIA\\DJI_0001.JPG", "default"})
_EXIF_DATE: Final = re.compile(r"(\d{4})[:\-/.](\d{2})[:\-/.](\d{2})[ T](\d{2}):(\d{2}):(\d{2})")
_OFFSET: Final = re.compile(r"([+-])(\d{2}):?(\d{2})$")


def read_facts(block: Callable[[str], bytes]) -> Facts:
    """What a picture's metadata says.

    `block(name)` gives libvips' 'exif-data', 'iptc-data', 'xmp-data' or 'icc-profile-data', b'' where there is none.
    """
    exif = read_exif(block("exif-data")[:MAX_BLOCK])
    iptc = read_iptc(block("iptc-data")[:MAX_BLOCK])
    xmp, private_xmp = read_xmp(block("xmp-data"))
    metadata = {"exif": exif.public, "iptc": iptc, "xmp": xmp}
    return Facts(
        taken_at=_taken_at(exif.public, iptc, xmp),
        camera=_camera(exif.public, xmp),
        lens=_text(exif.public.get("LensModel"), xmp.get("exifEX:LensModel"), xmp.get("aux:Lens")),
        place=_place(iptc, xmp),
        title=_text(xmp.get("dc:title"), iptc.get("ObjectName"), exif.public.get("XPTitle"), xmp.get("photoshop:Headline")),
        description=_description(exif.public, iptc, xmp),
        keywords=_keywords(exif.public, iptc, xmp),
        creator=_text(xmp.get("dc:creator"), iptc.get("By-line"), exif.public.get("Artist"), exif.public.get("XPAuthor")),
        copyright=_text(xmp.get("dc:rights"), iptc.get("CopyrightNotice"), exif.public.get("Copyright")),
        icc=describe(block("icc-profile-data")[:MAX_BLOCK]),
        location=_location(exif),
        metadata={name: values for name, values in metadata.items() if values},
        private=exif.private | private_xmp,
    )


def _text(*candidates: Any) -> str:
    for candidate in candidates:
        if isinstance(candidate, list):
            candidate = ", ".join(str(item) for item in candidate[:20])  # noqa: PLW2901 (one value in two spellings)
        if isinstance(candidate, str) and candidate:
            return candidate
    return ""


def _camera(exif: Mapping[str, Any], xmp: Mapping[str, Any]) -> str:
    make = _text(exif.get("Make"), xmp.get("tiff:Make"))
    model = _text(exif.get("Model"), xmp.get("tiff:Model"))
    # "NIKON CORPORATION" + "NIKON D90", "Canon" + "Canon EOS 5D": the model often says it already.
    if not make or (model and model.casefold().startswith(make.split()[0].casefold())):
        return model
    return f"{make} {model}".strip()


def _place(iptc: Mapping[str, Any], xmp: Mapping[str, Any]) -> str:
    parts = (
        _text(xmp.get("photoshop:City"), iptc.get("City")),
        _text(xmp.get("photoshop:State"), iptc.get("Province-State")),
        _text(xmp.get("photoshop:Country"), iptc.get("Country-PrimaryLocationName")),
    )
    return ", ".join(part for part in parts if part)


def _description(exif: Mapping[str, Any], iptc: Mapping[str, Any], xmp: Mapping[str, Any]) -> str:
    text = _text(xmp.get("dc:description"), iptc.get("Caption-Abstract"), exif.get("ImageDescription"), exif.get("XPComment"))
    return "" if text in _BOILERPLATE else text


def _keywords(exif: Mapping[str, Any], iptc: Mapping[str, Any], xmp: Mapping[str, Any]) -> tuple[str, ...]:
    words: list[str] = []
    for source in (xmp.get("dc:subject"), iptc.get("Keywords"), exif.get("XPKeywords")):
        if isinstance(source, str):
            words += (word.strip() for word in re.split(r"[;,]", source))
        elif isinstance(source, list):
            words += source
    return tuple(dict.fromkeys(word[:100] for word in words if word))[:MAX_KEYWORDS]


def _taken_at(exif: Mapping[str, Any], iptc: Mapping[str, Any], xmp: Mapping[str, Any]) -> str | None:
    for date, offset in (("DateTimeOriginal", "OffsetTimeOriginal"), ("DateTimeDigitized", "OffsetTimeDigitized")):
        if found := _exif_time(exif.get(date), exif.get(offset)):
            return found
    for name in ("exif:DateTimeOriginal", "photoshop:DateCreated", "xmp:CreateDate"):
        if found := _iso_time(xmp.get(name)):
            return found
    day, time = str(iptc.get("DateCreated", "")), str(iptc.get("TimeCreated", ""))
    if re.fullmatch(r"\d{8}", day) and (found := _iso_time(f"{day[:4]}-{day[4:6]}-{day[6:]}T{_iptc_time(time)}")):
        return found
    return _exif_time(exif.get("DateTime"), exif.get("OffsetTime"))


def _iptc_time(time: str) -> str:
    match = re.fullmatch(r"(\d{2})(\d{2})(\d{2})([+-]\d{4})?", time)
    if not match:
        return "00:00:00"
    offset = match[4] or ""
    return f"{match[1]}:{match[2]}:{match[3]}{offset[:3]}{':' if offset else ''}{offset[3:]}"


def _exif_time(value: Any, offset: Any) -> str | None:
    match = _EXIF_DATE.match(value) if isinstance(value, str) else None
    if not match:
        return None
    try:
        moment = datetime(*(int(part) for part in match.groups()))  # type: ignore[arg-type]  # noqa: DTZ001 (six numbers; the camera's own clock)
        known = _OFFSET.match(offset) if isinstance(offset, str) else None
        if known:
            sign = -1 if known[1] == "-" else 1
            moment = moment.replace(tzinfo=timezone(sign * timedelta(hours=int(known[2]), minutes=int(known[3]))))
    except ValueError:
        return None
    return moment.isoformat() if moment.year >= 1800 else None


def _iso_time(value: Any) -> str | None:
    if not isinstance(value, str) or len(value) < 10:
        return None
    try:
        moment = datetime.fromisoformat(value[:40])
    except ValueError:
        return None
    is_whole = (moment.utcoffset() or timedelta()) % timedelta(
        seconds=1
    ) == timedelta()  # no zone is off by a fraction of a second
    return moment.replace(microsecond=0).isoformat() if is_whole and moment.year >= 1800 else None


def _location(exif: Exif) -> Location | None:
    latitude = _degrees(exif.private.get("GPSLatitude"), exif.private.get("GPSLatitudeRef"), "S", 90)
    longitude = _degrees(exif.private.get("GPSLongitude"), exif.private.get("GPSLongitudeRef"), "W", 180)
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):  # cameras without a fix write zeros
        return None
    altitude = exif.private.get("GPSAltitude")
    if not isinstance(altitude, int | float) or not -12_000 <= altitude <= 1_000_000:
        altitude = None
    elif exif.private.get("GPSAltitudeRef") in {1, "\x01"}:
        altitude = -altitude
    return Location(latitude=latitude, longitude=longitude, altitude=None if altitude is None else float(altitude))


def _degrees(value: Any, reference: Any, negative: str, most: int) -> float | None:
    parts = value if isinstance(value, list) else [value]
    if not parts or len(parts) > 3 or not all(isinstance(part, int | float) for part in parts):
        return None
    degrees = float(sum(part / 60**power for power, part in enumerate(parts)))
    if not math.isfinite(degrees) or not 0 <= degrees <= most:
        return None
    is_negative = isinstance(reference, str) and reference.upper().startswith(negative)
    return round(-degrees if is_negative else degrees, 7)
