"""History: every run of one image, with its steps.

The engine knows the runs that it has not pruned, the journal what has been told of their steps; the record remains when both have
forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from safelight.domain import access
from safelight.domain.accounts import Actor
from safelight.domain.ids import ImageId
from safelight.domain.images import Image, Status
from safelight.domain.journal import Entry, StepNote
from safelight.errors import Missing
from safelight.ports.catalog import Catalog
from safelight.ports.workflows import Run, RunState, StepRun, Workflows

MOST_RUNS: Final = 50
"""Newest first; each is two questions to the engine."""
MOST_ENTRIES: Final = 5000

_STATES: Final = {
    Status.DEVELOPING: RunState.WAITING,
    Status.READY: RunState.DONE,
    Status.REJECTED: RunState.DONE,
    Status.FAILED: RunState.DEAD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PastStep:
    """A step with all its tries: from the start of the first to the end of the last, rests included. `code`: why the last failed."""

    name: str
    state: RunState
    tries: int = 1
    started_at: datetime | None = None
    ended_at: datetime | None = None
    code: str = ""

    @property
    def duration_s(self) -> float | None:
        """None while it runs, or when nobody knows when it began."""
        if self.started_at is None or self.ended_at is None:
            return None
        return max(0.0, (self.ended_at - self.started_at).total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """A run as far as it is known. `is_forgotten`: the engine knows it no more; the state is then what the rest lets conclude."""

    id: str
    flow: str
    state: RunState
    created_at: datetime
    updated_at: datetime
    attempts: int = 1
    cause: str = ""
    is_forgotten: bool = False
    steps: tuple[PastStep, ...] = ()


@dataclass(slots=True)
class _Told:
    """What the journal says of one run."""

    flow: str
    created_at: datetime
    updated_at: datetime
    steps: dict[str, PastStep] = field(default_factory=dict)

    def hear(self, entry: Entry) -> None:
        self.updated_at = entry.at
        step = self.steps.get(entry.step) or PastStep(name=entry.step, state=RunState.RUNNING, tries=0)
        match entry.name:
            case StepNote.STARTED:
                begun = step.started_at or entry.at
                step = replace(step, state=RunState.RUNNING, tries=step.tries + 1, started_at=begun, ended_at=None, code="")
            case StepNote.DONE:
                step = replace(step, state=RunState.DONE, ended_at=entry.at, code="")
            case StepNote.FAILED:
                step = replace(step, state=RunState.DEAD, ended_at=entry.at, code=entry.code)
            case _:
                return
        self.steps[entry.step] = step

    @property
    def state(self) -> RunState:
        """What is to be thought of it when the engine says nothing."""
        states = [step.state for step in self.steps.values()]
        return states[-1] if states else RunState.WAITING

    @property
    def cause(self) -> str:
        """The code of the step that failed."""
        return next((step.code for step in reversed(self.steps.values()) if step.state is RunState.DEAD), "")


@dataclass(frozen=True, slots=True)
class History:
    """What owners and admins read of an image's runs."""

    catalog: Catalog
    workflows: Workflows
    starts: Mapping[str, str]
    """Which event starts which flow, by their names."""

    async def of(self, actor: Actor, image_id: ImageId) -> list[PastRun]:
        """The runs, newest first. Raises Missing, Forbidden, BackendUnavailable."""
        async with self.catalog.tenant(actor.tenant) as records:
            image = await records.images.get(image_id)
            access.require(actor, "image.history", image)
        async with self.catalog.journal(actor.tenant) as journal:
            entries = [one.entry for one in await journal.after(0, image=image_id, limit=MOST_ENTRIES)]
        told = self._told(entries)
        first = f"{self.starts['image.accepted']}:{image.id}:1.1"
        if first not in told and (known := await self._known(first)) is not None:
            told[first] = _Told(known.flow, known.created_at, known.updated_at)
        runs = [await self._run(run_id, told[run_id]) for run_id in list(told)[-MOST_RUNS:]]
        runs.sort(key=lambda run: run.created_at, reverse=True)
        return runs or [self._concluded(image)]

    def _told(self, entries: Iterable[Entry]) -> dict[str, _Told]:
        told: dict[str, _Told] = {}
        for entry in entries:
            flow = entry.flow or self.starts.get(entry.name, "")
            if flow:
                run = told.setdefault(f"{flow}:{entry.occurrence}", _Told(flow, entry.at, entry.at))
                run.hear(entry)
        return told

    async def _known(self, run_id: str) -> Run | None:
        try:
            return await self.workflows.get(run_id)
        except Missing:
            return None

    async def _run(self, run_id: str, told: _Told) -> PastRun:
        known = await self._known(run_id)
        tries = max((step.tries for step in told.steps.values()), default=1)
        if known is None:
            is_waiting = not told.steps
            return PastRun(
                id=run_id,
                flow=told.flow,
                state=told.state,
                created_at=told.created_at,
                updated_at=told.updated_at,
                attempts=tries,
                cause=told.cause,
                is_forgotten=not is_waiting,
                steps=tuple(told.steps.values()),
            )
        finished = await self.workflows.steps(run_id)
        names = [*dict.fromkeys([*(step.name for step in finished), *told.steps])]
        recorded = {step.name: step for step in finished}
        return PastRun(
            id=run_id,
            flow=known.flow,
            state=known.state,
            created_at=told.created_at,
            updated_at=max(told.updated_at, known.updated_at),
            attempts=max(known.attempts, tries),
            cause=told.cause if known.state is RunState.DEAD else "",
            steps=tuple(_merged(told.steps.get(name), recorded.get(name)) for name in names),
        )

    def _concluded(self, image: Image) -> PastRun:
        """All that is left is the record: that it was developed, and what came of it."""
        return PastRun(
            id="",
            flow=self.starts["image.accepted"],
            state=_STATES[image.status],
            created_at=image.replaced_at or image.created_at,
            updated_at=image.updated_at,
            cause=image.problem.code if image.problem else "",
            is_forgotten=True,
        )


def _merged(told: PastStep | None, recorded: StepRun | None) -> PastStep:
    """What the journal says, as far as it says anything: its times are finer, and it knows of each try."""
    if told is not None:
        return told
    assert recorded is not None
    state = RunState.DONE if recorded.error is None else RunState.DEAD
    return PastStep(name=recorded.name, state=state, started_at=recorded.started_at, ended_at=recorded.ended_at)
