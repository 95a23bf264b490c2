"""History, events, dead letters and readiness on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import Field

from safelight.api.schemas.common import Out
from safelight.domain.journal import Entry
from safelight.ports.workflows import Run, StepRun
from safelight.services.history import PastRun


class StepOut(Out):
    """One finished step of a run."""

    name: str
    started_at: datetime | None
    ended_at: datetime | None
    error: str | None


class PastStepOut(Out):
    """A step with all its tries, from the start of the first to the end of the last. `code`: why the last try failed."""

    name: str
    state: str
    tries: int
    started_at: datetime | None
    ended_at: datetime | None
    duration_s: float | None
    code: str | None


class PastRunOut(Out):
    """A run of a flow. `is_forgotten`: nothing but the image's record or journal knows of it any more. `cause`: an error code."""

    id: str | None
    flow: str
    state: str
    attempts: int
    cause: str | None
    is_forgotten: bool
    created_at: datetime
    updated_at: datetime
    steps: list[PastStepOut]


class HistoryOut(Out):
    """Newest first."""

    runs: list[PastRunOut]


def history_out(runs: Sequence[PastRun]) -> HistoryOut:
    """The runs of an image as its owner reads them."""
    return HistoryOut(
        runs=[
            PastRunOut(
                id=run.id or None,
                flow=run.flow,
                state=run.state.value,
                attempts=run.attempts,
                cause=run.cause or None,
                is_forgotten=run.is_forgotten,
                created_at=run.created_at,
                updated_at=run.updated_at,
                steps=[
                    PastStepOut(
                        name=step.name,
                        state=step.state.value,
                        tries=step.tries,
                        started_at=step.started_at,
                        ended_at=step.ended_at,
                        duration_s=step.duration_s,
                        code=step.code or None,
                    )
                    for step in run.steps
                ],
            )
            for run in runs
        ]
    )


def event_json(entry: Entry) -> dict[str, Any]:
    """An entry of the journal as its `data:` tells it."""
    told = {"image": entry.image, "at": entry.at.isoformat(), "version": entry.version, "revision": entry.revision}
    words = {"flow": entry.flow, "step": entry.step, "code": entry.code}
    return told | {name: word for name, word in words.items() if word}


class FailureOut(Out):
    """A dead letter: what was to be done, how often it was tried, what was noted of that (`log`) and why it was given up."""

    id: str
    flow: str
    payload: dict[str, Any]
    state: str
    attempts: int
    error: str | None
    tenant: str | None
    log: list[str]
    created_at: datetime
    updated_at: datetime
    steps: list[StepOut] = Field(default_factory=list)


def failure_out(run: Run, steps: Sequence[StepRun] = ()) -> FailureOut:
    """The dead letter as an operator gets it."""
    return FailureOut(
        id=run.id,
        flow=run.flow,
        payload=dict(run.payload),
        state=run.state.value,
        attempts=run.attempts,
        error=run.error,
        tenant=run.party or None,
        log=list(run.log),
        created_at=run.created_at,
        updated_at=run.updated_at,
        steps=[StepOut(name=s.name, started_at=s.started_at, ended_at=s.ended_at, error=s.error) for s in steps],
    )


class MendedOut(Out):
    """How many were tried again or forgotten, and whether as many or more were left."""

    count: int
    has_more: bool


class FailurePage(Out):
    """Dead letters, newest first."""

    failures: list[FailureOut]


class ReadyOut(Out):
    """Each part that has to answer before traffic should come here."""

    status: str
    parts: dict[str, str]
