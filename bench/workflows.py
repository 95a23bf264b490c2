"""Workflows: what a run costs beside its pixels, on each engine.

    $ python bench/workflows.py [--quick]

The flow `develop` with steps that do nothing, on SQLite, on PostgreSQL and on a Temporal server, in turns within one run; each engine
is open in a process of its own. One after another: the time from asking for an urgent run to the end of its last step. Sixty at once:
the CPU of the process and of its server. Both servers run on this machine; PostgreSQL waits for the disk, Temporal's development server
keeps everything in memory. Leaves bench/results/workflows.json and docs/explanation/workflows-in-figures.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from processes import cpu_of, load, scratch
from report import machine

BURST = 60
CONCURRENCY = 64
"""As a server has it: SAFELIGHT_DEVELOP__WAITING."""
NAMES = {"sqlite": "SQLite, embedded", "postgresql": "PostgreSQL", "temporal": "Temporal, development server in memory"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: a look, not figures to publish")
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.engine:
        asyncio.run(work(chosen.engine))
        return
    result = measure(quick=chosen.quick) | {"machine": machine(), "is_quick": chosen.quick}
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "workflows.json").write_text(json.dumps(result, indent=1) + "\n")
    (HERE.parent / "docs/explanation/workflows-in-figures.md").write_text(page(result))
    for name, figures in result["engines"].items():
        print(
            f"{NAMES[name]}: p50 {figures['p50_ms']:.1f} ms, p99 {figures['p99_ms']:.1f} ms, {figures['own_cpu_ms'] + figures['server_cpu_ms']:.1f} ms of CPU"
        )


def measure(*, quick: bool) -> dict[str, Any]:
    from tests.servers.postgres import PostgresServer, make_cluster
    from tests.servers.temporal import Temporal

    rounds, alone = (2, 10) if quick else (5, 25)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in NAMES}
    loads = []
    with scratch() as folder, ExitStack() as stack:
        make_cluster(folder / "cluster")
        postgres = PostgresServer(folder / "cluster", fsync="on", full_page_writes="on", autovacuum="on").start()
        stack.callback(postgres.stop)
        temporal = Temporal(folder / "temporal", has_file=False).start()
        stack.callback(temporal.kill)
        engines = {
            "sqlite": Engine(f"sqlite:///{folder / 'workflows.db'}", None),
            "postgresql": Engine(postgres.database(), postgres._process.pid),
            "temporal": Engine(temporal.url(), temporal._process.pid),
        }
        for engine in engines.values():
            stack.callback(engine.close)
        for engine in engines.values():
            engine.ask(alone=5, burst=20)  # every connection and cache is there
        for number in range(rounds):
            loads.append(load()["loadavg"])
            names = list(engines)
            for name in names[number % 3 :] + names[: number % 3]:
                found[name].append(engines[name].ask(alone=alone, burst=BURST))
                print(f"  {number + 1}/{rounds} {name}", flush=True)
    return {
        "engines": {name: summary(each) for name, each in found.items()},
        "rounds": rounds,
        "alone": alone,
        "burst": BURST,
        "load": [min(loads), max(loads)],
    }


def summary(rounds: list[dict[str, Any]]) -> dict[str, float]:
    times = sorted(time for each in rounds for time in each["alone_s"])
    return {
        "p50_ms": statistics.median(times) * 1e3,
        "p99_ms": times[min(len(times) - 1, round(len(times) * 0.99))] * 1e3,
        "own_cpu_ms": statistics.median(each["own_cpu_s"] for each in rounds) / BURST * 1e3,
        "server_cpu_ms": statistics.median(each["server_cpu_s"] for each in rounds) / BURST * 1e3,
    }


class Engine:
    """One engine, open in a process of its own that answers a line with a line."""

    def __init__(self, url: str, server: int | None) -> None:
        command = [sys.executable, str(HERE / "workflows.py"), "--engine", url]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._server = server

    def ask(self, **words: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        before = self._spent()
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        while True:
            said = json.loads(self._process.stdout.readline())
            if "burst" not in said:
                return said | {"server_cpu_s": self._spent() - before}
            before = self._spent()

    def _spent(self) -> float:
        return 0.0 if self._server is None else cpu_of(self._server)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


async def work(url: str) -> None:
    """Inside such a process."""
    import structlog

    from safelight.adapters.workflows.dbos import DbosWorkflows
    from safelight.adapters.workflows.temporal import TemporalOptions, TemporalWorkflows
    from safelight.flows import DEVELOP, Bound

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    ends: dict[str, asyncio.Future[float]] = {}

    async def nothing(payload: Any) -> None:
        return

    async def end(payload: Any) -> None:
        if payload["id"] in ends and not ends[payload["id"]].done():
            ends[payload["id"]].set_result(time.perf_counter())

    async def dead(*what: Any) -> None:
        raise AssertionError(what)

    first, last = (f"develop.{step.name}" for step in DEVELOP.steps)
    bound = Bound({"develop": DEVELOP}, {first: nothing, last: end}, dead)
    made: Any = (
        TemporalWorkflows(TemporalOptions.from_url(url), bound, concurrency=CONCURRENCY)
        if url.startswith("temporal")
        else DbosWorkflows(url, bound, concurrency=CONCURRENCY)
    )
    await made.open()
    loop = asyncio.get_running_loop()

    async def run(*, is_urgent: bool) -> float:
        id = uuid4().hex
        ends[id] = loop.create_future()
        began = time.perf_counter()
        await made.start("develop", f"develop:{id}", {"id": id}, is_urgent=is_urgent, party=id[:1])
        ended = await ends[id]
        del ends[id]
        return ended - began

    while line := await asyncio.to_thread(sys.stdin.readline):
        wanted = json.loads(line)
        alone = [await run(is_urgent=True) for _ in range(wanted["alone"])]
        print(json.dumps({"burst": wanted["burst"]}), flush=True)
        own, began = time.process_time(), time.perf_counter()
        await asyncio.gather(*(run(is_urgent=False) for _ in range(wanted["burst"])))
        took = time.perf_counter() - began
        print(json.dumps({"alone_s": alone, "burst_s": took, "own_cpu_s": time.process_time() - own}), flush=True)
    await made.close()


def page(result: dict[str, Any]) -> str:
    seen = result["machine"]
    rows = "\n".join(
        f"| {NAMES[name]} | {it['p50_ms']:.1f} | {it['p99_ms']:.1f} | {it['own_cpu_ms']:.1f} | {it['server_cpu_ms']:.1f} |"
        for name, it in result["engines"].items()
    )
    sqlite, temporal = result["engines"]["sqlite"], result["engines"]["temporal"]
    return f"""# Figures of workflows

Made by `make bench-workflows` from one machine's measurements; yours will differ in seconds and agree in ratios. Engines take turns within
a run. CPU is of the process that works, and of its server's whole tree of processes.

Machine: {seen["cores"]} cores ({seen["processor"]}), {seen["memory_gb"]} GB, {seen["system"]}, Python {seen["python"]}, shared with other work; measured on {seen["date"]}.
Load average while measuring: {result["load"][0]:.2f} to {result["load"][1]:.2f}, our own included.

## What a run costs beside its pixels

The flow `develop`, two steps, neither of which does anything: what is left is the engine's. One after another, {result["rounds"]} rounds of
{result["alone"]}: from asking for an urgent run to the end of its last step. CPU is that of {result["burst"]} at once, that nobody waits for, of sixteen tenants: the
median of the rounds, and what holds on a machine that others use too; what the clock says depends on them.

| engine | p50 ms | p99 ms | CPU ms a run, ours | the server's |
|---|---|---|---|---|
{rows}

Developing a photograph of 12 megapixels takes [a good deal more CPU](figures.md) than any of these, so the engine is chosen by what there is
to run, not by these figures. PostgreSQL and Temporal share the cores with what they are measured by. Temporal is its development server,
which keeps everything in memory here: one of production writes to its database as often, and has other machines for it. One of its runs
takes {temporal["p50_ms"] / sqlite["p50_ms"]:.1f} times as long as an embedded one: each step is asked for, taken and reported in calls to another process, which
notes every one of them in the run's history.
"""


if __name__ == "__main__":
    main()
