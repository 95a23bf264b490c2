"""EXIF: the tags that people ask for, from the block that libvips hands out.

Read directly rather than through libvips' `exif-*` strings: those round numbers, lose all text outside ASCII and are
ambiguous to parse back. Follows CIPA DC-008 (Exif 3.0) and TIFF 6.0 section 2. Called by `facts`. Never raises.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import Any, Final

from safelight.imaging.metadata.text import clean, decoded

MAX_ENTRIES: Final = 512
"""Of one directory."""
MAX_VALUES: Final = 16
"""Numbers of one tag; longer ones are curves and tables, not facts."""

_LARGEST: Final = 2**63

_TAGS: Final[dict[str, dict[int, str]]] = {
    "image": {
        0x010E: "ImageDescription", 0x010F: "Make", 0x0110: "Model", 0x0112: "Orientation", 0x011A: "XResolution",
        0x011B: "YResolution", 0x0128: "ResolutionUnit", 0x0131: "Software", 0x0132: "DateTime", 0x013B: "Artist",
        0x4746: "Rating", 0x8298: "Copyright", 0x9C9B: "XPTitle", 0x9C9C: "XPComment", 0x9C9D: "XPAuthor",
        0x9C9E: "XPKeywords", 0x9C9F: "XPSubject",
    },
    "photo": {
        0x829A: "ExposureTime", 0x829D: "FNumber", 0x8822: "ExposureProgram", 0x8827: "PhotographicSensitivity",
        0x9000: "ExifVersion", 0x9003: "DateTimeOriginal", 0x9004: "DateTimeDigitized", 0x9010: "OffsetTime",
        0x9011: "OffsetTimeOriginal", 0x9012: "OffsetTimeDigitized", 0x9201: "ShutterSpeedValue", 0x9202: "ApertureValue",
        0x9203: "BrightnessValue", 0x9204: "ExposureBiasValue", 0x9205: "MaxApertureValue", 0x9206: "SubjectDistance",
        0x9207: "MeteringMode", 0x9208: "LightSource", 0x9209: "Flash", 0x920A: "FocalLength", 0x9286: "UserComment",
        0x9290: "SubSecTime", 0x9291: "SubSecTimeOriginal", 0x9292: "SubSecTimeDigitized", 0xA001: "ColorSpace",
        0xA002: "PixelXDimension", 0xA003: "PixelYDimension", 0xA217: "SensingMethod", 0xA402: "ExposureMode",
        0xA403: "WhiteBalance", 0xA404: "DigitalZoomRatio", 0xA405: "FocalLengthIn35mmFilm", 0xA406: "SceneCaptureType",
        0xA407: "GainControl", 0xA408: "Contrast", 0xA409: "Saturation", 0xA40A: "Sharpness", 0xA40C: "SubjectDistanceRange",
        0xA420: "ImageUniqueID", 0xA430: "CameraOwnerName", 0xA431: "BodySerialNumber", 0xA432: "LensSpecification",
        0xA433: "LensMake", 0xA434: "LensModel", 0xA435: "LensSerialNumber",
    },
    "gps": {
        1: "GPSLatitudeRef", 2: "GPSLatitude", 3: "GPSLongitudeRef", 4: "GPSLongitude", 5: "GPSAltitudeRef", 6: "GPSAltitude",
        7: "GPSTimeStamp", 12: "GPSSpeedRef", 13: "GPSSpeed", 16: "GPSImgDirectionRef", 17: "GPSImgDirection",
        18: "GPSMapDatum", 23: "GPSDestBearingRef", 24: "GPSDestBearing", 27: "GPSProcessingMethod",
        28: "GPSAreaInformation", 29: "GPSDateStamp", 31: "GPSHPositioningError",
    },
}  # fmt: skip
_PRIVATE: Final = frozenset(
    {"ImageUniqueID", "CameraOwnerName", "BodySerialNumber", "LensSerialNumber"} | set(_TAGS["gps"].values())
)
_POINTERS: Final = {0x8769: "photo", 0x8825: "gps"}

# TIFF 6.0 section 2 and Exif 3.0 (129): type -> (struct code, size in bytes)
_TYPES: Final = {
    1: ("B", 1), 2: ("s", 1), 3: ("H", 2), 4: ("I", 4), 5: ("II", 8), 6: ("b", 1), 7: ("s", 1), 8: ("h", 2),
    9: ("i", 4), 10: ("ii", 8), 11: ("f", 4), 12: ("d", 8), 129: ("s", 1),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Exif:
    """Readable values by tag name: numbers, text, or lists of numbers. `private` has what gives a person away."""

    public: dict[str, Any] = field(default_factory=dict)
    private: dict[str, Any] = field(default_factory=dict)


def read_exif(block: bytes) -> Exif:
    """What the block says; empty where it is none. It starts with 'Exif' and two zeros, or with the TIFF header itself."""
    found = Exif()
    block = block.removeprefix(b"Exif\x00\x00")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return found
    directories = [("image", _number(block, order + "I", 4))]
    for name, at in directories:  # grows while it is walked, by at most one of each kind
        for tag, value in _entries(block, order, at):
            pointed = _POINTERS.get(tag) if name == "image" else None
            if pointed and isinstance(value, int) and all(pointed != known for known, _ in directories):
                directories.append((pointed, value))
            elif (label := _TAGS[name].get(tag)) and value not in ("", None, []):
                (found.private if label in _PRIVATE else found.public).setdefault(label, value)
    return found


def _number(block: bytes, code: str, at: int) -> int:
    size = struct.calcsize(code)
    return int(struct.unpack_from(code, block, at)[0]) if 0 <= at <= len(block) - size else -1


def _entries(block: bytes, order: str, at: int) -> list[tuple[int, Any]]:
    count = _number(block, order + "H", at)
    found = []
    for index in range(min(count, MAX_ENTRIES)):
        entry = at + 2 + 12 * index
        if entry + 12 > len(block):
            break
        tag, kind, length = struct.unpack_from(order + "HHI", block, entry)
        if kind not in _TYPES:
            continue
        code, size = _TYPES[kind]
        start = entry + 8 if size * length <= 4 else _number(block, order + "I", entry + 8)
        # A text may run on beyond the cut; numbers must be there in full.
        if start < 0 or start >= len(block) or (code != "s" and start + size * length > len(block)):
            continue
        found.append((tag, _value(block, order, tag, code, size, start, length)))
    return found


def _value(block: bytes, order: str, tag: int, code: str, size: int, start: int, length: int) -> Any:
    if code == "s" or 0x9C9B <= tag <= 0x9C9F:
        return _text(tag, block[start : start + min(length, 16_384)], order)
    values: list[int | float | None] = []
    for index in range(min(length, MAX_VALUES)):
        parts = struct.unpack_from(order + code, block, start + index * size)
        values.append(_rational(*parts) if len(parts) == 2 else _finite(parts[0]))
    if length > MAX_VALUES or None in values:
        return None
    return values[0] if length == 1 else values


def _rational(top: int, bottom: int) -> int | float | None:
    if bottom == 0:
        return None
    return top // bottom if top % bottom == 0 else top / bottom


def _finite(value: float) -> int | float | None:
    """None for what is no number, or none that a record can hold (`sandbox.wire`): nothing is measured so."""
    return value if math.isfinite(value) and abs(value) < _LARGEST else None


def _text(tag: int, raw: bytes, order: str) -> str:
    if 0x9C9B <= tag <= 0x9C9F:  # Windows' own tags: UTF-16, always little-endian
        return clean(raw[: len(raw) // 2 * 2].decode("utf-16-le", "replace").split("\x00", 1)[0])
    if tag == 0x9286:  # UserComment: eight bytes name the encoding
        encoding, body = raw[:8], raw[8:]
        if encoding.startswith(b"UNICODE"):
            name = "utf-16-le" if order == "<" else "utf-16-be"
            return clean(body[: len(body) // 2 * 2].decode(name, "replace").split("\x00", 1)[0])
        return decoded(body)
    return decoded(raw)
