"""Linear light: what it costs and what it gains, per size. The figures of docs/explanation/linear-light.md.

    $ python tests/photographs.py fetch camera
    $ python bench/linear_light.py                     # needs the dependency group "bench" (ssimulacra2)
    $ python bench/linear_light.py --cpu               # CPU only, in half a minute

Cost: CPU milliseconds of decoding a 12-megapixel JPEG and making all sizes, without encoding; the minimum of some rounds in
which the ways take turns, and beside it the whole of `develop`. Gain: SSIMULACRA2 of each size against a Lanczos reduction of the
full picture in linear floating-point light (100 = the same, 90 = not to be told apart, 70 = high quality).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["VIPS_CONCURRENCY"] = "1"
ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import pyvips
from tests.photographs import photographs

from safelight.imaging import geometry, light
from safelight.imaging.pipeline import develop
from safelight.imaging.spec import PRESETS, Recipe
from safelight.imaging.stills import Stills

SIDES = sorted((preset.side for preset in PRESETS), reverse=True)
Made = dict[int, pyvips.Image]
Sizes = dict[int, tuple[int, int]]


def sizes_of(image: pyvips.Image) -> Sizes:
    return {side: geometry.fit_inside(image.width, image.height, side) for side in SIDES}


def base(image: pyvips.Image, sizes: Sizes) -> pyvips.Image:
    return light.reduced(image, *sizes[SIDES[0]]).copy_memory()


def with_stills(linear_side: int) -> Callable[[pyvips.Image, Sizes], Made]:
    """The pipeline's own way, linear from this side downward."""

    def make(image: pyvips.Image, sizes: Sizes) -> Made:
        stills = Stills(base(image, sizes), [sizes[side] for side in SIDES if side > linear_side])
        return {side: stills.still(sizes[side]) for side in SIDES}

    return make


def throughout(image: pyvips.Image, sizes: Sizes) -> Made:
    """Linear from the first decoded pixel on."""
    first = light.resampled(light.to_linear(image), *sizes[SIDES[0]]).copy_memory()
    planes, out = {first.width: first}, {}
    for side in SIDES:
        width, height = sizes[side]
        source = planes[min((known for known in planes if known >= 2 * width), default=first.width)]
        planes[width] = light.resampled(source, width, height).copy_memory()
        out[side] = light.from_linear(planes[width]).copy_memory()
    return out


def by_libvips(image: pyvips.Image, sizes: Sizes) -> Made:
    """thumbnail(linear=True), from the base."""
    first = base(image, sizes)

    def thumbnail(width: int, height: int) -> pyvips.Image:
        return first.thumbnail_image(width, height=height, size="force", linear=True).copy_memory()

    return {side: thumbnail(*sizes[side]) for side in SIDES}


WAYS: dict[str, Callable[[pyvips.Image, Sizes], Made]] = {
    "gamma light": with_stills(0),
    "linear up to 600 (ours)": with_stills(Recipe().linear_side),
    "linear up to 1200": with_stills(1200),
    "linear throughout": throughout,
    "libvips linear=True": by_libvips,
}


def opened(path: Path) -> tuple[pyvips.Image, Sizes]:
    """Decoded as the pipeline decodes it, without colour management: what is compared is light. And the sizes to make."""
    image = pyvips.Image.new_from_file(str(path), access="sequential")
    sizes = sizes_of(image)
    if path.suffix.lower() in {".jpg", ".jpeg"}:
        shrink = geometry.shrink_on_load(max(image.width, image.height), SIDES[0])
        image = pyvips.Image.new_from_file(str(path), access="sequential", shrink=shrink)
    if image.hasalpha():
        image = image.flatten(background=[255, 255, 255])
    image = image.copy()
    for field in ("icc-profile-data", "orientation"):
        if image.get_typeof(field):
            image.remove(field)
    return image.colourspace("srgb"), sizes


def reference(image: pyvips.Image, width: int, height: int) -> pyvips.Image:
    return (
        image.colourspace("scrgb")
        .resize(width / image.width, vscale=height / image.height, gap=0)
        .colourspace("srgb")
        .copy_memory()
    )


def cpu_ms(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1000


def costs(paths: list[Path], rounds: int) -> None:
    spent: dict[str, list[float]] = {name: [] for name in (*WAYS, "develop")}
    for path in paths:
        data = path.read_bytes()
        for name, make in WAYS.items():
            spent[name].append(min(cpu_ms(lambda make=make: make(*opened(path))) for _ in range(rounds)))
        spent["develop"].append(min(cpu_ms(lambda: develop(data)) for _ in range(rounds)))
    whole = statistics.mean(spent.pop("develop"))
    floor = statistics.mean(spent["gamma light"])
    ours = statistics.mean(spent["linear up to 600 (ours)"])
    print(
        f"\nCPU ms per photograph, decode and all sizes, mean of {len(paths)} photographs; develop with all its files: {whole:.0f} ms"
    )
    for name, values in spent.items():
        mean = statistics.mean(values)
        print(
            f"  {name:24s} {mean:6.0f} ms   {mean - floor:+6.0f} ms   {(mean - floor) / (whole - ours + floor):+7.1%} of develop in gamma light"
        )


def compared(paths: list[Path], folder: Path) -> Iterator[tuple[str, str, dict[int, float]]]:
    from ssimulacra2 import compute_ssimulacra2

    for path in paths:
        whole, sizes = opened(path)
        whole = whole.copy_memory()
        sides = [side for side in SIDES[1:] if side < max(whole.width, whole.height)]
        references = {}
        for side in sides:
            references[side] = str(folder / f"{side}.png")
            reference(whole, *sizes[side]).pngsave(references[side], compression=1)
        for name, make in WAYS.items():
            made, scores = make(whole, sizes), {}
            for side in sides:
                made[side].pngsave(str(folder / "made.png"), compression=1)
                scores[side] = float(compute_ssimulacra2(references[side], str(folder / "made.png")))
            yield path.name, name, scores


def gains(title: str, paths: list[Path]) -> None:
    print(f"\nSSIMULACRA2 against linear floating-point Lanczos, {title}: mean (worst)", flush=True)
    table: dict[str, dict[int, list[float]]] = {name: {} for name in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for _, name, scores in compared(paths, Path(folder)):
            for side, score in scores.items():
                table[name].setdefault(side, []).append(score)
    for name, columns in table.items():
        cells = "   ".join(
            f"{side}: {statistics.mean(scores):5.1f} ({min(scores):5.1f})"
            for side, scores in sorted(columns.items(), reverse=True)
        )
        print(f"  {name:24s} {cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="costs only")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    camera = photographs("camera")
    costs(camera, arguments.rounds)
    if not arguments.cpu:
        gains("photographs of scikit-image at their own size", photographs("small"))
        gains("12-megapixel photographs", camera)


if __name__ == "__main__":
    main()
