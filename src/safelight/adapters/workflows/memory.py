"""Workflows in memory: the same promise as the durable engine's, except that a run does not survive the process. For tests.

What was started stays with the object: after a close, the next open takes up what was left. All of it lives on one event loop.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from safelight.adapters.workflows.patience import ANNOUNCE, bulk_places, is_permanent, rest_s, told
from safelight.errors import BackendUnavailable, BadField, Missing, WrongState
from safelight.flows import Bound, Retry, Step
from safelight.ports.workflows import Run, RunState, StepRun

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Record:
    """What is known of a run."""

    id: str
    flow: str
    payload: str
    is_urgent: bool
    created_at: datetime
    updated_at: datetime
    state: RunState = RunState.WAITING
    attempts: int = 1
    error: str | None = None
    steps: list[StepRun] = field(default_factory=list)


class _Closing(Exception):
    """The engine closes while a run rests between two tries."""


class MemoryWorkflows:
    """Runs in this process and nowhere else.

    Args:
        bound: The flows and their functions; these run on the event loop that called `open`.
        concurrency: Runs in flight at once, at least 1.
        grace_s: How long `close` lets steps finish, in seconds.

    """

    def __init__(self, bound: Bound, *, concurrency: int = 8, grace_s: float = 5.0) -> None:
        self._bound = bound
        self._concurrency = concurrency
        self._grace_s = grace_s
        self._records: dict[str, _Record] = {}
        self._urgent: deque[str] = deque()
        self._bulk: deque[str] = deque()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing: asyncio.Event | None = None
        """Exists while open, is set once it closes."""

    async def open(self) -> None:
        """Take part in the work, and take up what was left. Open already: nothing happens."""
        if self._closing is None:
            self._closing = asyncio.Event()
            self._fill()

    async def close(self) -> None:
        """Let steps finish within the grace period, cancel the others; their runs wait for the next open."""
        if self._closing is None:
            return
        self._closing.set()
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

    async def start(self, flow: str, run_id: str, payload: Mapping[str, Any], *, is_urgent: bool = False) -> None:
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
            self._records[run_id] = _Record(run_id, flow, text, is_urgent, now, now)
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

    async def dead(self, *, limit: int = 100) -> Sequence[Run]:
        """The dead letters, those started last first."""
        self._require_open()
        letters = [record for record in self._records.values() if record.state is RunState.DEAD]
        letters.sort(key=lambda record: record.created_at, reverse=True)
        return [_run(record) for record in letters[: max(0, limit)]]

    async def retry(self, run_id: str) -> None:
        """Run a dead one again from the step that failed. Raises Missing, WrongState when it is not dead."""
        self._require_open()
        record = self._dead_record(run_id)
        record.steps = [step for step in record.steps if step.error is None]
        record.attempts, record.error, record.is_urgent = 1, None, True
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

    def _enqueue(self, run_id: str) -> None:
        (self._urgent if self._records[run_id].is_urgent else self._bulk).append(run_id)
        self._fill()

    def _fill(self) -> None:
        """Begin what there is room for, urgent runs first."""
        closing = self._closing
        while closing is not None and not closing.is_set() and len(self._tasks) < self._concurrency:
            bulk = sum(not self._records[run_id].is_urgent for run_id in self._tasks)
            if self._urgent:
                run_id = self._urgent.popleft()
            elif self._bulk and bulk < bulk_places(self._concurrency):
                run_id = self._bulk.popleft()
            else:
                return
            _move(self._records[run_id], RunState.RUNNING)
            task = asyncio.create_task(self._run(self._records[run_id], closing), name=f"run {run_id}")
            self._tasks[run_id] = task
            task.add_done_callback(self._ended)

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
        (self._urgent if record.is_urgent else self._bulk).appendleft(record.id)

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
                await function(json.loads(record.payload))
            except Exception as error:
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
    )
