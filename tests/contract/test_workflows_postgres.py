"""Durable runs on a real PostgreSQL: the whole contract, the slots, and how a process starts and loses its lease."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from functools import partial

import pytest
from tests.servers.postgres import name_of, postgres, postgres_cluster, postgres_url  # noqa: F401

from safelight.adapters.workflows.dbos import DbosWorkflows
from safelight.adapters.workflows.slots import PostgresSlots
from safelight.errors import BackendUnavailable
from safelight.ports.workflows import RunState
from safelight.testing.contracts.workflows import Stage, WorkflowsContract, ended, gated, until


@pytest.fixture(scope="module")
def prepared(postgres):
    """A database that has DBOS's schema: making it takes longer than most of these tests."""
    url = postgres.database()

    async def prepare():
        engine = DbosWorkflows(url, Stage().bound(), concurrency=1)
        await engine.open()
        await engine.close()

    asyncio.run(prepare())
    yield url
    postgres.drop(url)


@pytest.fixture
def url(postgres, prepared):
    url = postgres.database(template=prepared)
    yield url
    postgres.drop(url)


class TestDbosWorkflowsOnPostgres(WorkflowsContract):
    @pytest.fixture
    def build(self, url):
        return partial(DbosWorkflows, url, concurrency=4, grace_s=5.0)

    async def test_it_keeps_to_its_schema(self, opened, postgres, url):
        await opened(Stage())

        assert postgres.execute(
            "SELECT DISTINCT schemaname FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')", name_of(url)
        ) == [("safelight_dbos",)]

    async def test_it_keeps_to_its_connections(self, opened, postgres, url):
        stage = Stage()
        engine = await opened(stage, concurrency=8)
        await asyncio.gather(*(engine.start("flow", f"r{n}", {"run": f"r{n}"}) for n in range(60)))
        most = 0
        while len(stage.did) < 120:
            ((now,),) = postgres.execute(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name_of(url)}'")
            most = max(most, now)
            await asyncio.sleep(0.05)

        assert most <= 8 + 1

    async def test_a_lost_session_is_no_lost_lease_when_the_slot_is_had_again(self, postgres, url):
        stage, gate = Stage(), asyncio.Event()
        stage.steps["one"] = gated(gate)
        engine = DbosWorkflows(url, stage.bound(), concurrency=2, poll_s=0.1, reap_s=0.3)
        await engine.open()
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await until(lambda: stage.of("r1") == ["one"])
        end_sessions(postgres, url)
        await asyncio.sleep(1.5)
        gate.set()
        run = await ended(engine, "r1")
        await engine.start("flow", "r2", {"run": "r2"}, is_urgent=True)
        after = await ended(engine, "r2")
        await engine.close()

        assert (run.state, after.state) == (RunState.DONE, RunState.DONE)
        assert stage.of("r1") == ["one", "two"]

    async def test_who_finds_the_slot_taken_goes_on_under_another_and_writes_nothing_under_the_old(self, postgres, url):
        stage, gate = Stage(), asyncio.Event()
        stage.steps["one"] = gated(gate)
        engine = DbosWorkflows(url, stage.bound(), concurrency=2, poll_s=0.1, reap_s=0.3)
        await engine.open()
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await until(lambda: stage.of("r1") == ["one"])
        # Another process is faster: it holds the slot as soon as it is free, and has put our run back.
        other = PostgresSlots(url)
        other_slot = 0
        while other_slot != 1:
            end_sessions(postgres, url)
            other.close()
            other_slot = other.hold()
        await until(lambda: held_slots(postgres, url) == 2, within_s=60)
        await asyncio.sleep(1.0)
        await engine.start("flow", "r2", {"run": "r2"}, is_urgent=True)
        await until(lambda: "one" in stage.of("r2"))
        owner = postgres.execute(
            "SELECT executor_id FROM safelight_dbos.workflow_status WHERE workflow_uuid = 'r2'", name_of(url)
        )
        gate.set()
        runs = [await ended(engine, name) for name in ("r1", "r2")]
        await engine.close()
        other.close()

        assert owner[0][0].startswith("slot-2-")
        assert {run.state for run in runs} == {RunState.DONE}


def end_sessions(postgres, url):
    postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name_of(url)}'")


def held_slots(postgres, url):
    """How many slots are held."""
    ((held,),) = postgres.execute(
        f"SELECT count(*) FROM pg_locks JOIN pg_database ON oid = database WHERE locktype = 'advisory' AND classid = 5118"
        f" AND datname = '{name_of(url)}'"
    )
    return held


class TestStarting:
    def test_processes_that_start_at_once_on_an_empty_database_all_take_part(self, postgres, postgres_url):
        code = (
            "import asyncio, sys\n"
            "from safelight.adapters.workflows.dbos import DbosWorkflows\n"
            "from safelight.testing.contracts.workflows import Stage\n"
            "async def start():\n"
            "    engine = DbosWorkflows(sys.argv[1], Stage().bound(), concurrency=1)\n"
            "    await engine.open(); await engine.ping(); await engine.close()\n"
            "asyncio.run(start())\n"
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code, postgres_url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            for _ in range(3)
        ]
        outcomes = [process.communicate(timeout=60)[0] for process in processes]

        assert [process.returncode for process in processes] == [0, 0, 0], outcomes
        assert postgres.execute("SELECT count(*) FROM safelight_dbos.dbos_migrations", name_of(postgres_url)) == [(1,)]

    @pytest.mark.parametrize("where", ["nowhere", "closed port"])
    async def test_a_database_that_cannot_be_reached_is_unavailable(self, postgres, where):
        url = postgres.url("nowhere") if where == "nowhere" else "postgresql://postgres@127.0.0.1:1/d"
        engine = DbosWorkflows(url, Stage().bound(), concurrency=1)

        with pytest.raises(BackendUnavailable):
            await engine.open()


class TestPostgresSlots:
    def test_each_holder_gets_the_lowest_free_slot(self, postgres_url):
        first, second, third = (PostgresSlots(postgres_url) for _ in range(3))

        held = (first.hold(), second.hold())
        first.close()
        time.sleep(0.2)
        again = third.hold()
        second.close()
        third.close()

        assert held == (1, 2)
        assert again == 1

    def test_a_held_slot_cannot_be_borrowed_and_a_free_one_is_given_back(self, postgres_url):
        holder, reaper, third = (PostgresSlots(postgres_url) for _ in range(3))
        slot, own = holder.hold(), reaper.hold()

        with reaper.borrowed(slot) as while_held, reaper.borrowed(own) as of_its_own:
            pass
        holder.close()
        time.sleep(0.2)
        with reaper.borrowed(slot) as when_free:
            meanwhile = third.hold()
        third.close()
        time.sleep(0.2)
        after = holder.hold()
        holder.close()
        reaper.close()

        assert (while_held, of_its_own, when_free) == (False, False, True)
        assert (meanwhile, after) == (3, 1)

    def test_a_lost_session_is_told_and_its_slot_had_again(self, postgres, postgres_url):
        slots = PostgresSlots(postgres_url)
        slots.hold()
        before = slots.look_after()
        end_sessions(postgres, postgres_url)
        time.sleep(0.2)
        lost = slots.look_after()
        after = slots.look_after()
        slots.close()

        assert [(lease.slot, lease.was_lost) for lease in (before, lost, after)] == [(1, False), (1, True), (1, False)]
