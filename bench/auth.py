"""Authentication: what it costs a read, and what a sign-in takes when sixteen come at once.

    $ python bench/auth.py [--quick]

Reads are asked by wrk, in turns within one run: a public image's `info.json`, which needs no credentials, without and with them; and a
record, which needs some, from a server that verifies them and from one that took them once and never looks again. Sign-ins are
sixteen clients in processes' threads, each with an account of its own. Leaves bench/results/auth.json and
docs/explanation/signing-in-figures.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from processes import Server, cpu, load, scratch
from report import machine
from wire import full_speed, has

from pictures import jpeg

CONNECTIONS = 16
CLIENTS = 16
TARGET = 0.85
"""Requests for a second of CPU with credentials, against those without: CPU holds on a machine that others use too."""
PASSWORD = "umbrella-seventeen-kites"
ENVIRONMENT = {
    "SAFELIGHT_LOG__LEVEL": "warning",
    "SAFELIGHT_AUTH__SIGNUP_TENANTS": "default",
    "SAFELIGHT_RATE__AUTH_PER_MINUTE": "0",
    "SAFELIGHT_IIIF__ENABLED": "true",
}
WITHOUT_DOOR = """
import sys
from safelight.cli import main
from safelight.services.accounts import Accounts

verified = Accounts.authenticate
known = []

async def once(self, token, address=""):
    if not known:
        known.append(await verified(self, token, address))
    return known[0]

Accounts.authenticate = once
main(sys.argv[1:])
"""


class ServerWithoutDoor(Server):
    """The same server, but whoever came first is believed to be everybody."""

    def start(self, within_s: float = 60.0) -> Server:
        whole = subprocess.Popen

        def started(command: list[str], **options: Any) -> Any:
            at = command.index("-m")
            return whole([*command[:at], "-c", WITHOUT_DOOR, *command[at + 2 :]], **options)

        subprocess.Popen = started  # type: ignore[misc,assignment]
        try:
            return super().start(within_s)
        finally:
            subprocess.Popen = whole  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: a look, not figures to publish")
    quick = parser.parse_args().quick
    if not has("wrk"):
        sys.exit("wrk is not on the path (on Debian: apt-get install wrk)")
    result = measure(quick=quick) | {"machine": machine(), "is_quick": quick}
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "auth.json").write_text(json.dumps(result, indent=1) + "\n")
    (HERE.parent / "docs/explanation/signing-in-figures.md").write_text(page(result))
    for name, pair in result["ratios"].items():
        print(f"{'met   ' if pair['per_cpu_s'] >= TARGET else 'MISSED'}  {name}: {pair['per_cpu_s']:.2f}, target {TARGET}")


def measure(*, quick: bool) -> dict[str, Any]:
    rounds, seconds = (2, 2) if quick else (7, 4)
    cells: dict[str, list[dict[str, float]]] = {}
    loads: list[dict[str, float]] = []
    with scratch() as folder, ExitStack() as stack:
        door = stack.enter_context(Server(folder / "door", environment=ENVIRONMENT))
        other = stack.enter_context(ServerWithoutDoor(folder / "open", environment=ENVIRONMENT))
        emails = [f"user{number}@example.org" for number in range(CLIENTS)]
        for email in emails:
            sign_up(door, email)
        own = {"authorization": f"Bearer {sign_in(door.url, emails[0])['access_token']}"}
        ids, theirs = upload(door), [f"/images/{id}" for id in upload(other)]
        public, records = [f"/iiif/3/{id}/info.json" for id in ids], [f"/images/{id}" for id in ids]
        asked = {
            "info.json, nobody": (door, public, {}),
            "info.json, access token": (door, public, own),
            "info.json, API key": (door, public, door.headers),
            "record, nothing verified": (other, theirs, other.headers),
            "record, access token": (door, records, own),
            "record, API key": (door, records, door.headers),
        }
        for server, paths, headers in asked.values():  # every cache is as warm as it gets
            full_speed(server.url, paths, connections=CONNECTIONS, seconds=1, headers=headers)
        for number in range(rounds):
            for name, (server, paths, headers) in asked.items():
                loads.append(load())
                before = cpu(server.pid).total
                cell = full_speed(server.url, paths, connections=CONNECTIONS, seconds=seconds, headers=headers)
                cell["cpu_us"] = (cpu(server.pid).total - before) / cell["requests"] * 1e6
                cells.setdefault(name, []).append(cell)
                print(f"  {name} {number + 1}/{rounds}: {cell['requests_per_s']:.0f}/s, {cell['cpu_us']:.0f} us CPU", flush=True)
            own["authorization"] = f"Bearer {sign_in(door.url, emails[0])['access_token']}"
        signins = [sign_ins(door.url, emails, each=4 if quick else 12) for _ in range(1 if quick else 3)]
    medians = {
        name: {
            figure: statistics.median(row[figure] for row in rows) for figure in ("requests_per_s", "cpu_us", "p50_ms", "p99_ms")
        }
        for name, rows in cells.items()
    }
    return {
        "rounds": rounds,
        "seconds": seconds,
        "connections": CONNECTIONS,
        "medians": medians,
        "ratios": {
            name: ratio(cells, name, base)
            for name, base in (
                ("info.json, access token", "info.json, nobody"),
                ("info.json, API key", "info.json, nobody"),
                ("record, access token", "record, nothing verified"),
                ("record, API key", "record, nothing verified"),
            )
        },
        "signins": signins,
        "argon2": argon2(),
        "loadavg": [min(one["loadavg"] for one in loads), max(one["loadavg"] for one in loads)],
    }


def ratio(cells: dict[str, list[dict[str, float]]], name: str, base: str) -> dict[str, float]:
    """With credentials against without, round by round, the median: requests for a second of CPU, and requests a second."""
    pairs = list(zip(cells[name], cells[base], strict=True))
    return {
        "per_cpu_s": statistics.median(without["cpu_us"] / own["cpu_us"] for own, without in pairs),
        "per_s": statistics.median(own["requests_per_s"] / without["requests_per_s"] for own, without in pairs),
    }


def upload(server: Server) -> list[str]:
    """A few public pictures; their ids."""
    with server.client() as client:
        answers = [
            client.post(
                "/images", files={"file": (f"{side}.jpg", jpeg(side, side))}, data={"visibility": "public"}
            ).raise_for_status()
            for side in (600, 700, 800, 900)
        ]
    return [answer.json()["id"] for answer in answers]


def sign_up(server: Server, email: str) -> None:
    folder = server.data_dir / "mail"
    before = len(list(folder.glob("*.eml")))
    httpx.post(f"{server.url}/auth/signup", json={"email": email, "password": PASSWORD}, timeout=60).raise_for_status()
    deadline = time.monotonic() + 60
    while len(letters := sorted(folder.glob("*.eml"))) <= before:
        assert time.monotonic() < deadline, "no letter"
        time.sleep(0.05)
    text = message_from_bytes(letters[-1].read_bytes(), policy=policy.default).get_body(("plain",)).get_content()
    token = re.search(r"#verify=(\S+)", text)[1]
    httpx.post(f"{server.url}/auth/verify", json={"token": token}, timeout=60).raise_for_status()


def sign_in(url: str, email: str) -> dict[str, Any]:
    answer = httpx.post(f"{url}/auth/signin", json={"email": email, "password": PASSWORD}, timeout=60)
    return answer.raise_for_status().json()


def sign_ins(url: str, emails: list[str], *, each: int) -> dict[str, float]:
    """All of them at once, each again as soon as it is in."""
    times: list[float] = []
    lock, barrier = threading.Lock(), threading.Barrier(len(emails))

    def client(email: str) -> None:
        with httpx.Client(base_url=url, timeout=120) as http:
            http.get("/health/live")
            barrier.wait()
            for _ in range(each):
                began = time.perf_counter()
                http.post("/auth/signin", json={"email": email, "password": PASSWORD}).raise_for_status()
                with lock:
                    times.append(time.perf_counter() - began)

    threads = [threading.Thread(target=client, args=(email,)) for email in emails]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    times.sort()
    return {
        "sign_ins": len(times),
        "per_s": len(times) / took,
        "p50_ms": times[len(times) // 2] * 1e3,
        "p99_ms": times[min(len(times) - 1, int(len(times) * 0.99))] * 1e3,
    }


def argon2() -> dict[str, float]:
    """The settings' own parameters, and the CPU of one hash with them."""
    from safelight.passwords import Hasher
    from safelight.settings import Auth

    auth = Auth()
    hasher = Hasher((b"p" * 32,), auth.hash_memory_kib, auth.hash_passes)
    hasher.hash(PASSWORD)
    began = time.process_time()
    for _ in range(10):
        hasher.hash(PASSWORD)
    return {
        "memory_kib": auth.hash_memory_kib,
        "passes": auth.hash_passes,
        "at_once": auth.hashes_at_once,
        "hash_cpu_ms": (time.process_time() - began) * 100,
    }


def page(result: dict[str, Any]) -> str:
    machine, argon = result["machine"], result["argon2"]
    lines = [
        "# Figures of signing in",
        "",
        "Made by `python bench/auth.py` from one machine's measurements; yours will differ in seconds and agree in ratios. Cells take turns",
        "within a run; a figure is the median of its rounds. CPU is of the server's whole tree of processes.",
        "",
        f"Machine: {machine['cores']} cores ({machine['processor']}), {machine['memory_gb']} GB, {machine['system']}, Python"
        f" {machine['python']}, shared with other work; measured on {machine['date']}.",
        f"Load average while measuring: {result['loadavg'][0]} to {result['loadavg'][1]}, our own included.",
        "",
        "## What credentials cost a read",
        "",
        f"{result['connections']} connections (wrk) on the cores of the one API process, {result['rounds']} rounds of {result['seconds']} s. A public",
        "image's `/iiif/3/{id}/info.json` may be read by nobody in particular, so it is asked without and with credentials. `GET /images/{id}`",
        "always asks for some; there the other side is the same server, patched to believe whoever came first. Target:",
        f"with the same CPU at least {TARGET} of the requests. The ratios are medians of rounds, each against its neighbour.",
        "",
        "| read | requests/s | CPU us each | p50 ms | p99 ms | of the requests, by CPU | by the clock |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in result["medians"].items():
        against = result["ratios"].get(name)
        missed = " **missed**" if against and against["per_cpu_s"] < TARGET else ""
        verdict = f"{against['per_cpu_s']:.2f}{missed} | {against['per_s']:.2f}" if against else " | "
        lines.append(
            f"| {name} | {row['requests_per_s']:,.0f} | {row['cpu_us']:.0f} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} | {verdict} |"
        )
    signins = result["signins"]
    median = {figure: statistics.median(one[figure] for one in signins) for figure in ("per_s", "p50_ms", "p99_ms")}
    lines += [
        "",
        "A credential is verified, and its session and user looked up, once in five seconds; in between it is found by its SHA-256.",
        "",
        "## Sign-ins",
        "",
        f"{CLIENTS} clients at once, each with an account of its own and again as soon as it is in; {len(signins)} runs of"
        f" {signins[0]['sign_ins']} sign-ins. Argon2id with {argon['memory_kib']:,.0f} KiB and {argon['passes']:.0f} passes,"
        f" {argon['at_once']:.0f} hashes at a time; one hash takes {argon['hash_cpu_ms']:.0f} ms of CPU here.",
        "",
        "| sign-ins/s | p50 ms | p99 ms |",
        "|---|---|---|",
        f"| {median['per_s']:.1f} | {median['p50_ms']:.0f} | {median['p99_ms']:.0f} |",
        "",
        f"Sixteen at once on {argon['at_once']:.0f} places wait for one another: {CLIENTS / argon['at_once']:.0f} hashes for the last of"
        f" them, {CLIENTS / argon['at_once'] * argon['hash_cpu_ms']:.0f} ms when the cores are theirs alone; the rest is the catalog, and other work on these cores.",
        "`SAFELIGHT_AUTH__HASHES_AT_ONCE` follows the cores.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
