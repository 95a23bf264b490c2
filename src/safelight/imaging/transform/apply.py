"""Apply: one transform, from our own master to the bytes of a file. Runs in a thread of the server; lets the interpreter go.

The order never changes, whatever order a URL has: see `STEPS`. Sizes and colours are settled before anything is laid on
paper, so that blur does not smear the paper into the picture, and corners are rounded before padding, because rounding
the paper's own corners would not be seen. Never give it a stranger's bytes: those belong into the sandbox, where
`from_original` does the same with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyvips

from safelight.errors import BadOption, UnsupportedFormat
from safelight.imaging import encode, libvips, light
from safelight.imaging.formats import SNIFF_BYTES, Format, sniff
from safelight.imaging.libvips import Pixels, Stop
from safelight.imaging.spec import File, Recipe, effort_of
from safelight.imaging.transform import adjust, mount, seek
from safelight.imaging.transform.placing import layer_of
from safelight.imaging.transform.plan import Box, Plan, Size, Source, between, lesser_for, plan, shrink_for, wanted
from safelight.imaging.transform.pyramid import TILE, Window, levels
from safelight.imaging.transform.spec import AUTO_QUALITY, Spec
from safelight.imaging.transform.stamp import Ink, inked, laid
from safelight.imaging.transform.values import Flip, Focal, Gravity, Profile
from safelight.imaging.transform.watermark import Layer

STEPS: Final = (
    "trim",
    "crop",
    "resize",
    "rotate",
    "flip",
    "colour",
    "blur",
    "sharpen",
    "pixelate",
    "watermark",
    "radius",
    "pad",
    "flatten",
    "encode",
)
"""What happens to a picture, in this order."""

_GAP: Final = 1.5
"""Enough for what a visitor waits for: a third less time for the way from 2048 to 600, 0.7 levels (RMS) away from the full kernel."""
_NEAR: Final = 4 / 3
"""Up to here averaging stored values is a sixth of the work and not told from linear light: 1.5 of 100 by SSIMULACRA2."""
_NEIGHBOURS: Final = 3
"""A border is sought behind a median of 3 x 3 pixels, so that single specks do not count."""
_GLANCE: Final = 256
"""Pixels of the longer side that saliency is looked for in; it finds the same on more, later."""
_LOSSLESS: Final = frozenset({Format.PNG, Format.GIF})


def transform(
    master: bytes,
    spec: Spec,
    *,
    source_width: int,
    source_height: int,
    xmp: bytes = b"",
    mark: bytes = b"",
    stop: Stop | None = None,
    is_baked: bool = False,
    is_lesser: bool = False,
) -> File:
    """The picture as the spec asks. The source's size is that of the upright original, by which crops and points go.

    `mark` is the PNG of the spec's watermark, if it has one; baked is encoded with the effort of when nobody waits. A lesser master
    is one that `lesser_for` has chosen: the size of the result is that of the large one's.

    Raises BadOption (undecided format, crop outside), TooManyPixels, UnsupportedFormat (no JPEG), CorruptImage,
    DecodeBudgetExceeded (also when told to stop), OverMaxBytes.
    """
    if spec.format is None:
        raise BadOption("The format is not decided.", option="format")
    if sniff(master[:SNIFF_BYTES]) is not Format.JPEG:
        raise UnsupportedFormat("A master is a JPEG.")
    stop = stop or Stop()
    with libvips.decoding():
        whole = libvips.open_header(master, Format.JPEG)
        size = Size(whole.width, whole.height)
        source = Source.of(source_width, source_height) if is_lesser else Source(Size(source_width, source_height), size)
        image, planned = _cut(master, size, spec, source, stop)
        image = resized(image, planned, stop=stop)
        image = dressed(image, spec, planned, ink_for(spec, planned, mark))
        data = encoded(image, spec, spec.format, xmp=xmp, stop=stop, is_baked=is_baked)
    return File(preset="", format=spec.format, width=planned.canvas.width, height=planned.canvas.height, data=data)


def lesser_side(spec: Spec, source_width: int, source_height: int) -> int:
    """Which of the lesser masters is enough for the spec, by its side; 0 where it has to be the large one."""
    if spec.trim:
        return 0  # what is seen as a border depends on the pixels that are looked at
    source = Source.of(source_width, source_height)
    return lesser_for(plan(spec, source), source)


def transform_tiles(
    tiles: Sequence[bytes],
    window: Window,
    spec: Spec,
    *,
    source_width: int,
    source_height: int,
    xmp: bytes = b"",
    mark: bytes = b"",
    stop: Stop | None = None,
    is_baked: bool = False,
) -> File:
    """The same from tiles of the original's own pyramid, those of the window in their order. Raises what `transform` raises."""
    if spec.format is None:
        raise BadOption("The format is not decided.", option="format")
    stop = stop or Stop()
    original = Size(source_width, source_height)
    planned = plan(spec, Source(original, levels(original)[window.level].size))
    with libvips.decoding():
        pictures = [libvips.open_pixels(tile, Format.JPEG).copy_memory() for tile in tiles]
        # Those at the right and the lower end may be smaller; they lie at the upper left of their place, so nothing is seen of the rest.
        image = pyvips.Image.arrayjoin(pictures, across=window.columns) if len(pictures) > 1 else pictures[0]
        left, top, width, height = planned.crop
        image = image.crop(left - TILE * window.left, top - TILE * window.top, width, height)
        image = dressed(resized(image, planned, stop=stop), spec, planned, ink_for(spec, planned, mark))
        data = encoded(image, spec, spec.format, xmp=xmp, stop=stop, is_baked=is_baked)
    return File(preset="", format=spec.format, width=planned.canvas.width, height=planned.canvas.height, data=data)


def _cut(master: bytes, size: Size, spec: Spec, source: Source, stop: Stop) -> tuple[Pixels, Plan]:
    """trim, crop: the part that is wanted, shrunk to no less than twice the size that is wanted, and the plan for the rest."""
    frame = None
    image = None
    if spec.trim:
        image = stop.watching(libvips.open_pixels(master, Format.JPEG)).copy_memory()
        frame = trimmed(image, spec.trim)
    planned = plan(spec, source, frame=frame)
    if image is None:
        shrink = shrink_for(between(planned.crop, source.pixels, size), planned.resize)
        image = libvips.open_pixels(master, Format.JPEG, shrink=shrink)
    decoded = Size(image.width, image.height)
    if spec.gravity is Gravity.AUTO:
        image = stop.watching(image).copy_memory()
        uncut = wanted(spec.crop, source, frame or source.frame)
        focus = focus_of(image, *(between(box, source.pixels, decoded) for box in (uncut, planned.crop)))
        planned = plan(spec, source, frame=frame, focus=focus)
    box = between(planned.crop, source.pixels, decoded)
    return (image if box == (0, 0, *decoded) else image.crop(*box)), planned


def trimmed(image: Pixels, threshold: int) -> Box | None:
    """What is left without the border; None where nothing would be, or the picture is too small to have one. Any bands."""
    if min(image.width, image.height) < _NEIGHBOURS:
        return None
    away = np.abs(np.arange(256)[None, :, None] - np.array(image(0, 0)))
    table = np.ascontiguousarray(np.where(away > threshold, 255, 0).astype(np.uint8))
    # libvips' find_trim takes its median of all bands before it compares and needs four times as long.
    differs = image.maplut(pyvips.Image.new_from_array(table)).bandor()
    columns, rows = differs.rank(_NEIGHBOURS, _NEIGHBOURS, _NEIGHBOURS**2 // 2).project()
    across, down = (np.flatnonzero(counts.numpy()) for counts in (columns, rows))
    if not len(across):
        return None
    left, top = int(across[0]), int(down[0])
    return Box(left, top, int(across[-1]) + 1 - left, int(down[-1]) + 1 - top)


def focus_of(image: Pixels, region: Box, window: Box) -> Focal:
    """Where in the whole picture the eye goes, when it looks at the region for a window of that size."""
    part = image.crop(*region).thumbnail_image(_GLANCE, height=_GLANCE, size="down", no_rotate=True).copy_memory()
    if part.bands == 1:
        part = part.colourspace("srgb")
    size = between(Box(0, 0, window.width, window.height), Size(region.width, region.height), Size(part.width, part.height))
    _, found = part.smartcrop(size.width, size.height, interesting="attention", attention_x=True, attention_y=True)
    x = region.left + (found["attention_x"] + 0.5) * region.width / part.width
    y = region.top + (found["attention_y"] + 0.5) * region.height / part.height
    return Focal(min(1.0, x / image.width), min(1.0, y / image.height))


def resized(image: Pixels, planned: Plan, *, stop: Stop, is_srgb: bool = True) -> Pixels:
    """In memory, at the planned size; in linear light where that shows, and where the tables for it hold."""
    width, height = planned.resize
    is_near = image.width <= _NEAR * width and image.height <= _NEAR * height
    if is_srgb and planned.is_reducing and not is_near and max(width, height) <= Recipe().linear_side:
        image = light.from_linear(light.resampled(light.to_linear(image), width, height, gap=_GAP))
    else:
        image = light.reduced(image, width, height)
    return stop.watching(image).copy_memory()


def ink_for(spec: Spec, planned: Plan, mark: bytes) -> Ink | None:
    """The spec's watermark, ready to be laid on every frame; None without one, or where the picture is too small for it."""
    return inked(spec.watermark, mark, layer_of(spec, planned)) if spec.watermark else None


def dressed(image: Pixels, spec: Spec, planned: Plan, ink: Ink | None) -> Pixels:
    """Everything between its size and its file. uint8 in memory, of 1 to 4 bands (the fourth is alpha); sRGB, or what `icc` keeps."""
    image = _finished(_turned(image, spec), spec)
    is_above = spec.watermark is not None and spec.watermark.layer is Layer.CANVAS
    if ink and not is_above:
        image = laid(image, ink)
    if spec.radius:
        image = mount.rounded(image, spec.radius)
    image = mount.mounted(image, planned, spec.paper)
    return laid(image, ink) if ink and is_above else image


def _turned(image: Pixels, spec: Spec) -> Pixels:
    match spec.rotate:
        case 90:
            image = image.rot90()
        case 180:
            image = image.rot180()
        case 270:
            image = image.rot270()
    match spec.flip:
        case Flip.H:
            image = image.fliphor()
        case Flip.V:
            image = image.flipver()
    return image


def _finished(image: Pixels, spec: Spec) -> Pixels:
    if not image.hasalpha():
        image = adjust.coloured(image, spec)
        if spec.blur:
            image = adjust.blurred(image.copy_memory(), spec.blur)
        if spec.sharpen:
            image = adjust.sharpened(image, spec.sharpen)
        if spec.edges:
            image = adjust.crisped(image.copy_memory(), spec.edges)
        return adjust.pixelated(image.copy_memory(), spec.pixelate) if spec.pixelate else image
    alpha = image.extract_band(3)
    image = adjust.coloured(image.extract_band(0, n=3).copy(interpretation="srgb"), spec)
    image = (image.colourspace("srgb") if image.bands == 1 else image).bandjoin(alpha).copy(interpretation="srgb")
    if spec.blur:
        # Premultiplied, so that the colour of what is clear does not bleed into what is not.
        image = adjust.blurred(image.premultiply().copy_memory(), spec.blur).unpremultiply().rint().cast("uchar")
    if spec.sharpen:
        image = adjust.sharpened(image.extract_band(0, n=3), spec.sharpen).bandjoin(image.extract_band(3))
    if spec.edges:
        image = adjust.crisped(image.extract_band(0, n=3).copy_memory(), spec.edges).bandjoin(image.extract_band(3))
    if spec.pixelate:
        image = adjust.pixelated(image.premultiply().copy_memory(), spec.pixelate).unpremultiply().rint().cast("uchar")
    return image.copy(interpretation="srgb")


def encoded(
    image: Pixels, spec: Spec, format: Format, *, xmp: bytes = b"", stop: Stop | None = None, is_baked: bool = False
) -> bytes:
    """The file, at the quality that was asked for or is found. An animation is one strip that knows its page height."""
    stop = stop or Stop()
    keep = encode.KEEP_ICC if spec.icc is Profile.KEEP else 0
    if xmp:
        image = image.copy()
        image.set_type(pyvips.GValue.blob_type, "xmp-data", xmp)
        keep |= encode.KEEP_XMP

    def make(picture: Pixels, quality: int) -> bytes:
        stop.check()
        match format:
            case Format.JPEG:
                return encode.jpeg(picture, quality=quality, is_progressive=spec.progressive, keep=keep)
            case Format.PNG:
                return encode.png(picture, keep=keep)
            case Format.GIF:
                return encode.gif(picture)
            case _:
                effort = effort_of(format, picture.width * picture.height, is_baked=is_baked)
                return encode.encode(picture, format, quality=quality, effort=effort, keep=keep)

    if spec.quality == AUTO_QUALITY or spec.max_bytes:
        image = stop.watching(image).copy_memory()
    quality = spec.encoder_quality
    if spec.quality == AUTO_QUALITY and format not in _LOSSLESS:
        first = image.crop(0, 0, image.width, image.get("page-height")) if image.get_typeof("page-height") else image
        quality = seek.good_enough(first, format, make)
    data = make(stop.watching(image), quality)
    if not spec.max_bytes:
        return data
    return seek.small_enough(lambda tried: make(image, tried), quality=quality, max_bytes=spec.max_bytes, data=data)
