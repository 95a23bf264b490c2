"""The Workflows contract, kept by both adapters, and what the durable one promises beyond it."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sqlite3
import threading
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safelight.adapters.workflows.dbos import DbosWorkflows
from safelight.adapters.workflows.memory import MemoryWorkflows
from safelight.adapters.workflows.patience import MAX_REST_S, is_permanent, rest_s, told
from safelight.adapters.workflows.slots import FileSlots
from safelight.errors import BackendUnavailable, BadOption, Busy, CorruptImage, SafelightError, WrongState
from safelight.flows import Retry
from safelight.ports.workflows import RunState
from safelight.testing.contracts.workflows import Stage, WorkflowsContract, ended, failing, gated, until


class TestMemoryWorkflows(WorkflowsContract):
    @pytest.fixture
    def build(self):
        return partial(MemoryWorkflows, concurrency=4)

    async def test_settle_waits_until_every_run_has_ended(self, opened):
        stage = Stage(steps={"two": failing(CorruptImage())})
        engine = await opened(stage, concurrency=2)
        for number in range(9):
            await engine.start("flow", f"r{number}", {"run": f"r{number}"})

        await engine.settle()

        assert len(stage.did) == 18
        assert len(await engine.dead()) == 1


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A file that has DBOS's tables, to be copied: making them takes longer than most of these tests."""
    path = tmp_path_factory.mktemp("prepared") / "workflows.db"

    async def prepare():
        engine = DbosWorkflows(f"sqlite:///{path}", Stage().bound(), concurrency=1)
        await engine.open()
        await engine.close()

    asyncio.run(prepare())
    return path


class TestDbosWorkflows(WorkflowsContract):
    @pytest.fixture
    def url(self, prepared: Path, tmp_path: Path) -> str:
        shutil.copy(prepared, tmp_path)
        return f"sqlite:///{tmp_path / 'workflows.db'}"

    @pytest.fixture
    def build(self, url):
        return partial(DbosWorkflows, url, concurrency=4, grace_s=5.0)

    async def test_another_engine_on_the_same_file_goes_on_where_the_first_ended(self, build, opened):
        gate = asyncio.Event()
        gate.set()
        before = Stage(steps={"one": gated(gate), "two": gated(asyncio.Event())})
        engine = await opened(before, grace_s=0.1)
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await until(lambda: before.of("r1") == ["one", "two"])
        await engine.close()

        after = Stage()
        engine = await opened(after)
        run = await ended(engine, "r1")

        assert run.state is RunState.DONE
        assert after.of("r1") == ["two"]

    async def test_a_second_open_engine_in_one_process_is_refused(self, build, opened, tmp_path):
        engine = await opened(Stage())
        other = DbosWorkflows(f"sqlite:///{tmp_path / 'other.db'}", Stage().bound(), concurrency=1)

        with pytest.raises(WrongState):
            await other.open()
        await engine.ping()
        await engine.close()
        await other.open()
        await other.close()

    async def test_a_file_that_cannot_be_opened_is_unavailable_and_spoils_nothing(self, opened, tmp_path):
        (tmp_path / "broken.db").write_bytes(b"this is no database" * 400)
        broken = DbosWorkflows(f"sqlite:///{tmp_path / 'broken.db'}", Stage().bound(), concurrency=1)
        nowhere = DbosWorkflows(f"sqlite:///{tmp_path / 'no' / 'folder.db'}", Stage().bound(), concurrency=1)

        for engine in (broken, nowhere):
            with pytest.raises(BackendUnavailable):
                await engine.open()
        engine = await opened(Stage())
        await engine.ping()

    @pytest.mark.parametrize("url", ("", "postgresql://host", "sqlite://", "sqlite:///", "sqlite:///:memory:", "mysql://x"))
    def test_another_url_is_refused_by_name(self, url):
        with pytest.raises(BadOption):
            DbosWorkflows(url, Stage().bound(), concurrency=1)

    def test_a_concurrency_of_none_is_refused(self):
        with pytest.raises(BadOption):
            DbosWorkflows("sqlite:////tmp/x.db", Stage().bound(), concurrency=0)

    async def test_the_file_is_in_wal_mode_and_holds_json(self, opened, tmp_path):
        engine = await opened(Stage())
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await ended(engine, "r1")
        await engine.close()

        connection = sqlite3.connect(tmp_path / "workflows.db")
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
        stored = json.loads(connection.execute("SELECT inputs FROM workflow_input").fetchone()[0])
        connection.close()

        assert mode == "wal"
        assert stored == {"namedArgs": {}, "positionalArgs": ["flow", '{"run":"r1"}', ""]}

    async def test_a_thousand_waiting_runs_need_no_more_threads_than_a_few(self, opened):
        gate = asyncio.Event()
        stage = Stage(steps={"one": gated(gate)})
        engine = await opened(stage, concurrency=4, grace_s=0.1)
        before = threading.active_count()

        await asyncio.gather(*(engine.start("flow", f"r{n}", {"run": f"r{n}"}, is_urgent=n % 2 == 0) for n in range(1000)))
        await asyncio.sleep(0.2)

        assert threading.active_count() - before <= 4 + 4 + 1
        assert len(stage.did) == 4

    async def test_close_leaves_no_thread_behind(self, opened):
        before = {thread.name for thread in threading.enumerate() if thread.name.startswith(("workflows", "dbos", "queue"))}
        engine = await opened(Stage())
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await ended(engine, "r1")
        await engine.close()

        await until(
            lambda: (
                not any(
                    thread.name.startswith(("workflows", "dbos", "queue")) and thread.name not in before
                    for thread in threading.enumerate()
                )
            ),
            within_s=30.0,
        )

    async def test_dbos_keeps_quiet_and_adds_no_handler(self, opened, caplog, capfd):
        stage = Stage(steps={"one": failing(CorruptImage())})
        with caplog.at_level(logging.DEBUG):
            engine = await opened(stage)
            await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
            await ended(engine, "r1")
            await engine.start("flow", "r1", {"run": "r1"})
            await engine.close()

        assert [record for record in caplog.records if record.name == "dbos"] == []
        assert [type(handler) for handler in logging.getLogger("dbos").handlers] == [logging.NullHandler]
        assert "DBOS" not in capfd.readouterr().err

    async def test_a_run_whose_flow_is_gone_becomes_a_dead_letter(self, build, opened, url):
        stage = Stage(steps={"one": gated(asyncio.Event())})
        engine = await opened(stage, grace_s=0.1)
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await until(lambda: stage.of("r1") == ["one"])
        await engine.close()

        renamed = Stage().bound()
        flows = {"other": renamed.flows["flow"]}
        bound = type(renamed)(
            flows=flows,
            functions=renamed.functions,
            on_dead=renamed.on_dead,
        )
        later = DbosWorkflows(url, bound, concurrency=1)
        await later.open()
        run = await ended(later, "r1")
        await later.close()

        assert run.state is RunState.DEAD
        assert run.error == "Missing: There is no flow flow."

    async def test_the_file_may_be_read_by_somebody_else_meanwhile(self, opened, tmp_path):
        stage = Stage()
        engine = await opened(stage)
        reader = sqlite3.connect(tmp_path / "workflows.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM workflow_status").fetchone()

        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        run = await ended(engine, "r1")
        reader.close()

        assert run.state is RunState.DONE

    async def test_a_run_that_was_taken_over_cannot_be_written_by_its_former_execution(self, opened, tmp_path):
        gates = [asyncio.Event(), asyncio.Event()]
        tries = iter(gates)

        async def first_try_hangs(payload):
            await next(tries).wait()

        stage = Stage(steps={"one": first_try_hangs})
        engine = await opened(stage)
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await until(lambda: stage.of("r1") == ["one"])

        # What a reaper does that has, rightly or wrongly, taken this process for dead.
        connection = sqlite3.connect(tmp_path / "workflows.db", timeout=10)
        connection.execute("UPDATE workflow_status SET status = 'ENQUEUED', owner_xid = NULL, queue_name = 'safelight-urgent'")
        connection.commit()
        connection.close()
        await until(lambda: stage.of("r1") == ["one", "one"])
        gates[0].set()
        await asyncio.sleep(0.2)
        state = (await engine.get("r1")).state
        did = stage.of("r1")
        gates[1].set()
        run = await ended(engine, "r1")

        assert (state, did) == (RunState.RUNNING, ["one", "one"])
        assert run.state is RunState.DONE
        assert stage.of("r1") == ["one", "one", "two"]
        assert stage.deaths == []

    async def test_a_run_of_ours_that_nobody_runs_is_taken_up_again(self, url, tmp_path):
        stage = Stage()
        engine = DbosWorkflows(url, stage.bound(), concurrency=2, reap_s=0.2)
        await engine.open()
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await ended(engine, "r1")

        # What a failing disk leaves: the row says that we run it, and no thread does.
        connection = sqlite3.connect(tmp_path / "workflows.db", timeout=10)
        connection.execute("DELETE FROM operation_outputs WHERE function_name = 'two'")
        connection.execute("UPDATE workflow_status SET status = 'PENDING', owner_xid = 'lost', completed_at = NULL")
        connection.commit()
        connection.close()
        await until(lambda: stage.of("r1") == ["one", "two", "two"])
        run = await ended(engine, "r1")
        await engine.close()

        assert (run.state, run.attempts) == (RunState.DONE, 2)

    async def test_a_step_that_does_not_listen_does_not_keep_close(self, opened):
        let_go = asyncio.Event()

        async def deaf(payload):
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue

        stage = Stage(steps={"one": deaf})
        engine = await opened(stage, grace_s=0.1)
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await until(lambda: stage.of("r1") == ["one"])

        await asyncio.wait_for(engine.close(), 30.0)
        let_go.set()
        await engine.open()
        run = await ended(engine, "r1")

        assert run.state is RunState.DONE
        assert stage.of("r1") == ["one", "one", "two"]


class TestFileSlots:
    def test_each_holder_gets_the_lowest_free_slot(self, tmp_path):
        first, second, third = (FileSlots(tmp_path / "db") for _ in range(3))

        held = (first.hold(), second.hold())
        first.close()
        again = third.hold()
        second.close()
        third.close()

        assert held == (1, 2)
        assert again == 1

    def test_a_held_slot_cannot_be_borrowed_and_a_free_one_is_given_back(self, tmp_path):
        holder, reaper = FileSlots(tmp_path / "db"), FileSlots(tmp_path / "db")
        slot = holder.hold()

        with reaper.borrowed(slot) as while_held:
            pass
        holder.close()
        with reaper.borrowed(slot) as when_free:
            meanwhile = holder.hold()
            holder.close()
        after = holder.hold()
        holder.close()

        assert (while_held, when_free) == (False, True)
        assert (meanwhile, after) == (slot + 1, slot)


class TestPatience:
    def test_only_our_own_errors_know_that_they_are_permanent(self):
        verdicts = [is_permanent(error) for error in (CorruptImage(), SafelightError(), Busy(), OSError(), ValueError())]

        assert verdicts == [True, True, False, False, False]

    def test_rests_grow_by_the_backoff(self):
        rests = [rest_s(Retry(attempts=9, first_wait_s=0.5, backoff=3.0), tries) for tries in (1, 2, 3)]

        assert rests == [0.5, 1.5, 4.5]

    @given(st.floats(0, 1e6), st.floats(1, 1e6), st.integers(1, 10_000))
    @settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_a_rest_is_never_endless(self, first, backoff, tries):
        rest = rest_s(Retry(attempts=2, first_wait_s=first, backoff=backoff), tries)

        assert 0 <= rest <= MAX_REST_S

    @given(st.text(st.characters(codec=None), max_size=30))
    @settings(max_examples=50, deadline=None)
    def test_what_an_operator_reads_is_always_utf_8_without_nul(self, words):
        text = told(OSError(words))

        assert "\x00" not in text
        assert text.encode().decode() == text
