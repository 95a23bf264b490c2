"""One picture in every dress it may come in, made on the spot. Expected pixels are always those of `SCENE`."""

from __future__ import annotations

import io
import struct
from functools import cache
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener(thumbnails=False)


@cache
def scene(width: int = 480, height: int = 360) -> Image.Image:
    """Smooth colour without two equal corners: survives any encoder, and shows any turn."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    u, v = x / width, y / height
    red = 40 + 170 * u
    green = 50 + 150 * v
    blue = 60 + 120 * np.sin(np.pi * u) * (1 - v)
    pixels = np.stack([red, green, blue], -1)
    pixels[: height // 4, : width // 4] = (210, 60, 50)
    return Image.fromarray(np.round(pixels).astype(np.uint8))


def translucent() -> Image.Image:
    """The scene, opaque on the left and gone on the right."""
    picture = scene().convert("RGBA")
    alpha = np.tile(np.linspace(255, 0, picture.width).astype(np.uint8), (picture.height, 1))
    picture.putalpha(Image.fromarray(alpha))
    return picture


def encoded(picture: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def distance(data: bytes, expected: Image.Image) -> float:
    """Mean difference of levels (0-255) between a file, on white, and the expected picture at its size."""
    picture = decoded(data).convert("RGBA")
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture)
    wanted = expected.convert("RGB").resize(
        picture.size, Image.Resampling.BOX if expected.width > picture.width else Image.Resampling.LANCZOS
    )
    return float(np.abs(np.asarray(paper.convert("RGB"), float) - np.asarray(wanted, float)).mean())


def profile(red: tuple[float, float], green: tuple[float, float], blue: tuple[float, float], gamma: float, name: str) -> bytes:
    """An ICC version 2 matrix profile with these primaries (x, y), D65, adapted to D50 by Bradford."""
    xyz = lambda x, y: np.array([x / y, 1.0, (1 - x - y) / y])
    primaries = np.stack([xyz(*p) for p in (red, green, blue)], 1)
    d65, d50 = xyz(0.3127, 0.3290), np.array([0.9642, 1.0, 0.8249])
    to_xyz = primaries * np.linalg.solve(primaries, d65)
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    adapt = np.linalg.inv(bradford) @ np.diag((bradford @ d50) / (bradford @ d65)) @ bradford
    columns = adapt @ to_xyz
    fixed = lambda values: b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = name.encode() + b"\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + b"\0" * 78,
        b"wtpt": fixed(d50),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
    }
    for index, letter in enumerate(b"rgb"):
        tags[bytes([letter]) + b"XYZ"] = fixed(columns[:, index])
        tags[bytes([letter]) + b"TRC"] = curve
    table, body = struct.pack(">I", len(tags)), b""
    for signature, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += signature + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data
    head = bytearray(128)
    head[0:4] = struct.pack(">I", 128 + len(table) + len(body))
    head[8:12] = b"\x02\x40\0\0"
    head[12:24] = b"mntrRGB XYZ "
    head[36:40] = b"acsp"
    head[68:80] = b"".join(struct.pack(">i", round(value * 65536)) for value in d50)
    return bytes(head) + table + body


DISPLAY_P3 = profile((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), 2.2, "Wide P3")
ADOBE_RGB = profile((0.640, 0.330), (0.210, 0.710), (0.150, 0.060), 2.19921875, "Adobe RGB (1998)")


def in_space(
    picture: Image.Image, red: tuple[float, float], green: tuple[float, float], blue: tuple[float, float], gamma: float
) -> Image.Image:
    """The same colours, written in another space: what a wide-gamut camera would have stored for this scene."""
    xyz = lambda x, y: np.array([x / y, 1.0, (1 - x - y) / y])
    white = xyz(0.3127, 0.3290)

    def matrix(*primaries):
        columns = np.stack([xyz(*p) for p in primaries], 1)
        return columns * np.linalg.solve(columns, white)

    coded = np.asarray(picture.convert("RGB"), float) / 255
    light = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    srgb = matrix((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
    there = light @ (np.linalg.inv(matrix(red, green, blue)) @ srgb).T
    return Image.fromarray(np.round(255 * np.clip(there, 0, 1) ** (1 / gamma)).astype(np.uint8))
