"""Positions: whole numbers with gaps, so that an image can be put before another without renumbering the album.

Pure arithmetic; both catalogs use it. When a gap is used up the caller renumbers the album with `spread` and asks again.
"""

from __future__ import annotations

from typing import Final

GAP: Final = 1 << 32
"""Between neighbours when there is room: a place can be halved 32 times, and ten thousand images stay far below 2**63."""
_EDGE: Final = 1 << 62


def between(low: int | None, high: int | None, count: int) -> list[int] | None:
    """`count` ascending positions strictly between the two (None: open end), or None when they do not fit."""
    if low is None and high is None:
        return spread(count)
    if high is None:
        assert low is not None
        return [low + GAP * (n + 1) for n in range(count)] if low + GAP * count < _EDGE else None
    if low is None:
        return [high - GAP * (count - n) for n in range(count)] if high - GAP * count > -_EDGE else None
    step = (high - low) // (count + 1)
    return [low + step * (n + 1) for n in range(count)] if step else None


def spread(count: int) -> list[int]:
    """Positions for a whole album, a full gap apart."""
    return [GAP * (n + 1) for n in range(count)]
