"""imgproxy's grammar: `/{option}:{argument}:…/…/plain/{source}@{extension}` or `…/{base 64 source}.{extension}`, to an Order.

Every free option under all of its names, with imgproxy's own defaults and its arithmetic of sizes. An option is applied where it
stands, a later one over an earlier one, and a preset where it is named: that is how presets are made to be overridden.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final

from safelight.errors import BadOption
from safelight.imaging.formats import Format
from safelight.imaging.transform.foreign import (
    MAX_PATH,
    Order,
    direction,
    origin,
    planned,
    read,
    refuse,
    rejoined,
    shown,
    turned_back,
    unescaped,
)
from safelight.imaging.transform.grammar import Named, named_mark
from safelight.imaging.transform.options import colour, filename
from safelight.imaging.transform.plan import Box, Size
from safelight.imaging.transform.spec import MAX_BLUR, MAX_PAD, MAX_SIDE, Spec
from safelight.imaging.transform.values import (
    UNPADDED,
    Fit,
    Flip,
    Focal,
    Gravity,
    Metadata,
    Padding,
    Profile,
    Region,
    Rgba,
    whole,
)
from safelight.imaging.transform.watermark import MAX_MARGIN, Layer, Margin, Position, Scale, Watermark

FORMATS: Final = {
    "jpg": Format.JPEG,
    "jpeg": Format.JPEG,
    "png": Format.PNG,
    "webp": Format.WEBP,
    "avif": Format.AVIF,
    "gif": Format.GIF,
}
_GRAVITIES: Final = {
    "ce": Gravity.CENTER,
    "no": Gravity.NORTH,
    "noea": Gravity.NORTH_EAST,
    "ea": Gravity.EAST,
    "soea": Gravity.SOUTH_EAST,
    "so": Gravity.SOUTH,
    "sowe": Gravity.SOUTH_WEST,
    "we": Gravity.WEST,
    "nowe": Gravity.NORTH_WEST,
    "sm": Gravity.AUTO,
}
_TYPES: Final = ("fit", "fill", "fill-down", "force", "auto")
_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_NUMBER: Final = re.compile(r"-?(?:[0-9]{1,7})(?:\.[0-9]{1,6})?")
_WHOLE: Final = re.compile(r"-?[0-9]{1,12}")
_MAX_OPTIONS: Final = 64
"""Of one URL, those of its presets among them."""
_ZERO: Final = Fraction(0)
_AS_IS: Final = (Fraction(1), Fraction(1))

PAID: Final = frozenset({
    "resizing_algorithm", "ra", "objects_position", "op", "crop_aspect_ratio", "crop_ar", "car", "background_alpha", "bga",
    "adjust", "a", "brightness", "br", "contrast", "co", "saturation", "sa", "monochrome", "mc", "duotone", "dt",
    "colorize", "col", "gradient", "gr", "unsharp_masking", "ush", "blur_areas", "ba", "blur_detections", "bd",
    "draw_detections", "dd", "watermark_url", "wmu", "watermark_text", "wmt", "watermark_size", "wms", "watermark_rotate",
    "wmr", "watermark_shadow", "wmsh", "style", "st", "dpi", "autoquality", "aq", "jpeg_options", "jpgo", "png_options",
    "pngo", "webp_options", "webpo", "avif_options", "avifo", "page", "pg", "pages", "pgs", "disable_animation", "da",
    "video_thumbnail_second", "vts", "video_thumbnail_keyframes", "vtk", "video_thumbnail_tile", "vtt",
    "video_thumbnail_animation", "vta", "fallback_image_url", "fiu", "hashsum", "hs", "color_profile", "cp", "icc",
    "preserve_hdr", "ph",
})  # fmt: skip
"""Of imgproxy Pro: refused under their names."""
SECURITY: Final = frozenset({
    "max_src_resolution", "msr", "max_src_file_size", "msfs", "max_animation_frames", "maf",
    "max_animation_frame_resolution", "mafr", "max_result_dimension", "mrd",
})  # fmt: skip
"""imgproxy refuses these as well unless it is told otherwise; ours are settings."""


@dataclass(frozen=True, slots=True)
class Pull:
    """A gravity: a side, the eye, or a point; and how far away from there (pixels of the result, below 1 a share of it)."""

    side: Gravity = Gravity.CENTER
    point: tuple[Fraction, Fraction] | None = None
    x: Fraction = _ZERO
    y: Fraction = _ZERO

    def place(self, outer: int, inner: int, axis: int, scale: Fraction) -> int:
        """Where along an axis (0 across, 1 down) the smaller of two lengths lies within the larger one."""
        if self.point is not None:
            at = _rounded(outer * self.point[axis]) - inner // 2
        else:
            offset = (self.x, self.y)[axis]
            away = _rounded(offset * scale) if abs(offset) >= 1 else _rounded(outer * offset)
            match direction(self.side)[axis]:
                case -1:
                    at = away
                case 1:
                    at = outer - inner - away
                case _:
                    at = (outer - inner) // 2 + away
        return max(0, min(at, outer - inner))


@dataclass(frozen=True, slots=True)
class Mark:
    """`watermark`: what is laid over, and how; `scale` 0 is its own size. A pull of None lays it everywhere."""

    base: Watermark
    opacity: Fraction
    pull: Pull | None = None
    gap: tuple[Fraction, Fraction] = (_ZERO, _ZERO)
    scale: Fraction = _ZERO

    def on(self, canvas: Size, ratio: Fraction) -> Watermark:
        """For a canvas of this size. Raises BadOption."""
        offsets = (self.pull.x, self.pull.y) if self.pull else self.gap
        x, y = (
            _rounded(offset * ratio) if abs(offset) >= 1 else _rounded(offset * side)
            for offset, side in zip(offsets, canvas, strict=True)
        )
        if max(abs(x), abs(y)) > MAX_MARGIN:
            refuse("watermark", f"has offsets of at most {MAX_MARGIN} pixels.")
        scale = self.base.scale
        if self.scale:
            scale = Scale(float(100 * self.scale), float(100 * self.scale))
        elif self.base.image:
            scale = Scale(float(ratio), float(ratio), is_own=True)
        return replace(
            self.base,
            opacity=float(self.opacity) * self.base.opacity,
            position=Position(self.pull.side) if self.pull else Position.TILE,
            margin=Margin(x, y),
            scale=scale,
            layer=Layer.CANVAS,
        )


@dataclass(slots=True)
class Wish:
    """What the options have said so far, and in the end. Keeps `foreign.Wish`."""

    format: Format | None = None
    type: str = "fit"
    width: int = 0
    height: int = 0
    min_width: int = 0
    min_height: int = 0
    zoom: tuple[Fraction, Fraction] = _AS_IS
    dpr: Fraction = Fraction(1)
    enlarge: bool = False
    extend: Pull | None = None
    extend_aspect: Pull | None = None
    gravity: Pull = Pull()
    crop: tuple[Fraction, Fraction] = (_ZERO, _ZERO)
    crop_gravity: Pull | None = None
    trim: int = 0
    padding: Padding = UNPADDED
    rotate: int = 0
    flip: Flip = Flip.NONE
    background: Rgba | None = None
    blur: Fraction = _ZERO
    sharpen: Fraction = _ZERO
    pixelate: int = 0
    quality: int = 0
    qualities: dict[Format, int] = field(default_factory=dict)
    max_bytes: int = 0
    strips_metadata: bool = True
    keeps_copyright: bool = False
    strips_profile: bool = True
    filename: str = ""
    is_attachment: bool = False
    version: str = ""
    exp: int = 0
    applied: int = 0
    mark: Mark | None = None
    named: Named = field(default_factory=dict)

    def quality_for(self, format: Format) -> int:
        """`format_quality` over `quality`, as imgproxy has it when only one is said."""
        return self.quality or self.qualities.get(format, 0)

    def spec(self, original: Size) -> Spec:
        """Natural options where they say the same, else the window and the size that imgproxy would reckon."""
        lies_across = self.rotate in {90, 270}
        turned = Size(original.height, original.width) if lies_across else original
        region = self._region(turned)
        size = Size(region.width, region.height)
        look = Spec(
            format=self.format,
            crop=self._said(region, turned),
            trim=self.trim,
            rotate=self.rotate,
            flip=self.flip,
            blur=float(self.blur),
            edges=float(self.sharpen),
            pixelate=self.pixelate,
            quality=self.quality,
            max_bytes=self.max_bytes,
            metadata=self._metadata(),
            icc=Profile.SRGB if self.strips_profile else Profile.KEEP,
        )
        across, down, ratio = self._scale(size)
        spec = self._natural(look, size, region, turned) or self._reckoned(look, size, region, turned, (across, down, ratio))
        spec = self._papered(spec, original, ratio)
        if self.background:
            spec = replace(spec, background=self.background)
        return self._marked(spec, original, ratio) if self.mark else spec

    def _marked(self, spec: Spec, original: Size, ratio: Fraction) -> Spec:
        assert self.mark is not None  # who calls has looked
        offsets = (self.mark.pull.x, self.mark.pull.y) if self.mark.pull else self.mark.gap
        if self.trim and any(0 < abs(offset) < 1 for offset in offsets):
            refuse("watermark", "with offsets as shares cannot be combined with trim.")
        return replace(spec, watermark=self.mark.on(planned(spec, original).canvas, ratio))

    def _metadata(self) -> Metadata:
        if not self.strips_metadata:
            return Metadata.KEEP
        return Metadata.COPYRIGHT if self.keeps_copyright else Metadata.NONE

    def _region(self, turned: Size) -> Box:
        """`crop`, in the turned picture."""
        width, height = (
            min(length, whole_) if length else whole_
            for length, whole_ in ((_cropped(share, side), side) for share, side in zip(self.crop, turned, strict=True))
        )
        pull = self.crop_gravity or self.gravity
        if (width, height) != turned and pull.side is Gravity.AUTO:
            refuse("crop", "cannot look for what catches the eye; give it a gravity of its own.")
        one = Fraction(1)
        return Box(pull.place(turned.width, width, 0, one), pull.place(turned.height, height, 1, one), width, height)

    def _said(self, region: Box, turned: Size) -> Region | None:
        if region == (0, 0, *turned):
            return None
        if self.trim:
            refuse("crop", "cannot be combined with trim.")
        return Region(*rejoined(self.rotate, self.flip, region, turned))

    def _scale(self, size: Size) -> tuple[Fraction, Fraction, Fraction]:
        """How much larger the picture becomes in both directions, and what remains of `dpr` when nothing may be enlarged."""
        across = Fraction(size.width, self.width or size.width)
        down = Fraction(size.height, self.height or size.height)
        if self._type(size) != "force":
            if not self.width:
                across = down
            elif not self.height:
                down = across
            else:
                across = down = max(across, down) if self._type(size) == "fit" else min(across, down)
        across, down, ratio = across / self.zoom[0], down / self.zoom[1], self.dpr
        if not self.enlarge:
            least = min(across, down)
            if least < 1:
                across, down = across / least, down / least
                if self.extend is None:
                    ratio /= least
            ratio = min(ratio, across, down)
        for length, asked, is_width in ((size.width, self.min_width, True), (size.height, self.min_height, False)):
            mine = across if is_width else down
            if asked and Fraction(length, asked) < mine:
                factor = Fraction(length, asked) / mine
                across, down = across * factor, down * factor
        return 1 / min(across / ratio, Fraction(size.width)), 1 / min(down / ratio, Fraction(size.height)), ratio

    def _type(self, size: Size) -> str:
        if self.type != "auto":
            return self.type
        wide, asked = size.width >= size.height, (self.width or size.width) >= (self.height or size.height)
        return "fill" if wide == asked else "fit"

    def _natural(self, look: Spec, size: Size, region: Box, turned: Size) -> Spec | None:
        """As the native grammar would have it; None where it has no words for it."""
        if self.type == "auto" and self.trim and self.width and self.height:
            refuse("resizing_type", "auto cannot be combined with trim.")
        if self.min_width or self.min_height or (self.gravity.x or self.gravity.y):
            return None
        width, height = self._asked(self.dpr)
        if not (self.width and self.height):
            is_scaled = (
                (self.zoom != _AS_IS or self.dpr != 1) if not (self.width or self.height) else self.zoom[0] != self.zoom[1]
            )
            if is_scaled or self.type == "force":
                return None
            fit = Fit.CONTAIN if self.enlarge else Fit.SCALE_DOWN
        else:
            scales = self.dpr != 1 or self.zoom != _AS_IS
            match self._type(size):
                case "fit" if self.zoom[0] == self.zoom[1]:
                    fit = Fit.CONTAIN if self.enlarge else Fit.SCALE_DOWN
                case "fill" if self.enlarge and self.zoom[0] == self.zoom[1]:
                    fit = Fit.COVER
                case "fill" if not scales:
                    fit = Fit.CROP
                case "fill-down" if not scales and not self.enlarge:
                    fit = Fit.ASPECT_CROP
                case "fill-down" if self.enlarge and self.zoom[0] == self.zoom[1]:
                    fit = Fit.COVER
                case "force" if self.enlarge:
                    fit = Fit.FILL
                case _:
                    return None
        return _with(look, _side("width", width), _side("height", height), fit, self._towards(region, turned))

    def _towards(self, region: Box, turned: Size) -> Gravity | Focal:
        if self.gravity.point is None:
            return turned_back(self.rotate, self.flip, self.gravity.side)
        if self.trim:
            refuse("gravity", "with a point cannot be combined with trim.")
        x = region.left + self.gravity.point[0] * region.width
        y = region.top + self.gravity.point[1] * region.height
        share = (x / turned.width, y / turned.height)
        if self.flip in {Flip.H, Flip.HV}:
            share = (1 - share[0], share[1])
        if self.flip in {Flip.V, Flip.HV}:
            share = (share[0], 1 - share[1])
        match self.rotate:
            case 90:
                share = (share[1], 1 - share[0])
            case 180:
                share = (1 - share[0], 1 - share[1])
            case 270:
                share = (1 - share[1], share[0])
        return Focal(float(share[0]), float(share[1]))

    def _reckoned(self, look: Spec, size: Size, region: Box, turned: Size, scale: tuple[Fraction, Fraction, Fraction]) -> Spec:
        if self.trim:
            refuse("trim", "cannot be combined with what depends on the picture's size.")
        across, down, ratio = scale
        scaled = Size(max(1, _rounded(size.width * across)), max(1, _rounded(size.height * down)))
        inner = self._result(scaled, ratio)
        if inner == scaled:
            if inner == size:
                return look
            fit = Fit.SCALE_DOWN if across == down < 1 else Fit.FILL
            return _with(look, _side("width", inner.width), _side("height", inner.height), fit)
        if self.gravity.side is Gravity.AUTO:
            return _with(look, _side("width", inner.width), _side("height", inner.height), Fit.COVER, Gravity.AUTO)
        left = self.gravity.place(scaled.width, inner.width, 0, ratio)
        top = self.gravity.place(scaled.height, inner.height, 1, ratio)
        left, top = min(size.width - 1, _rounded(left / across)), min(size.height - 1, _rounded(top / down))
        width = min(max(1, _rounded(inner.width / across)), size.width - left)
        height = min(max(1, _rounded(inner.height / down)), size.height - top)
        window = Box(region.left + left, region.top + top, width, height)
        crop = Region(*rejoined(self.rotate, self.flip, window, turned))
        return _with(look, _side("width", inner.width), _side("height", inner.height), Fit.FILL, crop=crop)

    def _result(self, scaled: Size, ratio: Fraction) -> Size:
        """What is left of the scaled picture."""
        asked = self._asked(ratio)
        if self._type(scaled) == "fill-down" and all(asked) and not self.enlarge:
            factor = min(Fraction(1), Fraction(scaled.width, asked.width), Fraction(scaled.height, asked.height))
            asked = Size(max(1, _rounded(asked.width * factor)), max(1, _rounded(asked.height * factor)))
        return Size(*(min(have, want) if want else have for have, want in zip(scaled, asked, strict=True)))

    def _asked(self, ratio: Fraction) -> Size:
        sides = zip((self.width, self.height), self.zoom, strict=True)
        return Size(*(max(1, _rounded(side * zoom * ratio)) if side else 0 for side, zoom in sides))

    def _papered(self, spec: Spec, original: Size, ratio: Fraction) -> Spec:
        """`extend`, `extend_aspect_ratio` and `padding`, as padding, in this order."""
        has_bars = (self.extend is not None or self.extend_aspect is not None) and (self.width or self.height)
        if not has_bars and not any(self.padding):
            return spec
        top, right, bottom, left = (_rounded(side * ratio) for side in self.padding)
        if has_bars and spec.fit is Fit.CONTAIN and self.extend == Pull() and self.width and self.height:
            fit = Fit.PAD
        else:
            fit = spec.fit
            if has_bars:
                if self.trim:
                    refuse("trim", "cannot be combined with extend.")
                inner = planned(spec, original).canvas
                for name, pull, outer in self._bars(inner, ratio):
                    across = pull.place(outer.width, inner.width, 0, ratio)
                    down = pull.place(outer.height, inner.height, 1, ratio)
                    bars = (down, outer.width - inner.width - across, outer.height - inner.height - down, across)
                    if max(bars) > MAX_PAD:
                        refuse(name, f"would add more than {MAX_PAD} pixels to a side.")
                    top, right, bottom, left = (one + bar for one, bar in zip((top, right, bottom, left), bars, strict=True))
                    inner = outer
        sides = Padding(*(whole("padding", side, 0, MAX_PAD) for side in (top, right, bottom, left)))
        return _with(spec, spec.width, spec.height, fit, spec.gravity, pad=sides)

    def _bars(self, inner: Size, ratio: Fraction) -> list[tuple[str, Pull, Size]]:
        asked = self._asked(ratio)
        bars: list[tuple[str, Pull, Size]] = []
        if self.extend is not None:
            inner = Size(max(inner.width, asked.width), max(inner.height, asked.height))
            bars.append(("extend", self.extend, inner))
        if self.extend_aspect is not None and all(asked):
            wider = Size(max(inner.width, _rounded(Fraction(inner.height * asked.width, asked.height))), inner.height)
            taller = Size(inner.width, max(inner.height, _rounded(Fraction(inner.width * asked.height, asked.width))))
            bars.append(("extend_aspect_ratio", self.extend_aspect, wider if wider.width > inner.width else taller))
        return bars


_NAMES_PRESETS: Final = frozenset({"default", "preset", "pr"})
_ABOUT_THE_ANSWER: Final = frozenset(
    {"cachebuster", "cb", "expires", "exp", "filename", "fn", "return_attachment", "att", "format", "f", "ext"}
)


def parse(path: str, presets: Mapping[str, str] | None = None, named: Named | None = None) -> Order:
    """`path` is what stands behind the signature, on the wire as it was, with its leading slash. Raises BadOption.

    `named` are the watermarks, of which URLs mean `default`.
    """
    if len(path) > MAX_PATH:
        raise BadOption(f"A path has at most {MAX_PATH} characters.", option="options")
    parts = path.removeprefix("/").split("/")
    wish = Wish(named=named or {})
    presets = presets or {}
    if "default" in presets:
        _preset(wish, ["default"], presets, ())
    at, names = 0, set(presets) & {"default"}
    while at < len(parts) and ":" in parts[at] and parts[at] != "plain":
        name, *arguments = parts[at].split(":")
        _apply(wish, name, arguments, presets, ())
        names.add(name)
        at += 1
    text, extension = _source(parts[at:])
    if extension:
        _format(wish, "extension", [extension])
    return Order(
        origin(text),
        wish,
        filename=wish.filename,
        is_attachment=wish.is_attachment,
        version=wish.version,
        exp=wish.exp,
        is_preset=bool(names & _NAMES_PRESETS) and names <= _NAMES_PRESETS | _ABOUT_THE_ANSWER,
    )


def read_presets(text: str, named: Named | None = None) -> dict[str, str]:
    """`name=option:argument/option:argument,name=…`, as imgproxy's own setting. Raises ValueError."""
    presets: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, equals, options = (part.strip() for part in entry.partition("="))
        if not equals or not name or not options or name in presets:
            raise ValueError(f"name=options, each name once; not '{entry}'")
        presets[name] = options
    for name in presets:
        try:
            _preset(Wish(named=named or {}), [name], presets, ())
        except BadOption as error:
            raise ValueError(f"{name}: {error.detail}") from None
    return presets


def _source(parts: Sequence[str]) -> tuple[str, str]:
    """The source, decoded, and the extension behind it ('' = none)."""
    if parts and parts[0] == "enc":
        raise BadOption("Encrypted sources are not supported.", option="enc")
    if parts and parts[0] == "plain" and len(parts) > 1:
        text, *extensions = "/".join(parts[1:]).split("@")
        text = unescaped(text, option="source")
    else:
        encoded, *extensions = "".join(parts).split(".")
        encoded = encoded.rstrip("=")
        try:
            text = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True).decode()
        except (binascii.Error, ValueError):
            raise BadOption("The source is not URL-safe base 64.", option="source") from None
    if not text:
        raise BadOption("The source is empty.", option="source")
    if len(extensions) > 1:
        raise BadOption("There are several extensions.", option="extension")
    return text, extensions[0] if extensions else ""


Applier = Callable[[Wish, str, list[str]], None]


def _apply(wish: Wish, name: str, arguments: list[str], presets: Mapping[str, str], within: tuple[str, ...]) -> None:
    wish.applied += 1
    if wish.applied > _MAX_OPTIONS:
        raise BadOption(f"A URL has at most {_MAX_OPTIONS} options.", option="options")
    if name in {"preset", "pr"}:
        _preset(wish, arguments, presets, within)
        return
    option = OPTIONS.get(name)
    if option is None:
        if name in PAID:
            refuse(name, "is an option of imgproxy Pro.")
        if name in SECURITY:
            refuse(name, "is a setting here.")
        raise BadOption(f"There is no option '{shown(name)}'.", option=shown(name))
    if not arguments:
        refuse(name, "has no argument.")
    if len(arguments) > option.most:
        refuse(name, f"takes {option.most} arguments at most.")
    option.apply(wish, name, arguments)


def _preset(wish: Wish, names: Sequence[str], presets: Mapping[str, str], within: tuple[str, ...]) -> None:
    for name in names:
        if name not in presets:
            raise BadOption(f"There is no preset '{shown(name)}'.", option="preset")
        if name in within:
            raise BadOption(f"The preset '{shown(name)}' names itself.", option="preset")
        for part in presets[name].split("/"):
            inner, *arguments = part.split(":")
            _apply(wish, inner, arguments, presets, (*within, name))


def _with(
    spec: Spec,
    width: int,
    height: int,
    fit: Fit,
    gravity: Gravity | Focal = Gravity.CENTER,
    *,
    crop: Region | None = None,
    pad: Padding = UNPADDED,
) -> Spec:
    said = {"width": width, "height": height, "fit": fit, "gravity": gravity, "crop": crop or spec.crop, "pad": pad}
    return replace(spec, **said)  # type: ignore[arg-type]  # the types are those of the parameters


def _rounded(value: Fraction) -> int:
    """Half a pixel upwards."""
    return int((2 * value + 1) // 2)


def _cropped(share: Fraction, side: int) -> int:
    return int(share) if share >= 1 or share == 0 else max(1, _rounded(share * side))


def _side(name: str, value: int) -> int:
    """A side of the result, named as the URL names it."""
    return whole(name, value, 0, MAX_SIDE)


def _whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError("a whole number")
    return int(text)


def _count(text: str) -> int:
    if text.startswith("-") or len(text) > 7:
        raise ValueError("a whole number from 0 to 9999999")
    return _whole(text)


def _number(text: str) -> Fraction:
    if not _NUMBER.fullmatch(text):
        raise ValueError("a number")
    return Fraction(text)


def _positive(text: str) -> Fraction:
    value = _number(text)
    if value <= 0:
        raise ValueError("a number above 0")
    return value


def _share(text: str) -> Fraction:
    value = _number(text)
    if not 0 <= value <= 1:
        raise ValueError("a number from 0 to 1")
    return value


def _strength(least: str, most: int) -> Callable[[str], Fraction]:
    def reader(text: str) -> Fraction:
        value = _number(text)
        if value and not Fraction(least) <= value <= most:
            raise ValueError(f"0 or a number from {least} to {most}")
        return value

    return reader


def _switch(text: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise ValueError("1 or 0")
    return text in _TRUE


def _rgb(text: str) -> Rgba:
    if len(text) not in {3, 6}:
        raise ValueError("a hex colour, rgb or rrggbb")
    return colour(text)


def _pull(name: str, arguments: list[str], *, may_look: bool = True) -> Pull:
    kind, *offsets = arguments
    if kind == "fp":
        if len(offsets) != 2:
            refuse(name, "fp takes two numbers from 0 to 1.")
        x, y = (read(name, _share, text) for text in offsets)
        return Pull(point=(x, y))
    if kind not in _GRAVITIES or (kind == "sm" and not may_look):
        refuse(name, f"takes {', '.join(key for key in (*_GRAVITIES, 'fp') if may_look or key != 'sm')}.")
    if kind == "sm" and offsets:
        refuse(name, "sm has no offsets.")
    if len(offsets) > 2:
        refuse(name, "takes two offsets at most.")
    x, y = (read(name, _number, text) if text else _ZERO for text in (*offsets, "", "")[:2])
    return Pull(_GRAVITIES[kind], None, x, y)


def _resize(wish: Wish, name: str, arguments: list[str]) -> None:
    if arguments[0]:
        _type(wish, name, arguments[:1])
    _size(wish, name, arguments[1:])


def _size(wish: Wish, name: str, arguments: list[str]) -> None:
    width, height, enlarge, *extend = (*arguments, *[""] * 4)[: max(4, len(arguments))]
    if width:
        wish.width = read(name, _count, width)
    if height:
        wish.height = read(name, _count, height)
    if enlarge:
        wish.enlarge = read(name, _switch, enlarge)
    if extend and extend[0]:
        wish.extend = _bars_of(name, extend)


def _type(wish: Wish, name: str, arguments: list[str]) -> None:
    if arguments[0] not in _TYPES:
        refuse(name, f"takes {', '.join(_TYPES)}.")
    wish.type = arguments[0]


def _bars_of(name: str, arguments: list[str]) -> Pull | None:
    is_on = read(name, _switch, arguments[0])
    pull = _pull(name, arguments[1:], may_look=False) if arguments[1:] and arguments[1] else Pull()
    return pull if is_on else None


def _set(field_: str, reader: Callable[[str], object]) -> Applier:
    def apply(wish: Wish, name: str, arguments: list[str]) -> None:
        setattr(wish, field_, read(name, reader, arguments[0]))

    return apply


def _zoom(wish: Wish, name: str, arguments: list[str]) -> None:
    x, *more = (read(name, _positive, text) for text in arguments)
    wish.zoom = (x, more[0] if more else x)


def _extend(wish: Wish, name: str, arguments: list[str]) -> None:
    wish.extend = _bars_of(name, arguments)


def _extend_aspect(wish: Wish, name: str, arguments: list[str]) -> None:
    wish.extend_aspect = _bars_of(name, arguments)


def _gravity(wish: Wish, name: str, arguments: list[str]) -> None:
    wish.gravity = _pull(name, arguments)


def _crop(wish: Wish, name: str, arguments: list[str]) -> None:
    width, height, *pull = (*arguments, *[""] * 2)[: max(2, len(arguments))]
    sides = tuple(read(name, _number, text) if text else _ZERO for text in (width, height))
    if min(sides) < 0:
        refuse(name, "takes no negative sides.")
    wish.crop = (sides[0], sides[1])
    wish.crop_gravity = _pull(name, pull) if pull and pull[0] else None


def _trim(wish: Wish, name: str, arguments: list[str]) -> None:
    threshold, tone, *equal = (*arguments, *[""] * 4)[:4]
    if tone:
        refuse(name, "takes no colour: the border is the colour of the upper left pixel.")
    if any(text and read(name, _switch, text) for text in equal):
        refuse(name, "cannot cut equally from both sides.")
    if not threshold:
        wish.trim = 0
        return
    value = read(name, _number, threshold)
    if not 0 <= value <= 100:
        refuse(name, "is a number from 0 to 100.")
    wish.trim = max(1, _rounded(value))


def _padding(wish: Wish, name: str, arguments: list[str]) -> None:
    top, right, bottom, left = (*arguments, *[""] * 4)[:4]
    first = read(name, _count, top) if top else wish.padding.top
    second = read(name, _count, right) if right else first
    third = read(name, _count, bottom) if bottom else first
    wish.padding = Padding(first, second, third, read(name, _count, left) if left else second)


def _rotate(wish: Wish, name: str, arguments: list[str]) -> None:
    angle = read(name, _whole, arguments[0])
    if angle % 90:
        refuse(name, "is a multiple of 90.")
    wish.rotate = angle % 360


def _flip(wish: Wish, name: str, arguments: list[str]) -> None:
    across, down = (bool(text) and read(name, _switch, text) for text in (*arguments, "")[:2])
    wish.flip = Flip.HV if across and down else Flip.H if across else Flip.V if down else Flip.NONE


def _background(wish: Wish, name: str, arguments: list[str]) -> None:
    if len(arguments) == 1:
        wish.background = read(name, _rgb, arguments[0]) if arguments[0] else None
        return
    if len(arguments) != 3:
        refuse(name, "is hex or R:G:B.")
    levels = [read(name, _count, text) for text in arguments]
    if max(levels) > 255:
        refuse(name, "has levels from 0 to 255.")
    wish.background = Rgba(*levels)


def _quality(text: str) -> int:
    value = _count(text)
    if value > 100:
        raise ValueError("a whole number from 1 to 100, or 0 for the default")
    return value


def _format_quality(wish: Wish, name: str, arguments: list[str]) -> None:
    if len(arguments) % 2:
        refuse(name, "takes pairs of format and quality.")
    for text, quality in zip(arguments[::2], arguments[1::2], strict=True):
        if text not in FORMATS:
            refuse(name, f"takes {', '.join(FORMATS)}.")
        wish.qualities[FORMATS[text]] = read(name, _quality, quality)


def _format(wish: Wish, name: str, arguments: list[str]) -> None:
    if arguments[0] not in FORMATS:
        refuse(name, f"is one of {', '.join(FORMATS)}.")
    wish.format = FORMATS[arguments[0]]


def _filename(wish: Wish, name: str, arguments: list[str]) -> None:
    text, encoded = (*arguments, "")[:2]
    if encoded and read(name, _switch, encoded):
        try:
            text = base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True).decode()
        except (binascii.Error, ValueError):
            refuse(name, "is not URL-safe base 64.")
    else:
        text = unescaped(text, option=name)
    wish.filename = read(name, filename, text)


def _expires(wish: Wish, name: str, arguments: list[str]) -> None:
    wish.exp = max(0, read(name, _whole, arguments[0]))


def _cachebuster(wish: Wish, name: str, arguments: list[str]) -> None:
    wish.version = arguments[0]


def _only(why: str, *, usual: bool) -> Applier:
    """For what we do anyway: saying so is fine, saying the contrary is not."""

    def apply(wish: Wish, name: str, arguments: list[str]) -> None:
        if read(name, _switch, arguments[0]) is not usual:
            refuse(name, why)

    return apply


def _watermark(wish: Wish, name: str, arguments: list[str]) -> None:
    opacity, kind, x, y, scale = (*arguments, *[""] * 4)[:5]
    share = read(name, _share, opacity)
    if not share:
        wish.mark = None
        return
    base = named_mark("default", wish.named)
    is_tiled = kind == "re"
    pull = None if is_tiled else _pull(name, [kind or "ce", x, y], may_look=False)
    if pull and pull.point is not None:
        refuse(name, f"takes {', '.join(key for key in _GRAVITIES if key != 'sm')}, re.")
    gap = tuple(read(name, _number, text) if text else _ZERO for text in (x, y)) if is_tiled else (_ZERO, _ZERO)
    size = read(name, _number, scale) if scale else _ZERO
    if size and not Fraction(1, 100) <= size <= 1:
        refuse(name, "has a scale from 0.01 to 1, or 0 for its own size.")
    wish.mark = Mark(base, share, pull, (gap[0], gap[1]), size)


def _skip(wish: Wish, name: str, arguments: list[str]) -> None:
    if any(arguments):
        refuse(name, "is not available: originals are never delivered unprocessed.")


@dataclass(frozen=True, slots=True)
class Option:
    """One row: its names, how many arguments it takes at most, what becomes of it here (for the reference page), and how."""

    names: tuple[str, ...]
    most: int
    becomes: str
    example: str
    apply: Applier


TABLE: Final = (
    Option(
        ("resize", "rs"),
        8,
        "`resizing_type`, then as `size`.",
        "rs:fill:300:200",
        _resize,
    ),
    Option(("size", "s"), 7, "`width`, `height`, `enlarge`, `extend`.", "s:300:200:1", _size),
    Option(
        ("resizing_type", "rt"),
        1,
        "`fit`: `fit=scale-down`, with `enlarge` `contain`. `fill`: `crop`, with `enlarge` `cover`. `fill-down`: `aspect-crop`. `force`: "
        "`fill`. `auto`: `fill` where picture and box both lie or both stand, else `fit`.",
        "rt:fill-down",
        _type,
    ),
    Option(("width", "w"), 1, "`width`; 0 is free.", "w:300", _set("width", _count)),
    Option(("height", "h"), 1, "`height`; 0 is free.", "h:200", _set("height", _count)),
    Option(("min-width", "mw"), 1, "A larger `width` where the picture would be narrower.", "mw:200", _set("min_width", _count)),
    Option(("min-height", "mh"), 1, "Likewise for `height`.", "mh:200", _set("min_height", _count)),
    Option(("zoom", "z"), 2, "Multiplies `width` and `height`, or the picture's own size.", "z:0.5", _zoom),
    Option(("dpr",), 1, "Multiplies `width`, `height`, `padding` and offsets.", "dpr:2", _set("dpr", _positive)),
    Option(("enlarge", "el"), 1, "Lets the picture grow to the box.", "el:1", _set("enlarge", _switch)),
    Option(
        ("extend", "ex"),
        4,
        f"`pad` up to the box, where the gravity says; at most {MAX_PAD} pixels a side.",
        "ex:1:no",
        _extend,
    ),
    Option(("extend_aspect_ratio", "extend_ar", "exar"), 4, "`pad` up to the box's aspect.", "exar:1", _extend_aspect),
    Option(
        ("gravity", "g"),
        3,
        "`gravity`: the sides with their offsets, `fp:x:y` as a point, `sm` as `auto`.",
        "g:fp:0.3:0.7",
        _gravity,
    ),
    Option(
        ("crop", "c"),
        5,
        "`crop`, in pixels of the original or as a share of it. Not with `sm`, nor with `trim`.",
        "c:400:300:nowe",
        _crop,
    ),
    Option(
        ("trim", "t"),
        4,
        "`trim` at the threshold's whole number, at least 1. No colour of its own, no equal borders.",
        "t:10",
        _trim,
    ),
    Option(("padding", "pd"), 4, "`pad`.", "pd:10:20", _padding),
    Option(("auto_rotate", "ar"), 1, "1; pictures are always upright.", "ar:1", _only("cannot be switched off.", usual=True)),
    Option(("rotate", "rot"), 1, "`rotate`; any multiple of 90.", "rot:90", _rotate),
    Option(("flip", "fl"), 2, "`flip`.", "fl:1:0", _flip),
    Option(("background", "bg"), 3, "`background`.", "bg:255:0:128", _background),
    Option(("blur", "bl"), 1, "`blur`.", "bl:2.5", _set("blur", _strength("0.3", MAX_BLUR))),
    Option(("sharpen", "sh"), 1, "`edges`.", "sh:0.7", _set("sharpen", _strength("0.1", 10))),
    Option(("pixelate", "pix"), 1, "`pixelate`.", "pix:10", _set("pixelate", _count)),
    Option(
        ("watermark", "wm"),
        5,
        "The [watermark](transforms.md#watermarks) that is named `default`, on `canvas`: its opacity times this one, `watermark_position` "
        "(`re` is `tile`), `watermark_margin`, `watermark_scale`; without a scale a picture has its own size.",
        "wm:0.5:soea:10:10:0.2",
        _watermark,
    ),
    Option(
        ("strip_metadata", "sm"),
        1,
        "0: `metadata=keep`. Positions and serial numbers never.",
        "sm:0",
        _set("strips_metadata", _switch),
    ),
    Option(
        ("keep_copyright", "kcr"), 1, "1: `metadata=copyright`. Here 0 is the default.", "kcr:1", _set("keeps_copyright", _switch)
    ),
    Option(("strip_color_profile", "scp"), 1, "0: `icc=keep`.", "scp:0", _set("strips_profile", _switch)),
    Option(("enforce_thumbnail", "eth"), 1, "0.", "eth:0", _only("is not available.", usual=False)),
    Option(("quality", "q"), 1, "`quality`; 0 is the default.", "q:75", _set("quality", _quality)),
    Option(("format_quality", "fq"), 12, "`quality` of the format that is delivered.", "fq:webp:75:avif:50", _format_quality),
    Option(("max_bytes", "mb"), 1, "`max_bytes`; 0 is any.", "mb:20000", _set("max_bytes", _count)),
    Option(("format", "f", "ext"), 1, "The extension: `jpg`, `png`, `webp`, `avif`, `gif`.", "f:webp", _format),
    Option(("skip_processing", "skp"), 20, "Not available.", "", _skip),
    Option(("raw",), 1, "0; originals are not delivered this way.", "raw:0", _only("is not available.", usual=False)),
    Option(
        ("cachebuster", "cb"),
        1,
        "The image's version: when it is the present one, the answer is immutable.",
        "cb:1",
        _cachebuster,
    ),
    Option(("expires", "exp"), 1, "403 `expired_signature` afterwards.", "exp:4102444800", _expires),
    Option(("filename", "fn"), 2, "Name in `Content-Disposition`, without its extension.", "fn:cat", _filename),
    Option(("return_attachment", "att"), 1, "`attachment` in `Content-Disposition`.", "att:1", _set("is_attachment", _switch)),
)
OPTIONS: Final = {name: option for option in TABLE for name in option.names}
