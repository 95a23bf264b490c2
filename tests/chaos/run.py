"""Chaos: a mixed load, faults drawn from a seed, and an audit of every promise. `make chaos ARGS="--profile servers --minutes 5 --seed 7"`.

The seed replays the plan: which faults, when and for how long, and what every client would like to do next. It does not replay the
interleaving of processes and threads, which is why a finding comes with its ledger, its logs and its time.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import httpx
from tests.chaos import audit
from tests.chaos.faults import LASTS_S, FaultMaker, planned
from tests.chaos.installation import Embedded, Installation, Servers
from tests.chaos.ledger import Book, Ledger
from tests.chaos.load import Client, Gallery, House, sha256

BY_CRASHES = {"orphan", "leftover", "incoming"}
"""What crashes leave behind, for the clock or the reconciler to remove; everything else has to mend itself."""
SETTLES_S = 240.0
SEARCHED = 200
ALONE = "SAFELIGHT_CHAOS_ALONE"


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run", description=__doc__)
    parser.add_argument("--profile", choices=["embedded", "servers"], default="embedded")
    parser.add_argument("--minutes", type=float, default=2.0, help="of load and faults; healing and the audit come on top")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--clients", type=int, default=2, help="of each tenant")
    parser.add_argument("--faults", default="", help="only these kinds, as full,corrupt; default: every one of the deck")
    parser.add_argument(
        "--out", type=Path, help="folder for ledger, logs and report; default: a new one below the temporary folder"
    )
    return parser


def command(profile: str, minutes: float, seed: str, clients: int, kinds: Collection[str]) -> str:
    """What replays the plan: all that it is drawn from."""
    words = ["--profile", profile, "--minutes", f"{minutes:.15g}", "--seed", seed, "--clients", str(clients)]
    words += ["--faults", ",".join(sorted(kinds))] if kinds else []
    return f'make chaos ARGS="{shlex.join(words)}"'


def main() -> int:
    asked = parser().parse_args()
    kinds = {kind.strip() for kind in asked.faults.split(",") if kind}
    if unknown := kinds - LASTS_S.keys():
        parser().error(f"--faults: {', '.join(sorted(unknown))}; there are {', '.join(LASTS_S)}")
    _alone()
    out = asked.out or Path(tempfile.mkdtemp(prefix="safelight-chaos-"))
    out.mkdir(parents=True, exist_ok=True)
    report = run(asked.profile, asked.minutes, asked.seed, asked.clients, out, kinds)
    (out / "report.json").write_text(json.dumps(report, indent=2))
    (out / "report.md").write_text(table(report))
    print(table(report), f"\nLedger, logs and report: {out}", sep="", flush=True)
    return 1 if report["broken"] else 0


def _alone() -> None:
    """In a namespace of mounts of our own, where a small file system for the fault `full` bothers nobody and goes with us."""
    if ALONE in os.environ or sys.platform != "linux" or not (unshare := shutil.which("unshare")):
        return
    # As ourselves, since PostgreSQL refuses to run as root.
    words = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-current-user", "--keep-caps"]
    if subprocess.run([unshare, *words, "true"], capture_output=True, check=False).returncode == 0:
        os.environ[ALONE] = "1"
        os.execv(unshare, [unshare, *words, sys.executable, "-m", "tests.chaos.run", *sys.argv[1:]])


def installation(profile: str, folder: Path, gallery: Gallery, minutes: float) -> Installation:
    environment = {"SAFELIGHT_OUTBOUND__PORTS": str(gallery.port)}
    kind = Embedded if profile == "embedded" else Servers
    return kind(folder, environment, disk_bytes=int((256 + 128 * minutes) * 2**20))


def run(profile: str, minutes: float, seed: str, clients: int, out: Path, kinds: Collection[str] = ()) -> dict[str, Any]:
    """One run, from an empty installation to its report; with these kinds of faults only, when some are named."""
    gallery, ledger, is_over = Gallery(), Ledger(out / "ledger.jsonl"), threading.Event()
    with installation(profile, out, gallery, minutes) as all_of_it:
        deck = [(kind, target) for kind, target in all_of_it.deck() if not kinds or kind in kinds]
        assert deck, "none of these faults can be made here"
        maker = FaultMaker(all_of_it, ledger, seed, planned(deck, seed, minutes))
        load = [Client(f"{h.policy}-{n}", h, ledger, gallery, seed, is_over) for h in all_of_it.houses for n in range(clients)]
        began = time.monotonic()
        for client in load:
            client.start()
        try:
            ends = began + minutes * 60
            maker.run(began, ends)
            time.sleep(max(0.0, ends - time.monotonic()))
        finally:
            is_over.set()
        for client in load:
            client.join(180)
        crashed = [repr(who.crash) for who in (maker, *load) if who.crash] + [client.name for client in load if client.is_alive()]
        assert not crashed, f"the driver itself failed: {crashed}"
        loaded_s = time.monotonic() - began
        all_of_it.heal()
        until_true(all_of_it.ready, 120, "not every server is ready again")
        ledger.close()
        book = Book.read(out / "ledger.jsonl")
        found = Finder(all_of_it, book).find()
        broken = audit.judge(book, found)
        skipped = all_of_it.skipped
    gallery.shutdown()
    gallery.server_close()
    return told(command(profile, minutes, seed, clients, kinds), loaded_s, book, found, broken, skipped)


def until_true(condition: Callable[[], Any], within_s: float, otherwise: str) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.3)


class Finder:
    """Asks the healed installation for everything that the audit wants to know."""

    def __init__(self, installation: Installation, book: Book) -> None:
        self.installation = installation
        self.book = book
        self.found = audit.Found()

    def find(self) -> audit.Found:
        found = self.found
        for house in self.installation.houses:
            with self._client(house) as client:
                self._uploads(house, client)
        found.unsettled = {kind: finding for kind, finding in self._quiet().items() if kind not in BY_CRASHES}
        found.reconciled = self._reconcile()
        found.unclean = self._quiet()
        if audit.damaged_for_good(self.book):
            found.scrubbed = self._findings("scrub")
        for house in self.installation.houses:
            with self._client(house) as client:
                self._images(house, client)
                self._albums(client)
        found.rows, found.objects = self.installation.rows(), self.installation.objects()
        return found

    def _client(self, house: House) -> httpx.Client:
        return httpx.Client(base_url=house.urls()[0], timeout=60, headers={"authorization": f"Bearer {house.token}"})

    def _reconcile(self, *words: str) -> dict[str, Any]:
        return self._findings("reconcile", "--grace", "0", *words)

    def _findings(self, *words: str) -> dict[str, Any]:
        ran = self.installation.command(*words, "--json")
        assert ran.returncode in (0, 1) and ran.stdout, ran.stderr[-3000:]
        return json.loads(ran.stdout)["findings"]

    def _quiet(self) -> dict[str, Any]:
        """Until nothing moves any more: what a crash interrupted has been taken up, dead letters have been tried again.

        What the reconciler would still find then.
        """
        operator, deadline = self.installation.houses[0], time.monotonic() + SETTLES_S
        seen: dict[str, dict[str, Any]] = {}
        while True:
            with self._client(operator) as client:
                self.found.failures_left = client.get("/admin/failures", params={"limit": 1000}).json()["failures"]
                seen |= {failure["id"]: failure for failure in self.found.failures_left}
                if self.found.failures_left:
                    client.post("/admin/failures/retry", params={"all": True, "limit": 1000}).raise_for_status()
            is_developing = False
            for house in self.installation.houses:
                with self._client(house) as client:
                    is_developing |= bool(client.get("/images", params={"status": "developing"}).json()["images"])
            is_over = time.monotonic() > deadline
            if is_over or not (self.found.failures_left or is_developing):
                drift = self._reconcile("--dry-run")
                if is_over or drift.keys() <= BY_CRASHES:
                    break
            time.sleep(1.0)
        known = {failure["id"] for failure in self.found.failures}
        self.found.failures += [failure for id, failure in seen.items() if id not in known]
        return drift

    def _uploads(self, house: House, client: httpx.Client) -> None:
        for op in self.book.ops:
            if op.op == "upload" and op.sent["tenant"] == house.tenant and op.is_acknowledged and op.answer.get("state"):
                deadline = time.monotonic() + SETTLES_S
                while (told := client.get(f"/imports/{op.answer['id']}").json()).get("state") in ("pending", "arrived"):
                    if time.monotonic() > deadline:
                        break
                    time.sleep(0.3)
                self.found.uploads[op.answer["id"]] = told

    def _images(self, house: House, client: httpx.Client) -> None:
        mine: dict[str, dict[str, Any]] = {}
        for is_trashed in ("false", "true"):
            path: str | None = f"/images?limit=200&trashed={is_trashed}"
            while path:
                page = client.get(path).raise_for_status().json()
                mine |= {record["id"]: record | {"tenant": house.tenant} for record in page["images"]}
                path = f"/images?limit=200&trashed={is_trashed}&cursor={page['next']}" if page["next"] else None
        self.found.images |= mine
        searched = 0
        for id, record in mine.items():
            if word := record["custom"].get("write"):
                searched += 1
                if searched <= SEARCHED:
                    hits = client.get("/images/search", params={"q": word, "limit": 20}).raise_for_status().json()["results"]
                    self.found.found_by[word] = [hit["image"]["id"] for hit in hits]
            if record["trashed_at"] or record["status"] != "ready":
                continue
            self.found.versions[id] = client.get(f"/images/{id}/versions").raise_for_status().json()
            for version in self.found.versions[id]:
                answer = client.get(f"/images/{id}/original", params={"version": version["version"]})
                told = sha256(answer.content) if answer.is_success else f"http {answer.status_code} {answer.json()['code']}"
                self.found.originals[id, version["version"]] = told
        # Lists may be remembered; a record that a list lacks must not be there by itself either.
        for op in self.book.ops:
            id = audit.became(op, self.found)
            if id and op.sent["tenant"] == house.tenant and id not in mine:
                answer = client.get(f"/images/{id}")
                if answer.status_code != 404:
                    self.found.images[id] = answer.json() | {"tenant": house.tenant}

    def _albums(self, client: httpx.Client) -> None:
        path: str | None = "/albums?limit=200"
        while path:
            page = client.get(path).raise_for_status().json()
            for album in page["albums"]:
                inside: list[str] = []
                at: str | None = f"/images?album={album['id']}&limit=200"
                while at:
                    images = client.get(at).raise_for_status().json()
                    inside += [image["id"] for image in images["images"]]
                    at = f"/images?album={album['id']}&limit=200&cursor={images['next']}" if images["next"] else None
                self.found.albums[album["id"]] = inside
            path = f"/albums?limit=200&cursor={page['next']}" if page["next"] else None


def told(command: str, loaded_s: float, book: Book, found: audit.Found, broken, skipped) -> dict[str, Any]:
    """The report."""
    faults = Counter(f"{note['fault']} {note['target']}" for note in book.notes if note["is"] == "fault ended")
    kinds = Counter(one.kind for one in broken)
    reads = {"read", "get", "stream", "tus head"}
    writes = [op for op in book.ops if op.op not in reads]
    return {
        "command": command,
        "loaded_s": round(loaded_s, 1),
        "faults": dict(sorted(faults.items())),
        "skipped": skipped,
        "requests": len(book.ops),
        "writes_acknowledged": sum(op.is_acknowledged for op in writes),
        "writes_unknown": sum(op.is_unknown and op.status != 0 for op in writes),
        "statuses": dict(sorted(Counter(str(op.status) for op in book.ops).items())),
        "longest_s": max(
            (op.ended - op.began for op in book.ops if op.ended < float("inf") and "attempts" not in op.sent), default=0.0
        ),
        "images": len(found.images),
        "dead_letters": len(found.failures),
        "reconciled": {kind: finding["count"] for kind, finding in found.reconciled.items()},
        "promises": {kind: kinds.get(kind, 0) for kind in ("lost", "came back", "double", "orphan", "wrong bytes", "500")}
        | {
            "others": sum(
                count
                for kind, count in kinds.items()
                if kind not in ("lost", "came back", "double", "orphan", "wrong bytes", "500")
            )
        },
        "broken": [{"kind": one.kind, "what": one.what, "about": one.about} for one in broken],
    }


def table(report: dict[str, Any]) -> str:
    """The same for people."""
    rows = [
        (
            "faults",
            f"{sum(report['faults'].values())}: " + ", ".join(f"{kind} {count}" for kind, count in report["faults"].items()),
        ),
        ("not tried", "; ".join(f"{kind}: {why}" for kind, why in report["skipped"].items()) or "nothing"),
        ("requests", f"{report['requests']}, the longest {report['longest_s']:.1f} s"),
        ("writes acknowledged", str(report["writes_acknowledged"])),
        ("writes with an unknown outcome", str(report["writes_unknown"])),
        ("images at the end", str(report["images"])),
        ("dead letters, mended by trying again", str(report["dead_letters"])),
        (
            "left by crashes, removed by reconcile",
            ", ".join(f"{kind} {count}" for kind, count in report["reconciled"].items()) or "nothing",
        ),
        *((name, str(count)) for name, count in report["promises"].items()),
    ]
    lines = [f"`{report['command']}`", "", "| what | how many |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    lines += ["", *(f"- **{one['kind']}**: {one['what']}: {one['about'][:500]}" for one in report["broken"])]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
