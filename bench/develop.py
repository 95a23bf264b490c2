"""Develop: photographs per second and CPU seconds per photograph, beside sharp and a plain pyvips loop, in one run.

All four make the same fifteen files of each photograph. The service takes them in over HTTP and also checks, encrypts,
stores, records and indexes; the others only make pixels. Rounds are interleaved, so that all see the same noise.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from processes import CLIENTS, HERE, Cpu, Server, cpu, load, scratch, spread, told, upload
from quality import NAMES as JUDGED
from quality import scores

from photographs import photographs

WORKERS = len(os.sched_getaffinity(0))
EQUAL = "service, same pixels"
"""Safelight with linear light off: then all four make the same pixels, and equal quality is compared with equal quality."""
TARGETS = {"loop": 1.2, "sharp per size": 0.7, "sharp best": 1.1}
"""CPU seconds per photograph: the service's, at most so many times theirs."""


def sharp() -> Path | None:
    """Node with sharp installed as pinned; None, with a word, where there is no Node."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        print("  no node and npm on the path: sharp is left out", file=sys.stderr)
        return None
    if not (HERE / "sharp" / "node_modules" / "sharp").exists():
        subprocess.run([npm, "ci", "--silent", "--no-audit", "--no-fund"], cwd=HERE / "sharp", check=True)
    return Path(node)


def contenders(photos: list[Path], node: Path | None, *, rounds: int, out: Path | None = None) -> dict[str, list[str]]:
    """The commands of those beside us."""
    options = ["--workers", str(WORKERS), "--rounds", str(rounds)]
    files = [str(path) for path in photos]
    commands = {"loop": [sys.executable, str(HERE / "libvips_loop.py")]}
    if node is not None:
        script = str(HERE / "sharp" / "develop.mjs")
        commands["sharp best"] = [str(node), script, "--mode", "best"]
        commands["sharp per size"] = [str(node), script, "--mode", "per-size"]
    return {
        name: [*command, *options, *(["--out", str(out / name)] if out else []), *files] for name, command in commands.items()
    }


def service_round(server: Server, photos: list[Path], rounds: int) -> dict[str, Any]:
    """One round: what the whole tree spent from before the first byte until nothing was left to do."""
    before = cpu(server.pid)
    images = len(photos) * rounds
    report = upload(server, photos, images)
    server.settle()
    spent: Cpu = cpu(server.pid) - before
    return report | {"cpu_s_per_image": spent.total / images, "cpu_parts": spent.parts(images)}


def idle(server: Server, seconds: float = 5.0) -> float:
    """Cores that the tree takes when nobody asks for anything."""
    import time

    before, started = cpu(server.pid).total, time.monotonic()
    time.sleep(seconds)
    return (cpu(server.pid).total - before) / (time.monotonic() - started)


def one_kind(kind: str, node: Path | None, *, quick: bool) -> dict[str, Any]:
    photos = photographs(kind)
    repeats = max(1, (8 if quick else 16) // len(photos))
    rounds = 2 if quick else 6
    cells: dict[str, list[dict[str, Any]]] = {}
    equal = {"SAFELIGHT_DEVELOP__LINEAR_SIDE": "0"}
    with scratch() as folder, Server(folder / "data") as server, Server(folder / "equal", environment=equal) as same:
        servers = {"service": server, EQUAL: same}
        for each in servers.values():
            upload(each, photos[:2], 4)  # the first of everything: schema caches, codecs, connections
            each.settle()
        resting = idle(server)
        for number in range(rounds):
            order = [*((name, None) for name in servers), *contenders(photos, node, rounds=repeats).items()]
            for name, command in itertools.chain(order[number % len(order) :], order[: number % len(order)]):
                busy = load()
                cell = told(command) if command else service_round(servers[name], photos, repeats)
                cells.setdefault(name, []).append(dict(cell) | busy)
                print(
                    f"  {kind} {number + 1}/{rounds} {name}: {cell['cpu_s_per_image']:.3f} CPU s, "
                    f"{cell['images_per_s']:.2f} images/s, load {busy['loadavg']}",
                    flush=True,
                )
        judged = judge(server, photos[: 2 if quick else 4], node, folder)
    return {
        "photographs": [path.name for path in photos],
        "images_per_round": len(photos) * repeats,
        "idle_cores": round(resting, 4),
        "engines": {name: rows[0].get("engine", "safelight") for name, rows in cells.items()},
        "cpu_s_per_image": {name: spread([row["cpu_s_per_image"] for row in rows]) for name, rows in cells.items()},
        "images_per_s": {name: spread([row["images_per_s"] for row in rows]) for name, rows in cells.items()},
        "cpu_parts": {
            part: round(statistics.median(row["cpu_parts"][part] for row in cells["service"]), 4)
            for part in cells["service"][0]["cpu_parts"]
        },
        # By round, then the median: what slows one round slows everybody in it.
        "ratios": {
            ours: {
                name: spread([our["cpu_s_per_image"] / their["cpu_s_per_image"] for our, their in zip(cells[ours], rows)])
                for name, rows in cells.items()
                if name not in servers
            }
            for ours in servers
        },
        "targets": TARGETS,
        "bytes_per_image": {name: rows[0]["bytes_per_image"] for name, rows in cells.items()},
        "bytes_ratio": bytes_ratios(cells),
        "quality": judged,
        "rounds": cells,
    }


def bytes_ratios(cells: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """The service's twelve renditions, all bytes together, against each of the others'."""
    ours = cells["service"][0]["bytes_per_image"]
    return {
        name: round(sum(ours.values()) / sum(rows[0]["bytes_per_image"][file] for file in ours), 4)
        for name, rows in cells.items()
        if name != "service"
    }


def judge(server: Server, photos: list[Path], node: Path | None, folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """SSIMULACRA2 of everybody's 600 px files against one reference."""
    out = folder / "out"
    for command in contenders(photos, node, rounds=1, out=out).values():
        told(command)
    ids = upload(server, photos, len(photos))["ids"]
    with server.client() as client:
        for path in photos:
            record = client.get(f"/images/{ids[path.stem]}").raise_for_status().json()
            (out / "service" / path.stem).mkdir(parents=True)
            for rendition in record["renditions"]:
                name = f"{rendition['preset']}.{ {'jpeg': 'jpg'}.get(rendition['format'], rendition['format']) }"
                if name in JUDGED:
                    content = client.get(rendition["url"]).raise_for_status().content
                    (out / "service" / path.stem / name).write_bytes(content)
    return scores(photos, out)


def measure(*, quick: bool) -> dict[str, Any]:
    """The section's result."""
    subprocess.run(
        [sys.executable, str(HERE.parent / "tests" / "photographs.py"), "fetch", "camera", "large"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    node = sharp()
    return {"clients": CLIENTS, "workers": WORKERS} | {kind: one_kind(kind, node, quick=quick) for kind in ("camera", "large")}


if __name__ == "__main__":
    print(json.dumps(measure(quick=True), indent=1))
