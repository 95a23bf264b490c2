"""Values: the small typed parts of a transform. Plain values that know their one spelling; no pixels, no parsing.

`str()` of each is how the native grammar writes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from safelight.errors import BadOption

MAX_COORDINATE: Final = 1_000_000
"""No picture that is taken in has a side as long; keeps whole numbers whole wherever they travel."""


class Fit(StrEnum):
    """How a picture meets the box of width x height. The enlarging ones do as Cloudflare documents them."""

    SCALE_DOWN = "scale-down"
    CONTAIN = "contain"
    COVER = "cover"
    CROP = "crop"
    ASPECT_CROP = "aspect-crop"
    PAD = "pad"
    FILL = "fill"

    @property
    def enlarges(self) -> bool:
        """Whether a picture smaller than the box grows to meet it."""
        return self not in {Fit.SCALE_DOWN, Fit.CROP, Fit.ASPECT_CROP}

    @property
    def cuts(self) -> bool:
        """Whether parts of the picture are left out to meet the box."""
        return self in {Fit.COVER, Fit.CROP, Fit.ASPECT_CROP}


class Gravity(StrEnum):
    """Which part stays when a picture is cut to the box; sides are those of the picture before it is rotated and flipped."""

    CENTER = "center"
    NORTH = "north"
    NORTH_EAST = "north-east"
    EAST = "east"
    SOUTH_EAST = "south-east"
    SOUTH = "south"
    SOUTH_WEST = "south-west"
    WEST = "west"
    NORTH_WEST = "north-west"
    AUTO = "auto"
    """Where the eye goes first: libvips' attention (edges, skin, saturated colour)."""
    FOCAL = "focal"
    """The point that is stored with the image, the centre where there is none."""


class Flip(StrEnum):
    """Mirrored left to right (`h`), top to bottom (`v`) or both."""

    NONE = ""
    H = "h"
    V = "v"
    HV = "hv"


class Animation(StrEnum):
    """Whether what plays goes on playing, or its first frame is shown."""

    KEEP = "keep"
    FIRST = "first"


class Metadata(StrEnum):
    """What the file says of its making: nothing, creator and copyright, or all that gives nobody away."""

    NONE = "none"
    COPYRIGHT = "copyright"
    KEEP = "keep"


class Profile(StrEnum):
    """The colours of the file: sRGB, or those of the original with its ICC profile."""

    SRGB = "srgb"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Focal:
    """A point to keep inside, as fractions of the whole original from its upper left corner: 0 to 1, four decimals count."""

    x: float
    y: float

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            object.__setattr__(self, name, decimal("gravity", getattr(self, name), 0, 1, places=4))

    def __str__(self) -> str:
        return f"{number(self.x)}x{number(self.y)}"


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the original, in its own pixels or in per cent of it (three decimals count). What reaches outside is cut off."""

    left: float
    top: float
    width: float
    height: float
    is_percent: bool = False

    def __post_init__(self) -> None:
        for name, least in (("left", 0), ("top", 0), ("width", 1), ("height", 1)):
            value = getattr(self, name)
            if self.is_percent:
                value = decimal("crop", value, 0.001 if least else 0, 100 if least else 99.999, places=3)
            else:
                value = whole("crop", value, least, MAX_COORDINATE)
            object.__setattr__(self, name, value)

    @property
    def is_everything(self) -> bool:
        """Leaves nothing out, whatever the picture."""
        return self.is_percent and (self.left, self.top, self.width, self.height) == (0, 0, 100, 100)

    def __str__(self) -> str:
        unit = "p" if self.is_percent else ""
        return ":".join(f"{number(value)}{unit}" for value in (self.left, self.top, self.width, self.height))


class Rgba(NamedTuple):
    """A colour in sRGB, 0 to 255 each; alpha 0 is clear."""

    red: int
    green: int
    blue: int
    alpha: int = 255

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Without alpha."""
        return self.red, self.green, self.blue

    def over(self, paper: Rgba) -> Rgba:
        """As seen on opaque paper."""
        mixed = [
            (2 * (above * self.alpha + below * (255 - self.alpha)) + 255) // 510
            for above, below in zip(self.rgb, paper.rgb, strict=True)
        ]
        return Rgba(*mixed)

    def __str__(self) -> str:
        return bytes(self.rgb if self.alpha == 255 else self).hex()


WHITE: Final = Rgba(255, 255, 255)
CLEAR: Final = Rgba(0, 0, 0, 0)


class Padding(NamedTuple):
    """Pixels added outside of the box."""

    top: int = 0
    right: int = 0
    bottom: int = 0
    left: int = 0

    def __str__(self) -> str:
        if len(set(self)) == 1:
            return str(self.top)
        return ":".join(map(str, self))


UNPADDED: Final = Padding()


def whole(option: str, value: float, least: int, most: int) -> int:
    """The value, if it is a whole number of the range. Raises BadOption with the name."""
    if isinstance(value, bool) or not least <= value <= most or value != int(value):
        raise BadOption(f"{option} is a whole number from {least} to {most}.", option=option)
    return int(value)


def decimal(option: str, value: float, least: float, most: float, *, places: int = 2) -> float:
    """The value at so many decimals, if it is in the range (which NaN is not). Raises BadOption with the name."""
    if isinstance(value, bool) or not least <= value <= most:
        raise BadOption(f"{option} is a number from {number(least)} to {number(most)}.", option=option)
    return round(float(value), places) + 0.0  # no negative zero


def number(value: float) -> str:
    """Shortest plain decimal: 2, 0.5, 12.345, -3; never an exponent."""
    return f"{value:.4f}".rstrip("0").rstrip(".")
