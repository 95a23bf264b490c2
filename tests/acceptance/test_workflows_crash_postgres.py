"""Workers on one PostgreSQL that die, stand still or lose their server. Real processes, real signals."""

from __future__ import annotations

import inspect
import signal
import time
from collections import Counter

import psycopg
import pytest
from tests.acceptance.test_workflows_crash import Stand, freeze, kill
from tests.servers.postgres import name_of, new_postgres, postgres_cluster  # noqa: F401

from safelight.adapters.workflows.dbos import DbosWorkflows

LIST = "SELECT status, count(*) FROM safelight_dbos.workflow_status GROUP BY status"
STEPS = ("one", "two", "three")


class PostgresStand(Stand):
    """The same processes on a database of a server of their own."""

    def __init__(self, folder, server):
        super().__init__(folder)
        self.server = server
        self.url = server.database()

    def states(self):
        try:
            return Counter(dict(self.server.execute(LIST, name_of(self.url))))
        except psycopg.Error:
            return Counter()


@pytest.fixture
def stand(tmp_path, new_postgres):
    stand = PostgresStand(tmp_path, new_postgres())
    yield stand
    for process in stand.processes:
        process.kill()
        process.wait()


def test_a_worker_that_never_returns_leaves_its_runs_to_the_other_soon(stand):
    default_reap_s = inspect.signature(DbosWorkflows).parameters["reap_s"].default
    survivor = stand.process("survivor", first=0, count=30, reap_s=default_reap_s)
    victim = stand.process("victim", first=100, count=30)
    stand.until(lambda: any(name == "victim" for _, name, _, _ in stand.lines("did")), 60)
    kill(victim)
    began = {run for _, name, run, _ in stand.lines("started") if name == "victim"}

    took_s = stand.until(lambda: set(stand.states()) == {"SUCCESS"}, 60)

    assert survivor.poll() is None
    assert took_s < 30  # ten, on a machine with nothing else to do
    done = {run for _, _, run, step in stand.lines("did") if step == "three"}
    assert done >= began | {f"run{n}" for n in range(30)}


def test_two_workers_share_the_work_and_each_step_runs_once(stand):
    stand.process("a", count=40, concurrency=2)
    stand.process("b", concurrency=2)

    stand.until(lambda: stand.states() == {"SUCCESS": 40}, 60)

    did = Counter((run, step) for _, _, run, step in stand.lines("did"))
    assert set(did.values()) == {1}
    assert {name for _, name, _, _ in stand.lines("did")} == {"a", "b"}


@pytest.mark.parametrize("how", ["kill -9", "stop", "freeze"])
def test_every_run_ends_though_the_server_is_gone_for_a_while(stand, how):
    workers = [stand.process("a", count=60, concurrency=4), stand.process("b", concurrency=4)]
    stand.until(lambda: len(stand.lines("started")) == 60 and len(stand.lines("open")) == 2, 60)
    if how == "freeze":
        stand.server.pause()
    elif how == "stop":
        stand.server.stop()
    else:
        stand.server.kill()
    time.sleep(2.0)
    if how == "freeze":
        stand.server.resume()
    else:
        stand.server.start()
    left = 60 - stand.states()["SUCCESS"]

    stand.until(lambda: stand.states() == {"SUCCESS": 60}, 60)

    assert left > 0, "the server must have been missed"
    assert [worker.poll() for worker in workers] == [None, None]
    did = Counter((run, step) for _, _, run, step in stand.lines("did"))
    assert set(did) == {(f"run{n}", step) for n in range(60) for step in STEPS}
    # What was in flight when the server went may have run again, nothing else.
    assert sum(did.values()) - 180 <= 2 * 8
    assert stand.lines("dead") == []


def test_a_worker_that_was_taken_for_dead_and_wakes_again_writes_nothing_of_what_it_has_lost(stand):
    zombie = stand.process("zombie", count=12, concurrency=4)
    stand.until(lambda: len(stand.lines("did")) >= 6, 60)
    freeze(zombie.pid)
    # What the server does when a machine does not answer any more: it ends the session, and the slot is free.
    stand.server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    stand.process("heir", concurrency=4)
    stand.until(lambda: stand.states() == {"SUCCESS": 12}, 60)
    zombie.send_signal(signal.SIGCONT)
    time.sleep(2.0)
    stand.process("late", first=50, count=4)
    stand.until(lambda: stand.states() == {"SUCCESS": 16}, 60)

    assert zombie.poll() is None
    did = Counter((run, step) for _, _, run, step in stand.lines("did"))
    assert set(did) == {(f"run{n}", step) for n in [*range(12), *range(50, 54)] for step in STEPS}
    assert sum(did.values()) - 48 <= 4
    assert stand.server.execute(
        "SELECT count(*), count(DISTINCT (workflow_uuid, function_id)) FROM safelight_dbos.operation_outputs", name_of(stand.url)
    ) == [(48, 48)]
