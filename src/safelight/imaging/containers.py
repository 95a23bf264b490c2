"""Containers: whether a file is all there, told from its outer structure where the decoders would not notice.

A HEIC cut to 5 % decodes without an error, its missing tiles grey; a cut animation plays the frames that are left. Reads
outlines only; called by the probe.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from safelight.errors import CorruptImage

_MAX_BOXES: Final = 4096
# Some phones append data that is no proper box; only a missing part of the picture itself counts as cut.
_VITAL: Final = frozenset({b"ftyp", b"meta", b"mdat", b"moov", b"moof"})


def check_boxes(data: bytes) -> None:
    """The top-level boxes (ISO/IEC 14496-12 section 4.2) end where the file ends. Raises CorruptImage."""
    seen = set()
    for kind, _start, end in _boxes(data, 0, len(data)):
        if end > len(data):
            if kind in _VITAL:
                raise CorruptImage("The file is cut short.")
            break
        seen.add(kind)
    if b"meta" not in seen:
        raise CorruptImage("The file is cut short.")


def declared_size(data: bytes) -> tuple[int, int]:
    """(width, height) of the largest picture that the properties of a HEIF file speak of (its 'ispe' boxes); (0, 0) if none.

    Known before libheif is asked, which refuses some honest giants for the number of their tiles.
    """
    start, end = 0, len(data)
    for wanted, skipped in ((b"meta", 4), (b"iprp", 0), (b"ipco", 0)):  # 'meta' begins with a version and flags
        for kind, inner, outer in _boxes(data, start, end):
            if kind == wanted:
                start, end = inner + skipped, min(outer, end)
                break
        else:
            return 0, 0
    sizes = [
        (int.from_bytes(data[at + 4 : at + 8], "big"), int.from_bytes(data[at + 8 : at + 12], "big"))
        for kind, at, _end in _boxes(data, start, end)
        if kind == b"ispe"
    ]
    return max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, start of the content, end) of the boxes in data[at:end]; the last one's end may lie beyond."""
    for _ in range(_MAX_BOXES):
        if at + 8 > end:
            return
        size, kind, content = int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8]), at + 8
        if size == 1:
            size, content = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        elif size == 0:
            size = end - at
        if size < content - at:
            size = len(data) + 1  # nonsense: as if it never ended
        yield kind, content, at + size
        at += size


def check_gif_blocks(data: bytes) -> None:
    """No block of a GIF (GIF89a section 12 ff.) runs past the end. Raises CorruptImage.

    The decoder plays what frames there are and says nothing of the others. A missing trailer is forgiven: some encoders
    never wrote one.
    """
    end = len(data)
    at = 13 + _color_table(data[10] if end > 10 else 0)
    while at < end:
        kind = data[at]
        if kind == 0x21:  # extension: label, sub-blocks
            at += 2
        elif kind == 0x2C:  # image: place, size and flags, colours, code size, sub-blocks
            if at + 10 > end:
                raise CorruptImage("The file is cut short.")
            at += 11 + _color_table(data[at + 9])
        else:  # the trailer, or something appended
            return
        while at < end and (size := data[at]):
            at += 1 + size
        if at >= end:
            raise CorruptImage("The file is cut short.")
        at += 1


def _color_table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
