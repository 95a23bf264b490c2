"""Grammar: the native spelling of a transform, `{option}={value},{option}={value}.{extension}`, to a Spec. Strict and thin.

The caller has undone the percent-encoding. An option that is unknown, said twice (under any of its names), empty or out of
range is BadOption and named, never passed over: a typing error must not become another picture. Presets have no '=' in their
names and `full` is none, so no text means both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from safelight.errors import BadOption
from safelight.imaging.formats import Format
from safelight.imaging.transform.hints import DPR, NO_HINTS, SAVE_DATA, WIDTH, Hints
from safelight.imaging.transform.options import EXTENSIONS, NAMES
from safelight.imaging.transform.spec import AUTO, EVERYTHING, MAX_RADIUS, ORIGINAL, Spec
from safelight.imaging.transform.values import Padding, decimal

MAX_TEXT: Final = 512
_SHOWN: Final = 40


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


def parse(text: str) -> Spec:
    """The pixels that the text asks for. Raises BadOption."""
    return parse_request(text).spec


def parse_request(text: str, hints: Hints = NO_HINTS) -> Request:
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
    return Request(Spec(format=format, **_scaled(given)), download, meant == ORIGINAL, varies_by)


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
    if "blur" in given:
        given["blur"] = given["blur"] * hundredths / 100
    return given
