"""A real server process, spoken to over HTTP: what `safelight serve` starts, on a port of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import httpx
import psycopg
import pytest
from tests.servers.postgres import PostgresServer, postgres_cluster
from tests.servers.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS

__all__ = ["postgres_cluster"]


T = TypeVar("T")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], T], *, within_s: float = 90.0) -> T:
    """What it tells, as soon as that is something."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)
    return found


@dataclass
class Server:
    """One `safelight serve` over a data directory; it can be killed and started again."""

    data_dir: Path
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    greeting: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_key(self) -> str:
        return (self.data_dir / "admin.key").read_text().strip()

    @property
    def log(self) -> str:
        return (self.data_dir.parent / "server.log").read_text()

    def start(self, *, within_s: float = 60.0) -> Server:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SAFELIGHT_")} | self.environment
        command = [
            sys.executable,
            "-m",
            "safelight",
            "serve",
            "--json",
            "--port",
            str(self.port),
            "--data-dir",
            str(self.data_dir),
        ]
        with (self.data_dir.parent / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, start_new_session=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self._wait()
            raise AssertionError(f"the server did not start:\n{self.log[-4000:]}")
        self.greeting = json.loads(line)
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.url}/health/ready", timeout=2).status_code == 200:
                    return self
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        self.kill()
        raise AssertionError(f"the server is not ready:\n{self.log[-4000:]}")

    def kill(self) -> None:
        """kill -9 of the whole process tree: what a power cut looks like from inside."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self._wait()

    def stop(self, *, within_s: float = 40.0) -> int:
        """What an operator does: SIGTERM, and the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        finally:
            self._wait()

    def _wait(self) -> None:
        assert self.process is not None
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def client(self, **options: object) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.api_key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def servers_profile(tmp_path_factory: pytest.TempPathFactory, postgres_cluster: Path) -> Iterator[dict[str, str]]:
    """Settings of the same product on real servers: originals under SSE-KMS on S3, everything else in PostgreSQL."""
    postgres = PostgresServer(postgres_cluster).start()
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs")) as s3:
        originals = s3.make_bucket("originals", is_versioned=True)
        renditions = s3.make_bucket("renditions", is_versioned=True)
        yield {
            "SAFELIGHT_CATALOG__URL": postgres.database(),
            "SAFELIGHT_CATALOG__SECRET_KEY": "5a" * 32,
            "SAFELIGHT_STORAGE__URL": f"s3://{originals}",
            "SAFELIGHT_STORAGE__RENDITIONS_BUCKET": renditions,
            "SAFELIGHT_STORAGE__ENDPOINT_URL": s3.url,
            "SAFELIGHT_STORAGE__ACCESS_KEY_ID": ACCESS_KEY,
            "SAFELIGHT_STORAGE__SECRET_ACCESS_KEY": SECRET_KEY,
            "SAFELIGHT_STORAGE__KMS_KEY_ID": s3.make_key(),
        }
    postgres.remove()


def of_its_own(profile: dict[str, str]) -> dict[str, str]:
    """The same servers, for another installation: a database and a prefix in the buckets that nobody else has."""
    base, _, _ = profile["SAFELIGHT_CATALOG__URL"].rpartition("/")
    name = f"d{uuid4().hex[:12]}"
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return profile | {
        "SAFELIGHT_CATALOG__URL": f"{base}/{name}",
        "SAFELIGHT_STORAGE__URL": f"{profile['SAFELIGHT_STORAGE__URL']}/{name}",
    }


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server on files for all tests of this worker that leave it as they found it."""
    running = Server(tmp_path_factory.mktemp("server") / "data").start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def networked(tmp_path_factory: pytest.TempPathFactory, servers_profile: dict[str, str]) -> Iterator[Server]:
    """The same on S3 and PostgreSQL."""
    running = Server(tmp_path_factory.mktemp("server") / "data", servers_profile).start()
    yield running
    running.stop()


@pytest.fixture(scope="session", params=["embedded", "networked"])
def server(request: pytest.FixtureRequest) -> Server:
    """The main job has to hold on both."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, not started yet."""
    mine = Server(tmp_path / "data")
    yield mine
    if mine.process is not None and mine.process.poll() is None:
        mine.stop()
