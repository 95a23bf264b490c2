"""Grammar: the native spelling of a transform, `{option}={value},{option}={value}.{extension}`, to a Spec. Strict and thin.

The caller has undone the percent-encoding. An option that is unknown, said twice (under any of its names), empty or out of
range is BadOption and named, never passed over: a typing error must not become another picture. Presets have no '=' in their
names and `full` is none, so no text means both.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from safelight.errors import BadOption
from safelight.imaging.formats import Format
from safelight.imaging.transform.hints import DPR, NO_HINTS, SAVE_DATA, WIDTH, Hints
from safelight.imaging.transform.options import EXTENSIONS, NAMES
from safelight.imaging.transform.spec import AUTO, EVERYTHING, MAX_RADIUS, ORIGINAL, Spec
from safelight.imaging.transform.values import Padding, decimal
from safelight.imaging.transform.watermark import Margin, Scale, Watermark

MAX_TEXT: Final = 1024
_SHOWN: Final = 40
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,23}")
_NOTHING: Final[Mapping[str, Mapping[str, Any]]] = {}


@dataclass(frozen=True, slots=True)
class Request:
    """What a URL asks: pixels, and the name to offer them under ('' = shown in place), which is not part of their key."""

    spec: Spec
    download: str = ""
    is_original: bool = False
    """The format is to be the original's."""
    varies_by: tuple[str, ...] = ()
    """Names of the headers that decided what the URL left open, Accept apart."""

    def filename(self, format: Format) -> str:
        """With the extension of the delivered format; '' where no download was asked for."""
        return f"{self.download}.{format.extension}" if self.download else ""


def is_transform(name: str) -> bool:
    """Whether the last part of a path without its extension speaks this grammar, and is not a preset's name."""
    return name == EVERYTHING or "=" in name


Named = Mapping[str, Mapping[str, Any]]
"""Watermarks by name, each as what its options say."""


def parse(text: str) -> Spec:
    """The pixels that the text asks for. Raises BadOption."""
    return parse_request(text).spec


def parse_request(text: str, hints: Hints = NO_HINTS, named: Named = _NOTHING) -> Request:
    """`text` is the last part of the path, decoded, extension and all; `hints` fill in what it leaves open. Raises BadOption."""
    if len(text) > MAX_TEXT:
        raise BadOption(f"A transform has at most {MAX_TEXT} characters.", option="options")
    options, dot, extension = text.rpartition(".")
    if not dot or extension not in EXTENSIONS:
        raise BadOption(f"Extensions are {', '.join(sorted(EXTENSIONS))}.", option="extension")
    meant = EXTENSIONS[extension]
    given = _read(options)
    if "format" in given and given.pop("format") != meant:
        raise BadOption("format and the extension differ.", option="format")
    download = given.pop("download", "")
    format = meant if isinstance(meant, Format) else None
    varies_by = _hinted(given, hints)
    _name_marked(given, named)
    given = _scaled(given)
    given["watermark"] = _marked(given)
    return Request(Spec(format=format, **given), download, meant == ORIGINAL, varies_by)


def read_named(watermarks: Mapping[str, str]) -> Named:
    """Names and the options that each stands for, in this grammar: `{"logo": "wm=01j…,wms=20"}`. Raises ValueError."""
    named: dict[str, Mapping[str, Any]] = {}
    for name, options in watermarks.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"a name is lower-case letters, digits, - and _, at most 24, a letter first; not '{name}'")
        try:
            given = _read(options)
            if strange := sorted(option for option in given if not option.startswith("watermark")):
                raise BadOption(f"{strange[0]} is no option of a watermark.", option=strange[0])
            _marked(dict(given))
        except BadOption as error:
            raise ValueError(f"{name}: {error.detail}") from None
        named[name] = given
    return named


def named_mark(name: str, named: Named) -> Watermark:
    """The watermark of this name. Raises BadOption."""
    if name not in named:
        raise BadOption(f"There is no watermark '{name}' here.", option="watermark")
    mark = _marked(dict(named[name]))
    assert mark is not None  # as `read_named` has seen
    return mark


def _name_marked(given: dict[str, Any], named: Named) -> None:
    """What the name of a watermark stands for, under what the text itself says."""
    if style := named.get(given.get("watermark", "")):
        del given["watermark"]
        given.update({**style, **given})


def _marked(given: dict[str, Any]) -> Watermark | None:
    """The options of a watermark, taken out of what was given, as one value."""
    said = {option: given.pop(option) for option in sorted(given) if option.startswith("watermark")}
    if not said:
        return None
    if "watermark" not in said and "watermark_text" not in said:
        raise BadOption(f"{next(iter(said))} needs watermark or watermark_text.", option=next(iter(said)))
    if "watermark" in said and "watermark_colour" in said:
        raise BadOption("watermark_colour is for watermark_text.", option="watermark_colour")
    return Watermark(image=said.pop("watermark", ""), **{option.removeprefix("watermark_"): said[option] for option in said})


def _read(options: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for part in options.split(",") if options != EVERYTHING else ():
        name, equals, value = part.partition("=")
        option = NAMES.get(name)
        if option is None:
            shown = name[:_SHOWN].encode("ascii", "backslashreplace").decode()  # half a surrogate would break the answer
            raise BadOption(f"There is no option '{shown}'.", option=shown)
        if option.name in given:
            raise BadOption(f"{option.name} is given twice.", option=option.name)
        if not equals or not value:
            raise BadOption(f"{option.name} has no value.", option=option.name)
        try:
            given[option.name] = option.read(value)
        except ValueError as error:
            raise BadOption(f"{option.name} is {error}.", option=option.name) from None
        if option.name in {"width", "height", "quality", "max_bytes"} and given[option.name] == 0:
            raise BadOption(f"{option.name} begins at 1.", option=option.name)  # 0 means "not said" to the Spec
    return given


def _hinted(given: dict[str, Any], hints: Hints) -> tuple[str, ...]:
    """Fill in what the text leaves to the browser; the headers that this depends on."""
    varies_by: tuple[str, ...] = ()
    if given.get("dpr") == AUTO:
        given["dpr"] = hints.ratio
        varies_by += (DPR, SAVE_DATA)
    if given.get("width") == AUTO:
        # In pixels of the screen already, as the browser counts them: not to be multiplied again.
        given["width"] = hints.pixels / given.get("dpr", 1.0)
        varies_by += (WIDTH,)
    return varies_by


def _scaled(given: dict[str, Any]) -> dict[str, Any]:
    """Lengths of the output times the pixel ratio, half a pixel upwards."""
    hundredths = round(100 * decimal("dpr", given.pop("dpr", 1.0), 1, 4))

    def times(length: float) -> int:
        return int((length * hundredths + 50) // 100)

    for name in given.keys() & {"width", "height"}:
        given[name] = times(given[name])
    if "pad" in given:
        given["pad"] = Padding(*map(times, given["pad"]))
    if given.get("radius", 0) <= MAX_RADIUS and "radius" in given:
        given["radius"] = min(MAX_RADIUS, times(given["radius"]))
    if "pixelate" in given:
        given["pixelate"] = times(given["pixelate"])
    if (margin := given.get("watermark_margin")) and not margin.is_percent:
        # Away from zero, so that left and right are alike.
        x, y = (math.copysign(times(abs(side)), side) for side in (margin.x, margin.y))
        given["watermark_margin"] = Margin(x, y)
    if (scale := given.get("watermark_scale")) and scale.is_own:
        factor = scale.width * hundredths / 100
        given["watermark_scale"] = Scale(factor, factor, is_own=True)
    if "blur" in given:
        given["blur"] = given["blur"] * hundredths / 100
    return given
