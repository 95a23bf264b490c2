"""Moto: DynamoDB for tests, from the wheel, in a process of its own. It keeps everything in memory and knows no permissions.

One request at a time: moto undoes a refused transaction by putting the table back as it was when the transaction began, and with
threads it would undo what others have committed meanwhile.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

REGION = "eu-central-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests"}
# For the case that a transaction is refused, moto copies the whole table for each of its actions, always in the state before the
# first, and all that was ever in its stream. Once, without the stream, is enough, and some hundred times faster.
# Nor does moto look at a transaction's token, by which DynamoDB knows one again whose answer was lost (API reference,
# TransactWriteItems, ClientRequestToken).
_SERVER = """
import copy, sys
from collections import defaultdict
from types import SimpleNamespace
from moto.dynamodb import models
from moto.dynamodb.models import DynamoDBBackend, Table
from moto.dynamodb.responses import DynamoHandler
from moto.core.responses import EmptyResult
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

copies = {}
def item_of(item):
    one = copy.copy(item)
    one.attrs = type(item.attrs)()
    dict.update(one.attrs, item.attrs)
    return one
def deepcopy(value, memo=None):
    if not isinstance(value, Table):
        return copy.deepcopy(value)
    if value.name not in copies:
        kept = copies[value.name] = copy.copy(value)
        kept.items = defaultdict(dict)
        for pk, items in value.items.items():
            kept.items[pk] = {sk: item_of(item) for sk, item in items.items()}
    return copies[value.name]
models.copy = SimpleNamespace(copy=copy.copy, deepcopy=deepcopy)
whole = DynamoDBBackend.transact_write_items
def transact_write_items(self, transact_items):
    copies.clear()
    return whole(self, transact_items)
DynamoDBBackend.transact_write_items = transact_write_items

done = set()
asked = DynamoHandler.transact_write_items
def once(self):
    token = self.body.get("ClientRequestToken")
    if token in done:
        return EmptyResult()
    answer = asked(self)
    done.add(token)
    return answer
DynamoHandler.transact_write_items = once
run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=False)
"""


class MotoServer:
    """One server on a free port of the loopback."""

    def __init__(self, *, has_permissions: bool = False) -> None:
        """`has_permissions`: whoever asks has to be known, and nobody is."""
        self._environment = os.environ | ({"INITIAL_NO_AUTH_ACTION_COUNT": "0"} if has_permissions else {})
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = Path(tempfile.mkstemp(prefix="safelight-moto-", suffix=".log")[1])
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, within_s: float = 60.0) -> MotoServer:
        with self._log.open("ab") as log:
            command = [sys.executable, "-c", _SERVER, str(self.port)]
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/moto-api/", timeout=2):
                    return self
            except urllib.error.HTTPError:
                return self
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"moto does not start:\n{self._log.read_text()[-4000:]}")

    def pause(self) -> None:
        """It stands still; the kernel still answers for it, so no connection breaks."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self._process.kill()
            self._process.wait()
        self._log.unlink(missing_ok=True)

    def catalog_url(self, table: str | None = None) -> str:
        """The setting for a table of one's own, which is not there yet."""
        return f"dynamodb://{table or f't{uuid4().hex[:12]}'}?region={REGION}&endpoint_url={self.url}"


_MOTO = pytest.StashKey[MotoServer]()


@pytest.fixture(scope="session")
def moto(request: pytest.FixtureRequest) -> Iterator[MotoServer]:
    """The server of this test process, with credentials in the environment as an operator would have them."""
    stash = request.config.stash
    if _MOTO not in stash:
        stash[_MOTO] = MotoServer()
        request.config.add_cleanup(stash[_MOTO].remove)
        stash[_MOTO].start()
        request.config.add_cleanup(_credentials())
    return stash[_MOTO]


def _credentials():
    before = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)

    def restore() -> None:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    return restore
