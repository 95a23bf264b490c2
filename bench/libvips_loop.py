"""The floor: what `develop` makes of a photograph, made by a plain pyvips loop without a service around it.

Same files, presets and encoder settings as sharp/develop.mjs, same report; no queue, database, sandbox or storage.
What the service costs on top is its CPU seconds per image minus these. Imports nothing from safelight on purpose.

    $ python bench/libvips_loop.py --workers 2 --rounds 3 PHOTO.jpg ...      ('-': paths on standard input, one a line)

One JSON object on standard output. CPU seconds are those of the worker processes, user and system. With --out the
files are written too (OUT/<photo>/<preset>.<ext>); take figures from a run without it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import queue
import resource
import sys
import threading
import time
from collections import Counter
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

PRESETS = {"thumb_150": 150, "thumb_300": 300, "thumb_400": 400, "thumb_600": 600, "medium": 1200, "large": 2048}
MASTER_SIDE = 2048
WEBP: dict[str, Any] = {"Q": 80, "effort": 2, "keep": "none"}
JPEG: dict[str, Any] = {"Q": 80, "interlace": True, "optimize_coding": True, "keep": "none"}
MASTER: dict[str, Any] = {"Q": 90, "keep": "none"}
LESSER: dict[str, dict[str, Any]] = {
    "medium": {"Q": 92, "subsample_mode": "on", "keep": "none"},
    "thumb_600": {"Q": 92, "subsample_mode": "off", "keep": "none"},
}
SUBSAMPLE = {"4:2:0": "on", "4:4:4": "off"}


def shrink_on_load(longest: int) -> int:
    """The JPEG decoder's own reduction: 1, 2, 4 or 8. A tenth of margin is kept, where libvips itself keeps a factor of two."""
    return next((factor for factor in (8, 4, 2) if longest >= 1.1 * factor * MASTER_SIDE), 1)


def develop(path: str, chroma: str) -> dict[str, bytes]:
    """All renditions of one JPEG file, by file name: one decode, then everything from 2048 px in memory."""
    import pyvips

    header = pyvips.Image.jpegload(path, access="sequential")
    shrink = shrink_on_load(max(header.width, header.height))
    photo = pyvips.Image.jpegload(path, shrink=shrink, access="sequential", fail_on="error")
    # Only where there is something to convert: on a 12-megapixel photograph without a profile the same argument changes no
    # sample and costs 270 ms of CPU, as much as everything else together.
    is_srgb = photo.interpretation in {"srgb", "b-w"} and not photo.get_typeof("icc-profile-data")
    convert: dict[str, Any] = {} if is_srgb else {"export_profile": "srgb"}
    largest = photo.thumbnail_image(MASTER_SIDE, size="down", **convert).copy_memory()
    files: dict[str, bytes] = {}
    for preset, side in PRESETS.items():
        scaled = largest if side == MASTER_SIDE else largest.thumbnail_image(side, size="down").copy_memory()
        files[f"{preset}.webp"] = scaled.webpsave_buffer(**WEBP)
        files[f"{preset}.jpg"] = scaled.jpegsave_buffer(**JPEG)
        if preset in LESSER:
            files[f"master_{side}.jpg"] = scaled.jpegsave_buffer(**LESSER[preset])
    files["master.jpg"] = largest.jpegsave_buffer(**MASTER, subsample_mode=SUBSAMPLE[chroma])
    return files


def write(out: Path, path: str, files: dict[str, bytes]) -> None:
    folder = out / Path(path).stem
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def work(photos: list[str], images: int, taken: Any, ready: Barrier, report: Queue[Any], chroma: str, out: Path | None) -> None:
    """One worker process: takes the next photograph's number until none is left, then reports its bytes, CPU and memory."""
    import pyvips

    pyvips.cache_set_max(0)
    try:
        develop(photos[0], chroma)  # the first use of each codec also initialises it
    except pyvips.Error:
        ready.abort()
        raise
    sizes: Counter[str] = Counter()
    ready.wait()
    before = resource.getrusage(resource.RUSAGE_SELF)
    while True:
        with taken.get_lock():
            number = taken.value
            taken.value += 1
        if number >= images:
            break
        path = photos[number % len(photos)]
        files = develop(path, chroma)
        sizes.update({name: len(data) for name, data in files.items()})
        if out is not None:
            write(out, path, files)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    version = ".".join(str(pyvips.version(part)) for part in range(3))
    report.put((dict(sizes), cpu, after.ru_maxrss / 1024, f"pyvips {pyvips.__version__} (libvips {version})"))


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number but received {text}")
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description="The plain pyvips loop that makes what develop makes.")
    parser.add_argument("photos", nargs="+", metavar="PHOTO")
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument("--rounds", type=positive, default=1)
    parser.add_argument("--master-chroma", choices=SUBSAMPLE, default="4:2:0")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    photos = sys.stdin.read().split("\n") if chosen.photos == ["-"] else chosen.photos
    photos = [path for path in photos if path]
    images = len(photos) * chosen.rounds

    # Read by libvips and by malloc when a process starts, so set before the workers do.
    os.environ |= {"VIPS_CONCURRENCY": "1", "MALLOC_ARENA_MAX": "2"}
    # Spawned, not forked: a child forked after its parent has run a pipeline waits for ever on threads it does not have.
    context = multiprocessing.get_context("spawn")
    taken, ready, report = context.Value("q", 0), context.Barrier(chosen.workers + 1), context.Queue()
    arguments = (photos, images, taken, ready, report, chosen.master_chroma, chosen.out)
    workers = [context.Process(target=work, args=arguments) for _ in range(chosen.workers)]
    for worker in workers:
        worker.start()
    try:
        ready.wait(timeout=60)
    except threading.BrokenBarrierError:
        sys.exit(f"a worker failed on {photos[0]} before the run began; its error stands above")
    started = time.perf_counter()
    reports: list[Any] = []
    while len(reports) < chosen.workers:
        try:
            reports.append(report.get(timeout=1))
        except queue.Empty:
            if any(worker.exitcode for worker in workers):
                for worker in workers:
                    worker.terminate()
                sys.exit("a worker failed; its error stands above")
    wall = time.perf_counter() - started
    for worker in workers:
        worker.join()

    sizes: Counter[str] = Counter()
    for counted, *_ in reports:
        sizes.update(counted)
    print(
        json.dumps(
            {
                "engine": reports[0][3],
                "mode": "loop",
                "workers": chosen.workers,
                "images": images,
                "wall_s": round(wall, 4),
                "images_per_s": round(images / wall, 4),
                "cpu_s_per_image": round(sum(cpu for _, cpu, _, _ in reports) / images, 4),
                "kb_per_image": round(sum(sizes.values()) / images / 1000, 4),
                "bytes_per_image": {name: round(size / images) for name, size in sizes.items()},
                "peak_rss_mb": round(sum(peak for _, _, peak, _ in reports)),
            }
        )
    )


if __name__ == "__main__":
    main()
