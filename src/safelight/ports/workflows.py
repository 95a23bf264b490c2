"""Workflows: durable runs of a flow's steps. Kept by adapters.workflows; checked by testing.contracts.workflows.

A flow is a name with a tuple of steps (`safelight.flows`); a run is started under an id and survives the death of the process:
finished steps are not repeated, the one in flight is run again, here or elsewhere. So every step must stand running twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol


class RunState(StrEnum):
    """waiting or running -> done, dead (a dead letter) or cancelled."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    DEAD = "dead"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRun:
    """One finished step of a run."""

    name: str
    started_at: datetime | None
    ended_at: datetime | None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a flow. `error` is the last cause as text and `log` what was noted of a dead one's tries, for operators only."""

    id: str
    flow: str
    payload: Mapping[str, Any]
    state: RunState
    created_at: datetime
    updated_at: datetime
    attempts: int = 1
    error: str | None = None
    party: str = ""
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """Which dead letters: those that fit whatever is said. `cause` is a part of the error, whatever its case; times are of the death."""

    flow: str = ""
    party: str = ""
    cause: str = ""
    after: datetime | None = None
    before: datetime | None = None

    def takes(self, run: Run) -> bool:
        """Whether this dead run is one of them."""
        return (
            self.flow in ("", run.flow)
            and self.party in ("", run.party)
            and self.cause.casefold() in (run.error or "").casefold()
            and (self.after is None or run.updated_at >= self.after)
            and (self.before is None or run.updated_at < self.before)
        )


class Workflows(Protocol):
    """Start, look, mend. Payloads are small JSON objects: ids and keys, never bytes."""

    async def open(self) -> None:
        """Take part in the work, and take up what this or a dead process left. Raises BackendUnavailable."""
        ...

    async def close(self) -> None:
        """Finish what is in flight within the grace period, then stop; what is left is taken up at the next open."""
        ...

    async def ping(self) -> None:
        """Ask it something small. Raises BackendUnavailable."""
        ...

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
        """Run the flow once under this id; the same id again changes nothing.

        Urgent: somebody waits for it; it begins before all that is not. Party: whose it is; the runs of many are begun by turns,
        one of each, and no party has more places than it may, so that nobody's thousand hold up another's two. It begins after
        so many seconds at the earliest.
        """
        ...

    async def get(self, run_id: str) -> Run:
        """The run. Raises Missing."""
        ...

    async def steps(self, run_id: str) -> Sequence[StepRun]:
        """Its finished steps in order; empty for an unknown run."""
        ...

    async def dead(self, which: Letters = Letters(), *, limit: int = 100) -> Sequence[Run]:
        """These dead letters, those started last first. What happened a moment ago may not be told yet; `get` tells it."""
        ...

    async def retry(self, run_id: str) -> None:
        """Run a dead one again from the step that failed, when nothing urgent waits. Raises Missing, WrongState when it is not dead."""
        ...

    async def discard(self, run_id: str) -> None:
        """Forget a dead one. Raises Missing, WrongState."""
        ...
