"""The steps of a run under Temporal: what an activity does, and the workers that ask the server for them.

A process asks three queues: the shared one (runs that somebody waits for or that go on, and the workflow code itself), the one for
bulk, and one of its own, where a run's next step comes while its place is kept here. What the server hands out still waits in
`places` for its turn; it hands out no more than that and one, so that the rest stays with the server for other processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Final

import structlog
from temporalio import activity
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import PollerBehaviorSimpleMaximum, UnsandboxedWorkflowRunner, Worker

from safelight.adapters.workflows.patience import ANNOUNCE, Notes, bulk_places, in_time, is_permanent, rest_s, told
from safelight.adapters.workflows.places import Closed, Place, Places
from safelight.adapters.workflows.temporal_run import (
    BEGUN,
    BULK,
    GIVEN_UP,
    HANDED_BACK,
    PICKED_UP_S,
    TRY_FAILED,
    Did,
    Failure,
    RunFlow,
    Try,
    bulk_queue,
)
from safelight.errors import Missing, SafelightError
from safelight.flows import Bound

log = structlog.get_logger(__name__)

AHEAD: Final = 1
"""Steps of a queue that may wait here beyond what has a place. More would begin sooner, and be begun out of turn."""
RESTART_S: Final = 5.0
"""Rest of a worker that the server turned away."""
WAITS: Final = "waits"
RUNS: Final = "runs"
"""What a heartbeat says."""

_RANKS: Final = {BEGUN: 0, BULK: 2}


class Crew:
    """The workers of one process, on the event loop that made it."""

    def __init__(
        self,
        client: Client,
        queue: str,
        bound: Bound,
        *,
        concurrency: int,
        per_party: int,
        lost_s: float,
        grace_s: float,
    ) -> None:
        self.here = f"{queue}-{uuid.uuid4().hex[:12]}"
        """The queue of this process."""
        self.places = Places(concurrency, per_party)
        self._client = client
        self._queue = queue
        self._bound = bound
        self._concurrency = concurrency
        self._beat_s = lost_s / 4
        self._grace_s = grace_s
        self._closing = asyncio.Event()
        self._workers: set[Worker] = set()
        self._watchers: list[asyncio.Task[None]] = []
        self._failed: set[str] = set()

    @property
    def is_whole(self) -> bool:
        """Every worker is at work."""
        return not self._failed and len(self._workers) == len(self._watchers)

    def begin(self) -> None:
        """Ask for work from now on."""
        most = self._concurrency + AHEAD
        self._watch(self._queue, lambda: self._worker(self._queue, most, has_flow=True))
        bulk = bulk_queue(self._queue)
        self._watch(bulk, lambda: self._worker(bulk, bulk_places(self._concurrency) + AHEAD))
        self._watch(self.here, lambda: self._worker(self.here, most))

    async def close(self) -> None:
        """Take no more, let steps finish within the grace period, hand the others back."""
        self._closing.set()
        self.places.close()
        await asyncio.gather(*(worker.shutdown() for worker in list(self._workers)))
        await asyncio.gather(*self._watchers, return_exceptions=True)

    def _worker(self, queue: str, most: int, *, has_flow: bool = False) -> Worker:
        return Worker(
            self._client,
            task_queue=queue,
            workflows=[RunFlow] if has_flow else [],
            activities=[self._any_step],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_concurrent_activities=most,
            # An activity that rode back on its workflow's answer would begin before those whose turn it is.
            disable_eager_activity_execution=True,
            activity_task_poller_behavior=PollerBehaviorSimpleMaximum(2),
            workflow_task_poller_behavior=PollerBehaviorSimpleMaximum(4),
            max_heartbeat_throttle_interval=timedelta(seconds=self._beat_s),
            default_heartbeat_throttle_interval=timedelta(seconds=self._beat_s),
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=PICKED_UP_S),
            graceful_shutdown_timeout=timedelta(seconds=self._grace_s),
        )

    def _watch(self, queue: str, make: Callable[[], Worker]) -> None:
        self._watchers.append(asyncio.create_task(self._kept_alive(queue, make), name=f"workflows {queue}"))

    async def _kept_alive(self, queue: str, make: Callable[[], Worker]) -> None:
        while not self._closing.is_set():
            worker = make()
            self._workers.add(worker)
            try:
                await worker.run()
            except Exception as error:  # noqa: BLE001  (a server that turned it away may be mended)
                log.error("workflows.worker_failed", queue=queue, error=told(error))
                self._failed.add(queue)
            finally:
                self._workers.discard(worker)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), RESTART_S)
            self._failed.discard(queue)

    @activity.defn(dynamic=True)
    async def _any_step(self, values: Sequence[RawValue]) -> Did:
        """One try of whatever step the server names: a step that this version no longer has is a dead letter, not an endless wait."""
        one: Try = activity.payload_converter().from_payload(values[0].payload, Try)
        run_id = (activity.info().workflow_id or "").removeprefix(f"{self._queue}/")
        structlog.contextvars.bind_contextvars(run_id=run_id, flow=one.flow, step=one.step)
        place: Place | None = None
        is_kept = False
        try:
            async with self._beating() as say:
                say(WAITS)
                place = await self.places.take(run_id, one.party, _RANKS.get(one.rank, 1))
                say(RUNS)
                # A task of its own, so that a step that does not listen to its cancellation cannot hold up the end.
                did = asyncio.create_task(self._tried(run_id, one))
                try:
                    notes = await asyncio.shield(did)
                finally:
                    did.cancel()
            if not one.is_last_step and not self.places.is_closed:
                self.places.keep(place, for_s=PICKED_UP_S)
                is_kept = True
            return Did(self.here if is_kept else "", list(notes))
        except Closed:
            raise _ended(HANDED_BACK, "The process closes.") from None
        except asyncio.CancelledError:
            if self._closing.is_set():
                raise _ended(HANDED_BACK, "The process closes.") from None
            raise
        finally:
            if place is not None and not is_kept:
                self.places.free(place)

    @contextlib.asynccontextmanager
    async def _beating(self) -> AsyncIterator[Callable[[str], None]]:
        """Signs of life of this process, not of the step: those are heard here. The first after a moment, for most steps are short."""
        words: list[str] = []

        async def beat() -> None:
            await asyncio.sleep(min(0.5, self._beat_s))
            while True:
                activity.heartbeat(words[-1])
                await asyncio.sleep(self._beat_s)

        beats = asyncio.create_task(beat())
        try:
            yield words.append
        finally:
            beats.cancel()

    async def _tried(self, run_id: str, one: Try) -> Notes:
        """The step's function, once. Raises ApplicationError, after `on_dead` where no other try follows."""
        notes = Notes()
        notes.extend(one.notes)
        try:
            if one.given_up:
                raise SafelightError(one.given_up)
            flow = self._bound.flows.get(one.flow)
            if flow is None:
                raise Missing(f"There is no flow {one.flow}.")
            step = next((step for step in flow.steps if step.name == one.step), None)
            if step is None:
                raise Missing(f"The flow {one.flow} has no step {one.step}.")
            function = self._bound.functions[f"{one.flow}.{one.step}"]
            await in_time(lambda: function(json.loads(one.payload)), step, notes)
        except Exception as error:  # noqa: BLE001  whatever a step raises is told to the run
            notes.add("try failed", step=one.step, tries=one.tries, error=told(error))
            is_last = bool(one.given_up) or is_permanent(error) or one.tries >= one.attempts
            if is_last:
                log.error("workflows.run_dead", error=told(error))
                await self._announce(one, error)
            else:
                log.warning("workflows.step_failed", tries=one.tries, error=told(error))
            details = dataclasses.asdict(Failure(one.tries, list(notes)))
            raise _ended(GIVEN_UP if is_last else TRY_FAILED, told(error), details) from None
        return notes

    async def _announce(self, one: Try, error: Exception) -> None:
        """Tell `on_dead` before the end is recorded: a crash in between tells it twice, never not at all."""
        for tries in range(1, ANNOUNCE.attempts + 1):
            try:
                await self._bound.on_dead(one.flow, json.loads(one.payload), error)
            except Exception as failure:  # noqa: BLE001  the run is dead all the same
                log.warning("workflows.on_dead_failed", tries=tries, error=told(failure))
                if tries < ANNOUNCE.attempts:
                    await asyncio.sleep(rest_s(ANNOUNCE, tries))
            else:
                return
        log.error("workflows.on_dead_given_up")


def _ended(how: str, words: str, *details: object) -> ApplicationError:
    """What the activity ends with. Benign: it is our event, told by us; Temporal would log it again, with a traceback."""
    return ApplicationError(words, *details, type=how, category=ApplicationErrorCategory.BENIGN)
