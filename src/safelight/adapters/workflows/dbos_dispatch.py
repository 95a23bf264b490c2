"""The dispatcher: which run begins here next, and whose runs are adopted. One thread per process, beside DBOS.

DBOS has queues of its own, but its workers only poll: to begin a waiting run soon they must ask many times a second, and runs that
were started directly do not count against their limit. This one is woken by what happens in the process (a run enqueued, a place
free again), asks the store once a second for what others have enqueued, and counts every run.

What it calls of DBOS beyond the public names (3.4, pinned; the contract and crash tests stand guard):
`_sys_db.start_queued_workflows`, `_sys_db.get_queue_partitions`, `_sys_db.tables`, `_sys_db.get_workflow_statuses`, `_core.execute_dequeued_workflow` as DBOS's own queue worker
does, `_sys_db.reenqueue_for_recovery` as its recovery does, because that one lets us name the queue, and `GlobalParams.executor_id`,
under which it writes the runs that are started directly.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
import structlog
from dbos import DBOS, Queue
from dbos._core import execute_dequeued_workflow
from dbos._utils import GlobalParams

from safelight.adapters.workflows.dbos_steps import Steps
from safelight.adapters.workflows.patience import bulk_places, next_party, told
from safelight.adapters.workflows.slots import Slots

log = structlog.get_logger(__name__)

APP_VERSION: Final = "safelight-1"
"""Fixed, because DBOS runs only what was started under the same version; our flows are checked step by step, by name."""

URGENT: Final = "safelight-urgent"
BULK: Final = "safelight-bulk"
MOST_REMEMBERED: Final = 10_000
"""Parties whose last turn is known; who is forgotten has a turn too many."""
NOBODY: Final = "-"
"""The party of runs that are nobody's, and of those that were begun without a queue and left behind: each run that waits has one."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who executes here: the slot this process holds, and which of its holders this is."""

    slot: int
    holder: str

    def __str__(self) -> str:
        return f"slot-{self.slot}-{self.holder}"

    @staticmethod
    def slot_of(executor_id: str | None) -> int | None:
        """The slot behind an executor id, or None when it is not one of ours."""
        match (executor_id or "").split("-"):
            case ["slot", number, _] if number.isdecimal():
                return int(number)
        return None


@dataclass(frozen=True, slots=True)
class _Place:
    """What a run in flight takes."""

    queue: str
    party: str


class Dispatcher:
    """Begins runs while there is room, and adopts those of dead processes. Its methods may be called from any thread."""

    def __init__(
        self,
        engine: DBOS,
        steps: Steps,
        slots: Slots,
        identity: Identity,
        *,
        concurrency: int,
        per_party: int,
        poll_s: float,
        reap_s: float,
    ) -> None:
        self._engine = engine
        self._steps = steps
        self._slots = slots
        self._identity = identity
        self._concurrency = concurrency
        self._per_party = per_party
        self._poll_s = poll_s
        self._reap_s = reap_s
        self._queues: dict[str, Queue] = {
            name: DBOS.register_queue(name, worker_concurrency=concurrency, polling_interval_sec=poll_s)
            for name in (URGENT, BULK)
        }
        self._lock = threading.Condition()
        self._in_flight: dict[str, _Place] = {}
        self._served: dict[str, int] = {}
        self._turn = 0
        self._claiming: Counter[str] = Counter()
        self._may_wait = True
        self._has_lease = True
        self._next_reap = 0.0
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name="workflows-dispatch", daemon=True)

    def begin(self) -> None:
        """Start the thread; its first act is to adopt."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """The thread does its work."""
        return self._thread.is_alive()

    def reserve(self, run_id: str, party: str) -> bool:
        """Keep a place for a run that begins at once; False when there is none for the party, or when it is in flight already."""
        with self._lock:
            if self._stopping.is_set() or not self._has_lease or run_id in self._in_flight or self._room() <= 0:
                return False
            if self._held()[party] >= self._per_party:
                return False
            self._in_flight[run_id] = _Place(URGENT, party)
            self._note_served(party)
            return True

    def watch(self, run_id: str, handle: Any) -> None:
        """Free the place when the run behind this DBOS handle ends; at once when it does not run here."""
        future: concurrent.futures.Future[Any] | None = getattr(handle, "future", None)
        if future is None:
            self.free(run_id)
        else:
            future.add_done_callback(lambda _: self.free(run_id))

    def free(self, run_id: str) -> None:
        """The run no longer takes a place here."""
        with self._lock:
            self._in_flight.pop(run_id, None)
            self._lock.notify_all()
            may_wait = self._may_wait
        if may_wait:
            self._wake.set()

    def kick(self) -> None:
        """Something was enqueued."""
        with self._lock:
            self._may_wait = True
        self._wake.set()

    def stop(self) -> None:
        """Begin and adopt nothing more."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=10.0)

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until nothing is in flight here; False when the time was not enough."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._in_flight, timeout_s)

    def hand_back(self, run_ids: Iterable[str]) -> None:
        """Put interrupted runs back at the head of the work, for whoever is there. An orderly end is not held against them."""
        given = sorted(run_ids)
        if given:
            DBOS.resume_workflows(given, queue_name=URGENT)
            self._give_parties()
            log.info("workflows.handed_back", count=len(given))

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                self._keep_lease()
                if time.monotonic() >= self._next_reap:
                    self._reap()
                    self._next_reap = time.monotonic() + self._reap_s
                self._fill()
            except Exception as error:  # noqa: BLE001  the thread must outlive a store that is away for a while
                log.error("workflows.dispatch_failed", error=told(error))
                self._stopping.wait(self._poll_s)
            self._wake.wait(self._poll_s)
            self._wake.clear()

    def _keep_lease(self) -> None:
        """Who has lost the slot takes no work: others may take it for dead, and what it runs is theirs. Raises BackendUnavailable.

        The runs in flight are not broken off. Where somebody has adopted one, DBOS refuses our next write to it.
        """
        try:
            lease = self._slots.look_after()
        except BaseException:
            with self._lock:
                self._has_lease = False
            raise
        if not lease.was_lost:
            return
        if lease.slot != self._identity.slot:
            self._identity = Identity(lease.slot, uuid.uuid4().hex[:12])
            GlobalParams.executor_id = str(self._identity)
        # What took our lease took that of others too, most likely: they get the time to have it back before they count as dead.
        self._next_reap = time.monotonic() + self._reap_s
        with self._lock:
            self._has_lease = True
        log.warning("workflows.lease_renewed", executor=str(self._identity))

    def _room(self) -> int:
        return self._concurrency - len(self._in_flight) - self._claiming.total()

    def _places_left(self, queue_name: str, places: int) -> int:
        taken = sum(1 for place in self._in_flight.values() if place.queue == queue_name)
        return min(self._room(), places - taken)

    def _fill(self) -> None:
        """Claim what there is room for: urgent runs first, the others in the places left to them."""
        with self._lock:
            self._may_wait = False
        self._claim(URGENT, self._concurrency)
        self._claim(BULK, bulk_places(self._concurrency))

    def _claim(self, queue_name: str, places: int) -> None:
        """Claim by turns of the parties that wait, and of each as many as its share; once more where somebody had fewer."""
        with self._lock:
            if self._places_left(queue_name, places) <= 0:
                # Not asked, so there may be more; the next free place asks.
                self._may_wait = True
                return
        waiting = set(self._engine._sys_db.get_queue_partitions(queue_name))  # noqa: SLF001
        while waiting and not self._stopping.is_set():
            shares = self._shares(queue_name, places, waiting)
            if not shares:
                with self._lock:
                    self._may_wait = True
                return
            while shares:
                party, wanted = shares.popitem()
                try:
                    claimed = self._claim_of(queue_name, party, wanted)
                except BaseException:
                    with self._lock:
                        self._claiming.subtract(shares)
                    raise
                if claimed < wanted:
                    waiting.discard(party)

    def _shares(self, queue_name: str, places: int, waiting: set[str]) -> Counter[str]:
        """How many runs of each party to claim now; the places count as taken from here on."""
        shares: Counter[str] = Counter()
        with self._lock:
            held = self._held()
            for _ in range(self._places_left(queue_name, places)):
                party = next_party(waiting, held, self._served, self._per_party)
                if party is None:
                    break
                held[party] += 1
                shares[party] += 1
                self._note_served(party)
            self._claiming.update(shares)
        return shares

    def _claim_of(self, queue_name: str, party: str, wanted: int) -> int:
        claimed: list[str] = []
        owner = str(uuid.uuid4())
        try:
            queue = self._queues[queue_name]
            # DBOS subtracts the second number from the queue's own limit; all that we want from it is the difference.
            spent = (queue._worker_concurrency or 0) - wanted  # noqa: SLF001
            claimed, _ = self._engine._sys_db.start_queued_workflows(  # noqa: SLF001
                queue, str(self._identity), APP_VERSION, party, spent, owner_xid=owner, is_latest_version=False
            )
        finally:
            with self._lock:
                self._claiming[party] -= wanted
                if not self._claiming[party]:
                    del self._claiming[party]
                self._in_flight.update(dict.fromkeys(claimed, _Place(queue_name, party)))
        if claimed:
            self._execute(claimed, owner)
        return len(claimed)

    def _held(self) -> Counter[str]:
        return self._claiming + Counter(place.party for place in self._in_flight.values())

    def _note_served(self, party: str) -> None:
        if len(self._served) > MOST_REMEMBERED:
            self._served.clear()
        self._turn += 1
        self._served[party] = self._turn

    def _give_parties(self) -> None:
        """What was begun without a queue has no party, and would never be claimed once it waits."""
        runs = self._engine._sys_db.tables.workflow_status  # noqa: SLF001
        left = (runs.c.queue_name.in_((URGENT, BULK)), runs.c.status == "ENQUEUED", runs.c.queue_partition_key.is_(None))
        with self._engine._sys_db.engine.begin() as connection:  # noqa: SLF001
            if connection.execute(sa.select(runs.c.workflow_uuid).where(*left).limit(1)).first() is not None:
                connection.execute(sa.update(runs).where(*left).values(queue_partition_key=NOBODY))

    def _execute(self, claimed: list[str], owner: str) -> None:
        begun: set[str] = set()
        try:
            for status in self._engine._sys_db.get_workflow_statuses(claimed):  # noqa: SLF001
                run_id = status["workflow_uuid"]
                try:
                    self._steps.note_taken_up(run_id, status["recovery_attempts"] or 1)
                    handle = execute_dequeued_workflow(self._engine, status, owner)
                except Exception as error:  # noqa: BLE001  one bad row must not keep the others from beginning
                    # Left as it is: the reaper finds it under our name with nobody running it.
                    log.error("workflows.run_not_begun", run_id=run_id, error=told(error))
                    continue
                begun.add(run_id)
                self.watch(run_id, handle)
        finally:
            for run_id in set(claimed) - begun:
                self.free(run_id)

    def _reap(self) -> None:
        """Put back what nobody runs: the runs of dead processes, and those of ours that lost their thread."""
        left: dict[str, list[str]] = defaultdict(list)
        for run in DBOS.list_workflows(status="PENDING", app_version=APP_VERSION, load_input=False, load_output=False):
            left[run.executor_id or ""].append(run.workflow_id)
        self._give_parties()
        for executor_id, run_ids in left.items():
            slot = Identity.slot_of(executor_id)
            if executor_id == str(self._identity):
                # The list is older than this look: what ended in between is no longer pending, and DBOS leaves it alone.
                with self._lock:
                    stranded = [run_id for run_id in run_ids if run_id not in self._in_flight]
                self._put_back(executor_id, stranded)
            elif slot == self._identity.slot:
                # We hold that slot, so its former holder is gone.
                self._put_back(executor_id, run_ids)
            elif slot is not None:
                with self._slots.borrowed(slot) as is_free:
                    if is_free:
                        self._put_back(executor_id, run_ids)

    def _put_back(self, executor_id: str, run_ids: list[str]) -> None:
        count = sum(
            self._engine._sys_db.reenqueue_for_recovery(run_id, [executor_id], URGENT)  # noqa: SLF001
            for run_id in run_ids
        )
        if count:
            self._give_parties()
            log.warning("workflows.adopted", executor=executor_id, count=count)
