"""thumbor's grammar: `{trim}/{crop}/{fit-in}/{-W}x{-H}/{halign}/{valign}/{smart}/filters:{…}/{source}`, to an Order.

The parts stand in this order, each at most once, as in thumbor; filters may stand in any and work in ours. A filter that cannot be
done as thumbor documents it is BadOption under its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Final

from safelight.errors import BadOption
from safelight.imaging.formats import Format
from safelight.imaging.transform.foreign import MAX_PATH, Order, origin, planned, read, refuse, shown, unescaped
from safelight.imaging.transform.grammar import Named, named_mark
from safelight.imaging.transform.options import colour
from safelight.imaging.transform.placing import layer_of
from safelight.imaging.transform.plan import Size
from safelight.imaging.transform.spec import MAX_BLUR, MAX_PAD, MAX_SIDE, Spec
from safelight.imaging.transform.values import CLEAR, UNPADDED, Fit, Flip, Focal, Gravity, Padding, Region, Rgba, whole
from safelight.imaging.transform.watermark import MAX_MARGIN, Margin, Position, Scale, Watermark

FORMATS: Final = {
    "jpeg": Format.JPEG,
    "jpg": Format.JPEG,
    "png": Format.PNG,
    "webp": Format.WEBP,
    "avif": Format.AVIF,
    "gif": Format.GIF,
}
_TRIM: Final = re.compile(r"trim(?::(top-left|bottom-right))?(?::([0-9]{1,4}))?")
_CROP: Final = re.compile(r"([0-9]{1,7})x([0-9]{1,7}):([0-9]{1,7})x([0-9]{1,7})")
_FIT_IN: Final = re.compile(r"(adaptive-)?(full-)?fit-in")
_SIZE: Final = re.compile(r"(-)?([0-9]{1,6}|orig)?x(-)?([0-9]{1,6}|orig)?")
_FILTER: Final = re.compile(r"([a-z_0-9]{1,40})\(([^()]{0,200})\)")
_WHOLE: Final = re.compile(r"-?[0-9]{1,7}")
_DECIMAL: Final = re.compile(r"-?[0-9]{0,7}\.?[0-9]{1,6}")
_PLACE: Final = re.compile(r"-?[0-9]{1,4}p?|center|repeat")
_MOST_FILTERS: Final = 32
_DIAGONAL: Final = 3**0.5
"""thumbor measures how far colours are apart along the cube's diagonal, we along its edges."""
_COMPASS: Final = {
    ("left", "top"): Gravity.NORTH_WEST,
    ("center", "top"): Gravity.NORTH,
    ("right", "top"): Gravity.NORTH_EAST,
    ("left", "middle"): Gravity.WEST,
    ("center", "middle"): Gravity.CENTER,
    ("right", "middle"): Gravity.EAST,
    ("left", "bottom"): Gravity.SOUTH_WEST,
    ("center", "bottom"): Gravity.SOUTH,
    ("right", "bottom"): Gravity.SOUTH_EAST,
}
_NAMED: Final = {
    "white": "ffffff",
    "black": "000000",
    "red": "ff0000",
    "green": "008000",
    "blue": "0000ff",
    "yellow": "ffff00",
    "gray": "808080",
    "grey": "808080",
    "transparent": "transparent",
}


@dataclass(slots=True)
class Wish:
    """What a path has said. Keeps `foreign.Wish`."""

    format: Format | None = None
    trim: int = 0
    crop: tuple[int, int, int, int] | None = None
    fit_in: bool = False
    is_full: bool = False
    is_adaptive: bool = False
    width: int | None = 0
    """0 is free, None the picture's own."""
    height: int | None = 0
    flip: Flip = Flip.NONE
    gravity: Gravity = Gravity.CENTER
    focal: tuple[int, int, int, int] | None = None
    quality: int = 0
    stretch: bool = False
    grows: bool | None = None
    """`upscale` True, `no_upscale` False."""
    fill: Rgba | None = None
    proportion: Fraction = Fraction(1)
    rotate: int = 0
    corner: Rgba | None = None
    paper: Rgba | None = None
    mark: tuple[Watermark, str, str] | None = None
    """And where it lies across and down, as thumbor has it."""
    named: Named = field(default_factory=dict)
    look: dict[str, Any] = field(default_factory=dict)
    """What the Spec takes as it is: blur, sharpen, lift, contrast, saturation, grayscale, radius."""

    def quality_for(self, format: Format) -> int:
        """One for all formats."""
        return self.quality

    def spec(self, original: Size) -> Spec:
        """The natural options, with the sizes that thumbor would reckon where it reckons."""
        region = self._region(original)
        size = Size(region.width, region.height) if region else original  # type: ignore[arg-type]  # whole: it is in pixels
        if self.trim and (region or self.fill or self.focal or self.is_adaptive or self.is_full or self.proportion != 1):
            refuse("trim", "cannot be combined with what depends on the picture's size.")
        if self.trim and None in {self.width, self.height}:
            refuse("orig", "cannot be combined with trim.")
        width, height = self._box(size, original)
        fit = self._fit(size, Size(width, height))
        if self.is_full and self.fit_in and width and height:
            width, height = _around(size, Size(width, height))
            fit = Fit.FILL
        spec = Spec(
            format=self.format,
            width=_side("width", width),
            height=_side("height", height),
            fit=fit,
            gravity=self._gravity(original, region),
            crop=region,
            trim=self.trim,
        )
        if self.proportion != 1:
            spec = self._shrunk(spec, original)
        pad = self._bars(spec, original, Size(width, height))
        if self.rotate in {90, 270}:
            flips = {Flip.H: Flip.V, Flip.V: Flip.H}
            spec = replace(spec, width=spec.height, height=spec.width)
            return self._marked(self._finished(spec, flips.get(self.flip, self.flip), pad), original)
        return self._marked(self._finished(spec, self.flip, pad), original)

    def _region(self, original: Size) -> Region | None:
        if self.crop is None:
            return None
        left, top = (min(edge, most) for edge, most in zip(self.crop[:2], original, strict=True))
        right, bottom = (min(edge, most) for edge, most in zip(self.crop[2:], original, strict=True))
        if left >= right or top >= bottom:
            refuse("crop", "leaves nothing of the picture.")
        return None if (left, top, right, bottom) == (0, 0, *original) else Region(left, top, right - left, bottom - top)

    def _box(self, size: Size, original: Size) -> tuple[int, int]:
        width = size.width if self.width is None else self.width
        height = size.height if self.height is None else self.height
        if self.grows is False and not self.trim:
            width, height = min(width, original.width), min(height, original.height)
        if self.fit_in and self.is_adaptive and width and height:
            lies, stands = size.width > size.height, size.width < size.height
            if (stands and width > height) or (lies and width < height):
                width, height = height, width
        return width, height

    def _fit(self, size: Size, box: Size) -> Fit:
        if self.stretch:
            return Fit.FILL
        if not self.fit_in:
            return Fit.COVER if self.grows is not False or not self.trim else Fit.CROP
        return Fit.CONTAIN if self.grows else Fit.SCALE_DOWN

    def _gravity(self, original: Size, region: Region | None) -> Gravity | Focal:
        if self.focal is None:
            return self.gravity
        left, top, right, bottom = self.focal
        x, y = Fraction(left + right, 2), Fraction(top + bottom, 2)
        if not (x <= original.width and y <= original.height):
            refuse("focal", "lies outside of the picture.")
        if region and not (region.left <= x <= region.left + region.width and region.top <= y <= region.top + region.height):
            return self.gravity
        return Focal(float(x / original.width), float(y / original.height))

    def _shrunk(self, spec: Spec, original: Size) -> Spec:
        """`proportion` of the finished size; thumbor leaves alone what would have less than a pixel."""
        width, height = (int(side * self.proportion) for side in planned(spec, original).resize)
        if not (width and height):
            return spec
        return replace(spec, width=width, height=height, fit=spec.fit if spec.fit.cuts else Fit.FILL)

    def _bars(self, spec: Spec, original: Size, box: Size) -> Padding:
        """`fill`: around what does not fill the box."""
        if self.fill is None:
            return UNPADDED
        inner = planned(spec, original).resize
        across = max(0, (box.width or inner.width) - inner.width)
        down = max(0, (box.height or inner.height) - inner.height)
        if (across or down) and self.rotate % 180:
            refuse("rotate", "by a quarter cannot be combined with fill.")
        if max(across, down) > 2 * MAX_PAD:
            refuse("fill", f"would add more than {MAX_PAD} pixels to a side.")
        return Padding(down // 2, across - across // 2, down - down // 2, across // 2)

    def _finished(self, spec: Spec, flip: Flip, pad: Padding) -> Spec:
        papers = {paper for paper in (self.fill if any(pad) else None, self.corner, self.paper) if paper is not None}
        if len(papers) > 1:
            refuse("fill" if self.fill else "background_color", "and round_corner differ in colour.")
        paper = next(iter(papers), None)
        return replace(spec, rotate=self.rotate, flip=flip, pad=pad, background=paper, **self.look)

    def _marked(self, spec: Spec, original: Size) -> Spec:
        """The watermark, with its offsets reckoned in the picture as it is delivered."""
        if self.mark is None:
            return spec
        mark, *places = self.mark
        if "repeat" in places:
            if places != ["repeat", "repeat"]:
                refuse("watermark", "is repeated in both directions or in none.")
            return replace(spec, watermark=replace(mark, position=Position.TILE, margin=Margin(0, 0)))
        if self.trim and any(place.endswith("p") for place in places):
            refuse("watermark", "with offsets in per cent cannot be combined with trim.")
        layer = layer_of(spec, planned(spec, original))
        sides, margins = [], []
        for place, whole_ in zip(places, layer, strict=True):
            sides.append(0 if place == "center" else 1 if place.startswith("-") else -1)
            digits = place.strip("-p")
            away = int(digits) if digits != "center" else 0
            margins.append(int(away * whole_ / 100) if place.endswith("p") else away)
        if max(margins) > MAX_MARGIN:
            refuse("watermark", f"has offsets of at most {MAX_MARGIN} pixels.")
        position = next(position for position in Position if position.direction == tuple(sides))
        return replace(spec, watermark=replace(mark, position=position, margin=Margin(margins[0], margins[1])))


def parse(path: str, named: Named | None = None) -> Order:
    """`path` is what stands behind the signature, percent-encoding and all, without a leading slash. Raises BadOption.

    `named` are watermarks that may stand where thumbor has the address of one.
    """
    if len(path) > MAX_PATH:
        raise BadOption(f"A path has at most {MAX_PATH} characters.", option="options")
    wish = Wish(named=named or {})
    parts = unescaped(path, option="options").split("/")
    for name in ("debug", "meta"):
        if parts[0] == name and len(parts) > 1:
            refuse(name, "is not available.")
    for take in (_trim, _crop, _fit_in, _size, _align, _smart):
        # The last part is the source, whatever it looks like.
        while len(parts) > 1 and take(wish, parts[0]):
            del parts[0]
            if take is not _align:
                break
    if parts[0].startswith("filters:") and len(parts) > 1:
        parts = _filters(wish, "/".join(parts))
    text = "/".join(parts)
    if not text:
        raise BadOption("The source is empty.", option="source")
    found = origin(text)
    if found.is_ours and "/" in found.name:
        raise BadOption(f"'{shown(found.name)}' is no part of a URL that stands here.", option="options")
    return Order(found, wish)


def _trim(wish: Wish, part: str) -> bool:
    found = _TRIM.fullmatch(part)
    if found is None:
        return False
    if found[1] == "bottom-right":
        refuse("trim", "goes by the upper left pixel only.")
    tolerance = int(found[2] or 0)
    wish.trim = max(1, round(tolerance / _DIAGONAL))
    if wish.trim > 100:
        refuse("trim", "has a tolerance of at most 174.")
    return True


def _crop(wish: Wish, part: str) -> bool:
    found = _CROP.fullmatch(part)
    if found is None:
        return False
    left, top, right, bottom = map(int, found.groups())
    if right or bottom or left or top:
        wish.crop = (left, top, right, bottom)
    return True


def _fit_in(wish: Wish, part: str) -> bool:
    found = _FIT_IN.fullmatch(part)
    if found is None:
        return False
    wish.fit_in, wish.is_adaptive, wish.is_full = True, bool(found[1]), bool(found[2])
    return True


def _size(wish: Wish, part: str) -> bool:
    found = _SIZE.fullmatch(part)
    if found is None:
        return False
    across, width, down, height = found.groups()
    wish.width, wish.height = (None if text == "orig" else int(text or 0) for text in (width, height))
    wish.flip = Flip.HV if across and down else Flip.H if across else Flip.V if down else Flip.NONE
    return True


def _align(wish: Wish, part: str) -> bool:
    across, down = next(names for names, gravity in _COMPASS.items() if gravity is wish.gravity)
    if part in {"left", "center", "right"}:
        across = part
    elif part in {"top", "middle", "bottom"}:
        down = part
    else:
        return False
    wish.gravity = _COMPASS[across, down]
    return True


def _smart(wish: Wish, part: str) -> bool:
    if part != "smart":
        return False
    wish.gravity = Gravity.AUTO
    return True


def _filters(wish: Wish, text: str) -> list[str]:
    """Read what `filters:` begins; the parts behind it."""
    at = len("filters:")
    said: set[str] = set()
    while True:
        found = _FILTER.match(text, at)
        if found is None:
            raise BadOption(f"Filters look like quality(80):grayscale(), not '{shown(text[at:])}'.", option="filters")
        name, inside = found.groups()
        entry = FILTERS.get(name)
        if entry is None:
            raise BadOption(f"There is no filter '{shown(name)}' here.", option=shown(name))
        if name in said or len(said) >= _MOST_FILTERS:
            refuse(name, "is given twice.")
        said.add(name)
        arguments = [argument.strip() for argument in inside.split(",")] if inside.strip() else []
        if not entry.least <= len(arguments) <= entry.most:
            refuse(name, f"takes {entry.least} to {entry.most} arguments.")
        entry.apply(wish, name, arguments)
        at = found.end()
        if text[at : at + 1] == ":":
            at += 1
        elif text[at : at + 1] == "/":
            return text[at + 1 :].split("/")
        else:
            raise BadOption("The filters do not end.", option="filters")


def _around(size: Size, box: Size) -> tuple[int, int]:
    """`full-fit-in`: the smallest with the picture's aspect that covers the box."""
    scale = max(Fraction(box.width, size.width), Fraction(box.height, size.height))
    return tuple(max(1, int((2 * side * scale + 1) // 2)) for side in size)  # type: ignore[return-value]


def _side(name: str, value: int) -> int:
    return whole(name, value, 0, MAX_SIDE)


def _whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError("a whole number")
    return int(text)


def _per_cent(text: str) -> int:
    value = _whole(text)
    if not -100 <= value <= 100:
        raise ValueError("a whole number from -100 to 100")
    return value


def _number(text: str) -> float:
    if not _DECIMAL.fullmatch(text):
        raise ValueError("a number")
    return float(text)


def _between(least: float, most: float) -> Callable[[str], float]:
    def reader(text: str) -> float:
        value = _number(text)
        if not least <= value <= most:
            raise ValueError(f"a number from {least:g} to {most:g}")
        return value

    return reader


def _switch(text: str) -> bool:
    if text.lower() not in {"1", "0", "true", "false"}:
        raise ValueError("true or false")
    return text.lower() in {"1", "true"}


def _tone(text: str) -> Rgba:
    return colour(_NAMED.get(text.lower(), text))


def _level(text: str) -> int:
    value = _whole(text)
    if not 0 <= value <= 255:
        raise ValueError("levels from 0 to 255")
    return value


Applier = Callable[[Wish, str, list[str]], None]


def _quality(wish: Wish, name: str, arguments: list[str]) -> None:
    wish.quality = int(read(name, _between(1, 100), arguments[0]))


def _format(wish: Wish, name: str, arguments: list[str]) -> None:
    if arguments[0].lower() not in FORMATS:
        refuse(name, f"is one of {', '.join(FORMATS)}.")
    wish.format = FORMATS[arguments[0].lower()]


def _blur(wish: Wish, name: str, arguments: list[str]) -> None:
    radius, *sigma = (read(name, _between(0, 150), text) for text in arguments)
    amount = (sigma[0] if sigma else 0) or radius
    if amount and not 0.3 <= amount <= MAX_BLUR:
        refuse(name, f"has a sigma from 0.3 to {MAX_BLUR}.")
    wish.look["blur"] = amount


def _sharpen(wish: Wish, name: str, arguments: list[str]) -> None:
    wish.look["sharpen"] = read(name, _between(0, 10), arguments[0])
    read(name, _between(0.5, 1.5), arguments[1])
    read(name, _switch, arguments[2])


def _brightness(wish: Wish, name: str, arguments: list[str]) -> None:
    wish.look["lift"] = read(name, _per_cent, arguments[0])


def _contrast(wish: Wish, name: str, arguments: list[str]) -> None:
    wish.look["contrast"] = ((100 + read(name, _per_cent, arguments[0])) / 100) ** 2


def _saturation(wish: Wish, name: str, arguments: list[str]) -> None:
    wish.look["saturation"] = read(name, _between(0, 4), arguments[0])


def _grayscale(wish: Wish, name: str, arguments: list[str]) -> None:
    wish.look["grayscale"] = True


def _rotate(wish: Wish, name: str, arguments: list[str]) -> None:
    angle = read(name, _whole, arguments[0])
    if angle % 90:
        refuse(name, "is a multiple of 90.")
    wish.rotate = -angle % 360


def _fill(wish: Wish, name: str, arguments: list[str]) -> None:
    if arguments[0] in {"auto", "blur"}:
        refuse(name, "takes a colour.")
    wish.fill = read(name, _tone, arguments[0])
    if len(arguments) > 1:
        read(name, _switch, arguments[1])


def _background(wish: Wish, name: str, arguments: list[str]) -> None:
    wish.paper = read(name, _tone, arguments[0])


def _round_corner(wish: Wish, name: str, arguments: list[str]) -> None:
    first, _, second = arguments[0].partition("|")
    if second and second != first:
        refuse(name, "rounds circles, not ellipses.")
    wish.look["radius"] = int(read(name, _between(0, MAX_SIDE // 2), first))
    red, green, blue = (read(name, _level, text) for text in arguments[1:4])
    is_clear = len(arguments) > 4 and read(name, _switch, arguments[4])
    wish.corner = CLEAR if is_clear else Rgba(red, green, blue)


def _focal(wish: Wish, name: str, arguments: list[str]) -> None:
    found = _CROP.fullmatch(arguments[0])
    if found is None:
        refuse(name, "is left x top : right x bottom, in pixels.")
    left, top, right, bottom = map(int, found.groups())
    if left >= right or top >= bottom:
        refuse(name, "is empty.")
    if wish.gravity is Gravity.AUTO:
        refuse(name, "cannot be combined with smart.")
    wish.focal = (left, top, right, bottom)


def _proportion(wish: Wish, name: str, arguments: list[str]) -> None:
    wish.proportion = Fraction(str(read(name, _between(0.001, 1), arguments[0])))


def _stretch(wish: Wish, name: str, arguments: list[str]) -> None:
    wish.stretch = True


def _upscale(wish: Wish, name: str, arguments: list[str]) -> None:
    if wish.grows is False:
        refuse(name, "contradicts no_upscale.")
    wish.grows = True


def _no_upscale(wish: Wish, name: str, arguments: list[str]) -> None:
    if wish.grows:
        refuse(name, "contradicts upscale.")
    wish.grows = False


def _always(wish: Wish, name: str, arguments: list[str]) -> None:
    """What is done to every rendition."""


def _watermark(wish: Wish, name: str, arguments: list[str]) -> None:
    source, x, y, alpha, *ratios = arguments
    found = origin(source, option=name)
    if not found.is_ours:
        refuse(name, "is an image of this installation, or the name of a watermark.")
    mark = named_mark(found.name, wish.named) if found.name in wish.named else Watermark(image=found.name)
    for place in (x, y):
        if not _PLACE.fullmatch(place):
            refuse(
                name, "lies at pixels or per cent (10p) from the left and top (-10: from the right and bottom), center or repeat."
            )
    across, down = (
        read(name, _between(1, 100), text) if text.lower() != "none" else None for text in (*ratios, "none", "none")[:2]
    )
    scale = mark.scale
    if across or down:
        scale = Scale(across or 100, down or 100)
    elif mark.image:
        scale = Scale(1, 1, is_own=True)
    wish.mark = replace(mark, scale=scale, opacity=100 - read(name, _between(0, 100), alpha)), x, y


def _max_bytes(wish: Wish, name: str, arguments: list[str]) -> None:
    wish.look["max_bytes"] = read(name, _whole, arguments[0])


@dataclass(frozen=True, slots=True)
class Filter:
    """One row: how many arguments, what becomes of it here (for the reference page), and how."""

    least: int
    most: int
    becomes: str
    example: str
    apply: Applier


FILTERS: Final = {
    "quality": Filter(1, 1, "`quality`.", "quality(80)", _quality),
    "format": Filter(1, 1, "The extension: `jpeg`, `png`, `webp`, `avif`, `gif`.", "format(webp)", _format),
    "blur": Filter(1, 2, "`blur` at the sigma, or else at the radius.", "blur(4,2)", _blur),
    "sharpen": Filter(
        3,
        3,
        "`sharpen` by the amount. Its radius is about a pixel: 0.5 to 1.5 is taken as that, others are refused.",
        "sharpen(2,1.0,true)",
        _sharpen,
    ),
    "brightness": Filter(1, 1, "`lift`.", "brightness(20)", _brightness),
    "contrast": Filter(1, 1, "`contrast` of ((100 + amount) / 100)².", "contrast(-10)", _contrast),
    "saturation": Filter(1, 1, "`saturation`, around another grey (BT.709).", "saturation(1.3)", _saturation),
    "grayscale": Filter(0, 0, "`grayscale`.", "grayscale()", _grayscale),
    "rotate": Filter(1, 1, "`rotate` the other way round: thumbor turns to the left. Multiples of 90.", "rotate(90)", _rotate),
    "fill": Filter(1, 2, "`pad` up to the box in this colour. Not `auto`, not `blur`.", "fill(ff0000)", _fill),
    "background_color": Filter(1, 1, "`background`.", "background_color(white)", _background),
    "round_corner": Filter(4, 5, "`radius` and `background`. No ellipses.", "round_corner(20,255,255,255)", _round_corner),
    "focal": Filter(1, 1, "`gravity` at the middle of the region, in pixels of the original.", "focal(100x50:300x250)", _focal),
    "proportion": Filter(1, 1, "The finished size times this.", "proportion(0.5)", _proportion),
    "stretch": Filter(0, 0, "`fit=fill`.", "stretch()", _stretch),
    "upscale": Filter(0, 0, "`fit=contain` with `fit-in`; without it pictures grow anyway.", "upscale()", _upscale),
    "no_upscale": Filter(0, 0, "A box no larger than the picture.", "no_upscale()", _no_upscale),
    "watermark": Filter(
        4,
        6,
        "`watermark`: an image's id, or the name of a [watermark](transforms.md#watermarks), where thumbor has an address; "
        "`watermark_margin`, 100 - alpha as `watermark_opacity`, ratios as `watermark_scale`, without them its own size. `repeat` in both "
        "directions is `tile`, from the middle.",
        "watermark(01jabcdefghjkmnpqrstvwxyz0,-10,-10,50,20,20)",
        _watermark,
    ),
    "strip_icc": Filter(0, 0, "Always: renditions are sRGB.", "strip_icc()", _always),
    "strip_exif": Filter(0, 0, "Always: renditions carry no metadata.", "strip_exif()", _always),
    "max_bytes": Filter(1, 1, "`max_bytes`; 0 is any.", "max_bytes(20000)", _max_bytes),
}
