"""Spec: what is asked of the imaging floor and what it tells back, as plain values. No pixels, no drivers.

Travels between the server and the sandbox, so everything here is numbers, text, bytes and tuples of these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from safelight.imaging.formats import Format

MASTER: Final = "master"
"""The preset name of our own high-quality JPEG, from which transforms on request are made; lesser ones are `master_600`."""
LESSER_SIDES: Final = (1200, 600)
_WORTH: Final = 1.25
"""A lesser master is made where the next larger one is that much larger: what it saves is decoding."""


def master_name(side: int = 0) -> str:
    """The preset name of the lesser master of that side, or of the large one."""
    return f"{MASTER}_{side}" if side else MASTER


MASTERS: Final = tuple(map(master_name, (0, *LESSER_SIDES)))


def lesser_sides(longest: int, sides: tuple[int, ...] = LESSER_SIDES) -> tuple[int, ...]:
    """Which lesser masters there are beside one whose longest side this is; largest first."""
    found: tuple[int, ...] = ()
    for side in sides:
        if min((longest, *found)) >= _WORTH * side:
            found += (side,)
    return found


RENDER_QUALITY: Final = {Format.WEBP: 80, Format.JPEG: 80, Format.AVIF: 60}
"""What is made on request, where nobody asks for another: about equal to the eye (SSIMULACRA2 74-78)."""
RENDER_EFFORT: Final = {Format.WEBP: 2, Format.JPEG: 0, Format.AVIF: 0}
"""A visitor is waiting: AVIF at 0 already beats WebP's size in less time, 1 takes three times as long for 9 %."""
_AVIF_EFFORT: Final = ((65_536, 1), (math.inf, 0))
_BAKED_EFFORT: Final = ((500_000, 4), (2_000_000, 3), (math.inf, 2))
"""Up to so many pixels: what takes a second or two of one core (docs/explanation/baked-avif.md)."""


def effort_of(format: Format, pixels: int, *, is_baked: bool = False) -> int:
    """How hard the encoder works on so many pixels, while somebody waits or, baked, while nobody does."""
    if format is not Format.AVIF:
        return RENDER_EFFORT.get(format, 0)
    return next(effort for most, effort in (_BAKED_EFFORT if is_baked else _AVIF_EFFORT) if pixels <= most)


@dataclass(frozen=True, slots=True)
class Preset:
    """A named size: the picture fits inside side x side pixels and is never enlarged."""

    name: str
    side: int


PRESETS: Final = (
    Preset("thumb_150", 150),
    Preset("thumb_300", 300),
    Preset("thumb_400", 400),
    Preset("thumb_600", 600),
    Preset("medium", 1200),
    Preset("large", 2048),
)


ANALYSES: Final = ("placeholder", "colours", "phash")
"""What is learnt of the pixels: a ThumbHash, the dominant colour, a perceptual hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What `develop` makes: every preset in every format (progressive where that is JPEG), `sizes`, and the masters.

    Presets up to `linear_side` are reduced in linear light (docs/explanation/linear-light.md). `webp_effort` is libwebp's
    0-6: 2 instead of 4 costs 3 % more bytes and saves more than half of the encoder's time. `sizes` are names with what each
    of them is in the native grammar, its format too; a name stands once for each format. `watermark`, in the same grammar, is
    laid over every preset and size and never over a master. An analysis that is left out is empty.

    Transforms read the smallest master that has the pixels. The lesser ones are of a higher quality: what they lose is hardly
    averaged away afterwards.
    """

    presets: tuple[Preset, ...] = PRESETS
    formats: tuple[Format, ...] = (Format.WEBP, Format.JPEG)
    sizes: tuple[tuple[str, str], ...] = ()
    webp_quality: int = 80
    webp_effort: int = 2
    jpeg_quality: int = 80
    avif_quality: int = RENDER_QUALITY[Format.AVIF]
    master_side: int = 2048
    master_quality: int = 90
    lesser_sides: tuple[int, ...] = LESSER_SIDES
    lesser_quality: int = 92
    linear_side: int = 600
    watermark: str = ""
    analysis: tuple[str, ...] = ANALYSES

    @property
    def side(self) -> int:
        """The longest side that anything here needs, in pixels."""
        return max(self.master_side, *(preset.side for preset in self.presets))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one file may cost. Exceeding a size is told before anything is decoded, exceeding a budget ends the job."""

    max_bytes: int = 50_000_000
    max_pixels: int = 100_000_000
    max_buffered_pixels: int = 50_000_000
    """For formats that cannot be decoded row by row (`Header.is_buffered`): they need the whole frame in memory,
    AVIF up to 15 bytes a pixel."""
    max_frames: int = 1000
    max_animation_pixels: int = 100_000_000
    """Frames times width times height."""
    wall_s: float = 20.0
    cpu_s: int = 20
    memory_bytes: int = 2 * 1024**3
    svg_side: int = 2048
    """Drawings have no pixels of their own; they are drawn this large."""

    def cpu_s_of(self, header: Header) -> float:
        """CPU seconds for a file that says this of itself: all of them for an animation or 100 megapixels, a tenth for an icon.

        At least six times what honest files take; a small drawing that means to take for ever is given up soon.
        """
        if header.is_animated:
            return self.cpu_s
        share = 0.08 + 0.0092 * header.width * header.height / 1e6
        return min(self.cpu_s, max(2.0, share * self.cpu_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the file says of itself before a pixel is decoded. Width and height are as seen, orientation (1-8) applied."""

    format: Format
    width: int
    height: int
    frames: int = 1
    has_alpha: bool = False
    orientation: int = 1
    is_buffered: bool = False

    @property
    def is_animated(self) -> bool:
        """Plays; its WebP renditions will, too."""
        return self.frames > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One encoded picture. `width` and `height` are of one frame."""

    preset: str
    format: Format
    width: int
    height: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where a picture was taken: WGS 84 degrees, metres above sea level if known."""

    latitude: float
    longitude: float
    altitude: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the metadata says. All of it is the sender's word, cut to sane lengths; text is '' where nothing is said.

    `metadata` ({"exif": {...}, "iptc": {...}, "xmp": {...}}) holds readable values fit to be shown and searched. What gives
    a person away (GPS, serial numbers, unique ids, the owner's name) is in `private` and `location` only.
    """

    taken_at: str | None = None
    """ISO 8601; with an offset from UTC only if the camera knew it."""
    camera: str = ""
    lens: str = ""
    place: str = ""
    title: str = ""
    description: str = ""
    keywords: tuple[str, ...] = ()
    creator: str = ""
    copyright: str = ""
    icc: str = ""
    """The name of the colour profile."""
    location: Location | None = None
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    private: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Developed:
    """A developed picture: its files (the master among them) and what was learnt on the way."""

    header: Header
    """As the probe tells it, but `has_alpha` only if some of the picture is clear."""
    files: tuple[File, ...]
    facts: Facts
    thumbhash: bytes
    """At most 25 bytes: evanw/thumbhash."""
    dominant_color: str
    """'#rrggbb'."""
    phash: str
    """16 hex digits; near duplicates differ in a few bits."""

    def file(self, preset: str, format: Format) -> File | None:
        """The file of this preset and format, if there is one."""
        return next((file for file in self.files if file.preset == preset and file.format is format), None)
