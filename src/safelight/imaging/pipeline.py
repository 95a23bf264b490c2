"""Pipeline: one decode, and everything that is made of it. Bytes in, bytes out.

`develop` takes a stranger's bytes and therefore runs in the sandbox; `render` takes only our own master and may run in a
thread of the server. Both let the interpreter go while they work.

One decode at the largest size needed (JPEG shrinks while decoding), copied to memory, all else derived from that: asking
libvips for a thumbnail per size decodes per size and costs twice as much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.errors import UnsupportedFormat
from safelight.imaging import encode, geometry, libvips, light, placeholders
from safelight.imaging.animation import Animation, rgba
from safelight.imaging.colour import is_reducible, to_srgb
from safelight.imaging.formats import SNIFF_BYTES, Format, sniff
from safelight.imaging.libvips import Pixels
from safelight.imaging.metadata.facts import MAX_BLOCK, read_facts
from safelight.imaging.probe import probe
from safelight.imaging.spec import (
    MASTER,
    RENDER_EFFORT,
    RENDER_QUALITY,
    Developed,
    Facts,
    File,
    Header,
    Limits,
    Recipe,
    lesser_sides,
    master_name,
)
from safelight.imaging.stills import Size, Stills
from safelight.imaging.transform import Original, Watermark, apply, parse, parse_request, settle, stamp
from safelight.imaging.transform.from_original import transform_original
from safelight.imaging.transform.plan import Size as Layer
from safelight.imaging.transform.stamp import Ink


def develop(
    data: bytes,
    recipe: Recipe | None = None,
    limits: Limits | None = None,
    *,
    header: Header | None = None,
    mark: bytes = b"",
) -> Developed:
    """Everything that the recipe asks for, and what was learnt on the way. `data` may be any buffer, `header` what `probe` said of it.

    `mark` is the PNG of the recipe's watermark.

    Raises EmptyFile, TooManyBytes, UnsupportedFormat, CorruptImage, TooManyPixels, TooManyFrames, DecodeBudgetExceeded.
    """
    recipe, limits = recipe or Recipe(), limits or Limits()
    header = header or probe(data, limits)
    with libvips.decoding():
        facts = _facts(data, header)
        pictures: Stills | _Moving
        if header.is_animated:
            pictures = _Moving(_frames(data, header, recipe))
        else:
            sides = {recipe.master_side, *recipe.lesser_sides, *(preset.side for preset in recipe.presets)}
            large = [geometry.fit_inside(header.width, header.height, side) for side in sides if side > recipe.linear_side]
            pictures = Stills(still(data, header, recipe.side), large)
        files = tuple(_files(pictures, header, recipe, mark))
        if recipe.sizes:
            files += tuple(_sized(data, replace(header, has_alpha=pictures.has_alpha), files, recipe, limits, mark))
        small = pictures.still(geometry.fit_inside(header.width, header.height, placeholders.THUMBHASH_SIDE))
        pixels = rgba(small)
        hashed = pictures.still(geometry.fit_inside(header.width, header.height, 300)) if "phash" in recipe.analysis else None
        return Developed(
            header=replace(header, has_alpha=pictures.has_alpha),
            files=files,
            facts=facts,
            thumbhash=placeholders.thumbhash(pixels) if "placeholder" in recipe.analysis else b"",
            dominant_color=placeholders.dominant_color(pixels) if "colours" in recipe.analysis else "",
            phash=placeholders.phash(_luma(hashed)) if hashed is not None else "",
        )


def render(
    master: bytes,
    *,
    side: int,
    format: Format,
    quality: int | None = None,
    effort: int | None = None,
    watermark: Watermark | None = None,
    mark: bytes = b"",
) -> File:
    """Our own master, fitted inside side x side and encoded, under a watermark whose PNG is `mark`. Never give it a stranger's bytes.

    Raises UnsupportedFormat (for what is no JPEG, and formats that only come in), CorruptImage.
    """
    if sniff(master[:SNIFF_BYTES]) is not Format.JPEG:
        raise UnsupportedFormat("A master is a JPEG.")
    if format not in RENDER_QUALITY:
        raise UnsupportedFormat(f"Safelight does not deliver {format.value}.")
    with libvips.decoding():
        whole = libvips.open_header(master, Format.JPEG)
        width, height = geometry.fit_inside(whole.width, whole.height, side)
        is_linear = side <= Recipe().linear_side
        # The decoder's own shrinking averages gamma light, so leave more than half of the way to the linear kernel.
        shrink = geometry.shrink_on_load(max(whole.width, whole.height), side, margin=1.6 if is_linear else 1.1)
        image = libvips.open_pixels(master, Format.JPEG, shrink=shrink)
        if (image.width, image.height) == (width, height) or not is_linear:
            image = light.reduced(image, width, height).copy_memory()
        else:
            image = light.from_linear(light.resampled(light.to_linear(image), width, height)).copy_memory()
        if watermark is not None:
            image = stamp.marked(image, watermark, mark).copy_memory()
        data = encode.encode(
            image,
            format,
            quality=RENDER_QUALITY[format] if quality is None else quality,
            effort=RENDER_EFFORT[format] if effort is None else effort,
        )
    return File(preset="", format=format, width=width, height=height, data=data)


def _facts(data: bytes, header: Header) -> Facts:
    image = libvips.open_header(data, header.format)

    def block(name: str) -> bytes:
        if name == "exif-data" and header.format is Format.TIFF and len(data) <= MAX_BLOCK:
            return bytes(data)  # a TIFF file is its own EXIF block
        return bytes(image.get(name)) if image.get_typeof(name) else b""

    return read_facts(block)


def still(data: bytes, header: Header, side: int) -> Pixels:
    """The picture upright in memory, uint8 sRGB, no longer than `side`; alpha only if some of it shows."""
    # As stored: on its side if the orientation says so. Fitting into a square is the same either way.
    stored = geometry.upright(header.width, header.height, header.orientation)
    target = geometry.fit_inside(*stored, side)
    if header.format is Format.SVG:
        natural = libvips.open_header(data, Format.SVG)
        scale = max(stored) / max(natural.width, natural.height)
        image = libvips.open_pixels(data, Format.SVG, scale=scale)
    else:
        shrink = geometry.shrink_on_load(max(stored), side) if header.format is Format.JPEG else 1
        image = libvips.open_pixels(data, header.format, shrink=shrink)
    image = to_srgb(light.reduced(image, *target)) if is_reducible(image) else light.reduced(to_srgb(image), *target)
    image = image.copy_memory()
    if header.orientation != 1:
        image = image.autorot().copy_memory()
    if image.bands == 4 and image.extract_band(3).min() == 255:
        image = image.extract_band(0, n=3).copy_memory()
    return image


def _frames(data: bytes, header: Header, recipe: Recipe) -> Animation:
    strip = to_srgb(libvips.open_pixels(data, header.format, frames=header.frames))
    frames = Animation.of(strip, header.frames)
    return frames.reduced(*geometry.fit_inside(header.width, header.height, recipe.side))


class _Moving:
    """All sizes of an animation; its stills are the first frame."""

    def __init__(self, frames: Animation) -> None:
        self._frames = frames
        self._first = Animation(frames.pixels[:1], (), 0)

    @property
    def has_alpha(self) -> bool:
        return bool(self._frames.pixels.shape[-1] == 4 and self._frames.pixels[..., 3].min() < 255)

    def still(self, size: Size) -> Pixels:
        return self._first.reduced(*size).still()

    def strip(self, size: Size, ink: Ink | None = None) -> Pixels:
        frames = self._frames.reduced(*size)
        if ink is None:
            return frames.strip()
        stills = (Animation(frames.pixels[at : at + 1], (), 0).still() for at in range(len(frames.pixels)))
        pixels = np.stack([np.asarray(stamp.laid(still, ink).numpy()) for still in stills])
        return Animation.strip_of(pixels, frames.delays, frames.loop)


def _files(pictures: Stills | _Moving, header: Header, recipe: Recipe, mark: bytes) -> Iterator[File]:
    """The masters, then every preset in every format; equal sizes are encoded once and share their bytes."""
    size = geometry.fit_inside(header.width, header.height, recipe.master_side)
    yield _master(pictures, size, MASTER, recipe.master_quality)
    for side in lesser_sides(max(size), recipe.lesser_sides):
        lesser = geometry.fit_inside(header.width, header.height, side)
        yield _master(pictures, lesser, master_name(side), recipe.lesser_quality)
    watermark = _watermark(recipe)
    encoded: dict[Size, list[bytes]] = {}
    for preset in sorted(recipe.presets, key=lambda preset: -preset.side):
        size = geometry.fit_inside(header.width, header.height, preset.side)
        if size not in encoded:
            ink = stamp.inked(watermark, mark, Layer(*size)) if watermark else None
            encoded[size] = [_encoded(pictures, size, ink, format, recipe) for format in recipe.formats]
        for format, data in zip(recipe.formats, encoded[size], strict=True):
            yield File(preset=preset.name, format=format, width=size[0], height=size[1], data=data)


def _master(pictures: Stills | _Moving, size: Size, name: str, quality: int) -> File:
    data = encode.master(pictures.still(size), quality=quality)
    return File(preset=name, format=Format.JPEG, width=size[0], height=size[1], data=data)


def _sized(data: bytes, header: Header, files: Sequence[File], recipe: Recipe, limits: Limits, mark: bytes) -> Iterator[File]:
    """Every size of the recipe's own, as delivery would make it: of a master, or where none suffices of the file itself."""
    masters = {file.preset: file.data for file in files}
    watermark = _watermark(recipe)
    original = Original(
        format=header.format, width=header.width, height=header.height, frames=header.frames, has_alpha=header.has_alpha
    )
    for name, text in recipe.sizes:
        request = parse_request(text)
        request = replace(request, spec=replace(request.spec, watermark=watermark))
        settled = settle(request, original, "", max_animation_pixels=limits.max_animation_pixels)
        if settled.needs_original:
            file = transform_original(data, settled.spec, limits, mark=mark)
        else:
            side = apply.lesser_side(settled.spec, header.width, header.height)
            master = masters[master_name(side)]
            file = apply.transform(
                master, settled.spec, source_width=header.width, source_height=header.height, mark=mark, is_lesser=side > 0
            )
        yield replace(file, preset=name)


def _watermark(recipe: Recipe) -> Watermark | None:
    return parse(f"{recipe.watermark}.webp").watermark if recipe.watermark else None


def _encoded(pictures: Stills | _Moving, size: Size, ink: Ink | None, format: Format, recipe: Recipe) -> bytes:
    if format is Format.WEBP and isinstance(pictures, _Moving):
        image = pictures.strip(size, ink)
    else:
        still = pictures.still(size)
        image = stamp.laid(still, ink).copy_memory() if ink else still
    match format:
        case Format.WEBP:
            return encode.webp(image, quality=recipe.webp_quality, effort=recipe.webp_effort)
        case Format.JPEG:
            return encode.jpeg(image, quality=recipe.jpeg_quality)
        case _:
            return encode.encode(image, format, quality=recipe.avif_quality, effort=RENDER_EFFORT[Format.AVIF])


def _luma(image: Pixels) -> NDArray[Any]:
    square = encode.on_white(image).thumbnail_image(placeholders.PHASH_SIDE, height=placeholders.PHASH_SIDE, size="force")
    if square.bands > 1:
        square = square.colourspace("b-w")
    return np.asarray(square.numpy()).reshape(placeholders.PHASH_SIDE, placeholders.PHASH_SIDE)
