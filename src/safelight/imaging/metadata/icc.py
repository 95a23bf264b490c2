"""ICC: the name of a colour profile. Follows ICC.1:2022 (tags 'desc' as mluc, and textDescription of version 2).

Called by `facts` and by `colour`, which skips profiles that are sRGB anyway. Never raises.
"""

from __future__ import annotations

from safelight.imaging.metadata.text import clean


def describe(profile: bytes) -> str:
    """The profile's description, at most 100 characters; '' where there is none."""
    count = int.from_bytes(profile[128:132], "big")
    for index in range(min(count, 100)):
        entry = profile[132 + 12 * index : 144 + 12 * index]
        if entry[:4] == b"desc":
            at, size = int.from_bytes(entry[4:8], "big"), int.from_bytes(entry[8:12], "big")
            return _description(profile[at : at + min(size, 65_536)])
    return ""


def _description(tag: bytes) -> str:
    if tag[:4] == b"desc":
        length = int.from_bytes(tag[8:12], "big")
        return clean(tag[12 : 12 + min(length, 400)].split(b"\x00", 1)[0].decode("latin-1"), 100)
    if tag[:4] == b"mluc":  # records of language, country, length, offset; the first will do
        length, at = int.from_bytes(tag[20:24], "big"), int.from_bytes(tag[24:28], "big")
        return clean(tag[at : at + min(length, 400)].decode("utf-16-be", "replace"), 100)
    return ""
