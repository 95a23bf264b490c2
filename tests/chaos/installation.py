"""The installations that chaos is made of: every part can be killed, frozen, stopped, started again, and its line cut."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import psutil

from tests.acceptance.conftest import Server, until
from tests.chaos.load import House
from tests.servers.cuttable import Cuttable, Line

POLICIES = ("tell", "reuse", "refuse")
"""A tenant for each; `tell` is the one that the installation begins with."""
COMMON = {
    "SAFELIGHT_INGEST__WAIT_S": "3",
    "SAFELIGHT_DELIVERY__MEMORY_BYTES": "0",  # so that every delivery looks into the store
    "SAFELIGHT_OUTBOUND__NETWORKS": "127.0.0.1/32",
    "SAFELIGHT_CARE__RECONCILE_DAYS": "0",  # the audit wants to see what is left without it
}


class Part(Protocol):
    """A process, or several that live and die together."""

    def kill(self) -> None: ...
    def start(self) -> object: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def stop(self) -> object: ...


class Api(Server):
    """`safelight serve`, with all the processes that it has."""

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill_child(self, rng: random.Random) -> str:
        """kill -9 of one process below it, drawn among granian's worker and the decoders; what it was."""
        assert self.process is not None
        me = psutil.Process(self.process.pid)
        workers = {child.pid for child in me.children()}
        child = rng.choice(sorted(me.children(recursive=True), key=lambda child: child.pid))
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
            return "worker" if child.pid in workers else "zygote or decoder"
        return "gone already"

    def terminate(self) -> None:
        """What systemd does by itself: SIGTERM to every process of the service at once, zygotes and decoders among them."""
        assert self.process is not None
        for process in [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        self.stop()

    def _signal(self, number: int) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@dataclass
class Worker:
    """`safelight worker` beside the servers."""

    folder: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "safelight", "worker", "--data-dir", str(self.folder / "data")]
        with (self.folder / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=own_environment(self.environment), stdout=log, stderr=log, start_new_session=True)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def stop(self) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        assert self.process is not None
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


def own_environment(settings: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SAFELIGHT_")} | settings


class Installation:
    """One profile with everything that runs for it; opened and closed by `with`."""

    profile: str
    skipped: dict[str, str]
    """Faults that this machine, or the profile, does not allow, and why."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = COMMON | environment
        self.skipped = {}
        self.apis: list[Api] = []
        self.parts: dict[str, Part] = {}
        self.lines: dict[str, Cuttable] = {}
        self.houses: list[House] = []
        self._closing = contextlib.ExitStack()

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _add_api(self, name: str, folder: Path) -> Api:
        folder.mkdir(parents=True, exist_ok=True)
        api = Api(folder / "data", self.environment)
        self._closing.callback(lambda: api.process is None or api.process.poll() is not None or api.kill())
        self.apis.append(api)
        self.parts[name] = api
        return api

    def settle_in(self) -> None:
        """A tenant for every policy."""
        with self.apis[0].client() as client:
            urls = lambda: [api.url for api in self.apis]  # noqa: E731
            self.houses = [House(client.get("/admin/tenants").json()[0]["id"], "tell", self.apis[0].api_key, urls)]
            for policy in POLICIES[1:]:
                made = client.post("/admin/tenants", json={"name": policy, "duplicates": policy})
                assert made.status_code == 201, made.text
                self.houses.append(House(made.json()["id"], policy, made.json()["token"], urls))

    def ready(self) -> bool:
        """Whether every server says so."""
        try:
            return all(httpx.get(f"{api.url}/health/ready", timeout=10).status_code == 200 for api in self.apis)
        except httpx.HTTPError:
            return False

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`safelight …` of an operator, on this installation."""
        command = [sys.executable, "-m", "safelight", *words, "--data-dir", str(self.apis[0].data_dir)]
        return subprocess.run(command, env=own_environment(self.environment), capture_output=True, text=True, timeout=600)

    def deck(self) -> list[tuple[str, str]]:
        """The faults that can be made here: what, to which part."""
        raise NotImplementedError

    def rows(self) -> set[str]:
        """The images of the catalog, asked behind Safelight's back."""
        raise NotImplementedError

    def objects(self) -> set[str]:
        """The images that the store has objects of, likewise."""
        raise NotImplementedError

    def heal(self) -> None:
        """Every part up, every line through."""
        for line in self.lines.values():
            line.be(Line.THROUGH)


class Embedded(Installation):
    """`safelight serve` over a folder: SQLite, files, one server."""

    profile = "embedded"

    def __init__(self, folder: Path, environment: dict[str, str], *, disk_bytes: int) -> None:
        super().__init__(folder, environment)
        self.disk = folder / "disk"
        self.disk_bytes = disk_bytes
        self.ballast = self.disk / "ballast"

    def __enter__(self) -> Embedded:
        self.disk.mkdir()
        with contextlib.ExitStack() as opened:
            self._closing = opened
            mounted = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={self.disk_bytes}", "chaos", str(self.disk)], capture_output=True, text=True, check=False
            )
            if mounted.returncode:
                self.skipped["full"] = f"no small file system can be mounted here: {mounted.stderr.strip()}"
            else:
                opened.callback(lambda: subprocess.run(["umount", "-l", str(self.disk)], check=False))
            self._add_api("api", self.disk).start()
            self.settle_in()
            self._closing = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        # The log lies on the disk that is about to go.
        with contextlib.suppress(OSError):
            shutil.copy(self.disk / "server.log", self.folder / "server.log")
        super().__exit__()

    def fill(self, leaves: int) -> None:
        """No more room on the disk but for so many bytes."""
        with self.ballast.open("wb") as file:
            while True:
                free = os.statvfs(self.disk)
                try:
                    os.posix_fallocate(file.fileno(), 0, max(4096, free.f_bavail * free.f_frsize - leaves))
                except OSError as error:  # somebody else has written in between
                    if error.errno != errno.ENOSPC:
                        raise
                    leaves += 65_536
                else:
                    return

    def empty(self) -> None:
        self.ballast.unlink(missing_ok=True)

    def heal(self) -> None:
        self.empty()
        super().heal()

    def deck(self) -> list[tuple[str, str]]:
        deck = [(kind, "api") for kind in ("kill", "freeze", "restart", "terminate", "child")] + [("corrupt", "store")]
        return deck if "full" in self.skipped else [*deck, ("full", "disk")]

    def blob(self, key_end: str) -> Path | None:
        """The file with the newest bytes of the object whose key ends so."""
        root = self.apis[0].data_dir / "objects"
        found = self._ask(root / "objects.db", "select blob from versions where key like ? and blob is not null order by seq desc limit 1", f"%{key_end}")
        return root / "blobs" / found[0][:2] / found[0] if found else None

    def rows(self) -> set[str]:
        return set(self._ask(self.apis[0].data_dir / "catalog.db", "select id from images"))

    def objects(self) -> set[str]:
        keys = self._ask(self.apis[0].data_dir / "objects" / "objects.db", "select distinct key from versions")
        return {key.split("/")[1] for key in keys if len(key.split("/")) > 3}

    def _ask(self, path: Path, question: str, *values: str) -> list[str]:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
            return [value for (value,) in database.execute(question, values)]
