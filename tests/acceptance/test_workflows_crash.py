"""Processes that die under their runs. Each test starts real processes on one file and kills them with SIGKILL."""

from __future__ import annotations

import inspect
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from safelight.adapters.workflows.dbos import DbosWorkflows
from safelight.flows import Bound, Flow, Retry, Step
from safelight.ports.workflows import RunState
from safelight.testing.contracts.workflows import ended

WORKER = """
import asyncio, os, signal, sys, time
from safelight.adapters.workflows.dbos import DbosWorkflows
from safelight.flows import Bound, Flow, Retry, Step

url, log, name, concurrency, first, count = sys.argv[1:4] + [int(it) for it in sys.argv[4:7]]
effects = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(*words):
    os.write(effects, (" ".join(words) + "\\n").encode())

async def step(payload, step_name):
    if payload["run"].startswith("poison"):
        note("begun", name, payload["run"], step_name)
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(0.05)
    note("did", name, payload["run"], step_name)

async def on_dead(flow, payload, error):
    note("dead", name, payload["run"], type(error).__name__)

steps = ("one", "two", "three")
bound = Bound(
    flows={"flow": Flow(name="flow", steps=tuple(Step(name=it, retry=Retry(attempts=3, first_wait_s=0.05)) for it in steps))},
    functions={f"flow.{it}": (lambda payload, it=it: step(payload, it)) for it in steps},
    on_dead=on_dead,
)

async def main():
    engine = DbosWorkflows(url, bound, concurrency=concurrency, max_recoveries=int(sys.argv[7]), reap_s=float(sys.argv[9]))
    await engine.open()
    note("open", name, "-", "-")
    for number in range(first, first + count):
        run = f"{sys.argv[8]}{number}"
        await engine.start("flow", run, {"run": run}, is_urgent=number % 2 == 0)
        note("started", name, run, "-")
    while True:
        await asyncio.sleep(1)

asyncio.run(main())
"""


class Stand:
    """One file, its processes, and the log of what their steps did."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'workflows.db'}"
        self.database = folder / "workflows.db"
        self.log = folder / "effects.log"
        self.script = folder / "worker.py"
        self.script.write_text(WORKER)
        self.processes: list[subprocess.Popen[bytes]] = []

    def process(
        self, name: str, *, first=0, count=0, concurrency=4, max_recoveries=100, prefix="run", reap_s=1.0
    ) -> subprocess.Popen[bytes]:
        numbers = [str(it) for it in (concurrency, first, count, max_recoveries)]
        process = subprocess.Popen(
            [sys.executable, str(self.script), self.url, str(self.log), name, *numbers, prefix, str(reap_s)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process

    def lines(self, word: str) -> list[list[str]]:
        text = self.log.read_text() if self.log.exists() else ""
        return [line.split() for line in text.splitlines() if line.startswith(word + " ")]

    def states(self) -> Counter[str]:
        if not self.database.exists():
            return Counter()
        connection = sqlite3.connect(self.database)
        try:
            return Counter(dict(connection.execute("SELECT status, count(*) FROM workflow_status GROUP BY status").fetchall()))
        except sqlite3.OperationalError:
            return Counter()
        finally:
            connection.close()

    def is_locked(self) -> bool:
        connection = sqlite3.connect(self.database, timeout=0.2, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        else:
            return False
        finally:
            connection.close()

    def until(self, true, within_s: float) -> float:
        began = time.monotonic()
        while not true():
            assert time.monotonic() - began < within_s, f"not within {within_s} s: {self.states()}"
            time.sleep(0.02)
        return time.monotonic() - began


@pytest.fixture
def stand(tmp_path):
    stand = Stand(tmp_path)
    yield stand
    for process in stand.processes:
        process.kill()
        process.wait()


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_sixty_runs_survive_kill_9_at_random_moments(stand):
    dice = random.Random(os.getpid())
    process = stand.process("p0", count=60)
    stand.until(lambda: len(stand.lines("started")) == 60, 60)

    left = []
    for round_ in range(1, 5):
        stand.until(lambda: len(stand.lines("open")) >= round_, 60)
        time.sleep(dice.uniform(0.0, 0.25))
        kill(process)
        left.append(60 - stand.states()["SUCCESS"])
        process = stand.process(f"p{round_}")
    stand.until(lambda: stand.states() == {"SUCCESS": 60}, 60)

    did = Counter((run, step) for _, _, run, step in stand.lines("did"))
    assert min(left) > 0, "every kill must have met work"
    assert set(did) == {(f"run{n}", step) for n in range(60) for step in ("one", "two", "three")}
    # A finished step is not repeated: only what was in flight at a kill, or not yet on disk, may have run twice.
    assert sum(did.values()) - 180 <= 4 * 4
    assert stand.lines("dead") == []


def test_starts_acknowledged_before_a_kill_are_all_kept(stand):
    process = stand.process("p0", count=500)
    stand.until(lambda: len(stand.lines("started")) >= 40, 60)
    kill(process)
    acknowledged = {run for _, _, run, _ in stand.lines("started")}

    stand.process("p1")
    stand.until(lambda: set(stand.states()) == {"SUCCESS"}, 60)

    done = {run for _, _, run, step in stand.lines("did") if step == "three"}
    assert acknowledged <= done


def test_a_process_that_never_returns_leaves_its_runs_to_the_other_soon(stand):
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


def freeze(pid: int) -> None:
    """SIGSTOP, and wait until every thread really stands still: the signal is sent at once and heeded a moment later."""
    os.kill(pid, signal.SIGSTOP)
    for _ in range(1000):
        states = [task.joinpath("stat").read_text().rsplit(")", 1)[1].split()[0] for task in Path(f"/proc/{pid}/task").iterdir()]
        if set(states) <= {"T", "t"}:
            return
        time.sleep(0.001)
    raise AssertionError(f"{pid} does not stand still")


def test_a_process_that_stands_still_for_a_while_keeps_its_runs(stand):
    sleeper = stand.process("sleeper", count=12, concurrency=4)
    stand.until(lambda: len(stand.lines("did")) >= 6, 60)
    # Not while it holds SQLite's one write lock: that would stop everybody, which is SQLite's nature and not what is asked here.
    freeze(sleeper.pid)
    while stand.is_locked():
        sleeper.send_signal(signal.SIGCONT)
        time.sleep(0.003)
        freeze(sleeper.pid)
    stand.process("other", concurrency=4)
    stand.until(lambda: len(stand.lines("open")) == 2, 60)

    time.sleep(2.5)  # longer than the other waits between two looks for the dead
    held = stand.states()["PENDING"]
    sleeper.send_signal(signal.SIGCONT)
    stand.until(lambda: stand.states() == {"SUCCESS": 12}, 60)

    did = Counter((run, step) for _, _, run, step in stand.lines("did"))
    assert held > 0
    assert set(did.values()) == {1}


def test_two_processes_share_the_work_and_each_step_runs_once(stand):
    stand.process("a", count=40, concurrency=2)
    stand.process("b", concurrency=2)

    stand.until(lambda: stand.states() == {"SUCCESS": 40}, 60)

    did = Counter((run, step) for _, _, run, step in stand.lines("did"))
    assert set(did.values()) == {1}
    assert {name for _, name, _, _ in stand.lines("did")} == {"a", "b"}


async def test_a_run_that_kills_its_process_each_time_is_dead_after_the_limit(stand):
    limit = 2
    process = stand.process("p0", count=1, max_recoveries=limit, prefix="poison")
    deaths = 0
    deadline = time.monotonic() + 40
    while stand.states().get("ERROR", 0) == 0:
        assert time.monotonic() < deadline
        if process.poll() is not None:
            deaths += 1
            process = stand.process(f"p{deaths}", max_recoveries=limit)
        time.sleep(0.02)
    kill(process)

    async def nothing(payload):
        pass

    async def nobody(flow, payload, error):
        pass

    flow = Flow(name="flow", steps=tuple(Step(name=name, retry=Retry()) for name in ("one", "two", "three")))
    bound = Bound(flows={"flow": flow}, functions={f"flow.{it.name}": nothing for it in flow.steps}, on_dead=nobody)
    engine = DbosWorkflows(stand.url, bound, concurrency=1)
    await engine.open()
    (letter,) = await engine.dead()
    await engine.retry("poison0")
    mended = await ended(engine, "poison0")
    await engine.close()

    assert deaths == limit + 1
    assert len(stand.lines("begun")) == limit + 1
    assert [words[2:] for words in stand.lines("dead")] == [["poison0", "SafelightError"]]
    assert (letter.id, letter.state, letter.attempts) == ("poison0", RunState.DEAD, limit + 1)
    assert "Given up" in (letter.error or "")
    assert mended.state is RunState.DONE
