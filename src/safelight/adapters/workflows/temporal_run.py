"""A run as Temporal keeps it: the workflow that walks the steps of its own plan. Nothing here may read a clock, a file or a setting.

A worker replays this code from a run's history, perhaps years of versions later: what it decides must follow from its input and
from what has happened. So the plan (which steps, how patient) is part of the input, and the flows in the code may change meanwhile.
It knows no more of Safelight than arithmetic, and is run without Temporal's sandbox, which would import it anew for every run; a
test replays recorded histories instead.

The tries are made here and not by the activity's own retry policy: each then stands in the history with its error, and a try that
ended with its process is not counted as one that failed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError, TimeoutType  # noqa: A004 (Temporal's word)

from safelight.adapters.workflows.patience import rest_s
from safelight.flows import Retry

TYPE: Final = "safelight.run"
STATE: Final = SearchAttributeKey.for_keyword("SafelightState")
"""`dead` while a run is a dead letter, else unset: what lists of dead letters ask for."""
DEAD: Final = "dead"

BEGUN: Final = 1
URGENT: Final = 2
BULK: Final = 4
"""Priority keys: of a run that has begun and goes on, of one that somebody waits for, of the others."""

TRY_FAILED: Final = "try failed"
GIVEN_UP: Final = "given up"
HANDED_BACK: Final = "handed back"
"""Types of the failures that an activity ends with."""

PICKED_UP_S: Final = 5.0
"""How long the process that kept a place for a run's next step has to take it; then any may."""
LONGEST_WAIT_S: Final = 86400.0
"""A step may wait so long in a process for its place, beyond what it may take itself."""

_ONCE: Final = RetryPolicy(maximum_attempts=1)


@dataclass
class Plan:
    """One step as it was when the run was started."""

    name: str
    attempts: int
    first_wait_s: float
    backoff: float
    timeout_s: float


@dataclass
class Order:
    """What a run is started with. The payload is in its memo, where lists find it."""

    queue: str
    plan: list[Plan]
    fairness_key: str
    is_urgent: bool
    lost_s: float
    """Seconds without a sign of life of its process until a step is taken up elsewhere."""
    max_recoveries: int
    here: str = ""
    """The queue of the process that keeps a place for it, if one does."""


@dataclass
class Try:
    """What an activity is given: one try of one step."""

    flow: str
    step: str
    payload: str
    party: str
    rank: int
    tries: int
    """Which try this is, 1 the first."""
    attempts: int
    is_last_step: bool
    notes: list[str] = field(default_factory=list)
    given_up: str = ""
    """Do not try again, only tell: why."""


@dataclass
class Did:
    """What an activity answers when the step is done."""

    here: str
    """The queue of the process that keeps the run's place for its next step, or nothing."""
    notes: list[str] = field(default_factory=list)


@dataclass
class Failure:
    """The details of an activity's failure."""

    tries: int
    notes: list[str]


def bulk_queue(queue: str) -> str:
    """Where steps wait that nobody waits for."""
    return f"{queue}-bulk"


class _Dead(Exception):
    def __init__(self, error: str, tries: int, notes: list[str]) -> None:
        super().__init__(error)
        self.tries = tries
        self.notes = notes


@workflow.defn(name=TYPE)
class RunFlow:
    """One run. It ends done, or failed once somebody has discarded it; a dead letter is open still and waits to be mended."""

    @workflow.init
    def __init__(self, order: Order) -> None:
        self._order = order
        self._is_dead = False
        self._mended: str | None = None
        self._here = order.here
        self._rank = URGENT if order.is_urgent else BULK
        self._lost = 0
        self._notes: list[str] = []

    @workflow.run
    async def run(self, order: Order) -> None:
        """Walk the plan; what has been done stays done."""
        at = 0
        while at < len(order.plan):
            try:
                await self._step(order.plan[at], is_last=at + 1 == len(order.plan))
            except _Dead as death:
                await self._buried(death)
            else:
                at += 1

    @workflow.update
    def retry(self) -> None:
        """Go on from the step that failed."""
        self._mended = "retry"

    @workflow.update
    def discard(self) -> None:
        """End it; its id is free again."""
        self._mended = "discard"

    @retry.validator
    def _may_retry(self) -> None:
        self._require_dead()

    @discard.validator
    def _may_discard(self) -> None:
        self._require_dead()

    def _require_dead(self) -> None:
        if not self._is_dead or self._mended is not None:
            raise ApplicationError("The run is not dead.", non_retryable=True)

    async def _buried(self, death: _Dead) -> None:
        """Be a dead letter until somebody mends it. Raises ApplicationError when that is to discard it."""
        self._is_dead = True
        workflow.upsert_memo(
            {"error": str(death), "tries": death.tries, "log": death.notes, "died_at": workflow.now().isoformat()}
        )
        workflow.upsert_search_attributes([STATE.value_set(DEAD)])
        await workflow.wait_condition(lambda: self._mended is not None)
        if self._mended == "discard":
            raise ApplicationError("Discarded.", type="discarded", non_retryable=True)
        workflow.upsert_memo({"error": None, "tries": None, "log": None, "died_at": None})
        workflow.upsert_search_attributes([STATE.value_unset()])
        # Not urgent: who retries thousands at once is to keep nobody waiting.
        self._is_dead, self._mended, self._here, self._rank = False, None, "", BULK
        self._lost, self._notes = 0, []

    async def _step(self, plan: Plan, *, is_last: bool) -> None:
        """All tries of one step. Raises _Dead."""
        tries, lost, given_up = 1, 0, ""
        while True:
            try:
                did = await self._try(plan, tries, given_up, is_last=is_last)
            except ActivityError as error:
                cause = error.cause
                here, self._here = self._here, ""
                if isinstance(cause, TimeoutError):
                    # Nobody took it where its place was kept; or its process went without a word.
                    self._rank = BEGUN
                    if cause.type is TimeoutType.SCHEDULE_TO_START and here:
                        continue
                    lost += 1
                    self._lost += 1
                    workflow.upsert_memo({"lost": self._lost})
                    if lost > self._order.max_recoveries:
                        given_up = f"Given up: the process ended {lost} times while this was running."
                elif isinstance(cause, ApplicationError) and cause.type == HANDED_BACK:
                    self._rank = BEGUN
                elif isinstance(cause, ApplicationError) and cause.type in (TRY_FAILED, GIVEN_UP):
                    failure = Failure(**cause.details[0])
                    self._notes = failure.notes
                    if cause.type == GIVEN_UP:
                        raise _Dead(cause.message, lost if given_up else failure.tries, failure.notes) from None
                    tries += 1
                    self._rank = BEGUN
                    rest = rest_s(Retry(first_wait_s=plan.first_wait_s, backoff=plan.backoff), tries - 1)
                    if rest > 0:
                        await asyncio.sleep(rest)
                else:
                    raise
            else:
                self._here, self._notes, self._rank = did.here, did.notes, BEGUN
                return

    async def _try(self, plan: Plan, tries: int, given_up: str, *, is_last: bool) -> Did:
        order = self._order
        flow = workflow.memo_value("flow", type_hint=str)
        one = Try(
            flow=flow,
            step=plan.name,
            payload=workflow.memo_value("payload", type_hint=str),
            party=workflow.memo_value("party", type_hint=str),
            rank=self._rank,
            tries=tries,
            attempts=plan.attempts,
            is_last_step=is_last,
            notes=self._notes,
            given_up=given_up,
        )
        options: dict[str, Any] = {}
        if self._here:
            options["schedule_to_start_timeout"] = timedelta(seconds=PICKED_UP_S)
        did: Did = await workflow.execute_activity(
            f"{flow}.{plan.name}",
            one,
            result_type=Did,
            task_queue=self._here or (bulk_queue(order.queue) if self._rank == BULK else order.queue),
            start_to_close_timeout=timedelta(seconds=plan.timeout_s + LONGEST_WAIT_S),
            heartbeat_timeout=timedelta(seconds=order.lost_s),
            retry_policy=_ONCE,
            priority=Priority(priority_key=self._rank, fairness_key=order.fairness_key),
            **options,
        )
        return did
