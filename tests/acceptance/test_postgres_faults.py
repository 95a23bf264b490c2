"""PostgreSQL stopped, killed and frozen under the catalog, the search and the workflows, while calls run.

Whatever happens to the server: no call hangs past its deadline, callers meet BackendUnavailable and nothing else, what was
acknowledged is there afterwards, and everything goes on by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import pytest
from tests.servers.postgres import PostgresServer, new_postgres, postgres_cluster  # noqa: F401

from safelight.adapters.catalog.sql import SqlCatalog
from safelight.adapters.search.postgres import PostgresSearch
from safelight.adapters.workflows.dbos import DbosWorkflows
from safelight.domain.ids import TenantId, new_id
from safelight.domain.queries import ImageQuery, SearchQuery
from safelight.errors import BackendUnavailable
from safelight.ports.workflows import RunState
from safelight.testing.contracts.catalog import images_in, tenant_in
from safelight.testing.contracts.workflows import Stage, ended
from safelight.testing.factories import make_document, make_image

DEADLINE_S = 15.0
"""A statement has 10 s, its answer 2 s more, a new connection 3."""

AWAY = {
    "stopped": (lambda server: server.stop(), lambda server: server.start()),
    "killed": (lambda server: server.kill(), lambda server: server.start()),
}


@pytest.fixture
def server(new_postgres):
    return new_postgres()


@contextlib.asynccontextmanager
async def open_parts(server):
    """The three adapters on one database, as an installation has them."""
    url = server.database()
    stage = Stage()
    catalog, search = SqlCatalog(url, secrets=b"k" * 32), PostgresSearch(url)
    workflows = DbosWorkflows(url, stage.bound(), concurrency=4, poll_s=0.2, reap_s=1.0, grace_s=1.0)
    await catalog.migrate()
    parts = (catalog, search, workflows)
    for part in parts:
        await part.open()
    try:
        yield catalog, search, workflows
    finally:
        for part in parts:
            await part.close()


class Load:
    """Calls without end, and what became of them."""

    def __init__(self):
        self.kept, self.refused, self.longest_s, self.last_answer = [], 0, 0.0, 0.0
        self.is_over = False

    async def repeat(self, call):
        number = 0
        while not self.is_over:
            number += 1
            began = time.monotonic()
            try:
                result = await call(number)
            except BackendUnavailable:
                self.refused += 1
                await asyncio.sleep(0.05)
            else:
                self.last_answer = time.monotonic()
                self.kept.append(result)
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("how", AWAY)
async def test_calls_that_run_while_the_server_goes_and_comes_back_are_kept_or_refused(server, how):
    go, come_back = AWAY[how]
    async with open_parts(server) as (catalog, search, workflows):
        tenant = await tenant_in(catalog)
        indexed = TenantId(new_id())

        async def write(_):
            image = make_image(tenant.id)
            await images_in(catalog, image)
            return image.id

        async def read(_):
            async with catalog.tenant(tenant.id) as records:
                await records.images.page(ImageQuery())

        async def index(_):
            document = make_document(title="Harbour")
            await search.put(indexed, [document])
            return document.image

        async def ask(_):
            await search.search(indexed, SearchQuery(text="harbuor"))

        async def start(number):
            await workflows.start("flow", f"run{number}", {"run": f"run{number}"}, is_urgent=number % 2 == 0)
            return f"run{number}"

        loads = {call: Load() for call in (write, read, index, ask, start)}
        tasks = [asyncio.create_task(load.repeat(call)) for call, load in loads.items()]
        await asyncio.sleep(1.0)
        await asyncio.to_thread(go, server)
        await asyncio.sleep(2.0)
        await asyncio.to_thread(come_back, server)
        back = time.monotonic()
        while any(load.last_answer < back for load in loads.values()):
            assert time.monotonic() - back < 60, {call.__name__: load.last_answer - back for call, load in loads.items()}
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        for load in loads.values():
            load.is_over = True
        await asyncio.gather(*tasks)

        assert all(load.refused > 0 for load in loads.values())
        assert max(load.longest_s for load in loads.values()) < DEADLINE_S
        async with catalog.tenant(tenant.id) as records:
            assert len(await records.images.get_many(loads[write].kept)) == len(loads[write].kept)
        assert (await search.search(indexed, SearchQuery(text="harbour"))).total >= min(len(loads[index].kept), 1_000)
        for run_id in loads[start].kept:
            assert (await ended(workflows, run_id)).state is RunState.DONE
        for part in (catalog, search, workflows):
            await part.ping()


async def test_a_frozen_server_keeps_no_call_past_its_deadline_and_is_forgiven(server):
    async with open_parts(server) as (catalog, search, workflows):
        tenant = await tenant_in(catalog)

        async def read():
            async with catalog.tenant(tenant.id) as records:
                await records.images.page(ImageQuery())

        async def refused(call):
            began = time.monotonic()
            with pytest.raises(BackendUnavailable):
                await call
            return time.monotonic() - began

        server.pause()
        calls = [
            catalog.ping(),
            read(),
            images_in(catalog, make_image(tenant.id)),
            search.ping(),
            search.search(tenant.id, SearchQuery(text="sea")),
            search.put(tenant.id, [make_document()]),
            workflows.ping(),
            workflows.start("flow", "r1", {"run": "r1"}),
        ]
        took_s = await asyncio.gather(*map(refused, calls))
        again_s = await refused(catalog.ping())
        server.resume()

        assert max(took_s) < DEADLINE_S
        assert again_s < DEADLINE_S  # the second call meets a connection that cannot be made
        began = time.monotonic()
        await asyncio.sleep(0.5)
        for part in (catalog, search, workflows):
            await part.ping()
        await images_in(catalog, make_image(tenant.id))
        await workflows.start("flow", "r2", {"run": "r2"}, is_urgent=True)
        assert (await ended(workflows, "r2")).state is RunState.DONE
        assert time.monotonic() - began < 60


async def test_a_server_that_was_restarted_while_nobody_asked_is_noticed_by_nobody(server):
    async with open_parts(server) as (catalog, search, workflows):
        tenant = await tenant_in(catalog)
        await images_in(catalog, make_image(tenant.id))
        await search.put(tenant.id, [make_document(title="Harbour")])
        server.stop()
        server.start()
        await asyncio.sleep(0.5)

        await images_in(catalog, make_image(tenant.id))
        async with catalog.tenant(tenant.id) as records:
            assert len((await records.images.page(ImageQuery())).images) == 2
        assert (await search.search(tenant.id, SearchQuery(text="harbour"))).total == 1
        await workflows.start("flow", "r1", {"run": "r1"})
        assert (await ended(workflows, "r1")).state is RunState.DONE


def test_a_test_server_that_was_killed_leaves_no_shared_memory_behind(postgres_cluster):
    server = PostgresServer(postgres_cluster).start()
    segment = (server.data / "postmaster.pid").read_text().splitlines()[6].split()[1]

    def is_there() -> bool:
        return any(line.split()[1] == segment for line in Path("/proc/sysvipc/shm").read_text().splitlines())

    assert is_there()
    assert "/dev/shm/" not in Path(f"/proc/{server.pid}/maps").read_text()
    server.kill()
    server.remove()

    assert not is_there()
    assert not server.folder.exists()
