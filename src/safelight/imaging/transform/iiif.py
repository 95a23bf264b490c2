"""IIIF: the Image API's grammar, `{region}/{size}/{rotation}/{quality}.{format}`, of 3.0 and of 2.1; and what `info.json` promises by it.

https://iiif.io/api/image/3.0/ and https://iiif.io/api/image/2.1/, cited by section. Region and size are settled with the size of the
upright original, so that every spelling of one request is one Spec: the region in pixels, the exact size of the result.
What is wrong is BadOption with the name of the path's part.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from math import isqrt
from typing import Final, Literal, NoReturn

from safelight.errors import BadOption
from safelight.imaging.formats import Format
from safelight.imaging.transform.foreign import unescaped
from safelight.imaging.transform.plan import MAX_OUTPUT_PIXELS, Box, Size
from safelight.imaging.transform.pyramid import TILE
from safelight.imaging.transform.spec import Spec
from safelight.imaging.transform.values import Fit, Flip, Region

FORMATS: Final = {"jpg": Format.JPEG, "png": Format.PNG, "webp": Format.WEBP}
"""What goes out; the first two are what level 2 asks for."""
QUALITIES: Final = ("default", "color", "gray", "bitonal")
MIDDLE_GREY: Final = 128
"""From which luma on a bitonal picture is white."""

_WHOLE: Final = re.compile(r"[0-9]{1,9}")
_DECIMAL: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,12})?")
_ROTATION: Final = re.compile(r"(!?)([0-9]{1,3}(?:\.[0-9]{1,12})?)")

_RegionKind = Literal["full", "square", "pixels", "percent"]
_SizeKind = Literal["max", "full", "percent", "exact", "confined"]


class Api(StrEnum):
    """A major version of the Image API, as the path writes it."""

    V2 = "2"
    V3 = "3"


@dataclass(frozen=True, slots=True)
class Most:
    """How large a result may be: `maxWidth`, `maxHeight` and `maxArea` of `info.json`."""

    side: int

    @property
    def area(self) -> int:
        """Pixels."""
        return min(self.side**2, MAX_OUTPUT_PIXELS)

    def allows(self, size: Size) -> bool:
        """Whether a result of this size is made."""
        return max(size) <= self.side and size.width * size.height <= self.area

    def largest(self, region: Size, *, enlarges: bool) -> Size:
        """As large as goes, aspect kept; no larger than the region unless it `enlarges`."""
        width, height = region
        across = min(self.side, self.side * width // height, isqrt(self.area * width // height))
        if not enlarges and width <= across:
            return region
        across = max(1, across)
        down = min(self.side, max(1, _half_up(Fraction(height * across, width))))
        while across * down > self.area:
            down -= 1
        return Size(across, down)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One request's pixels. `numbers` are those of the region and of the size, in their order; None is a free side."""

    api: Api
    most: Most
    region: _RegionKind
    region_numbers: tuple[Fraction, ...] = ()
    size: _SizeKind
    size_numbers: tuple[Fraction | None, ...] = ()
    enlarges: bool = False
    """As 3.0 says by `^`; in 2.1 whatever names a size or a share."""
    rotate: int = 0
    is_mirrored: bool = False
    quality: str = "default"
    format: Format

    def spec(self, original: Size) -> Spec:
        """For an upright original of this size. Raises BadOption."""
        box, target = self.settled(original)
        # Mirrored first, then turned (4.3); ours turns first, and a mirrored turn goes the other way round.
        rotate = -self.rotate % 360 if self.is_mirrored else self.rotate
        width, height = reversed(target) if rotate in {90, 270} else target
        is_as_it_is = target == (box.width, box.height)
        return Spec(
            format=self.format,
            crop=None if box == (0, 0, *original) else Region(*box),
            width=0 if is_as_it_is else width,
            height=0 if is_as_it_is else height,
            fit=Fit.FILL,
            rotate=rotate,
            flip=Flip.H if self.is_mirrored else Flip.NONE,
            grayscale=self.quality == "gray",
            threshold=MIDDLE_GREY if self.quality == "bitonal" else 0,
        )

    def quality_for(self, format: Format) -> int:
        """The format's default: `quality` means colours here."""
        return 0

    def canonical(self, original: Size) -> str:
        """The path of this request as the canonical URI writes it (3.0 and 2.1: 4.7). Raises BadOption."""
        box, target = self.settled(original)
        size = Size(box.width, box.height)
        region = "full" if box == (0, 0, *original) else ",".join(map(str, box))
        if self.api is Api.V3:
            grows = target.width > size.width or target.height > size.height
            said = "max" if target == self.most.largest(size, enlarges=False) else f"{target.width},{target.height}"
            if grows:
                said = "^max" if target == self.most.largest(size, enlarges=True) else f"^{said}"
        elif target == size:
            said = "full"
        else:
            keeps_aspect = target == _scaled(size, target.width, None)
            said = f"{target.width}," if keeps_aspect else f"{target.width},{target.height}"
        mirror = "!" if self.is_mirrored else ""
        quality = "default" if self.quality == "color" else self.quality
        return f"{region}/{said}/{mirror}{self.rotate}/{quality}.{self.format.extension}"

    def is_promised(self, original: Size) -> bool:
        """Whether `info.json` names it: one of its sizes or tiles, upright, in colour, as JPEG or WebP. There are only so many."""
        if self.rotate or self.is_mirrored or self.quality not in {"default", "color"} or self.format is Format.PNG:
            return False
        box, target = self.settled(original)
        if box == (0, 0, *original) and target in sizes(original, self.most):
            return True
        return any(self._is_tile(box, target, original, factor) for factor in scale_factors(original))

    @staticmethod
    def _is_tile(box: Box, target: Size, original: Size, factor: int) -> bool:
        side = TILE * factor
        if box.left % side or box.top % side:
            return False
        whole = Size(min(side, original.width - box.left), min(side, original.height - box.top))
        return whole == (box.width, box.height) and target == (-(-whole.width // factor), -(-whole.height // factor))

    def settled(self, original: Size) -> tuple[Box, Size]:
        """The region in pixels of the original, and the size of the result before it is turned. Raises BadOption."""
        box = self._box(original)
        region = Size(box.width, box.height)
        target = self._target(region)
        if not self.enlarges and (target.width > region.width or target.height > region.height):
            _refuse("size", f"would enlarge the region of {region.width} x {region.height}; say so by ^.")
        if not self.most.allows(target):
            _refuse("size", f"of {target.width} x {target.height} is beyond {self.most.side} a side, {self.most.area:,} in all.")
        return box, target

    def _box(self, original: Size) -> Box:
        match self.region:
            case "full":
                return Box(0, 0, *original)
            case "square":
                side = min(original)
                return Box((original.width - side) // 2, (original.height - side) // 2, side, side)
        left, top, width, height = self.region_numbers
        if self.region == "percent":
            left, width = left * original.width / 100, width * original.width / 100
            top, height = top * original.height / 100, height * original.height / 100
        if left >= original.width or top >= original.height:
            _refuse("region", f"lies outside of the picture of {original.width} x {original.height}.")
        x, across = _span(left, left + width, original.width)
        y, down = _span(top, top + height, original.height)
        return Box(x, y, across, down)

    def _target(self, region: Size) -> Size:
        match self.size:
            case "max":
                return self.most.largest(region, enlarges=self.enlarges)
            case "full":
                return region
            case "percent":
                (share,) = self.size_numbers
                assert share is not None  # parsed
                return Size(*(max(1, _half_up(side * share / 100)) for side in region))
        width, height = (None if side is None else int(side) for side in self.size_numbers)
        if self.size == "exact":
            return _scaled(region, width, height)
        assert width is not None  # both are said of a box
        assert height is not None
        inside = _scaled(region, width, None)
        if inside.height > height:
            inside = _scaled(region, None, height)
        most = self.most.largest(region, enlarges=self.enlarges)
        return min(inside, most, key=lambda size: (size.width, size.height))


def parse(api: Api, parts: Sequence[str], most: Most) -> Wish:
    """The four parts of the path behind the identifier, still escaped. Raises BadOption."""
    region, size, rotation, file = (
        unescaped(part, option=name) for part, name in zip(parts, ("region", "size", "rotation", "quality"), strict=True)
    )
    quality, dot, extension = file.rpartition(".")
    if not dot or extension not in FORMATS:
        _refuse("format", f"is one of {', '.join(FORMATS)}.")
    if quality not in QUALITIES:
        _refuse("quality", f"is one of {', '.join(QUALITIES)}.")
    region_kind, region_numbers = _region(region)
    size_kind, size_numbers, enlarges = _size(api, size)
    rotate, is_mirrored = _rotation(rotation)
    return Wish(
        api=api,
        most=most,
        region=region_kind,
        region_numbers=region_numbers,
        size=size_kind,
        size_numbers=size_numbers,
        enlarges=enlarges,
        rotate=rotate,
        is_mirrored=is_mirrored,
        quality=quality,
        format=FORMATS[extension],
    )


def scale_factors(original: Size) -> tuple[int, ...]:
    """1, 2, 4 and so on, until the whole picture is one tile."""
    factors = [1]
    while max(original) > TILE * factors[-1]:
        factors.append(2 * factors[-1])
    return tuple(factors)


def sizes(original: Size, most: Most) -> tuple[Size, ...]:
    """Of the whole picture at those factors, the smallest first, as far as they are made.

    No others: OpenSeadragon takes them for the levels of the tiles where there are about as many of both.
    """
    halvings = (_scaled(original, -(-original.width // factor), None) for factor in reversed(scale_factors(original)))
    return tuple(size for size in halvings if most.allows(size))


def _region(text: str) -> tuple[_RegionKind, tuple[Fraction, ...]]:
    """3.0 and 2.1: 4.1."""
    if text == "full":
        return "full", ()
    if text == "square":
        return "square", ()
    percent = text.startswith("pct:")
    numbers = text.removeprefix("pct:").split(",")
    pattern = _DECIMAL if percent else _WHOLE
    if len(numbers) != 4 or not all(pattern.fullmatch(number) for number in numbers):
        _refuse("region", "is full, square, x,y,w,h in whole pixels or pct:x,y,w,h.")
    found = tuple(map(Fraction, numbers))
    if not found[2] or not found[3]:
        _refuse("region", "is empty.")
    return ("percent" if percent else "pixels"), found


def _size(api: Api, text: str) -> tuple[_SizeKind, tuple[Fraction | None, ...], bool]:
    """3.0: 4.2, 2.1: 4.2. What it is, its numbers, and whether the picture may grow."""
    rest, enlarges = text, False
    if api is Api.V3 and text.startswith("^"):
        rest, enlarges = text[1:], True
    if rest == "max":
        return "max", (), enlarges
    if rest == "full" and api is Api.V2:
        return "full", (), False
    if rest.startswith("pct:") and _DECIMAL.fullmatch(rest[4:]):
        share = Fraction(rest[4:])
        if share:
            return "percent", (share,), enlarges or api is Api.V2
    is_confined = rest.startswith("!")
    sides = rest.removeprefix("!").split(",")
    if len(sides) == 2 and any(sides) and all(not side or (_WHOLE.fullmatch(side) and int(side)) for side in sides):
        numbers = tuple(Fraction(side) if side else None for side in sides)
        if not is_confined:
            return "exact", numbers, enlarges or api is Api.V2
        if all(sides):
            return "confined", numbers, enlarges
    more = "each behind ^ where the picture may grow" if api is Api.V3 else "or full"
    raise BadOption(f"size is max, `w,`, `,h`, `w,h`, `!w,h` or `pct:n`, {more}; sides and shares are above 0.", option="size")


def _rotation(text: str) -> tuple[int, bool]:
    """3.0 and 2.1: 4.3. Degrees clockwise, and whether the picture is mirrored before."""
    found = _ROTATION.fullmatch(text)
    degrees = Fraction(found[2]) if found else Fraction(-1)
    if found is None or degrees > 360:
        _refuse("rotation", "is degrees from 0 to 360, behind ! where the picture is mirrored.")
    if degrees % 90:
        _refuse("rotation", "is done by multiples of 90 degrees only.")
    return int(degrees) % 360, bool(found[1])


def _refuse(name: str, detail: str) -> NoReturn:
    raise BadOption(f"{name} {detail}", option=name)


def _scaled(size: Size, width: int | None, height: int | None) -> Size:
    """With these sides; one that is free keeps the aspect."""
    if height is None:
        assert width is not None  # one of them is said
        return Size(width, max(1, _half_up(Fraction(size.height * width, size.width))))
    return Size(max(1, _half_up(Fraction(size.width * height, size.height))) if width is None else width, height)


def _span(first: Fraction, last: Fraction, most: int) -> tuple[int, int]:
    """(start, length) in whole pixels within 0..most, at least one."""
    start = min(_half_up(first), most - 1)
    return start, max(1, min(_half_up(last), most) - start)


def _half_up(number: Fraction) -> int:
    return int((2 * number + 1) // 2)
