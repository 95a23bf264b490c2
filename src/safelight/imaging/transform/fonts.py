"""Fonts: which letters can be drawn, told by the files themselves. No pixels; `lettering` draws.

The machine's own fonts never take part: libvips draws what a font lacks by the next best that it finds, or as a box, so that one
text would look different on every machine. What no font here has is refused before anything is drawn.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from safelight.errors import BadOption

_INVISIBLE: Final = frozenset(map(ord, " \n\u00a0\u200c\u200d"))


def bundled() -> Path:
    """Noto Sans (SIL Open Font License 1.1): Latin, Greek, Cyrillic, Devanagari."""
    return Path(str(files("fontpkg_noto_sans") / "files" / "NotoSans[wdth,wght].ttf"))


@dataclass(frozen=True, slots=True)
class Fonts:
    """The bundled font, and others (TrueType or OpenType files) for what it lacks, in this order."""

    more: tuple[Path, ...] = ()

    def check(self, text: str) -> None:
        """Raises BadOption with every letter that no font here has."""
        letters = _letters(self.paths)
        if lacking := sorted({letter for letter in text if ord(letter) not in letters}):
            named = ", ".join(f"{letter} (U+{ord(letter):04X})" for letter in lacking)
            raise BadOption(f"No font here has {named}.", option="watermark_text")

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, the first one foremost."""
        return bundled(), *self.more


@cache
def _letters(paths: tuple[Path, ...]) -> frozenset[int]:
    return _INVISIBLE.union(*(covered(path.read_bytes()) for path in paths))


def covered(font: bytes) -> frozenset[int]:
    """Code points that a font has letters for, by its Unicode `cmap` of format 4 or 12 (OpenType 1.9.1). Raises ValueError for what is none."""
    try:
        tables = {font[at : at + 4]: struct.unpack_from(">I", font, at + 8)[0] for at in range(12, 12 + 16 * _u16(font, 4), 16)}
        start = tables[b"cmap"]
        found = [struct.unpack_from(">HHI", font, start + 4 + 8 * entry) for entry in range(_u16(font, start + 2))]
        points: set[int] = set()
        for platform, encoding, offset in found:
            if platform == 0 or (platform, encoding) in {(3, 1), (3, 10)}:
                points.update(_points(font, start + offset))
    except (struct.error, KeyError):
        raise ValueError("not a TrueType or OpenType font") from None
    if not points:
        raise ValueError("a font without Unicode letters")
    return frozenset(points)


def _points(font: bytes, at: int) -> Iterator[int]:
    match _u16(font, at):
        case 4:
            segments = _u16(font, at + 6) // 2
            ends, starts = at + 14, at + 16 + 2 * segments
            for number in range(segments):
                first, last = _u16(font, starts + 2 * number), _u16(font, ends + 2 * number)
                delta, offset = (_u16(font, starts + 2 * number + 2 * segments * row) for row in (1, 2))
                for point in range(first, min(last, 0xFFFE) + 1):
                    where = starts + 4 * segments + 2 * number + offset + 2 * (point - first)
                    glyph = _u16(font, where) if offset else point
                    if glyph and (glyph + delta) % 0x10000:
                        yield point
        case 12:
            for number in range(min(struct.unpack_from(">I", font, at + 12)[0], 0x10FFFF)):
                first, last, glyph = struct.unpack_from(">III", font, at + 16 + 12 * number)
                yield from (point for point in range(first, min(last, 0x10FFFF) + 1) if glyph + point - first)


def _u16(font: bytes, at: int) -> int:
    value: int = struct.unpack_from(">H", font, at)[0]
    return value
