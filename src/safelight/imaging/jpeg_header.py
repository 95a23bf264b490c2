"""JPEG header: what an ordinary photograph says of its size, read in Python by the server itself.

Most uploads are JPEGs, and forking a sandboxed child to read twenty bytes of each costs as much as a medium rendition. Nothing is
decoded here and no C reads a stranger's bytes: segments are walked by their lengths. Whatever is not plain is left to the sandbox,
which also says what is wrong: None here refuses nothing. Called by the sandbox's client.
"""

from __future__ import annotations

import os
from typing import Final

from safelight.imaging import geometry
from safelight.imaging.formats import Format
from safelight.imaging.spec import Header, Limits

HEAD_BYTES: Final = 256 * 1024
"""Cameras put EXIF with a thumbnail, a profile and maker notes before the frame header: 64 KiB each at most."""

# ITU-T T.81 table B.1
_SOI: Final = b"\xff\xd8"
_PROGRESSIVE: Final = 0xC2
_PASSED_OVER: Final = frozenset({0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})
"""Tables, restart interval, comment, applications' own."""
_MOST_LINES: Final = 65500
"""libjpeg's limit a side."""

_EXIF: Final = b"Exif\0\0"
_ORIENTATION: Final = 0x0112
_SHORT: Final = 3


def read(fd: int, limits: Limits) -> Header | None:
    """The header as `probe` would tell it; None when the file is no plain JPEG, or more than the limits allow."""
    if os.fstat(fd).st_size > limits.max_bytes:
        return None
    header = parse(os.pread(fd, HEAD_BYTES, 0))
    if header is None:
        return None
    allowed = min(limits.max_pixels, limits.max_buffered_pixels) if header.is_buffered else limits.max_pixels
    return header if header.width * header.height <= allowed else None


def parse(head: bytes) -> Header | None:
    """The header of the file that begins with these bytes; None when they do not tell it plainly."""
    if not head.startswith(_SOI):
        return None
    at, frame, orientation = 2, b"", None
    while True:
        mark, length = head[at : at + 2], int.from_bytes(head[at + 2 : at + 4], "big")
        segment = head[at + 4 : at + 2 + length]
        if len(mark) != 2 or mark[0] != 0xFF or len(segment) != length - 2:
            return None
        match mark[1]:
            case 0xC0 | 0xC1 | 0xC2 if not frame:  # baseline, extended, progressive
                frame = mark[1:] + segment
            case 0xDA if frame:  # the first scan begins
                return _header(frame, segment, 1 if orientation is None else orientation)
            case 0xE1 if segment.startswith(_EXIF):
                if orientation is not None or (orientation := _orientation(segment[len(_EXIF) :])) is None:
                    return None
            case kind if kind not in _PASSED_OVER:
                return None
        at += 2 + length


def _header(frame: bytes, scan: bytes, orientation: int) -> Header | None:
    """From the frame header (ITU-T T.81 section B.2.2), its marker before it, and the first scan header (B.2.3)."""
    if len(frame) < 7 or not scan:
        return None
    precision, components = frame[1], frame[6]
    height, width = int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
    if precision != 8 or components not in (1, 3, 4) or len(frame) != 7 + 3 * components:
        return None
    if not (0 < width <= _MOST_LINES and 0 < height <= _MOST_LINES and 1 <= scan[0] <= components):
        return None
    width, height = geometry.upright(width, height, orientation)
    return Header(
        format=Format.JPEG,
        width=width,
        height=height,
        frames=1,
        has_alpha=False,
        orientation=orientation,
        is_buffered=frame[0] == _PROGRESSIVE or scan[0] < components,
    )


def _orientation(tiff: bytes) -> int | None:
    """Of the first directory (TIFF 6.0 section 2): 1 when it says nothing, None when it cannot be read plainly."""
    big = tiff.startswith(b"MM\0*")
    if not big and not tiff.startswith(b"II*\0"):
        return None

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], "big" if big else "little")

    first = number(4, 4)
    count = number(first, 2)
    if first < 8 or not count or first + 2 + 12 * count > len(tiff):
        return None
    found = [at for at in range(first + 2, first + 2 + 12 * count, 12) if number(at, 2) == _ORIENTATION]
    if not found:
        return 1
    at = found[0]
    value = number(at + 8, 2)
    is_plain = len(found) == 1 and number(at + 2, 2) == _SHORT and number(at + 4, 4) == 1 and 1 <= value <= 8
    return value if is_plain else None
