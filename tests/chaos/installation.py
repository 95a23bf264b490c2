"""The installations that chaos is made of: every part can be killed, frozen, stopped, started again, and its line cut."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import psutil
import psycopg
from tests.acceptance.conftest import Server, until
from tests.chaos.load import House
from tests.servers.cuttable import Cuttable, Line
from tests.servers.disk import Disk, NoDisk
from tests.servers.postgres import PostgresServer, make_cluster
from tests.servers.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS
from tests.servers.valkey import Valkey

POLICIES = ("tell", "reuse", "refuse")
"""A tenant for each; `tell` is the one that the installation begins with."""
COMMON = {
    "SAFELIGHT_INGEST__WAIT_S": "3",
    "SAFELIGHT_DELIVERY__MEMORY_BYTES": "0",  # so that every delivery looks into the store
    "SAFELIGHT_OUTBOUND__NETWORKS": "127.0.0.1/32",
    "SAFELIGHT_CARE__RECONCILE_DAYS": "0",  # the audit wants to see what is left without it
}
WAL = {"max_wal_size": "128MB", "wal_recycle": "off"}
"""No file of the log is there before it is needed, so that a full disk keeps the next one from being made."""

FAKETIME = (
    Path(sys.prefix)
    / "lib"
    / f"python3.{sys.version_info.minor}"
    / "site-packages/libfaketime/vendor/libfaketime/src/libfaketime.so.1"
)
LARGEST_SKEW_S = 240
"""S3 refuses requests from a clock that is wrong by a quarter of an hour."""


def skewed(by_s: int) -> dict[str, str]:
    """What makes a process and its children believe in another time; how fast it passes stays."""
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME": f"{by_s:+d}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DISABLE_SHM": "1",
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
    """`safelight worker` beside the servers, started again whenever it ends by itself, as every orchestrator does."""

    folder: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    is_wanted: bool = False
    _turns: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        with self._turns:
            self.is_wanted = True
            self._start()
        threading.Thread(target=self._supervise, args=(self.process,), daemon=True).start()

    def _supervise(self, process: subprocess.Popen[bytes] | None) -> None:
        while True:
            with self._turns:  # one that has just been killed must not come back by us, nor twice
                if not self.is_wanted or process is not self.process or process is None:
                    return
                if process.poll() is not None:
                    self._start()
                    process = self.process
            time.sleep(0.5)

    def _start(self) -> None:
        command = [sys.executable, "-m", "safelight", "worker", "--data-dir", str(self.folder / "data")]
        with (self.folder / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=own_environment(self.environment), stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        with self._turns:
            self.is_wanted = False
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def stop(self) -> None:
        with self._turns:
            self.is_wanted = False
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


class Blob(Protocol):
    """The bytes of an object as they lie on the disk."""

    def read(self) -> bytes: ...
    def write(self, data: bytes) -> None:
        """As many others, in their place."""


@dataclass(frozen=True)
class BlobFile:
    """A file."""

    path: Path

    def read(self) -> bytes:
        return self.path.read_bytes()

    def write(self, data: bytes) -> None:
        if self.path.exists():  # a rendition that was made again is another file
            with self.path.open("r+b") as file:
                file.write(data)


def own_environment(settings: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SAFELIGHT_")} | settings


class Installation(ABC):
    """One profile with everything that runs for it; opened and closed by `with`."""

    profile: str
    skipped: dict[str, str]
    """Faults that this machine, or the profile, does not allow, and why."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = COMMON | environment
        self.skipped = {}
        works = subprocess.run(["true"], env=skewed(1), capture_output=True, check=False)
        if not FAKETIME.exists() or works.stderr:
            self.skipped["skew"] = "libfaketime has no library for this machine"
        self.apis: list[Api] = []
        self.parts: dict[str, Part] = {}
        self.lines: dict[str, Cuttable] = {}
        self.disks: dict[str, Disk] = {}
        self.houses: list[House] = []
        self._closing = contextlib.ExitStack()

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _add_api(self, name: str, folder: Path) -> Api:
        folder.mkdir(parents=True, exist_ok=True)
        api = Api(folder / "data", dict(self.environment))
        self._closing.callback(lambda: api.process is None or api.process.poll() is not None or api.kill())
        self.apis.append(api)
        self.parts[name] = api
        return api

    def _add_disk(self, name: str, at: Path, size_bytes: int) -> None:
        """A small one at this empty folder, where the machine allows it."""
        at.mkdir(parents=True, exist_ok=True)
        try:
            self.disks[name] = Disk(at, size_bytes)
        except NoDisk as why:
            self.skipped["full"] = f"no small file system can be mounted here: {why}"
        else:
            self._closing.callback(self.disks[name].unmount)

    def settle_in(self) -> None:
        """A tenant for every policy."""
        with self.apis[0].client() as client:
            urls = lambda: [api.url for api in self.apis]
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
        """`safelight …` of an operator, by the fastest clock of all: what is young is not judged by these commands."""
        command = [sys.executable, "-m", "safelight", *words, "--data-dir", str(self.apis[0].data_dir)]
        ahead = {} if "skew" in self.skipped else skewed(LARGEST_SKEW_S + 1)
        return subprocess.run(command, env=own_environment(self.environment | ahead), capture_output=True, text=True, timeout=600)

    @abstractmethod
    def deck(self) -> list[tuple[str, str]]:
        """The faults that can be made here: what, to which part."""

    @abstractmethod
    def fill(self, target: str, rng: random.Random) -> str:
        """No room on a disk of that part any more, but for some bytes; which one."""

    def make_room(self, disk: str) -> None:
        """Room again on that disk, and whoever has given up is started again."""
        self.disks[disk].empty()

    @abstractmethod
    def blob(self, key_end: str) -> Blob | None:
        """The newest bytes of the object whose key ends so."""

    @abstractmethod
    def rows(self) -> set[str]:
        """The images of the catalog, asked behind Safelight's back."""

    @abstractmethod
    def objects(self) -> set[str]:
        """The images that the store has objects of, likewise."""

    def heal(self) -> None:
        """Every line through, room on every disk."""
        for line in self.lines.values():
            line.be(Line.THROUGH)
        for disk in self.disks.values():
            disk.empty()


class Embedded(Installation):
    """`safelight serve` over a folder: SQLite, files, one server."""

    profile = "embedded"

    def __init__(self, folder: Path, environment: dict[str, str], *, disk_bytes: int) -> None:
        super().__init__(folder, environment)
        self.disk = folder / "disk"
        self.disk_bytes = disk_bytes

    def __enter__(self) -> Embedded:
        with contextlib.ExitStack() as opened:
            self._closing = opened
            self._add_disk("disk", self.disk, self.disk_bytes)
            self._add_api("api", self.disk).start()
            self.settle_in()
            self._closing = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        # The log lies on the disk that is about to go.
        with contextlib.suppress(OSError):
            shutil.copy(self.disk / "server.log", self.folder / "server.log")
        super().__exit__()

    def fill(self, target: str, rng: random.Random) -> str:
        self.disks[target].fill(leaves=rng.randrange(0, 300_000))
        return target

    def deck(self) -> list[tuple[str, str]]:
        deck = [(kind, "api") for kind in ("kill", "freeze", "restart", "terminate", "child", "skew")]
        deck += [("corrupt", "store"), ("full", "disk")]
        return [(kind, target) for kind, target in deck if kind not in self.skipped]

    def blob(self, key_end: str) -> Blob | None:
        root = self.apis[0].data_dir / "objects"
        found = self._ask(
            root / "objects.db",
            "select blob from versions where key like ? and blob is not null order by seq desc limit 1",
            f"%{key_end}",
        )
        return BlobFile(root / "blobs" / found[0][:2] / found[0]) if found else None

    def rows(self) -> set[str]:
        return set(self._ask(self.apis[0].data_dir / "catalog.db", "select id from images"))

    def objects(self) -> set[str]:
        keys = self._ask(self.apis[0].data_dir / "objects" / "objects.db", "select distinct key from versions")
        return {key.split("/")[1] for key in keys if len(key.split("/")) > 3}

    def _ask(self, path: Path, question: str, *values: str) -> list[str]:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
            return [value for (value,) in database.execute(question, values)]


class Servers(Installation):
    """Two servers and two workers over PostgreSQL, SeaweedFS and Valkey, with a line to each of these that can be cut."""

    profile = "servers"

    def __init__(self, folder: Path, environment: dict[str, str], *, disk_bytes: int) -> None:
        super().__init__(folder, environment)
        self.disk_bytes = disk_bytes

    def __enter__(self) -> Servers:
        with contextlib.ExitStack() as opened:
            self._closing = opened
            make_cluster(self.folder / "cluster")
            data = Path(tempfile.mkdtemp(prefix="safelight-disk-", dir="/tmp"))  # where PostgreSQL's user can go, too
            opened.callback(shutil.rmtree, data)
            self._add_disk("postgres", data, self.disk_bytes)
            self.postgres = PostgresServer(self.folder / "cluster", data=data, **WAL).start()
            opened.callback(self.postgres.remove)
            for name, at in (("s3 volumes", ""), ("s3 metadata", "filerldb2")):
                self._add_disk(name, self.folder / "seaweedfs" / "data" / at, self.disk_bytes)
            self.s3 = opened.enter_context(SeaweedFS(self.folder / "seaweedfs"))
            valkey = Valkey(self.folder / "valkey")
            opened.callback(valkey.kill)
            self.parts |= {"postgres": Stoppable(self.postgres), "s3": Stoppable(self.s3), "valkey": Stoppable(valkey)}
            for name, port in (("postgres", self.postgres.port), ("s3", self.s3.port), ("valkey", valkey.port)):
                self.lines[name] = opened.enter_context(Cuttable(port))
            self.database = self.postgres.database()
            self.buckets = [self.s3.make_bucket(name, is_versioned=True) for name in ("originals", "renditions")]
            self.environment |= {
                "SAFELIGHT_CATALOG__URL": self.database.replace(f":{self.postgres.port}/", f":{self.lines['postgres'].port}/"),
                "SAFELIGHT_CATALOG__SECRET_KEY": "5a" * 32,
                "SAFELIGHT_CATALOG__STATEMENT_TIMEOUT_S": "5",
                "SAFELIGHT_STORAGE__URL": f"s3://{self.buckets[0]}",
                "SAFELIGHT_STORAGE__RENDITIONS_BUCKET": self.buckets[1],
                "SAFELIGHT_STORAGE__ENDPOINT_URL": f"http://127.0.0.1:{self.lines['s3'].port}",
                "SAFELIGHT_STORAGE__ACCESS_KEY_ID": ACCESS_KEY,
                "SAFELIGHT_STORAGE__SECRET_ACCESS_KEY": SECRET_KEY,
                "SAFELIGHT_STORAGE__KMS_KEY_ID": self.s3.make_key(),
                "SAFELIGHT_STORAGE__ATTEMPT_TIMEOUT_S": "4",
                "SAFELIGHT_STORAGE__DEADLINE_S": "10",
                "SAFELIGHT_CACHE__URL": f"valkey://127.0.0.1:{self.lines['valkey'].port}/0",
            }
            for number in (1, 2):
                self._add_api(f"api {number}", self.folder / f"api-{number}").start()
            for number in (1, 2):
                worker = Worker(self.folder / f"worker-{number}", dict(self.environment))
                worker.folder.mkdir()
                worker.start()
                opened.callback(worker.kill)
                self.parts[f"worker {number}"] = worker
            self.settle_in()
            self._closing = opened.pop_all()
        return self

    def deck(self) -> list[tuple[str, str]]:
        deck = [(kind, f"api {number}") for kind in ("kill", "freeze", "restart") for number in (1, 2)]
        deck += [("terminate", "api 1"), ("child", "api 2"), ("skew", "api 2"), ("skew", "worker 2")]
        deck += [(kind, f"worker {number}") for kind in ("kill", "freeze", "restart") for number in (1, 2)]
        deck += [(kind, part) for kind in ("kill", "freeze") for part in self.lines] + [("restart", "postgres")]
        deck += [(kind, part) for kind in ("cut", "dead line", "no answers") for part in self.lines]
        deck += [("full", "postgres"), ("full", "s3"), ("corrupt", "s3")]
        return [(kind, target) for kind, target in deck if kind not in self.skipped]

    def fill(self, target: str, rng: random.Random) -> str:
        disk = "postgres" if target == "postgres" else rng.choice(["s3 volumes", "s3 metadata"])
        self.disks[disk].fill(leaves=rng.randrange(0, 300_000))
        if target == "postgres" and rng.random() < 0.5:
            # The file of the log is at its end: the next write wants a new one, for which there is no room.
            with contextlib.suppress(psycopg.Error):
                self.postgres.execute("SELECT pg_switch_wal()")
        return disk

    def make_room(self, disk: str) -> None:
        """PostgreSQL that cannot write its log ends, and once more when it cannot while it recovers.

        SeaweedFS keeps its metadata in LevelDB, which takes no writes any more after one that failed, until it is opened again.
        """
        super().make_room(disk)
        if disk == "postgres":
            until(self._postgres_has_settled)
            if self.postgres.has_ended:
                started(self.parts["postgres"])
        elif disk == "s3 metadata" or self.s3.has_ended:
            self.s3.kill()
            started(self.parts["s3"])

    def _postgres_has_settled(self) -> bool:
        try:
            self.postgres.execute("CHECKPOINT")
        except psycopg.Error:
            return self.postgres.has_ended
        return True

    def blob(self, key_end: str) -> Blob | None:
        client = self.s3.client()
        for bucket in self.buckets:
            for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
                for one in page.get("Versions", ()):
                    if one["IsLatest"] and one["Key"].endswith(key_end):
                        return self.s3.needle(bucket, one["Key"], one["VersionId"])
        return None

    def rows(self) -> set[str]:
        with psycopg.connect(self.database) as connection:
            return {id for (id,) in connection.execute("SELECT id FROM images")}

    def objects(self) -> set[str]:
        client, found = self.s3.client(), set()
        for bucket in self.buckets:
            for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
                keys = [one["Key"] for one in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]]
                found |= {key.split("/")[1] for key in keys if len(key.split("/")) > 3}
        return found


def started(part: Part) -> None:
    """Like an orchestrator: again and again, since what it needs may be away at the same time."""
    deadline = time.monotonic() + 600
    while True:
        try:
            part.start(within_s=180.0) if isinstance(part, Api) else part.start()
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


@dataclass
class Stoppable:
    """A backend, with the words of our own parts."""

    server: Any

    def kill(self) -> None:
        self.server.kill()

    def start(self) -> None:
        self.server.start()

    def pause(self) -> None:
        self.server.pause()

    def resume(self) -> None:
        self.server.resume()

    def stop(self) -> None:
        self.server.stop()
