"""From the original: a transform for which our master does not suffice. Takes a stranger's bytes and so runs in the sandbox only.

The same steps as in `apply`, but the pixels are the original's own: turned as its orientation says, in its own colours if they
are to stay, clear where it is clear, playing where it plays.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from safelight.errors import BadOption
from safelight.imaging import geometry, libvips
from safelight.imaging.animation import Animation, rgba
from safelight.imaging.colour import to_srgb
from safelight.imaging.formats import Format
from safelight.imaging.libvips import Pixels, Stop
from safelight.imaging.probe import probe
from safelight.imaging.spec import File, Header, Limits
from safelight.imaging.transform.apply import dressed, encoded, focus_of, ink_for, resized, trimmed
from safelight.imaging.transform.original import is_playing
from safelight.imaging.transform.plan import Box, Plan, Size, Source, between, plan, shrink_for, wanted
from safelight.imaging.transform.spec import Spec
from safelight.imaging.transform.values import Gravity, Profile

_PROFILE: Final = "icc-profile-data"
_STRANGE: Final = ("exif-data", "xmp-data", "iptc-data", "photoshop-data", "jpeg-thumbnail-data", "gainmap-data")
"""What a file carries and no rendition may: positions, serial numbers, the uncropped picture."""
_TURNS: Final = {1: (), 2: ("fliphor",), 3: ("rot180",), 4: ("flipver",), 5: ("rot90", "fliphor"), 6: ("rot90",)} | {
    7: ("rot270", "fliphor"),
    8: ("rot270",),
}
"""What makes a picture of this EXIF orientation upright (Exif 3.0, tag 0x0112)."""


def transform_original(data: bytes, spec: Spec, limits: Limits, *, xmp: bytes = b"", mark: bytes = b"") -> File:
    """The picture as the spec asks, which is settled and names its format. `data` may be any buffer, `mark` is its watermark's PNG.

    Raises what `probe` and `apply.transform` raise.
    """
    if spec.format is None:
        raise BadOption("The format is not decided.", option="format")
    header = probe(data, limits)
    with libvips.decoding():
        if is_playing(spec, header.frames):
            image, planned = _playing(data, header, spec, mark)
        elif spec.trim or spec.gravity is Gravity.AUTO or header.is_animated or spec.page > 1:
            image, planned = _held(_upright(data, header, spec), spec, mark)
        else:
            image, planned = _streamed(data, header, spec, mark)
        out = encoded(image, spec, spec.format, xmp=xmp)
    return File(preset="", format=spec.format, width=planned.canvas.width, height=planned.canvas.height, data=out)


def _streamed(data: bytes, header: Header, spec: Spec, mark: bytes) -> tuple[Pixels, Plan]:
    """Decoded once from top to bottom, at no less than twice the size that is wanted; only what is wanted is held."""
    size = Size(header.width, header.height)
    planned = plan(spec, Source(size, size))
    image = _opened(data, header, spec, shrink=shrink_for(planned.crop, planned.resize) if header.format is Format.JPEG else 1)
    stored = Size(*geometry.upright(*size, header.orientation))
    box = between(_as_stored(planned.crop, size, header.orientation), stored, Size(image.width, image.height))
    if box != (0, 0, image.width, image.height):
        image = image.crop(*box)
    width, height = geometry.upright(*planned.resize, header.orientation)
    lying = Plan(Box(0, 0, image.width, image.height), Size(width, height), 0, 0, Size(width, height))
    image = resized(_coloured(image, spec), lying, stop=Stop(), is_srgb=_is_srgb(spec))
    image = _turned(image, header.orientation).copy_memory()
    return dressed(image, spec, planned, ink_for(spec, planned, mark)), planned


def _held(image: Pixels, spec: Spec, mark: bytes) -> tuple[Pixels, Plan]:
    """From pixels in memory, where something has to be looked for in all of them."""
    size = Size(image.width, image.height)
    source = Source(size, size)
    frame = trimmed(image, spec.trim) if spec.trim else None
    planned = plan(spec, source, frame=frame)
    if spec.gravity is Gravity.AUTO:
        focus = focus_of(image, wanted(spec.crop, source, frame or source.frame), planned.crop)
        planned = plan(spec, source, frame=frame, focus=focus)
    image = resized(image.crop(*planned.crop), planned, stop=Stop(), is_srgb=_is_srgb(spec))
    return dressed(image, spec, planned, ink_for(spec, planned, mark)), planned


def _playing(data: bytes, header: Header, spec: Spec, mark: bytes) -> tuple[Pixels, Plan]:
    """All frames, each cut, turned and finished as the first one is, in one strip."""
    strip = to_srgb(libvips.open_pixels(data, header.format, frames=header.frames))
    frames = Animation.of(strip, header.frames)
    first = Animation(frames.pixels[:1], (), 0).still()
    size = Size(header.width, header.height)
    source = Source(size, size)
    frame = trimmed(first, spec.trim) if spec.trim else None
    planned = plan(spec, source, frame=frame)
    if spec.gravity is Gravity.AUTO:
        focus = focus_of(first, wanted(spec.crop, source, frame or source.frame), planned.crop)
        planned = plan(spec, source, frame=frame, focus=focus)
    left, top, width, height = planned.crop
    cut = np.ascontiguousarray(frames.pixels[:, top : top + height, left : left + width])
    frames = Animation(cut, frames.delays, frames.loop).reduced(*planned.resize)
    ink = ink_for(spec, planned, mark)
    played = []
    for number in range(len(frames.pixels)):
        still = Animation(frames.pixels[number : number + 1], (), 0).still()
        played.append(rgba(dressed(still, spec, planned, ink)))
    pixels = np.stack(played)
    return Animation.strip_of(pixels, frames.delays, frames.loop), planned


def _upright(data: bytes, header: Header, spec: Spec) -> Pixels:
    return _turned(_coloured(_opened(data, header, spec), spec).copy_memory(), header.orientation)


def _opened(data: bytes, header: Header, spec: Spec, *, shrink: int = 1) -> Pixels:
    if header.format is Format.SVG:
        natural = libvips.open_header(data, Format.SVG)
        return libvips.open_pixels(data, Format.SVG, scale=max(header.width, header.height) / max(natural.width, natural.height))
    if spec.page > 1:
        pages = libvips.open_header(data, header.format)
        count = pages.get("n-pages") if pages.get_typeof("n-pages") else 1
        if spec.page > count:
            raise BadOption(f"The image has {count} pages.", option="page")
        return libvips.open_pixels(data, header.format, page=spec.page - 1)
    return libvips.open_pixels(data, header.format, shrink=shrink)


def _is_srgb(spec: Spec) -> bool:
    return spec.icc is Profile.SRGB


def _coloured(image: Pixels, spec: Spec) -> Pixels:
    """uint8 of 1, 3 or 4 bands without strange metadata: sRGB, or RGB with its profile where `icc` keeps it and it is one of RGB."""
    if _is_srgb(spec) or not image.get_typeof(_PROFILE) or image.interpretation not in {"srgb", "rgb", "rgb16"}:
        image = to_srgb(image)
    elif image.format != "uchar":
        image = image.colourspace("srgb")
    image = image.copy()
    for name in _STRANGE:
        if image.get_typeof(name):
            image.remove(name)
    return image


def _turned(image: Pixels, orientation: int) -> Pixels:
    for turn in _TURNS[orientation]:
        image = getattr(image, turn)()
    image = image.copy()
    if image.get_typeof("orientation"):
        image.remove("orientation")
    return image


def _as_stored(box: Box, size: Size, orientation: int) -> Box:
    """Where an upright box lies in the file's own pixels; `size` is the upright picture's."""
    left, top, width, height = box
    right, bottom = size.width - left - width, size.height - top - height
    match orientation:
        case 2:
            return Box(right, top, width, height)
        case 3:
            return Box(right, bottom, width, height)
        case 4:
            return Box(left, bottom, width, height)
        case 5:
            return Box(top, left, height, width)
        case 6:
            return Box(top, right, height, width)
        case 7:
            return Box(bottom, right, height, width)
        case 8:
            return Box(bottom, left, height, width)
        case _:
            return box
