"""The same product on S3 and PostgreSQL: `make bench-servers`. Real servers, started here; one JSON document and a line a target.

    $ python bench/servers.py [objects|develop|workers|catalog|search ...] [--quick]

objects   client CPU of one call to S3, by kind of call
develop   photographs per second on S3 and PostgreSQL beside the embedded default, rounds interleaved
workers   a backlog developed by one process on a core of its own, and by two on a core each
catalog   lists at ten thousand and a million images (servers_catalog.py)
search    questions at a million documents (servers_search.py)

SeaweedFS and PostgreSQL run on this machine too and take their share of its cores: the document says how many there are, and a
target of throughput that they leave no room for is told as such. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "tests")]

from processes import Server, load, scratch, spread, upload
from tests.servers.postgres import PostgresServer, make_cluster
from tests.servers.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS

from photographs import photographs
from safelight.adapters.storage.s3 import S3Options, S3Store

SECTIONS = ("objects", "develop", "workers", "catalog", "search")
CORES = sorted(os.sched_getaffinity(0))


@contextlib.contextmanager
def backends() -> Iterator[dict[str, str]]:
    """Settings of an installation on servers of its own."""
    with tempfile.TemporaryDirectory(prefix="safelight-bench-", dir="/tmp") as place, contextlib.ExitStack() as opened:
        cluster = Path(place) / "cluster"
        make_cluster(cluster)
        postgres = PostgresServer(cluster).start()
        opened.callback(postgres.remove)
        s3 = opened.enter_context(SeaweedFS(Path(place) / "seaweedfs"))
        yield {
            "SAFELIGHT_CATALOG__URL": postgres.database(),
            "SAFELIGHT_CATALOG__SECRET_KEY": "5a" * 32,
            "SAFELIGHT_STORAGE__URL": f"s3://{s3.make_bucket('originals', is_versioned=True)}",
            "SAFELIGHT_STORAGE__RENDITIONS_BUCKET": s3.make_bucket("renditions", is_versioned=True),
            "SAFELIGHT_STORAGE__ENDPOINT_URL": s3.url,
            "SAFELIGHT_STORAGE__ACCESS_KEY_ID": ACCESS_KEY,
            "SAFELIGHT_STORAGE__SECRET_ACCESS_KEY": SECRET_KEY,
        }


def objects(*, quick: bool) -> dict[str, Any]:
    """Milliseconds of this process's CPU a call, all its threads; the smallest of some rounds, since noise only adds."""
    calls = 100 if quick else 400
    data = secrets.token_bytes(20_000)

    async def measured(environment: dict[str, str]) -> dict[str, float]:
        options = S3Options(
            originals_bucket="originals",
            renditions_bucket="renditions",
            endpoint_url=environment["SAFELIGHT_STORAGE__ENDPOINT_URL"],
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
        )
        found: dict[str, list[float]] = {}
        async with S3Store(options) as store:
            bucket = store.bucket("renditions")
            for round_ in range(4):
                kinds = {
                    "put": lambda n, r=round_: bucket.put(f"t/{r}/{n}", data),
                    "get": lambda n, r=round_: bucket.get(f"t/{r}/{n}"),
                    "stat": lambda n, r=round_: bucket.stat(f"t/{r}/{n}"),
                    "list a thousand": lambda n: bucket.piles("t/0/", limit=1000) if n < 10 else asyncio.sleep(0),
                    "delete": lambda n, r=round_: bucket.delete(f"t/{r}/{n}"),
                }
                for kind, call in kinds.items():
                    counted = 10 if kind == "list a thousand" else calls
                    before = time.process_time()
                    for first in range(0, counted, 8):
                        await asyncio.gather(*(call(n) for n in range(first, min(first + 8, counted))))
                    found.setdefault(kind, []).append((time.process_time() - before) / counted * 1000)
        return {kind: round(min(values), 3) for kind, values in found.items()}

    with backends() as environment:
        return {"cpu_ms": asyncio.run(measured(environment))}


def develop(*, quick: bool) -> dict[str, Any]:
    """Both take the same photographs in turn; a round's ratio, then the median."""
    photos = small_photographs()
    images, rounds = (8, 2) if quick else (24, 6)
    cells: dict[str, list[float]] = {"embedded": [], "servers": []}
    busy = []
    with scratch() as folder, backends() as environment:
        with Server(folder / "embedded") as embedded, Server(folder / "servers", environment=environment) as networked:
            servers = {"embedded": embedded, "servers": networked}
            for server in servers.values():
                upload(server, photos, len(photos), may_lag=True)
                server.settle()
            for number in range(rounds):
                for name in list(servers)[:: 1 if number % 2 else -1]:
                    busy.append(load())
                    cells[name].append(upload(servers[name], photos, images, may_lag=True)["images_per_s"])
                    servers[name].settle()
    ratios = [ours / theirs for ours, theirs in zip(cells["servers"], cells["embedded"], strict=True)]
    return {"images_per_s": {name: spread(values) for name, values in cells.items()}, "ratio": spread(ratios), "load": busy}


def workers(*, quick: bool) -> dict[str, Any]:
    """Uploads are acknowledged first (202), then the backlog is developed: by the server alone, or with a worker beside it."""
    photos = small_photographs()
    images, rounds = (8, 1) if quick else (24, 4)
    took: dict[str, list[float]] = {"one": [], "two": []}
    for number in range(rounds):
        for name in ("one", "two") if number % 2 else ("two", "one"):
            with scratch() as folder, backends() as environment:
                environment |= {
                    "SAFELIGHT_DEVELOP__SLOTS": "1",
                    "SAFELIGHT_DEVELOP__WAITING": "1",
                    "SAFELIGHT_INGEST__WAIT_S": "0",
                }
                with (
                    Server(folder / "server", cores=str(CORES[0]), environment=environment) as server,
                    contextlib.ExitStack() as beside,
                ):
                    upload(server, photos, 2, may_lag=True)
                    drained(server)
                    if name == "two":
                        beside.callback(ended, worker(folder / "worker", environment, CORES[-1]))
                    began = time.perf_counter()
                    upload(server, photos, images, may_lag=True)
                    drained(server)
                    took[name].append(time.perf_counter() - began)
    return {
        "backlog_s": {name: spread(values) for name, values in took.items()},
        "ratio": spread([one / two for one, two in zip(took["one"], took["two"], strict=True)]),
    }


def small_photographs() -> list[Path]:
    """Camera files where they have been fetched, else what the test environment has."""
    with contextlib.suppress(Exception):
        if found := photographs("camera"):
            return found[:4]
    return [path for path in photographs("small") if path.suffix == ".jpg"][:4]


def worker(data_dir: Path, environment: dict[str, str], core: int) -> subprocess.Popen[str]:
    """`safelight worker` on one core, taking part."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SAFELIGHT_")} | environment
    command = ["taskset", "-c", str(core), sys.executable, "-m", "safelight", "worker", "--json", "--data-dir", str(data_dir)]
    process = subprocess.Popen(command, env=clean, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    if "started" not in process.stdout.readline():
        raise RuntimeError("the worker did not start")
    return process


def ended(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(60)
    if process.stdout is not None:
        process.stdout.close()


def drained(server: Server, within_s: float = 600.0) -> None:
    """Until no image is being developed."""
    deadline = time.monotonic() + within_s
    with server.client() as client:
        while client.get("/images", params={"status": "developing", "limit": 1}).raise_for_status().json()["images"]:
            if time.monotonic() > deadline:
                raise RuntimeError("the backlog is not developed")
            time.sleep(0.05)


def catalog(*, quick: bool) -> dict[str, Any]:
    import servers_catalog

    return asyncio.run(servers_catalog.run(100_000 if quick else servers_catalog.LARGE))


def search(*, quick: bool) -> dict[str, Any]:
    import servers_search

    return asyncio.run(servers_search.run(100_000 if quick else 1_000_000))


def verdicts(found: dict[str, Any]) -> Iterator[str]:
    """A line a target: met, missed, or left without the cores that it asks for."""

    def line(name: str, value: float, limit: float, unit: str, *, at_least: bool = False, cores: int = 1) -> str:
        is_met = value >= limit if at_least else value <= limit
        word = "met    " if is_met else "MISSED " if len(CORES) >= cores else "CORES  "
        more = "" if is_met or len(CORES) >= cores else f"; wants {cores} cores, there are {len(CORES)}"
        return f"{word} {name}: {value:.2f}{unit}, target {'>=' if at_least else '<='} {limit:g}{unit}{more}"

    for kind in ("put", "get", "stat"):
        if "objects" in found:
            yield line(f"client CPU of one S3 {kind}", found["objects"]["cpu_ms"][kind], 1.0, " ms")
    if "develop" in found:
        # The object store and the database want cores of their own.
        yield line("develop on servers, against embedded", found["develop"]["ratio"]["median"], 0.8, " x", at_least=True, cores=4)
    if "workers" in found:
        yield line("two workers, against one", found["workers"]["ratio"]["median"], 1.7, " x", at_least=True, cores=4)
    if "catalog" in found:
        for figure, what in (("p99", "list p99"), ("cpu_p99", "list CPU p99")):
            name, ratio = max(found["catalog"][f"{figure}_ratio"].items(), key=lambda each: each[1])
            yield line(f"{what} at a million, against ten thousand ({name})", ratio, 3.0, " x")
    if "search" in found:
        questions = {name: each for name, each in found["search"].items() if isinstance(each, dict) and name != "put one"}
        for figure, what in (("p99_ms", "search p99"), ("cpu_p99_ms", "search CPU p99")):
            name, each = max(questions.items(), key=lambda each: each[1][figure])
            yield line(f"{what} ({name})", each[figure], 50.0, " ms")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure Safelight on S3 and PostgreSQL.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; all of them unless named")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and rows: a look, not figures to publish")
    chosen = parser.parse_args()
    if unknown := set(chosen.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    found: dict[str, Any] = {"cores": len(CORES), "is_quick": chosen.quick, "load_before": load()}
    for section in chosen.sections or SECTIONS:
        print(section, file=sys.stderr, flush=True)
        found[section] = globals()[section](quick=chosen.quick)
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / "servers.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    for line in verdicts(found):
        print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
