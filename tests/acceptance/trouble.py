"""Trouble: a whole product on servers of its own, clients that do not stop, and what has to hold while a server is in trouble.

What was acknowledged is there, nobody waits for ever, clients hear 503 and when to come back, and all goes on by itself.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from tests.acceptance.conftest import Server
from tests.pictures import jpeg
from tests.servers.cuttable import Cuttable
from tests.servers.faulty import Fault, Faulty
from tests.servers.moto import CREDENTIALS, MotoServer
from tests.servers.postgres import PostgresServer
from tests.servers.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS

REQUEST_S = 45.0
"""A call to S3 has 3 s here, a statement 3 and a connection 3, an upload waits 3 for its renditions; the rest is a busy machine's."""
SEEDS = itertools.count(1000)


class Proxy:
    """A Faulty before a server, in a thread of its own."""

    def __init__(self, upstream: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._faulty = Faulty(upstream)
        self._run(self._faulty.__aenter__())
        self.url = self._faulty.url

    def spoil(self, *faults: Fault, method: str | None = None) -> None:
        """Do these to all requests from now on, by turns; to those of a method before what is done to all."""

        async def plan() -> None:
            for _ in range(10_000 // len(faults)):
                for fault in faults:
                    self._faulty.spoil(fault, method=method)

        self._run(plan())

    def heal(self) -> None:
        async def forget() -> None:
            self._faulty.heal()

        self._run(forget())

    def leave(self) -> None:
        self._run(self._faulty.leave())

    def come_back(self) -> None:
        self._run(self._faulty.come_back())

    def close(self) -> None:
        self._run(self._faulty.leave())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


class World:
    """A server on PostgreSQL and S3, all of the tests' own; `dynamodb`, which is closed with it, has the records instead."""

    def __init__(self, folder: Path, cluster: Path, *, dynamodb: MotoServer | None = None) -> None:
        with contextlib.ExitStack() as opened:
            self.postgres = PostgresServer(cluster).start()
            opened.callback(self.postgres.remove)
            self.line = opened.enter_context(Cuttable(self.postgres.port))
            database = urlsplit(self.postgres.database())
            postgres = database._replace(netloc=database.netloc.replace(f":{self.postgres.port}", f":{self.line.port}")).geturl()
            self.s3 = opened.enter_context(SeaweedFS(folder / "seaweedfs"))
            self.proxy = Proxy(self.s3.port)
            opened.callback(self.proxy.close)
            records = {"SAFELIGHT_CATALOG__URL": postgres}
            if dynamodb is not None:
                opened.callback(dynamodb.remove)
                self.dynamodb, self.records = dynamodb, Proxy(dynamodb.port)
                opened.callback(self.records.close)
                records = CREDENTIALS | {
                    "SAFELIGHT_CATALOG__URL": dynamodb.catalog_url().replace(dynamodb.url, self.records.url),
                    "SAFELIGHT_SEARCH__URL": postgres,
                    "SAFELIGHT_WORKFLOWS__URL": postgres,
                }
            environment = records | {
                "SAFELIGHT_CATALOG__SECRET_KEY": "5a" * 32,
                "SAFELIGHT_CATALOG__STATEMENT_TIMEOUT_S": "3",
                "SAFELIGHT_STORAGE__URL": f"s3://{self.s3.make_bucket('originals', is_versioned=True)}",
                "SAFELIGHT_STORAGE__RENDITIONS_BUCKET": self.s3.make_bucket("renditions", is_versioned=True),
                "SAFELIGHT_STORAGE__ENDPOINT_URL": self.proxy.url,
                "SAFELIGHT_STORAGE__ACCESS_KEY_ID": ACCESS_KEY,
                "SAFELIGHT_STORAGE__SECRET_ACCESS_KEY": SECRET_KEY,
                "SAFELIGHT_STORAGE__ATTEMPT_TIMEOUT_S": "1.5",
                "SAFELIGHT_STORAGE__DEADLINE_S": "3",
                "SAFELIGHT_INGEST__WAIT_S": "3",
                "SAFELIGHT_DELIVERY__MEMORY_BYTES": "0",
            }
            self.server = Server(folder / "data", environment).start()
            opened.callback(self.server.stop)
            self.close = opened.pop_all().close

    def ready(self) -> tuple[int, set[str]]:
        """The status, and the parts that do not answer."""
        answer = httpx.get(f"{self.server.url}/health/ready", timeout=30)
        return answer.status_code, {name for name, state in answer.json()["parts"].items() if state != "ok"}


Deed = Callable[[World], None]


class Load:
    """Clients that upload, read, list and delete without end, and what they were told."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._is_over = threading.Event()
        self.kept: dict[str, bytes] = {}
        self.deleted: set[str] = set()
        self.statuses: dict[str, collections.Counter[int]] = collections.defaultdict(collections.Counter)
        self.wrong: list[str] = []
        self.longest_s = 0.0
        self.last_answer: dict[str, float] = {}
        with server.client() as client:
            self._data = jpeg(400, 300, seed=next(SEEDS))
            self._image = client.post("/images", files={"file": self._data}).json()
            deadline = time.monotonic() + 60
            while self._image["status"] != "ready":
                assert time.monotonic() < deadline
                self._image = client.get(f"/images/{self._image['id']}").json()
        self._calls = {"upload": self._upload, "read": self._read, "list": self._list, "delete": self._delete}
        self._threads = [threading.Thread(target=self._repeat, args=(name,)) for name in self._calls]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.all_answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def all_answer(self) -> None:
        """Until every kind of call has been answered anew."""
        since = time.monotonic()
        while len(self.last_answer) < 4 or min(self.last_answer.values()) < since:
            assert time.monotonic() - since < 90, (
                {n: at - since for n, at in self.last_answer.items()},
                self.wrong,
                self._server.log[-3000:],
            )
            time.sleep(0.05)

    def _repeat(self, name: str) -> None:
        with self._server.client() as client:
            while not self._is_over.is_set():
                began = time.monotonic()
                try:
                    for answer in self._calls[name](client):
                        self._judge(name, answer)
                except httpx.RemoteProtocolError as error:
                    # The store went away amid an original that was being sent: an answer that has begun can only be cut off.
                    if name != "read":
                        self.wrong.append(f"{name}: {error!r}")
                except httpx.HTTPError as error:
                    self.wrong.append(f"{name}: {error!r}")
                self.longest_s = max(self.longest_s, time.monotonic() - began)
                time.sleep(0.02)

    def _judge(self, name: str, answer: httpx.Response) -> None:
        self.statuses[name][answer.status_code] += 1
        if answer.is_success:
            self.last_answer[name] = time.monotonic()
            return
        told = answer.headers.get("content-type"), "retry-after" in answer.headers
        if answer.status_code != 503 or told != ("application/problem+json", True):
            self.wrong.append(
                f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.headers} {answer.text[:500]}"
            )

    def _upload(self, client: httpx.Client):
        data = jpeg(64, 48, seed=next(SEEDS))
        answer = client.post("/images", files={"file": data})
        if answer.is_success:
            self.kept[answer.json()["id"]] = data
        yield answer

    def _read(self, client: httpx.Client):
        path = f"/images/{self._image['id']}"
        yield client.get(path)
        yield httpx.get(self._image["renditions"][0]["url"], timeout=60)
        answer = client.get(f"{path}/original")
        if answer.is_success and answer.content != self._data:
            self.wrong.append("an original with other bytes")
        yield answer

    def _list(self, client: httpx.Client):
        yield client.get("/images", params={"limit": 5})
        yield client.get("/images/search", params={"q": "harbour"})

    def _delete(self, client: httpx.Client):
        image = next((image for image in list(self.kept) if image not in self.deleted), None)
        if image is None:
            return
        answer = client.delete(f"/images/{image}")
        # One whose answer was lost on the way is in the trash all the same.
        if answer.is_success or answer.status_code == 409:
            self.deleted.add(image)
            self.last_answer["delete"] = time.monotonic()
        else:
            yield answer


def costs_patience_and_nothing_else(world: World, parts: set[str], begin: Deed, end: Deed) -> None:
    """Bring trouble to these parts while clients are at work, end it, and hold the product to what it promises."""
    with Load(world.server) as load:
        begin(world)
        try:
            began = time.monotonic()
            while True:
                status, failed = world.ready()
                if parts <= failed:
                    break
                assert time.monotonic() - began < 30, failed
                time.sleep(0.1)
            assert (status, failed) == (503, parts)
            suffering = {"upload", "read"} if parts == {"storage"} else {"upload", "read", "list"}
            while not all(load.statuses[name][503] for name in suffering):
                assert time.monotonic() - began < 60, load.statuses
                time.sleep(0.1)
        finally:
            end(world)
        load.all_answer()
        deadline = time.monotonic() + 60
        while world.ready()[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    assert load.wrong == []
    assert load.longest_s < REQUEST_S
    with world.server.client() as client:
        for image, data in load.kept.items():
            record = settled(client, image)
            assert record["status"] == "ready", record
            assert (record["trashed_at"] is not None) == (image in load.deleted)
            if image not in load.deleted:
                assert client.get(f"/images/{image}/original").content == data
    assert world.server.process.poll() is None
    assert "request.crashed" not in world.server.log
    assert "delivery.failed" not in world.server.log


def settled(client: httpx.Client, image: str) -> dict:
    deadline = time.monotonic() + 90
    while True:
        record = client.get(f"/images/{image}").json()
        if record["status"] != "developing" or time.monotonic() > deadline:
            return record
        time.sleep(0.1)
