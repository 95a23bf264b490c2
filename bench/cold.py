"""Delivering what has not been asked for before, beside thumbor, sharp and imgproxy: `make bench-delivery`.

    $ python bench/cold.py [--quick] [--formats jpeg,webp,avif,png]

Every server gets the same photographs on this machine's disk and is asked for each of them once a round, fitted into a square, by the
same generator in another process; rounds go in turns, and no URL is asked for twice. Quality comes first: a few photographs are made by
everybody at several nominal qualities, and each peer is then asked for the one whose loss, measured by SSIMULACRA2 against the same
server's lossless PNG, is what Safelight's own quality 80 loses. So the files that are compared look alike, whatever the number is called.

imgproxy takes part where its binary is on the path; nobody else is optional.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "tests")]

from processes import Sampler, Server, answers, cpu_of, free_port, load, scratch, spread, told, upload

from photographs import photographs

FORMATS = ("jpeg", "webp", "avif", "png")
SIDE = 512
CLIENTS = 8
CALIBRATED_BY = 6
QUALITIES = (40, 50, 60, 70, 75, 80, 85, 90, 95)
PEERS = HERE / "peers"
TARGETS = {"thumbor": 2.0, "sharp": 1.2, "imgproxy": 1.0}


class Contender(Protocol):
    """A server that makes pictures of files by URL."""

    name: str
    pid: int

    def url(self, file: str, *, side: int, format: str, quality: int) -> str: ...


@dataclass
class Thumbor:
    pid: int
    port: int
    name: str = "thumbor"

    def url(self, file: str, *, side: int, format: str, quality: int) -> str:
        return f"http://127.0.0.1:{self.port}/unsafe/fit-in/{side}x{side}/filters:quality({quality}):format({format})/{file}"


@dataclass
class Sharp:
    pid: int
    port: int
    name: str = "sharp"

    def url(self, file: str, *, side: int, format: str, quality: int) -> str:
        return f"http://127.0.0.1:{self.port}/{side}/{format}/{quality}/{file}"


@dataclass
class Imgproxy:
    pid: int
    port: int
    name: str = "imgproxy"

    def url(self, file: str, *, side: int, format: str, quality: int) -> str:
        return f"http://127.0.0.1:{self.port}/unsafe/rs:fit:{side}:{side}/q:{quality}/plain/local:///{file}@{format}"


@dataclass
class Safelight:
    """Its sources were uploaded, and their ids are known by file; URLs are signed by the server itself, before anything is measured."""

    server: Server
    ids: dict[str, str]
    name: str = "Safelight"

    @property
    def pid(self) -> int:
        return self.server.pid

    def url(self, file: str, *, side: int, format: str, quality: int) -> str:
        extension = {"jpeg": "jpg"}.get(format, format)
        options = f"h={side},w={side}" if format == "png" else f"h={side},q={quality},w={side}"
        with self.server.client() as client:
            made = client.post(f"/images/{self.ids[file]}/urls", json={"transforms": [f"{options}.{extension}"]})
            url = made.raise_for_status().json()["urls"][0]
        return url if url.startswith("http") else self.server.url + url


def sources(folder: Path, count: int) -> list[Path]:
    """`count` photographs of 2 to 24 megapixels: camera files, and crops and reductions of them, no two alike. JPEG q92."""
    import pyvips

    originals = [*photographs("large"), *photographs("camera"), *(p for p in photographs("originals") if p.suffix == ".jpg")]
    made: list[Path] = []
    number = 0
    while len(made) < count:
        source = originals[number % len(originals)]
        turn = number // len(originals)
        number += 1
        image = pyvips.Image.new_from_file(str(source)).autorot()
        if image.hasalpha() or image.interpretation not in ("srgb", "rgb"):
            image = image.colourspace("srgb").flatten() if image.hasalpha() else image.colourspace("srgb")
        if turn:  # another part of it, and another size
            part = 1 - 0.08 * (turn % 6)
            wide, high = int(image.width * part), int(image.height * part)
            image = image.crop((image.width - wide) * (turn % 3) // 2, (image.height - high) * (turn % 2), wide, high)
        pixels = image.width * image.height
        if pixels > 24.5e6 or pixels < 2e6:
            if pixels < 1.2e6:
                continue
            image = image.resize((min(24e6, max(2.1e6, pixels)) / pixels) ** 0.5)
        path = folder / f"{len(made):03}.jpg"
        image.jpegsave(str(path), Q=92)
        made.append(path)
    return made


@contextlib.contextmanager
def started(command: Sequence[str], port: int, path: str, log: Path, environment: dict[str, str] | None = None) -> Iterator[int]:
    """A peer's process from when it answers."""
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=sink, env=os.environ | (environment or {}), start_new_session=True
        )
    try:
        deadline = time.monotonic() + 60
        while not answers(port, path):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not serve:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)


def contenders(opened: contextlib.ExitStack, folder: Path, files: list[Path]) -> list[Contender]:
    cores = len(os.sched_getaffinity(0))
    found: list[Contender] = []
    # A process a core, as thumbor has and as sharp has threads.
    environment = {
        "SAFELIGHT_SERVER__WORKERS": str(cores),
        "SAFELIGHT_LOG__LEVEL": "warning",
        "SAFELIGHT_DELIVERY__BAKE_AVIF": "false",
    }
    server = opened.enter_context(Server(folder / "data", environment=environment))
    print(f"uploading {len(files)} photographs", file=sys.stderr, flush=True)
    ids = upload(server, files, len(files))["ids"]
    server.settle()
    found.append(Safelight(server, {f"{stem}.jpg": id for stem, id in ids.items()}))

    first = files[0].name
    port = free_port()
    peer = Sharp(0, port)
    environment = {"UV_THREADPOOL_SIZE": str(cores)}
    command = ["node", str(HERE / "sharp" / "serve.mjs"), "--port", str(port), "--root", str(files[0].parent)]
    peer.pid = opened.enter_context(started(command, port, f"/64/jpeg/80/{first}", folder / "sharp.log", environment))
    found.append(peer)

    port = free_port()
    configuration = folder / "thumbor.conf"
    configuration.write_text(
        f"LOADER = 'thumbor.loaders.file_loader'\nFILE_LOADER_ROOT_PATH = {str(files[0].parent)!r}\nALLOW_UNSAFE_URL = True\n"
        "STORAGE = 'thumbor.storages.no_storage'\nAUTO_WEBP = False\nMAX_PIXELS = 100000000\nRESPECT_ORIENTATION = True\n"
    )
    command = [
        str(PEERS / ".thumbor" / "bin" / "thumbor"), "--ip", "127.0.0.1", "--port", str(port),
        "--conf", str(configuration), "--processes", str(cores), "--log-level", "error",
    ]  # fmt: skip
    thumbor = Thumbor(0, port)
    thumbor.pid = opened.enter_context(started(command, port, f"/unsafe/fit-in/64x64/{first}", folder / "thumbor.log"))
    found.append(thumbor)

    if binary := shutil.which("imgproxy"):
        port = free_port()
        environment = {
            "IMGPROXY_BIND": f"127.0.0.1:{port}",
            "IMGPROXY_LOCAL_FILESYSTEM_ROOT": str(files[0].parent),
            "IMGPROXY_WORKERS": str(cores),
            "IMGPROXY_LOG_LEVEL": "error",
            "IMGPROXY_MAX_SRC_RESOLUTION": "100",
        }
        imgproxy = Imgproxy(0, port)
        imgproxy.pid = opened.enter_context(started([binary], port, "/health", folder / "imgproxy.log", environment))
        found.append(imgproxy)
    else:
        print("imgproxy is not on the path: left out", file=sys.stderr)
    return found


def asked(urls: list[str], *, clients: int = CLIENTS, out: Path | None = None) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "asker.py"), "--clients", str(clients), *(["--out", str(out)] if out else [])]
    return told(command, stdin="\n".join(urls))  # type: ignore[return-value]


def losses(contender: Contender, files: list[Path], format: str, quality: int, lossless: Path, side: int) -> list[float]:
    """SSIMULACRA2 of each file against the same server's own lossless one."""
    from PIL import Image
    from ssimulacra2 import compute_ssimulacra2

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        asked([contender.url(file.name, side=side, format=format, quality=quality) for file in files], clients=2, out=folder)
        found = []
        for number in range(len(files)):
            flat = folder / f"{number}.png"
            with Image.open(folder / f"{number:04}") as image:
                image.convert("RGB").save(flat)
            found.append(float(compute_ssimulacra2(str(lossless / f"{number:04}.png"), str(flat))))
    return found


def calibrated(found: list[Contender], files: list[Path], formats: Sequence[str], folder: Path) -> dict[str, Any]:
    """By format and contender the nominal quality that loses as much as Safelight's 80, what that loses, and what the curve was."""
    from PIL import Image

    known: dict[str, Any] = {}
    lossless = {}
    for contender in found:
        lossless[contender.name] = folder / f"lossless-{contender.name}"
        lossless[contender.name].mkdir()
        urls = [contender.url(file.name, side=SIDE, format="png", quality=100) for file in files]
        asked(urls, clients=2, out=lossless[contender.name])
        for number in range(len(files)):
            with Image.open(lossless[contender.name] / f"{number:04}") as image:
                image.convert("RGB").save(lossless[contender.name] / f"{number:04}.png")
    for format in formats:
        if format == "png":
            known[format] = {contender.name: {"quality": 0, "score": 100.0} for contender in found}
            continue
        known[format] = {}
        goal = None
        for contender in found:
            curve: dict[int, float] = {}

            def score(quality: int) -> float:
                if quality not in curve:
                    curve[quality] = statistics.mean(losses(contender, files, format, quality, lossless[contender.name], SIDE))
                return curve[quality]

            if goal is None:
                goal = score(80)
                known[format][contender.name] = {"quality": 80, "score": round(goal, 2)}
                continue
            low, high = 20, 100
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if score(middle) >= goal else (middle, high)
            best = min((low, high), key=lambda quality: abs(score(quality) - goal))
            known[format][contender.name] = {"quality": best, "score": round(score(best), 2)}
        print(
            f"  {format}: " + ", ".join(f"{n} q{k['quality']} ({k['score']})" for n, k in known[format].items()),
            file=sys.stderr,
            flush=True,
        )
    return known


def seen(found: list[Contender], files: list[Path], qualities: dict[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """What the picture is like in all, reduction and encoding: SSIMULACRA2 against a reduction in linear light that nobody here made."""
    from PIL import Image
    from quality import reference
    from ssimulacra2 import compute_ssimulacra2

    told_: dict[str, dict[str, Any]] = {}
    for format, known in qualities.items():
        for contender in found:
            with tempfile.TemporaryDirectory() as place:
                out = Path(place)
                quality = known[contender.name]["quality"]
                asked([contender.url(file.name, side=SIDE, format=format, quality=quality) for file in files], clients=2, out=out)
                scores = []
                for number, file in enumerate(files):
                    with Image.open(out / f"{number:04}") as image:
                        image.convert("RGB").save(out / "flat.png")
                        size = image.size
                    wanted = folder / f"reference-{file.stem}-{size[0]}x{size[1]}.png"
                    if not wanted.exists():
                        reference(file, size).save(wanted)
                    scores.append(float(compute_ssimulacra2(str(wanted), str(out / "flat.png"))))
            told_.setdefault(format, {})[contender.name] = {
                "mean": round(statistics.mean(scores), 2),
                "worst": round(min(scores), 2),
            }
    return told_


def measure(*, quick: bool, formats: Sequence[str]) -> dict[str, Any]:
    subprocess.run(
        [sys.executable, str(HERE.parent / "tests" / "photographs.py"), "fetch"], check=True, stdout=subprocess.DEVNULL
    )
    count, rounds = (16, 2) if quick else (104, 4)
    cells: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with scratch() as folder, contextlib.ExitStack() as opened:
        (folder / "photographs").mkdir()
        files = sources(folder / "photographs", count)
        found = contenders(opened, folder, files)
        print("quality", file=sys.stderr, flush=True)
        judged = files[:: max(1, len(files) // CALIBRATED_BY)][:CALIBRATED_BY]
        qualities = calibrated(found, judged, formats, folder)
        looks = seen(found, judged, qualities, folder)
        for format in formats:
            for number in range(rounds):
                for contender in found:
                    # Another size each round, so that nobody has been asked before.
                    side, quality = SIDE - 1 - number, qualities[format][contender.name]["quality"]
                    urls = [contender.url(file.name, side=side, format=format, quality=quality) for file in files]
                    if isinstance(contender, Safelight):
                        contender.server.settle()
                    busy, before = load(), cpu_of(contender.pid)
                    with Sampler(contender.pid) as sampler:
                        report = asked(urls)
                        if isinstance(contender, Safelight):
                            contender.server.settle()
                    cell = (
                        report
                        | busy
                        | {
                            "cpu_ms": (cpu_of(contender.pid) - before) / report["requests"] * 1000,
                            "requests_per_s": report["requests"] / report["seconds"],
                            "peak_mb": sampler.peak.total,
                        }
                    )
                    cells.setdefault(format, {}).setdefault(contender.name, []).append(cell)
                    print(
                        f"  {format} {number + 1}/{rounds} {contender.name}: {cell['cpu_ms']:.1f} CPU ms, {cell['requests_per_s']:.1f}/s,"
                        f" p95 {cell['p95_ms']:.0f} ms, {cell['bytes'] / 1000:.1f} kB, {cell['peak_mb']:.0f} MB, load {cell['loadavg']}",
                        file=sys.stderr, flush=True,
                    )  # fmt: skip
        crowd = crowded(found[0], files, quick=quick)
    names = [contender.name for contender in found]
    figures = ("cpu_ms", "requests_per_s", "p50_ms", "p95_ms", "bytes", "peak_mb")
    return {
        "photographs": count,
        "clients": CLIENTS,
        "side": SIDE,
        "names": names,
        "quality": qualities,
        "looks": looks,
        "cells": {
            format: {name: {figure: spread([row[figure] for row in rows]) for figure in figures} for name, rows in by.items()}
            for format, by in cells.items()
        },
        "ratios": {
            format: {
                name: {
                    "requests_per_s": spread(
                        [a["requests_per_s"] / b["requests_per_s"] for a, b in zip(by["Safelight"], by[name])]
                    ),
                    "cpu": spread([a["cpu_ms"] / b["cpu_ms"] for a, b in zip(by["Safelight"], by[name])]),
                    "bytes": spread([a["bytes"] / b["bytes"] for a, b in zip(by["Safelight"], by[name])]),
                }
                for name in names[1:]
            }
            for format, by in cells.items()
        },
        "crowd": crowd,
        "rounds": cells,
    }


def crowded(ours: Contender, files: list[Path], *, quick: bool) -> dict[str, Any]:
    """Peak memory of Safelight's tree while 32 clients each ask for something of a 24-megapixel photograph that nobody has made."""
    large = sorted(files, key=lambda file: file.stat().st_size)[-4 if quick else -16 :]
    found = {}
    for what, sides in (("from the master", (700, 701, 702, 703)), ("from the original", (2300, 2301, 2302, 2303))):
        urls = [ours.url(file.name, side=side, format="jpeg", quality=80) for side in sides for file in large]
        with Sampler(ours.pid) as sampler:
            report = asked(urls, clients=32)
        found[what] = {"peak_mb": round(sampler.peak.total, 1), "requests": report["requests"], "p95_ms": report["p95_ms"]}
        print(f"  32 at once {what}: {sampler.peak.total:.0f} MB, p95 {report['p95_ms']:.0f} ms", file=sys.stderr, flush=True)
    return found


def main() -> None:
    import delivery_report
    import report

    parser = argparse.ArgumentParser(description="Measure cold delivery beside thumbor, sharp and imgproxy.")
    parser.add_argument("--quick", action="store_true", help="fewer photographs and rounds: a look, not figures to publish")
    parser.add_argument("--formats", default=",".join(FORMATS), help="of " + ", ".join(FORMATS))
    parser.add_argument("--report", action="store_true", help="only write the page again, from the last run")
    chosen = parser.parse_args()
    formats = chosen.formats.split(",")
    if unknown := set(formats) - set(FORMATS):
        parser.error(f"no such format: {', '.join(sorted(unknown))}")
    kept = HERE / "results" / "cold.json"
    kept.parent.mkdir(exist_ok=True)
    if not chosen.report:
        result = measure(quick=chosen.quick, formats=formats) | {"machine": report.machine(), "is_quick": chosen.quick}
        kept.write_text(json.dumps(result, indent=1) + "\n")
    result = json.loads(kept.read_text())
    if not result["is_quick"]:
        delivery_report.write(result, HERE.parent / "docs")
    for line in delivery_report.verdicts(result):
        print(line)


if __name__ == "__main__":
    main()
