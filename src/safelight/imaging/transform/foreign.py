"""Foreign: what the grammars of other servers share. They are read into an `Order`, and an order becomes a Spec with the picture's size.

Those grammars say things that depend on the picture (`extend`, `auto`, `fit-in` with `fill`), which the Spec does not: with the size
of the upright original at hand they are settled, and every ordinary request ends as the Spec that the native grammar has for it.
What cannot be done is BadOption with the name that the URL gave it, never passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NoReturn, Protocol, TypeVar
from urllib.parse import unquote_to_bytes

from safelight.errors import BadOption
from safelight.imaging.formats import Format
from safelight.imaging.transform.grammar import Request
from safelight.imaging.transform.original import Original, settle
from safelight.imaging.transform.plan import Box, Plan, Size, Source, plan
from safelight.imaging.transform.spec import Spec
from safelight.imaging.transform.values import Flip, Gravity

MAX_PATH: Final = 4096
"""Characters of a URL behind its signature: addresses of remote sources are long, base 64 makes them longer."""
OURS: Final = "safelight"
_SCHEME: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):/{1,2}(?!/)")
_SHOWN: Final = 40

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an order's picture comes from: `safelight` with an image's id, or another scheme with what stands behind `://`."""

    scheme: str
    name: str

    @property
    def is_ours(self) -> bool:
        """An image of this installation."""
        return self.scheme == OURS


class Wish(Protocol):
    """The pixels that an order asks for."""

    @property
    def format(self) -> Format | None:
        """As the URL says; None leaves it to the client's Accept header."""
        ...

    def spec(self, original: Size) -> Spec:
        """For an upright original of this size. Raises BadOption."""
        ...

    def quality_for(self, format: Format) -> int:
        """1 to 100, 0 = the format's default."""
        ...


@dataclass(frozen=True, slots=True)
class Order:
    """One foreign URL: whose picture, which pixels, and what concerns the answer's headers only.

    `version` is what the URL says of the picture's version ('' = nothing), `exp` its end in seconds since 1970 (0 = none).
    """

    origin: Origin
    wish: Wish
    filename: str = ""
    is_attachment: bool = False
    version: str = ""
    exp: int = 0
    is_preset: bool = False
    """Of pixels, the URL itself says nothing but names of presets, and a format."""

    def request(self, original: Original, accept: str, *, max_animation_pixels: int) -> Request:
        """With its format decided. Raises BadOption, TooManyPixels."""
        spec = self.wish.spec(Size(original.width, original.height))
        # The quality may hang on the format, and the format on what the picture is.
        format = settle(Request(spec), original, accept, max_animation_pixels=max_animation_pixels).spec.format
        assert format is not None  # settled
        return Request(replace(spec, format=format, quality=self.wish.quality_for(format)), self.filename)


def origin(text: str, *, option: str = "source") -> Origin:
    """`{id}`, `safelight://{id}` or any address. A proxy may have merged the two slashes. Raises BadOption."""
    found = _SCHEME.match(text)
    if found is None:
        return Origin(OURS, text)
    name = text[found.end() :]
    if not name:
        raise BadOption("The source is empty.", option=option)
    return Origin(found[1].lower(), name)


def unescaped(text: str, *, option: str) -> str:
    """Percent-encoding undone. Raises BadOption where the bytes are no UTF-8."""
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise BadOption(f"{option} is not UTF-8.", option=option) from None


def shown(name: str) -> str:
    """A name from a URL, safe to put into an answer."""
    return name[:_SHOWN].encode("ascii", "backslashreplace").decode()


def refuse(name: str, detail: str) -> NoReturn:
    """Raises BadOption with the name."""
    raise BadOption(f"{shown(name)} {detail}", option=shown(name))


def read(name: str, reader: Callable[[str], T], text: str) -> T:
    """What the reader makes of the text. Raises BadOption with the option's name."""
    try:
        return reader(text)
    except ValueError as error:
        raise BadOption(f"{shown(name)} is {error}.", option=shown(name)) from None


def planned(spec: Spec, original: Size) -> Plan:
    """What becomes of an original of this size. Raises BadOption, TooManyPixels."""
    return plan(spec, Source(original, original))


def rejoined(rotate: int, flip: Flip, box: Box, size: Size) -> Box:
    """A box in the picture as it stands after turning (of `size`), in the coordinates of the upright original."""
    left, top, width, height = box
    if flip in {Flip.H, Flip.HV}:
        left = size.width - left - width
    if flip in {Flip.V, Flip.HV}:
        top = size.height - top - height
    match rotate:
        case 90:
            return Box(top, size.width - left - width, height, width)
        case 180:
            return Box(size.width - left - width, size.height - top - height, width, height)
        case 270:
            return Box(size.height - top - height, left, height, width)
    return Box(left, top, width, height)


_DIRECTIONS: Final = {
    Gravity.CENTER: (0, 0),
    Gravity.NORTH: (0, -1),
    Gravity.NORTH_EAST: (1, -1),
    Gravity.EAST: (1, 0),
    Gravity.SOUTH_EAST: (1, 1),
    Gravity.SOUTH: (0, 1),
    Gravity.SOUTH_WEST: (-1, 1),
    Gravity.WEST: (-1, 0),
    Gravity.NORTH_WEST: (-1, -1),
}
_BY_DIRECTION: Final = {direction: gravity for gravity, direction in _DIRECTIONS.items()}


def direction(gravity: Gravity) -> tuple[int, int]:
    """To the right and down, -1, 0 or 1 each."""
    return _DIRECTIONS.get(gravity, (0, 0))


def turned_back(rotate: int, flip: Flip, gravity: Gravity) -> Gravity:
    """A side of the picture as it stands after turning, as a side of the upright original."""
    if gravity not in _DIRECTIONS:
        return gravity
    x, y = _DIRECTIONS[gravity]
    if flip in {Flip.H, Flip.HV}:
        x = -x
    if flip in {Flip.V, Flip.HV}:
        y = -y
    match rotate:
        case 90:
            x, y = y, -x
        case 180:
            x, y = -x, -y
        case 270:
            x, y = -y, x
    return _BY_DIRECTION[x, y]
