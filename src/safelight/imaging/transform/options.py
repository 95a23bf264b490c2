"""Options: the native grammar's table. One row per option: its names, what may stand behind it, and how that is read.

Parser, reference page and tests go by this table. Readers know shapes only; ranges are the Spec's, which checks them again
for every other grammar.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from safelight.imaging.formats import Format
from safelight.imaging.transform.spec import AUTO, AUTO_QUALITY, FORMATS, MAX_RADIUS, ORIGINAL
from safelight.imaging.transform.values import (
    Animation,
    Fit,
    Flip,
    Focal,
    Gravity,
    Metadata,
    Padding,
    Profile,
    Region,
    Rgba,
)
from safelight.imaging.transform.watermark import MAX_LETTERS, MAX_LINES, MIN_SIDE, Edge, Layer, Margin, Position, Scale

# ASCII digits only, no sign, no exponent, no leading zero: int() and float() take far more than should stand in a URL.
_WHOLE: Final = re.compile(r"0|[1-9][0-9]{0,6}")
_DECIMAL: Final = re.compile(r"(?:0|[1-9][0-9]{0,6})(?:\.[0-9]{1,4})?")
_HEX: Final = re.compile(r"#?(?:[0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_NAME: Final = 100

EXTENSIONS: Final[dict[str, Format | str]] = {AUTO: AUTO, ORIGINAL: ORIGINAL, "jpeg": Format.JPEG} | {
    format.extension: format for format in FORMATS
}
"""What may stand behind the last dot, and the format it means; the first two are decided when it is asked for."""
_ALIASES: Final = {
    "centre": Gravity.CENTER,
    "top": Gravity.NORTH,
    "right": Gravity.EAST,
    "bottom": Gravity.SOUTH,
    "left": Gravity.WEST,
}


def whole(text: str) -> int:
    """Raises ValueError."""
    if not _WHOLE.fullmatch(text):
        raise ValueError("a whole number")
    return int(text)


def decimal(text: str, places: int = 2) -> float:
    """Raises ValueError."""
    if not _DECIMAL.fullmatch(text) or len(text.partition(".")[2]) > places:
        raise ValueError(f"a number with at most {places} decimals")
    return float(text)


def signed(text: str) -> float:
    """The only shape with a sign. Raises ValueError."""
    return -decimal(text[1:]) if text.startswith("-") else decimal(text)


def colour(text: str) -> Rgba:
    """Raises ValueError."""
    if text == "transparent":
        return Rgba(0, 0, 0, 0)
    if not _HEX.fullmatch(text):
        raise ValueError("a hex colour (rgb, rgba, rrggbb, rrggbbaa) or transparent")
    digits = text.removeprefix("#")
    if len(digits) < 6:
        digits = "".join(digit * 2 for digit in digits)
    return Rgba(*bytes.fromhex(digits))


def _duotone(text: str) -> tuple[Rgba, Rgba]:
    dark, colon, bright = text.partition(":")
    if not colon or "transparent" in text:
        raise ValueError("two hex colours with a colon between them")
    return colour(dark), colour(bright)


def _switch(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("true or false")
    return text == "true"


def _one_of(values: dict[str, Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if text not in values:
            raise ValueError(f"one of {', '.join(values)}")
        return values[text]

    return read


def _gravity(text: str) -> Gravity | Focal:
    if text in _ALIASES:
        return _ALIASES[text]
    if text in list(Gravity):
        return Gravity(text)
    x, cross, y = text.partition("x")
    if not cross:
        raise ValueError(f"one of {', '.join(Gravity)}, or a point such as 0.3x0.7")
    return Focal(decimal(x, 4), decimal(y, 4))


def _region(text: str) -> Region:
    parts = text.split(":")
    is_percent = all(part.endswith("p") for part in parts)
    if len(parts) != 4:
        raise ValueError("left:top:width:height, in pixels or all in per cent (10p:20p:50p:50p)")
    left, top, width, height = (decimal(part[:-1], 3) if is_percent else whole(part) for part in parts)
    return Region(left, top, width, height, is_percent)


def _padding(text: str) -> Padding:
    sides = [whole(part) for part in text.split(":", 4)]
    if len(sides) not in {1, 2, 4}:
        raise ValueError("all, vertical:horizontal or top:right:bottom:left")
    return Padding(*(sides * (4 // len(sides))))


def _words(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except ValueError:
        raise ValueError("UTF-8") from None


def _mark(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("the id of an image, or the name of a watermark")
    return text


def _margin(text: str) -> Margin:
    sides = text.split(":", 2)
    is_percent = all(side.endswith("p") for side in sides)
    if len(sides) > 2:
        raise ValueError("pixels or per cent (2p), one for both or across:down")
    x, y = (signed(side[:-1] if is_percent else side) for side in (sides * 2)[:2])
    if not is_percent and (x, y) != (int(x), int(y)):
        raise ValueError("whole pixels, or per cent (2p)")
    return Margin(x, y, is_percent)


def _scale(text: str) -> Scale:
    if text.endswith("x"):
        return Scale(decimal(text[:-1]), decimal(text[:-1]), is_own=True)
    sides = [decimal(side) for side in text.split(":", 2)]
    if len(sides) > 2:
        raise ValueError("per cent, one for both or width:height, or times the mark's own size (1x)")
    return Scale(sides[0], sides[-1])


def _degrees(text: str) -> int:
    return -whole(text[1:]) if text.startswith("-") else whole(text)


def _or_auto(read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: AUTO if text == AUTO else read(text)


def _quality(text: str) -> int | str:
    return AUTO_QUALITY if text == AUTO else whole(text)


def _radius(text: str) -> int:
    return MAX_RADIUS if text == "max" else whole(text)


def filename(text: str) -> str:
    """Raises ValueError."""
    if len(text) > _MAX_NAME or not text.isprintable() or set(text) & set('/\\"<>:|?*') or text.startswith("."):
        raise ValueError(f"a file name of at most {_MAX_NAME} printable characters, without its extension")
    return text


@dataclass(frozen=True, slots=True)
class Option:
    """One row. `read` turns text into the value of the Spec's field of this name, or raises ValueError with what is expected."""

    name: str
    short: str
    values: str
    default: str
    meaning: str
    example: str
    read: Callable[[str], Any]


OPTIONS: Final = (
    Option(
        "width",
        "w",
        "1 to 8192, `auto`",
        "free",
        "Width of the box in pixels, after `rotate` and after `dpr`; `auto` is [what the browser tells](#client-hints).",
        "w=300",
        _or_auto(whole),
    ),
    Option("height", "h", "1 to 8192", "free", "Height of the box, likewise.", "h=200", whole),
    Option(
        "fit",
        "",
        ", ".join(f"`{fit}`" for fit in Fit),
        "`scale-down`",
        "How the picture meets the box; see [below](#fitting).",
        "fit=cover,h=200,w=300",
        _one_of({fit.value: fit for fit in Fit}),
    ),
    Option(
        "gravity",
        "g",
        ", ".join(f"`{gravity}`" for gravity in Gravity) + ", or a point `0.3x0.7`",
        "`center`",
        "What stays when `fit` cuts: a side or corner of the picture as it stands before `rotate` and `flip`, a point as fractions of "
        "the whole original (four decimals), the point stored with the image (`focal`; `PATCH /images/{id}`), or what catches the eye "
        "(`auto`). `top`, `right`, `bottom`, `left` and `centre` are "
        "understood.",
        "fit=cover,g=0.3x0.7,h=200,w=300",
        _gravity,
    ),
    Option(
        "crop",
        "c",
        "`left:top:width:height`",
        "everything",
        "Only this part of the original, in its upright pixels or all in per cent with three decimals (`10p:0p:50p:50p`); behind `trim`, "
        "of what that left. What reaches outside is cut off; wholly outside is an error.",
        "c=10p:0p:50p:50p,w=300",
        _region,
    ),
    Option(
        "trim",
        "t",
        "0 to 100",
        "0",
        "Cuts away a border of one colour, that of the upper left pixel; levels up to this far from it belong to it. 10 suits photographs "
        "of paper. 0 = off.",
        "t=10",
        whole,
    ),
    Option(
        "rotate", "r", "0, 90, 180, 270", "0", "Degrees clockwise. The box is that of the rotated picture.", "r=90,w=300", whole
    ),
    Option(
        "flip",
        "fl",
        "`h`, `v`, `hv`",
        "none",
        "Mirrors left to right, top to bottom, or both, after `rotate`.",
        "fl=h",
        _one_of({flip.value: flip for flip in Flip if flip}),
    ),
    Option(
        "background",
        "bg",
        "hex colour, `transparent`",
        "`transparent`; white in JPEG",
        "What shows beside the picture: bars of `fit=pad`, `pad`, corners of `radius`. `rgb`, `rgba`, `rrggbb` or `rrggbbaa`; a JPEG lies "
        "on white.",
        "bg=336699,fit=pad,h=300,w=300",
        colour,
    ),
    Option(
        "pad",
        "p",
        "0 to 1024",
        "0",
        "Pixels added around the box: `all`, `vertical:horizontal` or `top:right:bottom:left`.",
        "bg=fff,p=10:20,w=300",
        _padding,
    ),
    Option(
        "blur",
        "bl",
        "0, 0.3 to 100",
        "0",
        "Gaussian blur; the standard deviation in pixels of the output.",
        "bl=5,w=300",
        decimal,
    ),
    Option(
        "sharpen",
        "sh",
        "0 to 10",
        "0",
        "Unsharp mask of one pixel: how much of the difference to its blurred self is added. 1 suits thumbnails.",
        "sh=1,w=300",
        decimal,
    ),
    Option(
        "edges",
        "ed",
        "0, 0.1 to 10",
        "0",
        "Sharpens lightness along edges of this sigma in pixels and leaves flat parts alone: libvips' `sharpen`, as in imgproxy.",
        "ed=0.7,w=300",
        decimal,
    ),
    Option("pixelate", "px", "0 to 1024", "0", "Draws squares of so many pixels, each in its mean colour.", "px=12,w=300", whole),
    Option(
        "brightness", "br", "0 to 4", "1", "Factor on the stored values; 0.5 is half, 2 is twice as bright.", "br=1.2", decimal
    ),
    Option(
        "lift",
        "li",
        "-100 to 100",
        "0",
        "Per cent of full white added to every stored value, or taken away (`-`).",
        "li=-10",
        signed,
    ),
    Option("contrast", "co", "0 to 4", "1", "Factor on the distance from middle grey.", "co=1.3", decimal),
    Option("saturation", "sa", "0 to 4", "1", "Factor on the distance from grey; 0 is grey.", "sa=1.5", decimal),
    Option("gamma", "ga", "0.1 to 5", "1", "Exponent 1/gamma; above 1 lifts the shadows, below 1 sinks them.", "ga=1.4", decimal),
    Option("grayscale", "gr", "`true`, `false`", "`false`", "Without colour (ITU-R BT.709 luma).", "gr=true", _switch),
    Option(
        "duotone",
        "du",
        "`dark:bright`, hex colours",
        "off",
        "Black becomes the first colour, white the second, what lies between a mixture.",
        "du=112244:ffeecc",
        _duotone,
    ),
    Option(
        "threshold",
        "th",
        "0 to 255",
        "0",
        "Black and white only: white from this luma (ITU-R BT.709) on. Goes over `saturation`, `grayscale` and `duotone`; 0 is none.",
        "th=128",
        whole,
    ),
    Option(
        "radius",
        "ra",
        "0 to 4096, `max`",
        "0",
        "Rounds the picture's corners; never by more than half of its shorter side, which `max` asks for.",
        "fit=cover,h=200,ra=max,w=200",
        _radius,
    ),
    Option(
        "watermark",
        "wm",
        "image id, name",
        "none",
        "Lays this picture over it: another image of the same tenant, or one of the [named watermarks](#watermarks). Its shorter side "
        f"must have {MIN_SIDE} pixels, else there is no mark.",
        "w=600,wm=01jabcdefghjkmnpqrstvwxyz0",
        _mark,
    ),
    Option(
        "watermark_text",
        "wmt",
        f"1 to {MAX_LETTERS} letters",
        "none",
        f"Lays these words over it, {MAX_LINES} lines at most. Comma, slash, percent and line break are written `%2C`, `%2F`, `%25`, `%0A` "
        "here, and as `%252C` and so on in a URL.",
        "w=600,wmt=© Safelight",
        _words,
    ),
    Option(
        "watermark_position",
        "wmp",
        ", ".join(f"`{position}`" for position in Position),
        "`south-east`",
        "Side or corner of the result as it is seen, or `tile`: everywhere, in rows around the middle.",
        "w=600,wmp=tile,wmt=Draft",
        _one_of({position.value: position for position in Position} | {name: Position(side) for name, side in _ALIASES.items()}),
    ),
    Option(
        "watermark_margin",
        "wmm",
        "-1024 to 1024, -50p to 50p",
        "`2p`; tile `5p`; centre 0",
        "To that side, from the middle to the right and down, or between tiles: one for both or `across:down`, in pixels or in per cent of "
        "the shorter side. Less than 0 is outside; a pixel of the mark is always seen.",
        "w=600,wmm=10:20,wmt=Draft",
        _margin,
    ),
    Option(
        "watermark_scale",
        "wms",
        "1 to 100, 0.01x to 40x",
        "25",
        "Per cent of the width and of the height that the mark fits into, turned: one for both or `width:height`. Pictures also times their "
        "own size (`1x`).",
        "w=600,wms=60:10,wmt=Draft",
        _scale,
    ),
    Option("watermark_opacity", "wmo", "0 to 100", "60", "Per cent; 0 is no mark.", "w=600,wmo=30,wmt=Draft", decimal),
    Option("watermark_rotate", "wmr", "-360 to 360", "0", "Degrees clockwise.", "w=600,wmr=-30,wmt=Draft", _degrees),
    Option(
        "watermark_colour", "wmc", "hex colour", "`ffffff`", "Of the words; not of a picture.", "w=600,wmc=fc0,wmt=Draft", colour
    ),
    Option(
        "watermark_edge",
        "wme",
        ", ".join(f"`{edge}`" for edge in Edge),
        "`outline`; pictures `none`",
        "What sets the mark off from any ground: a seam around it or a shadow, dark for a bright mark and bright for a dark one.",
        "w=600,wme=shadow,wmt=Draft",
        _one_of({edge.value: edge for edge in Edge}),
    ),
    Option(
        "watermark_layer",
        "wml",
        ", ".join(f"`{layer}`" for layer in Layer),
        "`picture`",
        "What it lies on: the picture, so that nobody cuts it off with the padding, or all of the canvas.",
        "bg=fff,p=40,w=600,wml=canvas,wmt=Draft",
        _one_of({layer.value: layer for layer in Layer}),
    ),
    Option(
        "dpr",
        "",
        "1 to 4, `auto`",
        "1",
        "Pixel ratio of the screen: multiplies `width`, `height`, `pad`, `radius`, `pixelate`, `blur` and what of a watermark is in pixels or times its own size; two decimals. `auto` is "
        "[what the browser tells](#client-hints).",
        "dpr=1.5,w=300",
        _or_auto(decimal),
    ),
    Option(
        "format",
        "f",
        "as the extension",
        "the extension",
        "The extension decides; clients that also write it here may, if both say the same.",
        "f=webp",
        _one_of(EXTENSIONS),
    ),
    Option(
        "quality",
        "q",
        "1 to 100, `auto`",
        "80; AVIF 60",
        "Of the encoder; `auto` is the least that [looks as it should](#quality-and-bytes). PNG and GIF do not have one and leave it "
        "unheeded.",
        "q=auto",
        _quality,
    ),
    Option(
        "animation",
        "an",
        "`keep`, `first`",
        "`keep`",
        "Whether what plays goes on playing, as WebP or GIF; [within limits](#animations). Other formats show the first frame.",
        "an=first",
        _one_of({animation.value: animation for animation in Animation}),
    ),
    Option(
        "page",
        "pg",
        "1 to 1000",
        "1",
        "One frame of an animation or page of a TIFF, counted from 1. One that is not there is an error.",
        "pg=2,w=300",
        whole,
    ),
    Option(
        "max_bytes",
        "mb",
        "500 to 9999999",
        "any",
        "The file has at most so many: quality is lowered until it fits, [the size is not](#quality-and-bytes).",
        "mb=20000,w=300",
        whole,
    ),
    Option(
        "metadata",
        "md",
        "`none`, `copyright`, `keep`",
        "`none`",
        "What the file carries as XMP: nothing, creator and copyright, or also title, description, keywords, camera and time; never "
        "positions, serial numbers or the original's thumbnail. A GIF carries none.",
        "md=copyright,w=300",
        _one_of({metadata.value: metadata for metadata in Metadata}),
    ),
    Option(
        "icc",
        "",
        "`srgb`, `keep`",
        "`srgb`",
        "Colours as sRGB, or as the original has them, with its ICC profile. A GIF is sRGB, and so is what was CMYK.",
        "icc=keep,w=300",
        _one_of({profile.value: profile for profile in Profile}),
    ),
    Option(
        "progressive",
        "pr",
        "`true`, `false`",
        "`true`",
        "Whether a JPEG is built up in passes; other formats leave it unheeded.",
        "pr=false",
        _switch,
    ),
    Option(
        "download",
        "dl",
        "file name",
        "shown in place",
        "Offers the file for download under this name; the extension is added. The pixels stay the same.",
        "dl=cat",
        filename,
    ),
)

NAMES: Final = {name: option for option in OPTIONS for name in (option.name, option.short) if name}
"""Long and short names to their rows."""
