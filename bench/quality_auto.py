"""`quality=auto`: how far the quick metric is from SSIMULACRA2, and what the search by it finds.

$ python tests/photographs.py fetch camera
$ python bench/quality_auto.py metric     imaging/perception.py beside SSIMULACRA2
$ python bench/quality_auto.py search     size and SSIMULACRA2 of quality=auto beside the fixed default

Photographs are reduced to 600 pixels by our own pipeline; every file is compared with the pixels that its encoder got.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import spearmanr
from ssimulacra2 import compute_ssimulacra2

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.photographs import photographs

from safelight.imaging import Format, encode, libvips, light
from safelight.imaging.perception import Reference
from safelight.imaging.pipeline import develop
from safelight.imaging.spec import RENDER_EFFORT
from safelight.imaging.transform import parse
from safelight.imaging.transform.apply import transform

QUALITIES = {
    Format.JPEG: (35, 50, 60, 70, 78, 85, 92),
    Format.WEBP: (30, 50, 62, 72, 80, 87, 93),
    Format.AVIF: (25, 38, 48, 56, 64, 72, 82),
}


def pictures() -> list[Path]:
    return [*sorted(photographs("camera")), *sorted(photographs("large"))[:1], *sorted(photographs("small"))[:6]]


def encoded(image: libvips.Pixels, format: Format, quality: int) -> bytes:
    return encode.encode(image, format, quality=quality, effort=RENDER_EFFORT[format])


def judged(folder: Path, name: str, pixels: np.ndarray, other: np.ndarray) -> float:
    paths = folder / f"{name}-a.png", folder / f"{name}-b.png"
    for path, array in zip(paths, (pixels, other), strict=True):
        Image.fromarray(array.squeeze()).convert("RGB").save(path, compress_level=1)
    return float(compute_ssimulacra2(*map(str, paths)))


def metric() -> None:
    """Files whose coarsest scale SSIMULACRA2 takes into account, for it puts its weights elsewhere when there is none: 256 pixels a side."""
    with tempfile.TemporaryDirectory() as folder:
        for format, qualities in QUALITIES.items():
            ours, theirs, took = [], [], 0.0
            for number, path in enumerate(pictures()):
                image = libvips.open_pixels(develop(path.read_bytes()).file("master", Format.JPEG).data, Format.JPEG)
                scale = 600 / max(image.width, image.height)
                if scale > 1 or scale * min(image.width, image.height) < 256:
                    continue
                image = light.reduced(image, round(image.width * scale), round(image.height * scale)).copy_memory()
                reference = Reference(image.numpy())
                for quality in qualities:
                    other = libvips.open_pixels(encoded(image, format, quality), format).numpy()
                    started = time.process_time()
                    ours.append(reference.score(other))
                    took += time.process_time() - started
                    theirs.append(judged(Path(folder), f"{number}-{quality}", image.numpy(), other))
            away, near = np.abs(np.array(ours) - theirs), np.abs(np.array(theirs) - 75) < 10
            print(
                f"{format.value:5} {len(ours)} files: {away.mean():.2f} points away in the mean, {away[near].mean():.2f} near 75, at most "
                f"{away[near].max():.1f} there; Spearman {spearmanr(ours, theirs).statistic:.4f}; {1000 * took / len(ours):.0f} ms",
                flush=True,
            )


def search() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for format in QUALITIES:
            for quality in ("q=auto", "default"):
                points, sizes, took = [], [], []
                for number, path in enumerate(sorted(photographs("camera"))):
                    developed = develop(path.read_bytes())
                    master, header = developed.file("master", Format.JPEG), developed.header
                    size = {"source_width": header.width, "source_height": header.height}
                    said = "h=600,w=600" + (",q=auto" if quality == "q=auto" else "")
                    started = time.process_time()
                    made = transform(master.data, parse(f"{said}.{format.extension}"), **size)
                    took.append(time.process_time() - started)
                    exact = transform(master.data, parse("h=600,w=600.png"), **size)
                    a, b = (libvips.open_pixels(file.data, file.format).numpy()[..., :3] for file in (exact, made))
                    points.append(judged(Path(folder), f"{number}", a, b))
                    sizes.append(len(made.data))
                print(
                    f"{format.value:5} {quality:8} kB {np.mean(sizes) / 1000:6.1f}  CPU ms {1000 * np.mean(took):5.0f}  SSIMULACRA2 mean "
                    f"{np.mean(points):.1f}, {min(points):.1f} to {max(points):.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    {"metric": metric, "search": search}[sys.argv[1]]()
