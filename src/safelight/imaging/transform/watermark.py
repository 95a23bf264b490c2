"""Watermark: what is laid over a picture, as one value in its one normal form. No pixels, no drivers.

Part of a `Spec`, so that equal marks share one key; recipes that bake the same mark into what they develop take the same value.
`placing` reckons where it lies, `lettering` draws its words, `stamp` lays it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from urllib.parse import quote

from safelight.errors import BadOption
from safelight.imaging.transform.values import WHITE, Rgba, decimal, number, whole

MAX_LETTERS: Final = 100
MAX_LINES: Final = 4
MAX_MARGIN: Final = 1024
MAX_TIMES: Final = 40
MARK_SIDE: Final = 1024
"""Pixels of the longer side that a picture keeps as a mark; larger ones are reduced to it first."""
MIN_SIDE: Final = 100
"""A picture with a shorter side carries no mark: it could not be read, and would hide what there is."""
_IMAGE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_JOINERS: Final = "\u200c\u200d"
"""No ink of their own, but scripts are shaped by them."""


class Position(StrEnum):
    """Where a mark lies: at a side or corner of what is seen, in its middle, or everywhere."""

    CENTER = "center"
    NORTH = "north"
    NORTH_EAST = "north-east"
    EAST = "east"
    SOUTH_EAST = "south-east"
    SOUTH = "south"
    SOUTH_WEST = "south-west"
    WEST = "west"
    NORTH_WEST = "north-west"
    TILE = "tile"

    @property
    def direction(self) -> tuple[int, int]:
        """To the right and down, -1, 0 or 1 each."""
        across = ("east" in self.value) - ("west" in self.value)
        return across, ("south" in self.value) - ("north" in self.value)


class Edge(StrEnum):
    """What sets a mark off from its ground, in black, and in white around what is dark."""

    NONE = "none"
    OUTLINE = "outline"
    SHADOW = "shadow"


class Layer(StrEnum):
    """What a mark lies on: the picture, before its corners are rounded and it is mounted, or all that is delivered."""

    PICTURE = "picture"
    CANVAS = "canvas"


@dataclass(frozen=True, slots=True)
class Margin:
    """To the side that a mark lies at, from the middle to the right and down, or between tiles.

    Pixels of the output, or per cent of the shorter side of what it lies on (two decimals count).
    """

    x: float
    y: float
    is_percent: bool = False

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            value = getattr(self, name)
            if self.is_percent:
                value = decimal("watermark_margin", value, -50, 50)
            else:
                value = whole("watermark_margin", value, -MAX_MARGIN, MAX_MARGIN)
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        unit = "p" if self.is_percent else ""
        sides = (self.x,) if self.x == self.y else (self.x, self.y)
        return ":".join(f"{number(side)}{unit}" for side in sides)


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a mark is: as fits into this much of the width and of the height, in per cent; or times its own size."""

    width: float
    height: float
    is_own: bool = False

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            least, most = (0.01, MAX_TIMES) if self.is_own else (1, 100)
            object.__setattr__(self, name, decimal("watermark_scale", getattr(self, name), least, most))
        if self.is_own and self.width != self.height:
            raise BadOption("watermark_scale is one number times the mark's own size.", option="watermark_scale")

    def __str__(self) -> str:
        if self.is_own:
            return f"{number(self.width)}x"
        sides = (self.width,) if self.width == self.height else (self.width, self.height)
        return ":".join(map(number, sides))


USUAL_SCALE: Final = Scale(25, 25)
USUAL_OPACITY: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """One mark: either the id of a picture or words, and how they lie. Raises BadOption with the option's long name.

    `opacity` is per cent, `rotate` degrees clockwise. None of `margin` and `edge` is what suits the position, and words or pictures.
    """

    image: str = ""
    text: str = ""
    position: Position = Position.SOUTH_EAST
    margin: Margin | None = None
    scale: Scale = USUAL_SCALE
    opacity: float = USUAL_OPACITY
    rotate: int = 0
    colour: Rgba = WHITE
    edge: Edge | None = None
    layer: Layer = Layer.PICTURE

    def __post_init__(self) -> None:
        """Check, then bring into the normal form."""
        if bool(self.image) == bool(self.text):
            raise BadOption("A watermark is either a picture or a text.", option="watermark")
        if self.image and not _IMAGE.fullmatch(self.image):
            raise BadOption("watermark is an image's id, or the name of a watermark.", option="watermark")
        self._set("text", _words(self.text))
        self._set("opacity", decimal("watermark_opacity", self.opacity, 0, 100))
        self._set("rotate", whole("watermark_rotate", self.rotate, -360, 360) % 360)
        self._set("colour", Rgba(*self.colour.rgb) if self.text else WHITE)
        if self.margin is None:
            self._set("margin", _usual_margin(self.position))
        if self.edge is None:
            self._set("edge", self._usual_edge)
        if self.text and self.scale.is_own:
            raise BadOption("watermark_scale of a text is per cent: it has no size of its own.", option="watermark_scale")

    def on(self, layer: Layer) -> Watermark:
        """The same on another layer."""
        return replace(self, layer=layer)

    @property
    def gap(self) -> Margin:
        """The margin, which is settled."""
        assert self.margin is not None  # since it was made
        return self.margin

    def said(self) -> dict[str, str]:
        """What the native grammar has to say of it, by short names."""
        said = {"wm": self.image} if self.image else {"wmt": quoted(self.text)}
        for short, value, usual in (
            ("wmp", self.position, Position.SOUTH_EAST),
            ("wmm", self.margin, _usual_margin(self.position)),
            ("wms", self.scale, USUAL_SCALE),
            ("wmc", self.colour, WHITE),
            ("wme", self.edge, self._usual_edge),
            ("wml", self.layer, Layer.PICTURE),
        ):
            if value != usual:
                said[short] = str(value)
        if self.opacity != USUAL_OPACITY:
            said["wmo"] = number(self.opacity)
        if self.rotate:
            said["wmr"] = str(self.rotate)
        return said

    @property
    def _usual_edge(self) -> Edge:
        return Edge.OUTLINE if self.text else Edge.NONE

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


def quoted(text: str) -> str:
    """Words as they stand in the native grammar: whatever would end an option, a path or a line is percent-encoded."""
    return "".join(quote(letter, safe="") if letter in "%,/\n" else letter for letter in text)


def _words(text: str) -> str:
    if not text:
        return ""
    # One spelling of what looks the same; a combining mark of its own counts as a letter.
    lines = [line.strip() for line in unicodedata.normalize("NFC", text[: 4 * MAX_LETTERS]).split("\n")]
    text = "\n".join(lines).strip("\n")
    if not text or len(text) > MAX_LETTERS or text.count("\n") >= MAX_LINES:
        raise BadOption(f"watermark_text has 1 to {MAX_LETTERS} letters in at most {MAX_LINES} lines.", option="watermark_text")
    if not all(letter.isprintable() or letter in f"\n{_JOINERS}" for letter in text):
        raise BadOption("watermark_text has letters that cannot be seen.", option="watermark_text")
    return text


def _usual_margin(position: Position) -> Margin:
    if position is Position.CENTER:
        return Margin(0, 0)
    share = 5 if position is Position.TILE else 2
    return Margin(share, share, is_percent=True)
