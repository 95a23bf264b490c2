"""Probe: what a file says of itself, and whether we take it, before a single pixel is decoded.

Every known bomb is told from its header within milliseconds, so all guards of size stand here. Never looks at a name or
a declared type. Reading a header is still a decoder at work on a stranger's bytes: call it in the sandbox.
"""

from __future__ import annotations

from typing import Final

from safelight.errors import CorruptImage, EmptyFile, TooManyBytes, TooManyFrames, TooManyPixels, UnsupportedFormat
from safelight.imaging import geometry, libvips
from safelight.imaging.containers import check_boxes, check_gif_blocks, declared_size
from safelight.imaging.formats import SNIFF_BYTES, Format, sniff
from safelight.imaging.spec import Header, Limits
from safelight.imaging.svg import check_svg

_ANIMATED: Final = frozenset({Format.GIF, Format.WEBP})
_STREAMED: Final = frozenset({Format.JPEG, Format.PNG, Format.TIFF, Format.SVG})
_UPRIGHT: Final = frozenset({Format.AVIF, Format.HEIC, Format.SVG})
"""Turned by their own decoder; an EXIF orientation beside that would turn them twice."""


def probe(data: bytes, limits: Limits) -> Header:
    """What comes, if we take it.

    Raises EmptyFile, TooManyBytes, UnsupportedFormat, CorruptImage, TooManyPixels, TooManyFrames.
    """
    if not len(data):
        raise EmptyFile
    if len(data) > limits.max_bytes:
        raise TooManyBytes(f"The file has more than {limits.max_bytes} bytes.", limit=limits.max_bytes)
    format = sniff(data[:SNIFF_BYTES])
    if format is None:
        raise UnsupportedFormat
    if format is Format.SVG:
        check_svg(data)
    elif format in {Format.AVIF, Format.HEIC}:
        check_boxes(data)
        _check_pixels(*declared_size(data), min(limits.max_pixels, limits.max_buffered_pixels))
    elif format is Format.GIF:
        check_gif_blocks(data)
    return checked(_header(libvips.open_header(data, format), format, limits), limits)


def _header(image: libvips.Pixels, format: Format, limits: Limits) -> Header:
    fields = set(image.get_fields())
    width, height = image.width, image.height
    orientation = 1
    if format not in _UPRIGHT and "orientation" in fields and 1 <= image.get("orientation") <= 8:
        orientation = image.get("orientation")
    if format is Format.SVG:
        width, height = drawn_size(width, height, limits.svg_side)
    else:
        width, height = geometry.upright(width, height, orientation)
    is_progressive = "jpeg-multiscan" in fields and bool(image.get("jpeg-multiscan"))
    is_interlaced = "interlaced" in fields and bool(image.get("interlaced"))
    return Header(
        format=format,
        width=width,
        height=height,
        frames=image.get("n-pages") if format in _ANIMATED and "n-pages" in fields else 1,
        has_alpha=bool(image.hasalpha()),
        orientation=orientation,
        is_buffered=format not in _STREAMED or is_progressive or is_interlaced,
    )


def drawn_size(width: int, height: int, side: int) -> tuple[int, int]:
    """How large a drawing of this natural size is drawn: its longer side is `side`, up or down."""
    scale = side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def checked(header: Header, limits: Limits) -> Header:
    """The same header. Raises TooManyPixels, TooManyFrames, CorruptImage."""
    if header.width < 1 or header.height < 1 or header.frames < 1:
        raise CorruptImage
    allowed = min(limits.max_pixels, limits.max_buffered_pixels) if header.is_buffered else limits.max_pixels
    _check_pixels(header.width, header.height, allowed)
    if header.frames > limits.max_frames:
        raise TooManyFrames(
            f"The animation has {header.frames} frames; {limits.max_frames} are allowed.", limit=limits.max_frames
        )
    if header.is_animated and header.width * header.height * header.frames > limits.max_animation_pixels:
        raise TooManyPixels(
            f"The animation has {header.frames} frames of {header.width} x {header.height} pixels; "
            f"{limits.max_animation_pixels} in all are allowed.",
            limit=limits.max_animation_pixels,
        )
    return header


def _check_pixels(width: int, height: int, allowed: int) -> None:
    if width * height > allowed:
        raise TooManyPixels(
            f"The image has {width} x {height} pixels; {allowed} in all are allowed for this kind of file.", limit=allowed
        )
