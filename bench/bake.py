"""AVIF baked later: what a higher effort saves, and what it costs.

$ python tests/photographs.py fetch
$ python bench/bake.py [--quick]

Every photograph is developed and reduced by our own pipeline to each size, then encoded at the effort of a request and at higher ones,
at the same nominal quality. The score is that of `imaging.perception` against the pixels that the encoder got; CPU is that of this
process, all threads; figures are medians over the photographs, of ratios and differences to effort 0.
"""

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.photographs import photographs

from safelight.imaging import Format, encode, libvips, light
from safelight.imaging.perception import Reference
from safelight.imaging.pipeline import develop
from safelight.imaging.spec import RENDER_QUALITY

SIDES = (150, 300, 600, 1200, 2000)
EFFORTS = (1, 2, 3, 4)
QUALITY = RENDER_QUALITY[Format.AVIF]


def made(image: libvips.Pixels, reference: Reference, *, quality: int, effort: int) -> tuple[int, float, float]:
    """Bytes, score and CPU seconds."""
    started = time.process_time()
    data = encode.avif(image, quality=quality, effort=effort)
    took = time.process_time() - started
    return len(data), reference.score(libvips.open_pixels(data, Format.AVIF).numpy()), took


def main() -> None:
    is_quick = "--quick" in sys.argv
    paths = [*sorted(photographs("camera")), *sorted(photographs("large"))]
    masters = [develop(path.read_bytes()).file("master", Format.JPEG).data for path in (paths[:8] if is_quick else paths)]
    for side in SIDES:
        first: list[tuple[int, float, float]] = []
        others: dict[int, list[tuple[float, float, float]]] = {}
        for master in masters:
            image = libvips.open_pixels(master, Format.JPEG)
            scale = side / max(image.width, image.height)
            if scale < 1:
                image = light.reduced(image, round(image.width * scale), round(image.height * scale))
            image = image.copy_memory()
            reference = Reference(image.numpy())
            size, score, took = made(image, reference, quality=QUALITY, effort=0)
            first.append((size, score, took))
            for effort in EFFORTS:
                same = made(image, reference, quality=QUALITY, effort=effort)
                others.setdefault(effort, []).append((same[0] / size, same[1] - score, same[2] / took))
        median = [statistics.median(column) for column in zip(*first, strict=True)]
        print(
            f"{side} px, {len(first)} photographs; effort 0: {median[0] / 1000:.1f} kB, score {median[1]:.1f}, {1000 * median[2]:.0f} ms"
        )
        for effort, figures in sorted(others.items()):
            size, score, took = (statistics.median(column) for column in zip(*figures, strict=True))
            worst_size, worst_score = max(figure[0] for figure in figures), min(figure[1] for figure in figures)
            print(
                f"  effort {effort}: bytes x {size:.3f} (at most {worst_size:.3f}), score {score:+.2f} (at least {worst_score:+.2f}), "
                f"CPU x {took:.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
