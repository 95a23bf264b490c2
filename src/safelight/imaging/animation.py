"""Animation: all frames made smaller at once. Called by the pipeline.

Frames lie below each other in one strip, as libvips loads and saves them. Resampling the strip as it is would bleed the edge
of one frame into the next, and resampling each frame alone builds thousands of pipelines. So the strip is resampled across,
where frames do not touch, then its frames are laid side by side and resampled down, where they do not touch either.
In gamma light: linear would cost more than all the rest, and movement hides what a still would show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyvips
from numpy.typing import NDArray

from safelight.imaging.libvips import Pixels


@dataclass(frozen=True, slots=True)
class Animation:
    """Frames in memory: (frames, height, width, bands) uint8 sRGB, alpha premultiplied; milliseconds each; 0 = for ever."""

    pixels: NDArray[np.uint8]
    delays: tuple[int, ...]
    loop: int

    @classmethod
    def of(cls, strip: Pixels, frames: int) -> Animation:
        """The strip decoded: uint8 sRGB of 1, 3 or 4 bands, alpha not premultiplied."""
        delays: Sequence[int] = strip.get("delay") if strip.get_typeof("delay") else ()
        loop: int = strip.get("loop") if strip.get_typeof("loop") else 0
        if strip.bands == 4:
            strip = strip.premultiply().rint().cast("uchar")
        pixels = strip.numpy().reshape(frames, strip.height // frames, strip.width, strip.bands)
        return cls(pixels, tuple(delays[:frames]), loop)

    @staticmethod
    def strip_of(pixels: NDArray[np.uint8], delays: tuple[int, ...], loop: int) -> Pixels:
        """Frames whose alpha is straight, as the encoder wants them: one tall image that knows its page height, delays and loop count."""
        frames, tall, wide, bands = pixels.shape
        image = _image(pixels.reshape(frames * tall, wide, bands)).copy()
        image.set_type(pyvips.GValue.gint_type, "page-height", tall)
        image.set_type(pyvips.GValue.gint_type, "loop", loop)
        if delays:
            image.set_type(pyvips.GValue.array_int_type, "delay", list(delays))
        return image

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of a frame."""
        return self.pixels.shape[2], self.pixels.shape[1]

    def reduced(self, width: int, height: int) -> Animation:
        """Every frame at width x height, by Lanczos 3."""
        if self.size == (width, height):
            return self
        frames, tall, wide, bands = self.pixels.shape
        strip = _image(self.pixels.reshape(frames * tall, wide, bands))
        narrow = strip.resize(width / wide, vscale=1.0).numpy().reshape(frames, tall, width, bands)
        row = _image(narrow.transpose(1, 0, 2, 3).reshape(tall, frames * width, bands))
        low = row.resize(1.0, vscale=height / tall).numpy().reshape(height, frames, width, bands)
        return Animation(np.ascontiguousarray(low.transpose(1, 0, 2, 3)), self.delays, self.loop)

    def strip(self) -> Pixels:
        """As the encoder wants it: one tall image that knows its page height, delays and loop count."""
        frames, tall, wide, bands = self.pixels.shape
        straight = _straight(_image(self.pixels.reshape(frames * tall, wide, bands)))
        return self.strip_of(straight.numpy().reshape(self.pixels.shape), self.delays, self.loop)

    def still(self) -> Pixels:
        """The first frame."""
        return _straight(_image(self.pixels[0])).copy_memory()


def _image(pixels: NDArray[np.uint8]) -> Pixels:
    pixels = np.ascontiguousarray(pixels)
    height, width, bands = pixels.shape
    image = pyvips.Image.new_from_memory(pixels, width, height, bands, "uchar")
    return image.copy(interpretation="b-w" if bands == 1 else "srgb")


def _straight(image: Pixels) -> Pixels:
    return image.unpremultiply().rint().cast("uchar") if image.bands == 4 else image


def rgba(image: Pixels) -> NDArray[np.uint8]:
    """A still as rows of pixels of four bands, for a frame of a strip: grey becomes colour, and what has no alpha is opaque."""
    if image.bands == 1:
        image = image.colourspace("srgb")
    return np.asarray((image if image.bands == 4 else image.bandjoin(255)).numpy())
