"""Load: more than the server can do, and what becomes of it. `make load`.

    $ python bench/load.py [--quick] [--only record,cold] [--seconds 20] [--out FOLDER]

Of each kind of work (uploads of photographs, transforms that nobody has asked for before, reads of records, deliveries from memory) and
of all of them mixed: the rate of arrivals grows until the server refuses, or does less than it is asked for; what it then gets done is
the plateau. Then it is offered three times as much. What is accepted has to stay at 0.9 of the plateau, whatever is refused has to be
a 503 problem document with `Retry-After`, nothing may be a 500 or go unanswered, memory has to stay within its bounds, and a moment after
the load has ended everything is answered as usual.

Mixed work is counted by what it costs: an accepted request is the share of a second that its kind takes when it comes alone. The server
has all cores but the last, the generator has that one, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from processes import Sampler, Server, cpu_of, load, scratch, told, upload

from photographs import photographs

KINDS = ("record", "warm", "cold", "upload")
FIRST_PER_S = {"record": 60.0, "warm": 200.0, "cold": 4.0, "upload": 2.0}
GROWTH = 1.6
OVERLOAD = 3.0
PLATEAU_RATIO = 0.9
RECOVERS_S = 5.0
MEMORY_RATIO = 1.5
USUAL_S = 1.0
"""What counts as answered as usual, of the probes after the load."""
ROUNDS = 3
CORES = sorted(os.sched_getaffinity(0))


@dataclass
class Stage:
    """A server with pictures in it, and what it is asked for."""

    server: Server
    seconds: float
    photos: list[Path]
    records: list[str] = field(default_factory=list)
    warm: list[str] = field(default_factory=list)
    cold_made: int = 0
    uploaded: int = 0

    def settle_in(self, sources: list[Path]) -> None:
        ids = list(upload(self.server, sources, len(sources))["ids"].values())
        self.server.settle()
        self.records = [f"/images/{id}" for id in ids]
        with self.server.client() as client:
            for path in self.records:
                renditions = client.get(path).raise_for_status().json()["renditions"]
                self.warm += [one["url"].removeprefix(self.server.url) for one in renditions if one["bytes"] < 100_000]

    def cold(self, count: int) -> list[str]:
        """So many signed URLs that nobody has asked for, in sizes that pages use."""
        found: list[str] = []
        with self.server.client() as client:
            while len(found) < count:
                batch: dict[str, list[str]] = {}
                for number in range(self.cold_made, self.cold_made + min(400, count - len(found))):
                    turn, which = divmod(number, len(self.records))
                    text = f"h={240 + turn % 360},w={320 + (turn // 360) % 480}.{('jpg', 'webp')[turn % 2]}"
                    batch.setdefault(self.records[which], []).append(text)
                    self.cold_made += 1
                for path, texts in batch.items():
                    made = client.post(f"{path}/urls", json={"transforms": texts[:100]}).raise_for_status().json()["urls"]
                    found += [url.removeprefix(self.server.url) for url in made]
        return found

    def offered(self, rates: dict[str, float], seconds: float | None = None) -> dict[str, Any]:
        """That many requests a second of each kind for a while; what became of them, and the highest memory meanwhile."""
        seconds = seconds or self.seconds
        asks: dict[str, list[str]] = {"record": self.records, "warm": self.warm, "upload": [str(path) for path in self.photos]}
        if "cold" in rates:
            asks["cold"] = self.cold(int(rates["cold"] * seconds * 1.3) + 20)
        order = {
            "url": self.server.url,
            "key": self.server.headers["authorization"].removeprefix("Bearer "),
            "seconds": seconds,
            "rates": rates,
            "asks": {kind: asks[kind] for kind in rates},
        }
        command = [sys.executable, str(HERE / "crowd.py")]
        if len(CORES) > 1:
            command = ["taskset", "-c", str(CORES[-1]), *command]
        before = cpu_of(self.server.pid)
        with Sampler(self.server.pid, interval_s=0.2) as sampler:
            report: dict[str, Any] = told(command, stdin=json.dumps(order))  # type: ignore[assignment]
        return report | {"peak_mb": round(sampler.peak.total, 1), "cpu_s": round(cpu_of(self.server.pid) - before, 3)} | load()

    def recovered_s(self) -> float:
        """Seconds until one request of each kind in a row is answered well within a second each."""
        began = time.monotonic()
        with self.server.client() as client:
            while (waited := time.monotonic() - began) < 60.0:
                cold = self.cold(1)[0]
                if all(
                    _is_usual(ask)
                    for ask in (
                        lambda: client.get(self.records[0]),
                        lambda: client.get(self.warm[0]),
                        lambda cold=cold: client.get(cold),
                        lambda: client.post(
                            "/images", files={"file": self.photos[0].read_bytes()}, headers={"prefer": "respond-async"}
                        ),
                    )
                ):
                    return round(waited, 2)
                time.sleep(0.2)
        return waited


def _is_usual(ask: Callable[[], Any]) -> bool:
    began = time.monotonic()
    return bool(ask().is_success) and time.monotonic() - began < USUAL_S


def work(report: dict[str, Any], costs: dict[str, float], figure: str = "accepted_per_s") -> float:
    """Seconds of work a second, by what each kind costs alone."""
    return sum(kind[figure] * costs[name] for name, kind in report["kinds"].items())


def work_per_cpu(report: dict[str, Any], costs: dict[str, float]) -> float:
    """The same of a second of the CPU that the server got, which on a machine that others load is not the same in two phases."""
    return work(report, costs, "accepted") / max(report["cpu_s"], 1e-3)


def ramped(stage: Stage, mix: dict[str, float], costs: dict[str, float], most_steps: int) -> tuple[float, list[dict[str, Any]]]:
    """By how much the mix can be multiplied until no more of it gets done, and every step on the way."""
    steps: list[dict[str, Any]] = []
    times, best, in_vain = 1.0, 0.0, 0
    while True:
        report = stage.offered({kind: per_s * times for kind, per_s in mix.items()}, max(2.0, stage.seconds / 3))
        done, asked = work(report, costs), work(report, costs, "offered_per_s")
        refused = sum(kind["refused_per_s"] + kind["kept_out"] / report["seconds"] for kind in report["kinds"].values())
        steps.append(report | {"times": times, "asked": asked, "done": done})
        _tell(f"x {times:.2f}", report)
        # Two steps in a row that get no more done than one before, or one that refuses: a single one may be another process's doing.
        in_vain = in_vain + 1 if done < min(1.1 * best, 0.85 * asked) else 0
        if (refused and done < 0.85 * asked) or in_vain == 2 or len(steps) == most_steps:
            return max(steps, key=lambda step: step["done"])["done"], steps
        best = max(best, done)
        times *= GROWTH


def tried(stage: Stage, mix: dict[str, float], costs: dict[str, float], rounds: int, most_steps: int) -> dict[str, Any]:
    """The ramp, then the plateau and three times as much in turns."""
    top, steps = ramped(stage, mix, costs, most_steps)
    base = sum(per_s * costs[kind] for kind, per_s in mix.items())
    _quiet(stage)
    plateaus, overloads, recoveries = [], [], []
    for number in range(rounds):
        plateaus.append(stage.offered({kind: per_s * top / base * 1.1 for kind, per_s in mix.items()}))
        _tell(f"plateau {number + 1}/{rounds}", plateaus[-1])
        _quiet(stage)
        reached = work(plateaus[-1], costs)
        overloads.append(stage.offered({kind: per_s * reached / base * OVERLOAD for kind, per_s in mix.items()}))
        recoveries.append(stage.recovered_s())
        _tell(f"three times as much {number + 1}/{rounds}, back after {recoveries[-1]} s", overloads[-1])
        _quiet(stage)
    pairs = list(zip(plateaus, overloads, strict=True))
    ratios = [work(over, costs) / work(plateau, costs) for plateau, over in pairs]
    per_cpu = [work_per_cpu(over, costs) / work_per_cpu(plateau, costs) for plateau, over in pairs]
    return {
        "plateau_work": statistics.median(work(each, costs) for each in plateaus),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "per_cpu": statistics.median(per_cpu),
        "recovered_s": max(recoveries),
        "steps": steps,
        "plateaus": plateaus,
        "overloads": overloads,
    }


def _quiet(stage: Stage) -> None:
    """Until what was taken in is developed: the next phase is to find the machine as this one did."""
    deadline = time.monotonic() + 300
    with stage.server.client() as client:
        while client.get("/images", params={"status": "developing", "limit": 1}).raise_for_status().json()["images"]:
            if time.monotonic() > deadline:
                raise RuntimeError("what was taken in is not developed")
            time.sleep(0.5)
    stage.server.settle()


def _tell(what: str, report: dict[str, Any]) -> None:
    lines = [
        f"{name} {kind['offered_per_s']:.0f}/s offered, {kind['accepted_per_s']:.1f} accepted (p99 {kind['accepted_ms']['p99']:.0f} ms),"
        f" {kind['refused_per_s']:.1f} refused (p99 {kind['refused_ms']['p99']:.0f} ms), {kind['kept_out']} kept out, {kind['wrong_count']} wrong"
        for name, kind in report["kinds"].items()
    ]
    print(
        f"  {what}: {'; '.join(lines)}; {report['peak_mb']:.0f} MB, generator {report['generator_busy']:.0%}",
        file=sys.stderr,
        flush=True,
    )


def verdicts(result: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """(what, measured, whether it is as promised). By the clock, unless others load the machine."""
    is_shared = result["is_shared"]
    for name, found in result["found"].items():
        overloads, every = found["overloads"], [*found["steps"], *found["plateaus"], *found["overloads"]]
        kinds = [kind for report in overloads for kind in report["kinds"].values()]
        wrong = [words for report in every for kind in report["kinds"].values() for words in kind["wrong"]]
        before = max(report["peak_mb"] for report in found["plateaus"])
        peak = max(report["peak_mb"] for report in overloads)
        yield (
            f"{name}: done under {OVERLOAD:g} times the load, of the plateau",
            f"{found['ratio']:.2f}",
            is_shared or found["ratio"] >= PLATEAU_RATIO,
        )
        yield f"{name}: the same per second of CPU", f"{found['per_cpu']:.2f}", not is_shared or found["per_cpu"] >= PLATEAU_RATIO
        yield f"{name}: refusals p99", f"{max(kind['refused_ms']['p99'] for kind in kinds):.0f} ms", True
        yield f"{name}: answers that nobody may get", f"{len(wrong)} {wrong[:1] or ''}", not wrong
        yield f"{name}: peak memory, plateau and overload", f"{before:.0f} and {peak:.0f} MB", peak <= MEMORY_RATIO * before
        yield f"{name}: answers as usual after", f"{found['recovered_s']:.1f} s", found["recovered_s"] <= RECOVERS_S


def measure(*, quick: bool, only: list[str], seconds: float, most_steps: int) -> dict[str, Any]:
    sources = [path for path in photographs("small") if path.suffix == ".jpg"]
    photos = sources
    if not quick:
        subprocess.run(
            [sys.executable, str(HERE.parent / "tests" / "photographs.py"), "fetch", "camera"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        sources = photographs("camera")
        photos = [*photos, *photos, *photos, *sources[:1]]
    cores = ",".join(map(str, CORES[:-1]))
    rounds = 1 if quick else ROUNDS
    found: dict[str, Any] = {}
    alone: dict[str, float] = {}
    for name in [*KINDS, "mixed"]:
        if only and name not in only:
            continue
        print(name, file=sys.stderr, flush=True)
        with scratch() as folder, Server(folder / "data", cores=cores, environment={"SAFELIGHT_LOG__LEVEL": "warning"}) as server:
            stage = Stage(server, seconds, photos)
            stage.settle_in(sources)
            if name == "mixed":
                if missing := [kind for kind in KINDS if kind not in alone]:
                    raise RuntimeError(
                        f"mixed work is counted by what each kind does alone, and {', '.join(missing)} was not measured"
                    )
                costs = {kind: 1 / alone[kind] for kind in KINDS}
                found[name] = tried(stage, {kind: alone[kind] * 0.05 for kind in KINDS}, costs, rounds, most_steps)
            else:
                found[name] = tried(stage, {name: FIRST_PER_S[name]}, {name: 1.0}, rounds, most_steps)
                alone[name] = found[name]["plateau_work"]
    return {"seconds": seconds, "found": found, "alone": alone}


def main() -> int:
    parser = argparse.ArgumentParser(description="Offer a server more than it can do, of each kind of work and of all of them.")
    parser.add_argument("--quick", action="store_true", help="small photographs and one round: a look, not figures to publish")
    parser.add_argument("--only", default="", help=f"of {', '.join(KINDS)}, mixed")
    parser.add_argument(
        "--shared", action="store_true", help="others load this machine: judge what is done by the CPU that the server got"
    )
    parser.add_argument("--steps", type=int, default=12, help="of the ramp, at most")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each phase")
    parser.add_argument("--out", type=Path, help="folder of load.json; default: bench/results, with the plot in docs/images")
    chosen = parser.parse_args()
    only = [word for word in chosen.only.split(",") if word]
    result = measure(quick=chosen.quick, only=only, seconds=chosen.seconds, most_steps=chosen.steps)
    result |= {"is_quick": chosen.quick, "is_shared": chosen.shared}
    judged = list(verdicts(result))
    result["verdicts"] = judged
    folder = chosen.out or HERE / "results"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "load.json").write_text(json.dumps(result, indent=1) + "\n")
    if not chosen.out:
        import endurance_report

        endurance_report.plot_load(result, HERE.parent / "docs" / "images" / "load.svg")
    for what, value, is_met in judged:
        print(f"{'met   ' if is_met else 'MISSED'}  {what}: {value}")
    return 0 if all(is_met for _, _, is_met in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
