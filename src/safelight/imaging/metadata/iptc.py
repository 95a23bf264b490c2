"""IPTC-IIM: captions of the press, older than XMP and still written. Called by `facts`. Never raises.

Follows IPTC-NAA Information Interchange Model 4.2 and Adobe's Photoshop image resources (8BIM, resource 0x0404).
"""

from __future__ import annotations

from typing import Any, Final

from safelight.imaging.metadata.text import clean, decoded

MAX_DATASETS: Final = 1000
MAX_REPEATED: Final = 200

_APPLICATION: Final = {
    5: "ObjectName", 10: "Urgency", 15: "Category", 25: "Keywords", 40: "SpecialInstructions", 55: "DateCreated",
    60: "TimeCreated", 80: "By-line", 85: "By-lineTitle", 90: "City", 92: "Sub-location", 95: "Province-State",
    100: "Country-PrimaryLocationCode", 101: "Country-PrimaryLocationName", 105: "Headline", 110: "Credit", 115: "Source",
    116: "CopyrightNotice", 120: "Caption-Abstract", 122: "Writer-Editor",
}  # fmt: skip
_REPEATED: Final = frozenset({"Keywords", "By-line", "Writer-Editor"})


def read_iptc(block: bytes) -> dict[str, Any]:
    """Values by the names of the standard; repeatable ones as lists. Empty where there is nothing."""
    data = _resource(block)
    found: dict[str, Any] = {}
    is_utf8 = False
    at = 0
    for _ in range(MAX_DATASETS):
        if at + 5 > len(data) or data[at] != 0x1C:
            break
        record, dataset, size = data[at + 1], data[at + 2], int.from_bytes(data[at + 3 : at + 5], "big")
        at += 5
        if size & 0x8000:  # an extended length: only for things no caption needs
            break
        value, at = data[at : at + size], at + size
        if (record, dataset) == (1, 90):
            is_utf8 = value == b"\x1b%G"
        elif record == 2 and (name := _APPLICATION.get(dataset)):
            text = clean(value.decode("utf-8", "replace")) if is_utf8 else decoded(value)
            if text and name in _REPEATED:
                if len(found.setdefault(name, [])) < MAX_REPEATED:
                    found[name].append(text)
            elif text:
                found.setdefault(name, text)
    return found


def _resource(block: bytes) -> bytes:
    """The IIM records within Photoshop's resources, or the block itself if it is bare."""
    block = block.removeprefix(b"Photoshop 3.0\x00")
    at = 0
    while block[at : at + 4] == b"8BIM":
        kind = int.from_bytes(block[at + 4 : at + 6], "big")
        name = block[at + 6] if at + 6 < len(block) else 0
        at += 6 + (name + 2) // 2 * 2  # a Pascal string, padded to even
        size = int.from_bytes(block[at : at + 4], "big")
        if kind == 0x0404:
            return block[at + 4 : at + 4 + size]
        at += 4 + (size + 1) // 2 * 2
    return block if at == 0 else b""
