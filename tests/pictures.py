"""Pictures made on the spot, for tests that need a certain kind rather than a certain view. Real ones: `photographs.py`."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colour with some grain: compresses like a photograph, differs by seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(2, height // 64), max(2, width // 64), 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    return Image.fromarray(np.clip(smooth + rng.integers(-6, 7, smooth.shape), 0, 255).astype(np.uint8))


def encoded(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def jpeg(width: int = 640, height: int = 480, seed: int = 0, **options: Any) -> bytes:
    return encoded(noise(width, height, seed), "JPEG", quality=88, **options)


def png(width: int = 320, height: int = 240, seed: int = 0) -> bytes:
    return encoded(noise(width, height, seed), "PNG")


def animation(frames: int = 5, width: int = 96, height: int = 64, format: str = "GIF") -> bytes:
    first, *rest = [noise(width, height, seed) for seed in range(frames)]
    return encoded(first, format, save_all=True, append_images=rest, duration=80, loop=0)
