"""Soak: half an hour of everything, and whether anything grows that should not. `make soak ARGS="--minutes 30"`.

    $ python bench/soak.py [--minutes 30] [--seed 1] [--out FOLDER]

A server on files with clients that upload by every way, edit, replace, trash, restore, purge, list, search and look, steadily, so that
it stays as large as it is. Every few seconds memory, descriptors, threads and files of the whole tree of processes are read. After the
warm-up the slope of each is taken by Theil and Sen's median of the slopes between all pairs of samples, which a few odd samples do not
move (Sen, J. Am. Stat. Assoc. 63, 1968): memory may grow by one megabyte a minute, descriptors, threads and latency may not grow at all,
beyond what their own noise makes of nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "tests")]

from processes import Holding, Looking, Server, free_port, holding, load, scratch, told
from tests.chaos import audit
from tests.chaos.ledger import Book, Op

from photographs import photographs

EVERY_S = 5.0
POLICIES = ("tell", "reuse", "refuse")
MB_A_MINUTE = 1.0
DESCRIPTORS = 5.0
"""More at the end than at the beginning that are no growth: connections come and go."""
LATENCY_GROWTH = 0.5
"""Of the median, from the beginning to the end: what a shared machine makes of nothing."""
JUDGED_MINUTES = 5.0
"""A shorter run tells whether everything is answered, and nothing of slopes."""
GROUPS = {
    "upload": {"upload"},
    "write": {"edit", "trash", "restore", "purge", "collect", "uncollect", "album", "announce", "tus create", "tus send"},
    "record": {"get", "read", "tus head"},
    "picture": {"stream"},
}


class Watch(Looking):
    """What a tree of processes holds, every so often, until it is stopped; use as a context."""

    def __init__(self, server: Server, every_s: float) -> None:
        super().__init__(every_s)
        self.server = server
        self.samples: list[dict[str, float]] = []
        self.began = time.monotonic()

    def sample(self) -> None:
        found: Holding = holding(self.server.pid)
        files = sum(len(names) for _, _, names in os.walk(self.server.data_dir))
        self.samples.append(
            {
                "at_s": round(time.monotonic() - self.began, 2),
                "rss_mb": round(found.rss, 2),
                **{f"{part}_mb": round(rss, 2) for part, rss in found.by_part.items()},
                "anonymous_mb": round(found.anonymous, 2),
                "pss_mb": round(found.pss, 2),
                "descriptors": found.descriptors,
                "threads": found.threads,
                "spooled": found.nameless + len(list((self.server.data_dir / "spool").iterdir())),
                "files": files,
            }
        )


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Theil and Sen's: the median of the slopes between all pairs."""
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if b[0] > a[0]]
    return statistics.median(slopes) if slopes else 0.0


def latencies(book: Book, minutes: float) -> dict[str, list[dict[str, float]]]:
    """By group and minute, in milliseconds: the median and p95 of what was answered with 2xx."""
    windows: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for op in book.ops:
        group = next((name for name, ops in GROUPS.items() if op.op in ops), None)
        if group and op.is_acknowledged and not _is_import(op) and op.began < minutes * 60:
            windows[group][int(op.began // 60)].append((op.ended - op.began) * 1000)
    return {
        group: [
            {
                "minute": minute + 0.5,
                "requests": len(took),
                "p50_ms": round(statistics.median(took), 2),
                "p95_ms": round(sorted(took)[int(len(took) * 0.95)], 2),
            }
            for minute, took in sorted(by_minute.items())
            if len(took) >= 5
        ]
        for group, by_minute in windows.items()
    }


def _is_import(op: Op) -> bool:
    """Waits for another server."""
    return bool(op.sent.get("is_import"))


def judged(result: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """(what, measured, whether it is as promised)."""
    yield "answers that nobody may get", f"{len(result['broken'])} {result['broken'][:1] or ''}", not result["broken"]
    yield (
        "uploads of which something lies in the spool after the end",
        f"{result['spooled_after']:.0f}",
        result["spooled_after"] == 0,
    )
    warm_up_s = result["warm_up_minutes"] * 60
    samples = [sample for sample in result["samples"] if sample["at_s"] >= warm_up_s]
    minutes = result["minutes"] - result["warm_up_minutes"]
    if minutes < JUDGED_MINUTES:
        return
    memories = (
        ("resident memory of what stays (RSS)", "rss_mb"),
        ("that without pages of files", "anonymous_mb"),
        ("memory of the tree (PSS)", "pss_mb"),
    )
    for what, name in memories:
        points = [(sample["at_s"] / 60, sample[name]) for sample in samples]
        grows = slope(points)
        halves = " and ".join(f"{slope(half):+.2f}" for half in (points[: len(points) // 2], points[len(points) // 2 :]))
        yield f"{what}: growth", f"{grows:+.2f} MB a minute ({halves} in its halves)", grows <= MB_A_MINUTE
    for name in ("descriptors", "threads", "spooled"):
        grown = slope([(sample["at_s"] / 60, sample[name]) for sample in samples]) * minutes
        yield f"{name}: growth in {minutes:.0f} minutes", f"{grown:+.1f}", grown <= DESCRIPTORS
    for group, windows in result["latencies"].items():
        rows = [(row["minute"], row["p50_ms"]) for row in windows if row["minute"] >= result["warm_up_minutes"]]
        middle = statistics.median(value for _, value in rows)
        grown = slope(rows) * minutes / middle
        yield f"latency of {group}: growth of the median of {middle:.0f} ms", f"{grown:+.0%}", grown <= LATENCY_GROWTH


def measure(*, minutes: float, seed: str, clients: int, rest_s: float, with_camera: bool) -> dict[str, Any]:
    photos = [path for path in photographs("small") if path.suffix == ".jpg"] * 4
    if with_camera:
        subprocess.run(
            [sys.executable, str(HERE.parent / "tests" / "photographs.py"), "fetch", "camera"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        photos += photographs("camera")[:2]
    gallery = free_port()
    environment = {"SAFELIGHT_OUTBOUND__NETWORKS": "127.0.0.1/32", "SAFELIGHT_OUTBOUND__PORTS": str(gallery)}
    # A memory of pictures, and threads for runs, that are full before the warm-up ends: they grow up to their bounds, which is no leak.
    environment |= {"SAFELIGHT_LOG__LEVEL": "warning", "SAFELIGHT_DELIVERY__MEMORY_BYTES": str(4 * 2**20)}
    environment |= {"SAFELIGHT_DEVELOP__WAITING": "16", "SAFELIGHT_DEVELOP__WAITING_PER_TENANT": "12"}
    with scratch() as folder, Server(folder / "data", environment=environment) as server:
        order = {
            "minutes": minutes, "seed": seed, "clients": clients, "rest_s": rest_s, "gallery": gallery, "url": server.url,
            "houses": houses(server), "ledger": str(folder / "ledger.jsonl"), "photographs": [str(path) for path in photos],
        }  # fmt: skip
        busy = load()
        with Watch(server, min(EVERY_S, minutes * 60 / 20)) as watch:
            told([sys.executable, str(HERE / "residents.py")], stdin=json.dumps(order), within_s=minutes * 60 + 600)
        server.settle()
        book = Book.read(folder / "ledger.jsonl")
        watch.sample()
        with server.client() as client:
            dead = client.get("/admin/failures").raise_for_status().json()["failures"]
        broken = [f"{one.kind}: {one.what}: {one.about[:300]}" for one in audit.answers(book)]
        broken += [str(note)[:300] for note in book.notes if note["is"] == "wrong"] + [
            f"a dead letter: {str(one)[:300]}" for one in dead
        ]
    return {
        "minutes": minutes,
        "warm_up_minutes": min(6.0, minutes / 4),
        "clients": clients * len(POLICIES),
        "requests": len(book.ops),
        "statuses": dict(sorted(Counter(str(op.status) for op in book.ops).items())),
        "broken": broken,
        "spooled_after": watch.samples[-1]["spooled"],
        "samples": watch.samples,
        "latencies": latencies(book, minutes),
        "busy": {"before": busy, "after": load()},
    }


def houses(server: Server) -> list[dict[str, str]]:
    """A tenant of each policy for bytes that are there already."""
    with server.client() as client:
        first = client.get("/admin/tenants").raise_for_status().json()[0]["id"]
        found = [{"tenant": first, "policy": POLICIES[0], "token": server.headers["authorization"].removeprefix("Bearer ")}]
        for policy in POLICIES[1:]:
            made = client.post("/admin/tenants", json={"name": policy, "duplicates": policy}).raise_for_status().json()
            found.append({"tenant": made["id"], "policy": policy, "token": made["token"]})
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Half an hour of everything, and whether anything grows that should not.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--clients", type=int, default=2, help="of each of three tenants")
    parser.add_argument(
        "--rest", type=float, default=0.6, help="longest rest of a client between two things that it does, in seconds"
    )
    parser.add_argument("--small", action="store_true", help="no photographs that would have to be fetched")
    parser.add_argument("--out", type=Path, help="folder of soak.json; default: bench/results, with the plot in docs/images")
    chosen = parser.parse_args()
    result = measure(
        minutes=chosen.minutes, seed=chosen.seed, clients=chosen.clients, rest_s=chosen.rest, with_camera=not chosen.small
    )
    told_ = list(judged(result))
    result |= {"verdicts": told_}
    folder = chosen.out or HERE / "results"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "soak.json").write_text(json.dumps(result) + "\n")
    if not chosen.out:
        import endurance_report

        endurance_report.plot_soak(result, HERE.parent / "docs" / "images" / "soak.svg")
    print(f"{result['requests']} requests in {chosen.minutes:g} minutes: {result['statuses']}")
    if result["minutes"] - result["warm_up_minutes"] < JUDGED_MINUTES:
        print("too short to tell of growth")
    for what, value, is_met in told_:
        print(f"{'met   ' if is_met else 'MISSED'}  {what}: {value}")
    return 0 if all(is_met for _, _, is_met in told_) else 1


if __name__ == "__main__":
    sys.exit(main())
