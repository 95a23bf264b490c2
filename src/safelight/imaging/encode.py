"""Encode: pixels to the bytes of one file, free of everything that is not the picture. Called by the pipeline.

`keep` is 0 in all but rare cases, which leaves out EXIF with its GPS and its thumbnail of the uncropped original, XMP, IPTC and
the profile (the pixels are sRGB by then); frame delays and loop counts of animations are not metadata to the encoder and stay.
"""

from __future__ import annotations

from safelight.errors import UnsupportedFormat
from safelight.imaging.formats import Format
from safelight.imaging.libvips import Pixels

WHITE = (255, 255, 255)
_HALVED_FROM = 1000
KEEP_XMP, KEEP_ICC = 2, 8
"""What may be kept, to be added up (VipsForeignKeep); what an image carries must be our own or harmless by then."""


def on_white(image: Pixels) -> Pixels:
    """Without alpha: laid on white, the usual paper."""
    return image.flatten(background=list(WHITE)) if image.hasalpha() else image


def jpeg(image: Pixels, *, quality: int, is_progressive: bool = True, keep: int = 0) -> bytes:
    """Progressive with optimised tables, colour at half the resolution below quality 90."""
    data: bytes = on_white(image).jpegsave_buffer(Q=quality, interlace=is_progressive, optimize_coding=is_progressive, keep=keep)
    return data


def master(image: Pixels, *, quality: int) -> bytes:
    """A JPEG to be read again: plain, which costs a quarter of the time.

    From 1000 pixels on with colour at half the resolution, which nearly everything has that is made of it; it saves half of encoding.
    """
    is_halved = max(image.width, image.height) >= _HALVED_FROM
    data: bytes = on_white(image).jpegsave_buffer(Q=quality, subsample_mode="on" if is_halved else "off", keep=0)
    return data


def webp(image: Pixels, *, quality: int, effort: int, keep: int = 0) -> bytes:
    """Lossy, alpha and animation kept. WebP holds at most 16383 pixels a side; no preset comes near."""
    data: bytes = image.webpsave_buffer(Q=quality, effort=effort, keep=keep)
    return data


def avif(image: Pixels, *, quality: int, effort: int, keep: int = 0) -> bytes:
    """AV1, 8 bit, alpha kept."""
    data: bytes = image.heifsave_buffer(compression="av1", Q=quality, effort=effort, bitdepth=8, keep=keep)
    return data


def png(image: Pixels, *, keep: int = 0) -> bytes:
    """Lossless, alpha kept."""
    data: bytes = image.pngsave_buffer(compression=6, keep=keep)
    return data


def gif(image: Pixels) -> bytes:
    """256 colours of the picture's own, dithered; a pixel is clear or it is not."""
    data: bytes = image.gifsave_buffer(effort=1, keep=0)
    return data


def encode(image: Pixels, format: Format, *, quality: int, effort: int, keep: int = 0) -> bytes:
    """As this format. Raises UnsupportedFormat for those that only come in."""
    match format:
        case Format.JPEG:
            return jpeg(image, quality=quality, keep=keep)
        case Format.WEBP:
            return webp(image, quality=quality, effort=effort, keep=keep)
        case Format.AVIF:
            return avif(image, quality=quality, effort=effort, keep=keep)
        case _:
            raise UnsupportedFormat(f"Safelight does not deliver {format.value}.")
