"""libvips: set up once, with only the loaders that we mean to use, and opened by the format that the magic number told.

Importing this module changes the process: no operation cache (useless for a server, and a double free under threads was
once found in its trimming), one thread per pipeline (workers scale better than threads within one), no loader but six.
Never fork a process in which a pipeline has run: its thread pool does not survive and the child hangs for ever.
Called by the probe and the pipeline; nothing outside of `imaging` needs it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import pyvips

from safelight.errors import CorruptImage, DecodeBudgetExceeded, UnsupportedFormat
from safelight.imaging.formats import Format

Pixels = Any
"""A pyvips.Image (pyvips has no types): (height, width, bands), a pipeline rather than memory until it is copied there."""

# libvips chooses loaders by content and offers some that read other files or raw memory; a strict list closes that
# class of hole (CVE-2026-66066 was an untrusted loader left on). UltraHDR is out too: its SDR picture is enough.
_ALLOWED: Final = ("Jpeg", "Png", "Webp", "Nsgif", "Heif", "Tiff")

logging.getLogger("pyvips").setLevel(logging.WARNING)
pyvips.cache_set_max(0)
pyvips.concurrency_set(1)
pyvips.operation_block_set("VipsForeignLoad", True)
for _name in _ALLOWED:
    pyvips.operation_block_set(f"VipsForeignLoad{_name}", False)

HAS_HEIC: Final = find_spec("pi_heif") is not None
"""HEVC is decoded by the extra `safelight[heic]`; without it HEIC is refused."""
if HAS_HEIC:
    import pi_heif


class Stop:
    """Ends work in libvips: at a deadline, or when told to from another thread.

    Pixels that stream end within milliseconds. An encoder at work is beyond reach (AVIF takes no interruption), so it is asked
    again between encodings.
    """

    def __init__(self, budget_s: float = math.inf) -> None:
        """The seconds count from now."""
        self._deadline = time.monotonic() + budget_s
        self._told = False

    def now(self) -> None:
        """From any thread."""
        self._told = True

    @property
    def is_due(self) -> bool:
        """Told to, or out of time."""
        return self._told or time.monotonic() > self._deadline

    def check(self) -> None:
        """Raises DecodeBudgetExceeded when it is time."""
        if self.is_due:
            raise DecodeBudgetExceeded("The transform takes more time than allowed.")

    def watching(self, image: Pixels) -> Pixels:
        """The same picture; making its pixels fails with pyvips.Error once it is time. Raises DecodeBudgetExceeded if it is now."""
        self.check()
        image = image.copy()
        image.set_progress(True)
        image.signal_connect("eval", lambda watched, _progress: watched.set_kill(True) if self.is_due else None)
        return image


@contextmanager
def decoding() -> Iterator[None]:
    """Driver errors become ours. Raises CorruptImage, DecodeBudgetExceeded."""
    try:
        yield
    except pyvips.Error as error:
        if "out of memory" in str(error) or "killed" in str(error):
            raise DecodeBudgetExceeded from error
        raise CorruptImage from error
    except MemoryError as error:
        raise DecodeBudgetExceeded from error


_LOADERS: Final[Mapping[Format, Callable[..., Pixels]]] = {
    Format.JPEG: pyvips.Image.jpegload_source,
    Format.PNG: pyvips.Image.pngload_source,
    Format.GIF: pyvips.Image.gifload_source,
    Format.WEBP: pyvips.Image.webpload_source,
    Format.AVIF: pyvips.Image.heifload_source,
    Format.HEIC: pyvips.Image.heifload_source,
    Format.TIFF: pyvips.Image.tiffload_source,
}


def open_header(data: bytes, format: Format) -> Pixels:
    """The picture's first frame with its fields, nothing decoded. Raises CorruptImage, UnsupportedFormat."""
    if format is Format.HEIC and not HAS_HEIC:
        raise UnsupportedFormat("HEIC is not enabled on this server.")
    with decoding():
        return _open(data, format)


def open_pixels(data: bytes, format: Format, *, shrink: int = 1, scale: float = 1.0, frames: int = 1, page: int = 0) -> Pixels:
    """The picture, to be read once from top to bottom; several frames stand below each other in one tall strip.

    `shrink` (1, 2, 4, 8) is for JPEG and `scale` for SVG only; `page` counts from 0, TIFF and what plays have several. Damage shows when the pixels are asked for, as pyvips.Error.
    Raises CorruptImage, UnsupportedFormat.
    """
    with decoding():
        if format is Format.HEIC:
            return _open_heic(data)
        if format is Format.JPEG:
            return _open(data, format, shrink=shrink)
        if format is Format.SVG:
            return _open(data, format, scale=scale)
        if frames > 1:
            return _open(data, format, n=frames)
        if page:
            return _open(data, format, page=page)
        return _open(data, format)


def _open(data: bytes, format: Format, **options: Any) -> Pixels:
    # fail_on must go through the loader: thumbnail_buffer ignores it (libvips #5195). 'warning' would refuse
    # sound pictures of some Samsung phones (libvips #2309).
    options |= {"access": "sequential", "fail_on": "error"}
    if format is Format.SVG:
        return _open_svg(data, options)
    # From a source, since pyvips copies what is given to a loader of buffers, each time anew. Which loader it is we say, all the
    # same: `new_from_source` would choose by content.
    source = pyvips.Source.new_from_memory(data)
    image = _LOADERS[format](source, **options)
    image._references.append(source)  # noqa: SLF001  # pyvips does so for images of its own choice: libvips reads `data` itself
    return image


def _open_svg(data: bytes, options: dict[str, Any]) -> Pixels:
    # Only while this call builds its loader, and only from a buffer: from a file librsvg would include its neighbours.
    pyvips.operation_block_set("VipsForeignLoadSvg", False)
    try:
        return pyvips.Image.svgload_buffer(data, **options)
    finally:
        pyvips.operation_block_set("VipsForeignLoadSvg", True)


def _open_heic(data: bytes) -> Pixels:
    header = _open(data, Format.HEIC)  # what the guards have seen must be what is decoded
    # The file object must outlive the array, and the array be copied: in pi-heif 1.4 the array does not own its pixels.
    try:
        file = pi_heif.open_heif(bytes(data), convert_hdr_to_8bit=True)
        if file.size != (header.width, header.height):
            raise CorruptImage("The file describes two different pictures.")
        pixels = np.array(file, copy=True)
    except (CorruptImage, MemoryError):
        raise
    except Exception as error:
        # The driver raises whatever libheif said, by many types (ValueError, RuntimeError, EOFError, SyntaxError...).
        raise CorruptImage from error
    image = pyvips.Image.new_from_memory(pixels, pixels.shape[1], pixels.shape[0], pixels.shape[2], "uchar")
    image = image.copy(interpretation="srgb")
    profile = file.info.get("icc_profile")
    if profile:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", bytes(profile))
    return image
