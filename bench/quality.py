"""Quality: SSIMULACRA2 of 600 px files against a reference that nobody's encoder or libvips has touched.

The reference is the photograph as Pillow decodes it, upright, in sRGB, reduced by Lanczos in linear light, channel by
channel in floating point. 100 is the same picture; 90 cannot be told from it, 70 is high quality.
"""

from __future__ import annotations

import io
import statistics
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps
from ssimulacra2 import compute_ssimulacra2

NAMES = ("thumb_600.webp", "thumb_600.jpg")


def upright_srgb(path: Path) -> Image.Image:
    with Image.open(path) as image:
        profile = image.info.get("icc_profile")
        image = ImageOps.exif_transpose(image).convert("RGB")
    if profile:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        image = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC)
    return image


def reference(path: Path, size: tuple[int, int]) -> Image.Image:
    """The photograph in exactly this size; light is averaged, not its code values (IEC 61966-2-1)."""
    code = np.asarray(upright_srgb(path))
    table = np.arange(256, dtype=np.float32) / 255
    table = np.where(table <= 0.04045, table / 12.92, ((table + 0.055) / 1.055) ** 2.4).astype(np.float32)
    channels = []
    for number in range(3):
        light = Image.fromarray(table[code[..., number]])
        light = np.clip(np.asarray(light.resize(size, Image.Resampling.LANCZOS)), 0, 1)
        channels.append(np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055))
    return Image.fromarray(np.rint(np.dstack(channels) * 255).astype(np.uint8))


def scores(photos: list[Path], out: Path) -> dict[str, dict[str, dict[str, float]]]:
    """By contender (a folder of `out`) and file name: the mean, the worst and each."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for path in photos:
        references: dict[tuple[int, int], Path] = {}
        for contender in sorted(folder.name for folder in out.iterdir() if folder.name != "reference"):
            for name in NAMES:
                made = out / contender / path.stem / name
                with Image.open(made) as image:
                    size = image.size
                if size not in references:
                    references[size] = out / "reference" / f"{path.stem}-{size[0]}x{size[1]}.png"
                    references[size].parent.mkdir(exist_ok=True)
                    reference(path, size).save(references[size])
                score = float(compute_ssimulacra2(str(references[size]), str(made)))
                found.setdefault(contender, {}).setdefault(name, {})[path.stem] = round(score, 2)
    for files in found.values():
        for each in files.values():
            each |= {"mean": round(statistics.mean(each.values()), 2), "worst": round(min(each.values()), 2)}
    return found
