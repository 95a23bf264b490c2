"""Files that come by tus while clients and servers are killed, on both profiles: every byte has to arrive.

`make tus-run` is the same with a hundred files of up to 30 MB. What is sent, and who dies at which byte, follows from TUS_SEED;
how the processes interleave does not.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.acceptance import tus_sender
from tests.acceptance.conftest import Server, of_its_own, until
from tests.photographs import photographs
from tests.pictures import jpeg
from tests.servers.valkey import valkey  # noqa: F401

FILES = int(os.environ.get("TUS_FILES", "6"))
LARGEST_BYTES = int(os.environ.get("TUS_LARGEST_MB", "6")) * 1_000_000
SEED = os.environ.get("TUS_SEED", "1815")
AT_ONCE = 3
PATIENCE_S = 120 + 10 * FILES


@dataclass
class Replicas:
    """The servers of one installation. Each may be killed, and comes back."""

    servers: list[Server]
    tally: Counter[str] = field(default_factory=Counter)
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60))
    _counting: threading.Lock = field(default_factory=threading.Lock)
    _mending: dict[int, threading.Lock] = field(default_factory=dict)

    def start(self) -> Replicas:
        for server in self.servers:
            server.data_dir.parent.mkdir()
            server.start()
            self._mending[server.port] = threading.Lock()
        return self

    @property
    def key(self) -> str:
        return self.servers[0].api_key

    def count(self, what: str) -> None:
        with self._counting:
            self.tally[what] += 1

    def crash(self, server: Server) -> None:
        """kill -9, and up again."""
        with self._mending[server.port]:
            server.kill()
            self.count("servers killed")
            server.start()

    def ask(self, method: str, path: str, headers: Mapping[str, str] = MappingProxyType({}), **words: Any) -> httpx.Response:
        """What the first of them answers that is there."""

        def answered() -> httpx.Response | None:
            for server in self.servers:
                with contextlib.suppress(httpx.HTTPError):
                    said = {"authorization": f"Bearer {self.key}", **headers}
                    found = self.client.request(method, server.url + path, headers=said, **words)
                    if found.status_code != 503:
                        return found
            return None

        return until(answered, within_s=PATIENCE_S)


@pytest.fixture(params=["embedded", "networked"])
def replicas(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Replicas]:
    """Two servers over PostgreSQL, S3 and Valkey. A data directory is one server's: there the one that died comes back."""
    if request.param == "embedded":
        servers = [Server(tmp_path / "one" / "data")]
    else:
        environment = of_its_own(request.getfixturevalue("servers_profile")) | {
            "SAFELIGHT_CACHE__URL": request.getfixturevalue("valkey").url
        }
        servers = [Server(tmp_path / name / "data", environment) for name in ("one", "two")]
    replicas = Replicas(servers).start()
    with replicas.client:
        yield replicas
    for server in servers:
        server.stop()


@functools.cache
def photographed() -> list[Path]:
    """Of cameras where they have been fetched, else what the test environment brings along."""
    with contextlib.suppress(FileNotFoundError):
        return photographs("camera")
    return [path for path in photographs("small") if path.suffix == ".jpg"]


@dataclass
class File:
    """One file on its way, by as many clients as it takes."""

    number: int
    replicas: Replicas
    path: Path
    upload: str = ""

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{SEED} {self.number}")
        head = self.rng.choice(photographed()).read_bytes() if self.number % 2 else jpeg(seed=7000 + self.number)
        size = int(math.exp(self.rng.uniform(math.log(1_000_000), math.log(LARGEST_BYTES))))
        # What follows the end of a JPEG is kept and means nothing.
        data = head + self.rng.randbytes(max(1000, size - len(head)))
        self.path.write_bytes(data)
        self.sha256, self.size = hashlib.sha256(data).hexdigest(), len(data)
        self.chunk = self.rng.choice((400_000, 3_000_000, 40_000_000))
        # (who dies, with which share of what is left on its way); one in ten behind the last byte
        victims = self.rng.choices(("client", "server"), (2, 1), k=self.rng.choice((1, 2, 3)))
        self.deaths = [(victim, min(1.0, self.rng.uniform(0.0, 1.1))) for victim in victims]

    def send(self) -> None:
        """Until every byte is there."""
        headers = {"tus-resumable": "1.0.0", "upload-length": str(self.size)}
        created = self.replicas.ask("POST", "/tus/", headers=headers)
        assert created.status_code == 201, created.text
        self.upload = urlsplit(created.headers["location"]).path.rpartition("/")[2]
        servers, turn = self.replicas.servers, self.rng.randrange(2)
        deadline, kept, is_whole = time.monotonic() + PATIENCE_S, 0, False
        while not is_whole:
            assert time.monotonic() < deadline, (self.number, kept, self.size)
            turn += 1  # never where the last one was sending
            victim, share = self.deaths.pop(0) if self.deaths else ("", 1.0)
            kept, is_whole = self._sent(servers[turn % len(servers)], kept, victim, share)

    def _sent(self, server: Server, kept: int, victim: str, share: float) -> tuple[int, bool]:
        """What one client came to: the bytes that were acknowledged, and whether that is all of them."""
        command = [sys.executable, tus_sender.__file__, f"{server.url}/tus/{self.upload}", str(self.path), str(self.chunk)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as client:
            assert client.stdin is not None and client.stdout is not None and client.stderr is not None
            client.stdin.write(self.replicas.key + "\n")
            client.stdin.close()
            dies_at = None
            for line in client.stdout:
                word, offset = line.split()[0], int(line.split()[1])
                if word == "at":
                    assert offset >= kept, f"{kept} bytes were acknowledged, {offset} are there"
                    if 0 < offset < self.size:
                        self.replicas.count("resumed")
                    dies_at = offset + share * (self.size - offset) if victim else None
                elif word == "kept":
                    kept = offset
                elif dies_at is not None and offset >= dies_at:
                    dies_at = None
                    if victim == "client":
                        client.kill()
                        self.replicas.count("clients killed")
                    else:
                        self.replicas.crash(server)
            refusal = client.stderr.read()
        if client.returncode == 0:
            return self.size, True
        assert client.returncode in (-9, tus_sender.GONE), refusal
        if client.returncode == tus_sender.GONE:
            time.sleep(0.2)
        return kept, False

    def verify(self) -> str:
        """The image that it has become, once that is ready and has these bytes."""
        # A server that died behind the last byte has the clock take it in; asking for it is faster.
        done = self.replicas.ask("POST", f"/uploads/{self.upload}/complete", headers={"prefer": "respond-async"})
        assert done.status_code in (201, 202), done.text
        image = done.json()["id"]
        until(lambda: self.replicas.ask("GET", f"/images/{image}").json()["status"] == "ready", within_s=PATIENCE_S)
        original = self.replicas.ask("GET", f"/images/{image}/original").content
        assert hashlib.sha256(original).hexdigest() == self.sha256, self.number
        self.path.unlink()
        return image


@pytest.mark.slow
def test_files_arrive_whole_however_often_clients_and_servers_are_killed(replicas: Replicas, tmp_path: Path) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:

        def travel(number: int) -> tuple[int, str]:
            file = File(number, replicas, tmp_path / f"{number}.jpg")
            file.send()
            return file.size, file.verify()

        arrived = list(pool.map(travel, range(FILES)))

    images = {image for _, image in arrived}
    assert len(images) == FILES
    listed = replicas.ask("GET", "/images", params={"limit": 200, "status": "ready"}).json()["images"]
    assert images <= {image["id"] for image in listed}
    tally = replicas.tally
    assert tally["clients killed"] and tally["servers killed"] and tally["resumed"]
    figures = {"files": FILES, "identical": FILES, "megabytes": round(sum(size for size, _ in arrived) / 1e6)}
    print(
        json.dumps(
            figures | tally | {"replicas": len(replicas.servers), "seconds": round(time.monotonic() - began), "seed": SEED}
        )
    )
