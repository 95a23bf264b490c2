"""Apply: one transform, from our own master to the bytes of a file. Runs in a thread of the server; lets the interpreter go.

The order never changes, whatever order a URL has: see `STEPS`. Sizes and colours are settled before anything is laid on
paper, so that blur does not smear the paper into the picture, and corners are rounded before padding, because rounding
the paper's own corners would not be seen. Never give it a stranger's bytes: those belong into the sandbox.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyvips

from safelight.errors import BadOption, UnsupportedFormat
from safelight.imaging import encode, libvips, light
from safelight.imaging.formats import SNIFF_BYTES, Format, sniff
from safelight.imaging.libvips import Pixels
from safelight.imaging.spec import File, Recipe
from safelight.imaging.transform import adjust, mount
from safelight.imaging.transform.plan import Box, Plan, Size, Source, between, plan, shrink_for, wanted
from safelight.imaging.transform.spec import Spec
from safelight.imaging.transform.values import Flip, Focal, Gravity

STEPS: Final = (
    "trim",
    "crop",
    "resize",
    "rotate",
    "flip",
    "colour",
    "blur",
    "sharpen",
    "radius",
    "pad",
    "flatten",
    "encode",
)
"""What happens to a picture, in this order."""

_GAP: Final = 1.5
"""Enough for what a visitor waits for: a third less time for the way from 2048 to 600, 0.7 levels (RMS) away from the full kernel."""
_NEIGHBOURS: Final = 3
"""A border is sought behind a median of 3 x 3 pixels, so that single specks do not count."""
_GLANCE: Final = 256
"""Pixels of the longer side that saliency is looked for in; it finds the same on more, later."""


def transform(master: bytes, spec: Spec, *, source_width: int, source_height: int) -> File:
    """The picture as the spec asks. The source's size is that of the upright original, by which crops and points go.

    Raises BadOption (undecided format, crop outside), TooManyPixels, UnsupportedFormat (no JPEG), CorruptImage,
    DecodeBudgetExceeded.
    """
    if spec.format is None:
        raise BadOption("The format is not decided.", option="format")
    if sniff(master[:SNIFF_BYTES]) is not Format.JPEG:
        raise UnsupportedFormat("A master is a JPEG.")
    with libvips.decoding():
        whole = libvips.open_header(master, Format.JPEG)
        source = Source(Size(source_width, source_height), Size(whole.width, whole.height))
        image, planned = _cut(master, spec, source)
        image = _resized(image, planned)
        image = _turned(image, spec)
        image = _finished(image, spec)
        if spec.radius:
            image = mount.rounded(image, spec.radius)
        image = mount.mounted(image, planned, spec.paper)
        data = _encoded(image, spec, spec.format)
    return File(preset="", format=spec.format, width=planned.canvas.width, height=planned.canvas.height, data=data)


def _cut(master: bytes, spec: Spec, source: Source) -> tuple[Pixels, Plan]:
    """trim, crop: the part that is wanted, at no less than twice the size that is wanted, and the plan for the rest."""
    frame = None
    image = None
    if spec.trim:
        image = libvips.open_pixels(master, Format.JPEG).copy_memory()
        frame = _trimmed(image, spec.trim)
    planned = plan(spec, source, frame=frame)
    if image is None:
        image = libvips.open_pixels(master, Format.JPEG, shrink=shrink_for(planned))
    decoded = Size(image.width, image.height)
    if spec.gravity is Gravity.AUTO:
        image = image.copy_memory()
        uncut = wanted(spec.crop, source, frame or source.frame)
        focus = _focus(image, *(between(box, source.pixels, decoded) for box in (uncut, planned.crop)))
        planned = plan(spec, source, frame=frame, focus=focus)
    box = between(planned.crop, source.pixels, decoded)
    return (image if box == (0, 0, *decoded) else image.crop(*box)), planned


def _trimmed(image: Pixels, threshold: int) -> Box | None:
    """What is left without the border; None where nothing would be, or the picture is too small to have one."""
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


def _focus(image: Pixels, region: Box, window: Box) -> Focal:
    """Where in the whole picture the eye goes, when it looks at the region for a window of that size."""
    part = image.crop(*region).thumbnail_image(_GLANCE, height=_GLANCE, size="down", no_rotate=True).copy_memory()
    if part.bands == 1:
        part = part.colourspace("srgb")
    size = between(Box(0, 0, window.width, window.height), Size(region.width, region.height), Size(part.width, part.height))
    _, found = part.smartcrop(size.width, size.height, interesting="attention", attention_x=True, attention_y=True)
    x = region.left + (found["attention_x"] + 0.5) * region.width / part.width
    y = region.top + (found["attention_y"] + 0.5) * region.height / part.height
    return Focal(min(1.0, x / image.width), min(1.0, y / image.height))


def _resized(image: Pixels, planned: Plan) -> Pixels:
    width, height = planned.resize
    if planned.is_reducing and max(width, height) <= Recipe().linear_side:
        return light.from_linear(light.resampled(light.to_linear(image), width, height, gap=_GAP)).copy_memory()
    return light.reduced(image, width, height).copy_memory()


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
    image = adjust.coloured(image, spec)
    if spec.blur:
        image = adjust.blurred(image.copy_memory(), spec.blur)
    if spec.sharpen:
        image = adjust.sharpened(image, spec.sharpen)
    return image


def _encoded(image: Pixels, spec: Spec, format: Format) -> bytes:
    match format:
        case Format.JPEG:
            return encode.jpeg(image, quality=spec.encoder_quality, is_progressive=spec.progressive)
        case Format.PNG:
            return encode.png(image)
        case Format.GIF:
            return encode.gif(image)
        case _:
            return encode.encode(image, format, quality=spec.encoder_quality, effort=spec.encoder_effort)
