"""Processes: a server under measurement, and what its whole tree of processes has cost.

Reads /proc, so Linux only. Every figure is of the server's tree; load generators run in processes of their own and are
never part of it. Not a load generator and not a test fixture.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

HERE = Path(__file__).parent
CLIENTS = 4
"""Uploads at the same time, unless a bench says otherwise."""
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Stat:
    """The line of one process in /proc; seconds of CPU. `buried` are its children that have ended and were waited for."""

    pid: int
    parent: int
    own: float
    buried: float
    is_zombie: bool


def stats() -> dict[int, Stat]:
    """Every process there is."""
    found: dict[int, Stat] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                line = file.read()
        except OSError:
            continue
        # The second field is the name, which may hold anything; fields are counted from behind its last bracket.
        fields = line[line.rindex(b")") + 2 :].split()
        own = (int(fields[11]) + int(fields[12])) / TICKS
        buried = (int(fields[13]) + int(fields[14])) / TICKS
        found[int(name)] = Stat(int(name), int(fields[1]), own, buried, fields[0] == b"Z")
    return found


def tree(root: int) -> list[Stat]:
    """The process and everything below it, parents first."""
    every = stats()
    below: dict[int, list[Stat]] = {}
    for stat in every.values():
        below.setdefault(stat.parent, []).append(stat)
    line = [every[root]] if root in every else []
    for stat in line:
        line += below.get(stat.pid, [])
    return line


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds of CPU since the tree began, by part; children that have ended are in it."""

    parent: float
    """The process that was started: it watches over the workers."""
    server: float
    """The workers: HTTP, the catalog, storage, the engine of the flows."""
    zygote: float
    """The process that forks the decoders, itself."""
    decoders: float
    """The forked decoders: probing and developing."""

    @property
    def total(self) -> float:
        return self.parent + self.server + self.zygote + self.decoders

    def __sub__(self, before: Cpu) -> Cpu:
        return Cpu(*(getattr(self, part) - getattr(before, part) for part in ("parent", "server", "zygote", "decoders")))

    def parts(self, per: float) -> dict[str, float]:
        return {part: round(getattr(self, part) / per, 4) for part in ("parent", "server", "zygote", "decoders")}


def cpu(root: int) -> Cpu:
    """Of `safelight serve`: parent, worker, zygote and decoders are told apart by their place in the tree."""
    parts = dict.fromkeys(("parent", "server", "zygote", "decoders"), 0.0)
    zygotes = set()
    for stat in tree(root):
        if stat.pid == root:
            parts["parent"] += stat.own
            parts["server"] += stat.buried
        elif stat.parent in zygotes:
            parts["decoders"] += stat.own + stat.buried
        elif "safelight.imaging.sandbox.zygote" in _command(stat.pid):
            zygotes.add(stat.pid)
            parts["zygote"] += stat.own
            parts["decoders"] += stat.buried
        else:
            parts["server"] += stat.own + stat.buried
    return Cpu(**parts)


def cpu_of(root: int) -> float:
    """Of any tree of processes, in one number."""
    return sum(stat.own + stat.buried for stat in tree(root))


@dataclass
class Server:
    """`safelight serve` on a port of its own over a data directory, started as a user starts it."""

    data_dir: Path
    cores: str = ""
    """For `taskset`: '0', '0,1'; empty leaves the kernel to choose."""
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    started_s: float = 0.0
    """From exec to the first 200 of /health/ready."""

    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {(self.data_dir / 'admin.key').read_text().strip()}"}

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, within_s: float = 60.0) -> Server:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SAFELIGHT_")} | self.environment
        # One client alone asks here for as much as there is.
        environment = {"SAFELIGHT_RATE__USER_PER_S": "0", "SAFELIGHT_RATE__ADDRESS_PER_S": "0"} | environment
        environment["SAFELIGHT_LOG__LEVEL"] = environment.get("SAFELIGHT_LOG__LEVEL", "info")
        command = [sys.executable, "-m", "safelight", "serve", "--port", str(self.port), "--data-dir", str(self.data_dir)]
        if self.cores:
            command = ["taskset", "-c", self.cores, *command]
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        log = self.data_dir.parent / f"{self.data_dir.name}.log"
        began = time.perf_counter()
        with log.open("ab") as sink:
            self._process = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink, start_new_session=True)
        while time.perf_counter() - began < within_s and self._process.poll() is None:
            if answers(self.port, "/health/ready"):
                self.started_s = time.perf_counter() - began
                return self
            time.sleep(0.005)
        tail = log.read_text(errors="replace")[-3000:]
        self.stop()
        raise RuntimeError(f"the server is not ready:\n{tail}")

    def stop(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(45)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=120)

    def settle(self, within_s: float = 30.0) -> None:
        """Wait until what an upload leaves to be done later is done: three readings in a row under 10 % of a core."""
        quiet, deadline, before = 0, time.monotonic() + within_s, cpu_of(self.pid)
        while quiet < 3 and time.monotonic() < deadline:
            time.sleep(0.25)
            now = cpu_of(self.pid)
            quiet = quiet + 1 if now - before < 0.025 + 1 / TICKS else 0
            before = now


def answers(port: int, path: str) -> bool:
    """Whether a GET is answered with 200. A bare socket: at start every millisecond of an HTTP library would be measured too."""
    with socket.socket() as connection:
        connection.settimeout(2)
        try:
            connection.connect(("127.0.0.1", port))
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode())
            return connection.recv(16).split(b" ")[1:2] == [b"200"]
        except OSError:
            return False


@dataclass
class Memory:
    """Peaks of a tree, MB (10^6 bytes). `samples` of them were taken."""

    rss: float = 0.0
    pss: float = 0.0
    total: float = 0.0
    """PSS, and the pages of memfds that no process has mapped: what the tree takes from the machine."""
    by_part: dict[str, float] = field(default_factory=dict)
    """PSS at the moment of the highest total."""
    processes: int = 0
    samples: int = 0


class Looking(threading.Thread, ABC):
    """Calls `sample` every `interval_s` until stopped; use as a context."""

    def __init__(self, interval_s: float) -> None:
        super().__init__(daemon=True)
        self.interval_s = interval_s
        self._ended = threading.Event()

    @abstractmethod
    def sample(self) -> None: ...

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.wait(self.interval_s):
            self.sample()


class Sampler(Looking):
    """Reads a tree's memory."""

    def __init__(self, root: int, interval_s: float = 0.04) -> None:
        super().__init__(interval_s)
        self.root, self.peak = root, Memory()

    def sample(self) -> None:
        line = tree(self.root)
        rss = pss = shared = 0.0
        parts: dict[str, float] = {}
        zygotes: set[int] = set()
        memfds: dict[int, int] = {}
        for stat in line:
            own = _memory(stat.pid)
            if own is None:
                continue
            name = _part(stat, self.root, zygotes)
            parts[name] = parts.get(name, 0.0) + own["Pss"]
            pss, rss, shared = pss + own["Pss"], rss + own["Rss"], shared + own["Pss_Shmem"]
            if name in ("parent", "server"):
                memfds |= _memfds(stat.pid)
        unmapped = max(0.0, sum(memfds.values()) / 1e6 - shared)
        peak = self.peak
        peak.samples += 1
        peak.processes = max(peak.processes, len(line))
        peak.rss, peak.pss = max(peak.rss, rss), max(peak.pss, pss)
        if pss + unmapped > peak.total:
            peak.total, peak.by_part = pss + unmapped, {k: round(v, 1) for k, v in parts.items()} | {"memfds": round(unmapped, 1)}


@dataclass
class Holding:
    """What a tree of processes holds at a moment, MB (10^6 bytes)."""

    rss: float = 0.0
    """Of the processes that stay: decoders come and go."""
    by_part: dict[str, float] = field(default_factory=dict)
    """The same of each: parent, server, zygote."""
    anonymous: float = 0.0
    """Of that, what they have made themselves: the rest is programs, and pages of databases that the kernel lends and takes back."""
    pss: float = 0.0
    """Of all of them."""
    descriptors: int = 0
    """Of those that stay; threads likewise."""
    threads: int = 0
    nameless: int = 0
    """Open files of theirs on a disk that have no name any more: uploads under way."""


def holding(root: int) -> Holding:
    """Of `safelight serve`, now."""
    found, zygotes = Holding(), set[int]()
    for stat in tree(root):
        own = _memory(stat.pid)
        if own is None:
            continue
        found.pss += own["Pss"]
        part = _part(stat, root, zygotes)
        if part == "decoders":
            continue
        found.rss += own["Rss"]
        found.by_part[part] = found.by_part.get(part, 0.0) + own["Rss"]
        found.anonymous += own["Anonymous"]
        with suppress(OSError):
            found.threads += len(os.listdir(f"/proc/{stat.pid}/task"))
            for fd in os.listdir(f"/proc/{stat.pid}/fd"):
                with suppress(OSError):
                    path = os.readlink(f"/proc/{stat.pid}/fd/{fd}")
                    found.descriptors += 1
                    found.nameless += path.endswith(" (deleted)") and not path.startswith(("/memfd:", "/dev/"))
    return found


def _part(stat: Stat, root: int, zygotes: set[int]) -> str:
    if stat.pid == root:
        return "parent"
    if stat.parent in zygotes:
        return "decoders"
    if "safelight.imaging.sandbox.zygote" in _command(stat.pid):
        zygotes.add(stat.pid)
        return "zygote"
    return "server"


def _memory(pid: int) -> dict[str, float] | None:
    """Rss, Pss, Pss_Shmem and Anonymous in MB; None when the process has just ended."""
    found = {"Rss": 0.0, "Pss": 0.0, "Pss_Shmem": 0.0, "Anonymous": 0.0}
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in found:
                found[name] = int(rest.split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        return None
    return found


def _memfds(pid: int) -> dict[int, int]:
    """Bytes of every memfd that the process holds open, by inode."""
    found: dict[int, int] = {}
    with suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{fd}"
            with suppress(OSError):
                if os.readlink(path).startswith("/memfd:"):
                    status = os.stat(path)
                    found[status.st_ino] = status.st_blocks * 512
    return found


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for data directories, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="safelight-bench-") as folder:
        yield Path(folder)


def load() -> dict[str, float]:
    """How busy the machine was: the load of the last minute, and the share of the last ten seconds in which somebody waited
    for a core."""
    text = Path("/proc/pressure/cpu").read_text() if Path("/proc/pressure/cpu").exists() else ""
    waited = next((float(word[6:]) for word in text.split() if word.startswith("avg10=")), 0.0)
    return {"loadavg": round(os.getloadavg()[0], 2), "cpu_pressure": waited}


def told(
    command: Sequence[str | os.PathLike[str]], *, stdin: str = "", cwd: Path = HERE, within_s: float = 1200
) -> dict[str, object]:
    """The one JSON object that a program prints. Raises RuntimeError with what it said instead."""
    ended = subprocess.run(
        [*map(str, command)], input=stdin, capture_output=True, text=True, cwd=cwd, timeout=within_s, check=False
    )
    if ended.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed:\n{ended.stderr[-3000:]}")
    answer: dict[str, object] = json.loads(ended.stdout)
    return answer


def asking(server: Server, script: str, *words: object) -> Any:
    """What a load generator tells that asks this server, in a process of its own; the key is not on its command line."""
    os.environ["SAFELIGHT_API_KEY"] = server.headers["authorization"].removeprefix("Bearer ")
    try:
        return told([sys.executable, str(HERE / script), "--url", server.url, *map(str, words)])
    finally:
        del os.environ["SAFELIGHT_API_KEY"]


def upload(
    server: Server, photos: list[Path], images: int, clients: int = CLIENTS, *, may_lag: bool = False, way: str = "multipart"
) -> dict[str, Any]:
    """Through the door, by another process. Raises RuntimeError unless every answer is 201, or 202 where it `may_lag`."""
    words = ["--clients", clients, "--images", images, "--way", way, *photos]
    report: dict[str, Any] = asking(server, "upload.py", *words)
    if report["statuses"].get("201", 0) + (report["statuses"].get("202", 0) if may_lag else 0) != images:
        raise RuntimeError(f"expected {images} answers 201 but received {report['statuses']} {report['refusals']}")
    return report


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and range."""
    digits = 4 if max(values, default=0) < 100 else 1
    return {
        "median": round(statistics.median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
        "rounds": len(values),
    }
