"""Workflows in memory: the same promise as the durable engine's, except that a run does not survive the process. For tests.

What was started stays with the object: after a close, the next open takes up what was left. All of it lives on one event loop.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from safelight.adapters.workflows.patience import ANNOUNCE, Notes, bulk_places, in_time, is_permanent, next_party, rest_s, told
from safelight.errors import BackendUnavailable, BadField, Missing, WrongState
from safelight.flows import Bound, Retry, Step
from safelight.ports.workflows import Letters, Run, RunState, StepRun

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Record:
    """What is known of a run."""

    id: str
    flow: str
    payload: str
    is_urgent: bool
    party: str
    due_at: datetime
    created_at: datetime
    updated_at: datetime
    state: RunState = RunState.WAITING
    attempts: int = 1
    error: str | None = None
    steps: list[StepRun] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)


class _Closing(Exception):
    """The engine closes while a run rests between two tries."""


class MemoryWorkflows:
    """Runs in this process and nowhere else.

    Args:
        bound: The flows and their functions; these run on the event loop that called `open`.
        concurrency: Runs in flight at once, at least 1.
        grace_s: How long `close` lets steps finish, in seconds.
        per_party: Runs of one party in flight at once; None for any number.

    """

    def __init__(self, bound: Bound, *, concurrency: int = 8, grace_s: float = 5.0, per_party: int | None = None) -> None:
        self._bound = bound
        self._concurrency = concurrency
        self._grace_s = grace_s
        self._records: dict[str, _Record] = {}
        self._per_party = per_party or concurrency
        self._lines: dict[bool, dict[str, deque[str]]] = {True: {}, False: {}}
        """The runs that wait, by whether they are urgent and by party."""
        self._served: dict[str, int] = {}
        self._delayed: dict[str, asyncio.TimerHandle] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing: asyncio.Event | None = None
        """Exists while open, is set once it closes."""

    async def open(self) -> None:
        """Take part in the work, and take up what was left. Open already: nothing happens."""
        if self._closing is None:
            self._closing = asyncio.Event()
            for record in self._records.values():
                if record.due_at > datetime.now(UTC) and record.state is RunState.WAITING:
                    self._delay(record)
            self._fill()

    async def close(self) -> None:
        """Let steps finish within the grace period, cancel the others; their runs wait for the next open."""
        if self._closing is None:
            return
        self._closing.set()
        for timer in self._delayed.values():
            timer.cancel()
        self._delayed.clear()
        if tasks := set(self._tasks.values()):
            _, late = await asyncio.wait(tasks, timeout=self._grace_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=self._grace_s)
        for run_id in list(self._tasks):
            self._left(self._records[run_id])
        self._closing = None

    async def ping(self) -> None:
        """Raises BackendUnavailable when it is closed."""
        self._require_open()

    async def settle(self) -> None:
        """Wait until every run has ended, those that were started meanwhile too."""
        while self._tasks:
            await asyncio.wait(set(self._tasks.values()))

    async def start(
        self,
        flow: str,
        run_id: str,
        payload: Mapping[str, Any],
        *,
        is_urgent: bool = False,
        party: str = "",
        after_s: float = 0.0,
    ) -> None:
        """Run the flow once under this id. Raises Missing for an unknown flow, BadField for no JSON or no id."""
        if flow not in self._bound.flows:
            raise Missing(f"There is no flow {flow}.")
        if not run_id.strip():
            raise BadField("A run needs an id.")
        try:
            text = json.dumps(dict(payload))
        except (TypeError, ValueError):
            raise BadField("The payload of a run is a JSON object.") from None
        self._require_open()
        if run_id not in self._records:
            now = datetime.now(UTC)
            due_at = now + timedelta(seconds=after_s)
            self._records[run_id] = _Record(run_id, flow, text, is_urgent, party, due_at, now, now)
            if due_at > now:
                self._delay(self._records[run_id])
            else:
                self._enqueue(run_id)

    async def get(self, run_id: str) -> Run:
        """The run. Raises Missing."""
        self._require_open()
        return _run(self._record(run_id))

    async def steps(self, run_id: str) -> Sequence[StepRun]:
        """Its finished steps in order, the one that failed last; empty for an unknown run."""
        self._require_open()
        record = self._records.get(run_id)
        return [] if record is None else list(record.steps)

    async def dead(self, which: Letters = Letters(), *, limit: int = 100) -> Sequence[Run]:  # noqa: B008  (frozen)
        """These dead letters, those started last first."""
        self._require_open()
        letters = [_run(record) for record in self._records.values() if record.state is RunState.DEAD]
        letters.sort(key=lambda run: run.created_at, reverse=True)
        return [run for run in letters if which.takes(run)][: max(0, limit)]

    async def retry(self, run_id: str) -> None:
        """Run a dead one again from the step that failed. Raises Missing, WrongState when it is not dead."""
        self._require_open()
        record = self._dead_record(run_id)
        record.steps = [step for step in record.steps if step.error is None]
        record.attempts, record.error, record.is_urgent = 1, None, False
        record.notes.clear()
        _move(record, RunState.WAITING)
        self._enqueue(run_id)

    async def discard(self, run_id: str) -> None:
        """Forget a dead one; its id is free again. Raises Missing, WrongState."""
        self._require_open()
        del self._records[self._dead_record(run_id).id]

    async def prune(self, older_than: timedelta = timedelta(days=7)) -> int:
        """Forget runs that were done so long ago; dead letters stay. Returns how many went."""
        self._require_open()
        before = datetime.now(UTC) - older_than
        gone = [it.id for it in self._records.values() if it.state is RunState.DONE and it.updated_at <= before]
        for run_id in gone:
            del self._records[run_id]
        return len(gone)

    def _require_open(self) -> asyncio.Event:
        if self._closing is None or self._closing.is_set():
            raise BackendUnavailable("The workflow engine is closed.")
        return self._closing

    def _record(self, run_id: str) -> _Record:
        if run_id not in self._records:
            raise Missing(f"There is no run {run_id}.")
        return self._records[run_id]

    def _dead_record(self, run_id: str) -> _Record:
        record = self._record(run_id)
        if record.state is not RunState.DEAD:
            raise WrongState(f"The run is {record.state}, not dead.")
        return record

    def _delay(self, record: _Record) -> None:
        left = (record.due_at - datetime.now(UTC)).total_seconds()
        self._delayed[record.id] = asyncio.get_running_loop().call_later(left, self._enqueue, record.id)

    def _enqueue(self, run_id: str, *, is_first: bool = False) -> None:
        self._delayed.pop(run_id, None)
        record = self._records[run_id]
        line = self._lines[record.is_urgent].setdefault(record.party, deque())
        if is_first:
            line.appendleft(run_id)
        else:
            line.append(run_id)
            self._fill()

    def _fill(self) -> None:
        """Begin what there is room for: urgent runs first, of each party by turns."""
        closing = self._closing
        while closing is not None and not closing.is_set() and len(self._tasks) < self._concurrency:
            run_id = self._next(is_urgent=True)
            bulk = sum(not self._records[run_id].is_urgent for run_id in self._tasks)
            if run_id is None and bulk < bulk_places(self._concurrency):
                run_id = self._next(is_urgent=False)
            if run_id is None:
                return
            _move(self._records[run_id], RunState.RUNNING)
            task = asyncio.create_task(self._run(self._records[run_id], closing), name=f"run {run_id}")
            self._tasks[run_id] = task
            task.add_done_callback(self._ended)

    def _next(self, *, is_urgent: bool) -> str | None:
        lines = self._lines[is_urgent]
        held = Counter(self._records[run_id].party for run_id in self._tasks)
        party = next_party(lines, held, self._served, self._per_party)
        if party is None:
            return None
        self._served[party] = max(self._served.values(), default=0) + 1
        run_id = lines[party].popleft()
        if not lines[party]:
            del lines[party]
        return run_id

    def _ended(self, task: asyncio.Task[None]) -> None:
        run_id = next((run_id for run_id, it in self._tasks.items() if it is task), None)
        if run_id is not None:
            del self._tasks[run_id]
            if self._records[run_id].state is RunState.RUNNING:
                self._left(self._records[run_id])
        self._fill()

    def _left(self, record: _Record) -> None:
        """The run was interrupted: the first to begin at the next open."""
        self._tasks.pop(record.id, None)
        _move(record, RunState.WAITING)
        self._enqueue(record.id, is_first=True)

    async def _run(self, record: _Record, closing: asyncio.Event) -> None:
        try:
            for step in self._bound.flows[record.flow].steps[len(record.steps) :]:
                if closing.is_set():
                    return
                await self._step(record, step, closing)
        except _Closing:
            return
        except Exception as error:  # noqa: BLE001  whatever a step raises makes the run a dead letter
            record.error = told(error)
            log.error("workflows.run_dead", run_id=record.id, flow=record.flow, error=record.error)
            await self._announce(record, error)
            _move(record, RunState.DEAD)
        else:
            _move(record, RunState.DONE)

    async def _step(self, record: _Record, step: Step, closing: asyncio.Event) -> None:
        function = self._bound.functions[f"{record.flow}.{step.name}"]
        started_at = datetime.now(UTC)

        def noted(error: Exception | None) -> None:
            text = None if error is None else told(error)
            record.steps.append(StepRun(name=step.name, started_at=started_at, ended_at=datetime.now(UTC), error=text))

        tries = 0
        while True:
            tries += 1
            try:
                await in_time(lambda: function(json.loads(record.payload)), step, record.notes)
            except Exception as error:
                record.notes.add("try failed", step=step.name, tries=tries, error=told(error))
                if is_permanent(error) or tries >= step.retry.attempts:
                    record.attempts = tries
                    noted(error)
                    raise
                await _rest(step.retry, tries, closing)
            else:
                noted(None)
                return

    async def _announce(self, record: _Record, error: Exception) -> None:
        """Tell `on_dead`, as often as the durable engine would, without its rests."""
        for _ in range(ANNOUNCE.attempts):
            try:
                await self._bound.on_dead(record.flow, json.loads(record.payload), error)
            except Exception as failure:  # noqa: BLE001  the run is dead all the same
                log.warning("workflows.on_dead_failed", run_id=record.id, flow=record.flow, error=told(failure))
            else:
                return


async def _rest(retry: Retry, tries: int, closing: asyncio.Event) -> None:
    wait = rest_s(retry, tries)
    if wait > 0:
        try:
            await asyncio.wait_for(closing.wait(), wait)
        except TimeoutError:
            return
    if closing.is_set():
        raise _Closing


def _move(record: _Record, state: RunState) -> None:
    record.state, record.updated_at = state, datetime.now(UTC)


def _run(record: _Record) -> Run:
    return Run(
        id=record.id,
        flow=record.flow,
        payload=json.loads(record.payload),
        state=record.state,
        created_at=record.created_at,
        updated_at=record.updated_at,
        attempts=record.attempts,
        error=record.error,
        party=record.party,
        log=tuple(record.notes) if record.state is RunState.DEAD else (),
    )
