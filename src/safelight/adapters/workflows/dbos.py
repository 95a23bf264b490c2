"""Workflows on DBOS Transact: in an SQLite file for the processes of one host, on PostgreSQL for those of any number of machines.

`DbosWorkflows` is the port: what callers ask. `dbos_dispatch` decides which run begins here, `dbos_steps` runs its steps on the
application's event loop, `slots` tells the living from the dead, `stores` one database from the other. All SQL runs in threads,
never on the loop.

DBOS is one per process. So a second open in a process that has one open is refused; after a close it may be opened again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from safelight.adapters.workflows.patience import told
from safelight.adapters.workflows.slots import Slots
from safelight.adapters.workflows.stores import store_at
from safelight.errors import BackendUnavailable, BadField, BadOption, Missing, SafelightError, WrongState
from safelight.flows import Bound
from safelight.ports.workflows import Letters, Run, RunState, StepRun

if TYPE_CHECKING:
    import sqlalchemy as sa
    from dbos import WorkflowStatus

    from safelight.adapters.workflows.dbos_dispatch import Dispatcher
    from safelight.adapters.workflows.dbos_steps import Steps

log = structlog.get_logger(__name__)

T = TypeVar("T")

KEEP: Final = timedelta(days=7)
"""How long finished runs are kept: long enough to answer an operator's question, and to refuse a late repetition of an event."""

THREADS: Final = 4
"""Threads for questions to the store: each holds a connection while it asks."""

HAND_BACK_S: Final = 2.0
"""After the grace period: for threads to leave their runs, and for the store to take note."""

PRUNED_AT_ONCE: Final = 500
PAGE: Final = 500
"""Dead letters that are read at once; each may carry a traceback of its own and its last lines."""

_STATES: Final[dict[str, RunState]] = {
    "ENQUEUED": RunState.WAITING,
    "DELAYED": RunState.WAITING,
    "PENDING": RunState.RUNNING,
    "SUCCESS": RunState.DONE,
    "ERROR": RunState.DEAD,
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": RunState.DEAD,
    "CANCELLED": RunState.CANCELLED,
}

_DEAD: Final = ["ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]

_THE_ONE = threading.Lock()
"""Held by the open engine of this process."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """What lives between open and close."""

    steps: Steps
    dispatcher: Dispatcher
    slots: Slots
    store: sa.Engine
    ping: str
    run_flow: Callable[[str, str, str], None]
    threads: ThreadPoolExecutor


class DbosWorkflows:
    """Durable runs on DBOS.

    `attempts` of a run: for a dead one, how often the step that failed was tried (or, when processes kept ending under it, how
    often it was begun); for any other, how often it was begun, 1 unless a process was lost. Times are whole seconds on Python 3.11.

    Args:
        url: "sqlite:////var/lib/safelight/workflows.db", in a folder that exists on a disk of this host; or
            "postgresql://user:password@host:5432/database", where DBOS makes its tables in the schema `safelight_dbos`.
        bound: The flows and their functions; these run on the event loop that called `open`.
        concurrency: Runs in flight in this process at once, at least 1.
        grace_s: How long `close` lets steps finish, in seconds.
        poll_s: How often to ask for runs that other processes enqueued, in seconds; one's own begin without waiting.
        reap_s: How often to look for the runs of dead processes, in seconds. The runs of a process that ended are taken up within
            that time; on PostgreSQL, those of a machine that went without a word within 14 s more.
        per_party: Runs of one party in flight in this process at once; None for any number.
        max_recoveries: How often a run is taken up again after a process was lost under it; then it is dead.

    """

    def __init__(
        self,
        url: str,
        bound: Bound,
        *,
        concurrency: int,
        grace_s: float = 20.0,
        poll_s: float = 1.0,
        reap_s: float = 5.0,
        per_party: int | None = None,
        max_recoveries: int = 5,
    ) -> None:
        self._store = store_at(url)
        if concurrency < 1:
            raise BadOption("Workflows need a concurrency of at least 1.")
        self._bound = bound
        self._concurrency = concurrency
        self._per_party = per_party or concurrency
        self._grace_s = grace_s
        self._poll_s = poll_s
        self._reap_s = reap_s
        self._max_recoveries = max_recoveries
        self._opened: _Opened | None = None

    async def open(self) -> None:
        """Take part in the work, and take up what this or a dead process left. Open already: nothing happens.

        Raises BackendUnavailable, and WrongState when another engine is open in this process.
        """
        if self._opened is None:
            loop = asyncio.get_running_loop()
            self._opened = await asyncio.to_thread(self._launch, loop)
            log.info("workflows.opened", concurrency=self._concurrency)

    async def close(self) -> None:
        """Take no new work, let steps finish within the grace period, hand the rest back. Closed already: nothing happens."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        opened.steps.stop()
        is_idle = await asyncio.to_thread(self._quiesce, opened)
        if not is_idle:
            opened.steps.abandon()
        await asyncio.to_thread(self._destroy, opened)
        log.info("workflows.closed", abandoned=not is_idle)

    async def ping(self) -> None:
        """Ask the store for one row. Raises BackendUnavailable."""
        await self._ask(_ping)

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
        """Run the flow once under this id; on disk when this returns. The same id again, also after its end, changes nothing.

        An urgent run begins here at once while there is room, else before all that is not urgent. One that is to begin later is
        looked at once a second or so.
        Raises Missing for an unknown flow, BadField for a payload that is not JSON or an empty id.
        """
        if flow not in self._bound.flows:
            raise Missing(f"There is no flow {flow}.")
        if not run_id.strip():
            raise BadField("A run needs an id.")
        try:
            text = json.dumps(dict(payload), separators=(",", ":"))
        except (TypeError, ValueError):
            raise BadField("The payload of a run is a JSON object.") from None
        await self._ask(lambda opened: _start(opened, flow, run_id, text, is_urgent=is_urgent, party=party, after_s=after_s))

    async def get(self, run_id: str) -> Run:
        """The run. Raises Missing."""
        return _run(await self._ask(lambda _: _status(run_id)))

    async def steps(self, run_id: str) -> Sequence[StepRun]:
        """Its finished steps in order, the one that failed last; empty for an unknown run."""
        return await self._ask(lambda _: _steps(run_id))

    async def dead(self, which: Letters = Letters(), *, limit: int = 100) -> Sequence[Run]:  # noqa: B008  (frozen)
        """These dead letters, those started last first. The store is asked by pages until there are enough."""
        return await self._ask(lambda _: _dead(which, limit))

    async def retry(self, run_id: str) -> None:
        """Run a dead one again from the step that failed, under the same id. Raises Missing, WrongState when it is not dead."""
        await self._ask(lambda opened: _retry(opened, run_id))

    async def discard(self, run_id: str) -> None:
        """Forget a dead one; its id is free again. Raises Missing, WrongState."""
        await self._ask(lambda _: _discard(run_id))

    async def prune(self, older_than: timedelta = KEEP) -> int:
        """Forget runs that were done or cancelled so long ago; dead letters stay. Returns how many went."""
        before = datetime.now(UTC) - older_than
        pruned = 0
        while gone := await self._ask(lambda _: _prune(before)):
            pruned += gone
        log.info("workflows.pruned", count=pruned)
        return pruned

    async def _ask(self, question: Callable[[_Opened], T]) -> T:
        """Ask in a thread. What the driver raises becomes BackendUnavailable."""
        opened = self._opened
        if opened is None:
            raise BackendUnavailable("The workflow engine is closed.")
        import sqlalchemy as sa
        from dbos import error as dbos_errors

        try:
            answer = asyncio.get_running_loop().run_in_executor(opened.threads, question, opened)
        except RuntimeError:
            raise BackendUnavailable("The workflow engine is closed.") from None
        try:
            return await answer
        except (sa.exc.SQLAlchemyError, dbos_errors.DBOSException) as error:
            log.error("workflows.backend_failed", error=told(error))
            raise BackendUnavailable("The workflow engine does not answer.") from None

    def _launch(self, loop: asyncio.AbstractEventLoop) -> _Opened:
        """Bring DBOS up in this thread: it then adopts no event loop, ours least of all."""
        if not _THE_ONE.acquire(blocking=False):
            raise WrongState("Another workflow engine is open in this process.")
        try:
            return self._launched(loop)
        except SafelightError:
            _THE_ONE.release()
            raise
        except Exception as error:
            _THE_ONE.release()
            log.error("workflows.open_failed", error=told(error))
            raise BackendUnavailable("The workflow engine does not open.") from error

    def _launched(self, loop: asyncio.AbstractEventLoop) -> _Opened:
        # Here and not on top, because they take most of a second that a command without workflows need not wait.
        from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer

        from safelight.adapters.workflows.dbos_dispatch import APP_VERSION, Dispatcher, Identity
        from safelight.adapters.workflows.dbos_steps import Steps

        slots = self._store.slots()
        store = self._store.engine()
        try:
            # A new name for each holder of the slot: DBOS on its own re-queues what ran under its name before, past our limit.
            identity = Identity(slots.hold(), uuid.uuid4().hex[:12])
            steps = Steps(self._bound, loop, max_recoveries=self._max_recoveries)
            _quiet()
            engine = DBOS(
                config=DBOSConfig(
                    name="safelight",
                    **self._store.config(),
                    system_database_engine=store,
                    executor_id=str(identity),
                    application_version=APP_VERSION,
                    serializer=DBOSPortableJSONSerializer(),
                    log_level="WARNING",
                    # We send no messages and keep no schedules in DBOS; the first bounds how long it takes to shut down.
                    notification_listener_polling_interval_sec=0.2,
                    scheduler_polling_interval_sec=3600.0,
                )
            )
            # The dispatcher begins what waits; DBOS's own workers would do so without counting what was started directly.
            DBOS.listen_queues([])

            # DBOS's own limit is only the fuse behind ours, which tells on_dead.
            @DBOS.workflow(name="run_flow", max_recovery_attempts=self._max_recoveries + 10)
            def run_flow(flow: str, payload: str, party: str = "") -> None:
                steps.run(DBOS.workflow_id or "", flow, payload)

            DBOS.launch()
            # DBOS would repeat what fails for want of a connection, with rests of up to a minute and without end. A caller is to be
            # told instead, and a run to be taken up again by the dispatcher as soon as the store is back.
            engine._sys_db._retry_connection_errors = False  # noqa: SLF001
            self._store.settle()
            dispatcher = Dispatcher(
                engine,
                steps,
                slots,
                identity,
                concurrency=self._concurrency,
                per_party=self._per_party,
                poll_s=self._poll_s,
                reap_s=self._reap_s,
            )
            dispatcher.begin()
        except BaseException:
            DBOS.destroy(destroy_registry=True)
            store.dispose()
            slots.close()
            raise
        threads = ThreadPoolExecutor(THREADS, thread_name_prefix="workflows")
        return _Opened(steps, dispatcher, slots, store, self._store.ping, run_flow, threads)

    def _quiesce(self, opened: _Opened) -> bool:
        """Wait for questions and steps; False when the grace period was not enough."""
        # Not waited for: a start that begins its run here is in flight for the dispatcher, the others fail or succeed as a whole.
        opened.threads.shutdown(wait=False)
        opened.dispatcher.stop()
        return opened.dispatcher.wait_idle(self._grace_s)

    def _destroy(self, opened: _Opened) -> None:
        from dbos import DBOS

        def hand_back() -> None:
            try:
                opened.dispatcher.hand_back(opened.steps.interrupted)
            except Exception as error:  # noqa: BLE001  whoever opens next finds them under our slot all the same
                log.error("workflows.hand_back_failed", error=told(error))

        # An abandoned step leaves its run at once; the little time is for its thread to say so.
        opened.dispatcher.wait_idle(HAND_BACK_S)
        # DBOS repeats a write for ever while the file is locked; that must not keep the process from ending.
        last_words = threading.Thread(target=hand_back, name="workflows-hand-back", daemon=True)
        last_words.start()
        last_words.join(HAND_BACK_S)
        DBOS.destroy(destroy_registry=True)
        opened.store.dispose()
        opened.slots.close()
        _THE_ONE.release()


class _OurOwnWords(logging.Filter):
    """Drops what DBOS says about things that are events of ours (a dead run) or nothing at all (a repeated start)."""

    def filter(self, record: logging.LogRecord) -> bool:
        words = str(record.msg)
        return not words.startswith(("Exception encountered in background workflow", "Workflow already exists in queue"))


def _quiet() -> None:
    """Let DBOS log through the application's handlers, warnings and worse, without its banner or a handler of its own."""
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        # It adds a console handler, and stops propagating, only when it finds none.
        logger.addHandler(logging.NullHandler())
    if not any(isinstance(it, _OurOwnWords) for it in logger.filters):
        logger.addFilter(_OurOwnWords())


def _ping(opened: _Opened) -> None:
    import sqlalchemy as sa

    if not opened.dispatcher.is_alive:
        raise BackendUnavailable("The workflow dispatcher has stopped.")
    with opened.store.connect() as connection:
        connection.execute(sa.text(opened.ping))


def _start(opened: _Opened, flow: str, run_id: str, payload: str, *, is_urgent: bool, party: str, after_s: float) -> None:
    from dbos import DBOS, SetEnqueueOptions, SetWorkflowID

    from safelight.adapters.workflows.dbos_dispatch import BULK, NOBODY, URGENT

    with SetWorkflowID(run_id):
        if is_urgent and after_s <= 0 and opened.dispatcher.reserve(run_id, party or NOBODY):
            try:
                handle = DBOS.start_workflow(opened.run_flow, flow, payload, party)
            except BaseException:
                opened.dispatcher.free(run_id)
                raise
            opened.dispatcher.watch(run_id, handle)
            return
        with SetEnqueueOptions(queue_partition_key=party or NOBODY, delay_seconds=after_s if after_s > 0 else None):
            DBOS.enqueue_workflow(URGENT if is_urgent else BULK, opened.run_flow, flow, payload, party)
    opened.dispatcher.kick()


def _status(run_id: str) -> WorkflowStatus:
    from dbos import DBOS

    found = DBOS.list_workflows(workflow_ids=[run_id]) if _can_be(run_id) else []
    if not found:
        raise Missing(f"There is no run {run_id}.")
    return found[0]


def _can_be(run_id: str) -> bool:
    """Whether any run may have the id: PostgreSQL keeps no NUL, and a question with one fails as if the server did."""
    return "\x00" not in run_id


def _dead_status(run_id: str) -> WorkflowStatus:
    status = _status(run_id)
    if status.status not in _DEAD:
        raise WrongState(f"The run is {_STATES[status.status]}, not dead.")
    return status


def _steps(run_id: str) -> list[StepRun]:
    from dbos import DBOS

    if not _can_be(run_id):
        return []
    return [
        StepRun(
            name=step["function_name"],
            started_at=_when(step["started_at_epoch_ms"]),
            ended_at=_when(step["completed_at_epoch_ms"]),
            error=None if step["error"] is None else str(step["error"]),
        )
        for step in DBOS.list_workflow_steps(run_id)
    ]


def _dead(which: Letters, limit: int) -> list[Run]:
    from dbos import DBOS

    found: list[Run] = []
    offset = 0
    while len(found) < limit:
        page = DBOS.list_workflows(status=_DEAD, limit=PAGE, offset=offset, sort_desc=True)
        found += [run for run in map(_run, page) if which.takes(run)]
        if len(page) < PAGE:
            break
        offset += PAGE
    return found[: max(0, limit)]


def _retry(opened: _Opened, run_id: str) -> None:
    from dbos import DBOS
    from dbos import error as dbos_errors

    from safelight.adapters.workflows.dbos_dispatch import APP_VERSION, BULK, NOBODY

    party = _run(_dead_status(run_id)).party
    recorded = DBOS.list_workflow_steps(run_id)
    failed = next((step["function_id"] for step in recorded if step["error"] is not None), None)
    begin_at = failed if failed is not None else max((step["function_id"] for step in recorded), default=0) + 1
    try:
        # Not urgent: who retries thousands at once is to keep nobody waiting.
        DBOS.rewind_workflow(
            run_id,
            start_step=begin_at,
            queue_name=BULK,
            queue_partition_key=party or NOBODY,
            application_version=APP_VERSION,
        )
    except dbos_errors.DBOSException:
        # Somebody else was faster: say what it is now, unless it is dead still, which would be a fault of the engine.
        _dead_status(run_id)
        raise
    opened.dispatcher.kick()


def _discard(run_id: str) -> None:
    from dbos import DBOS

    _dead_status(run_id)
    DBOS.delete_workflow(run_id)


def _prune(before: datetime) -> int:
    from dbos import DBOS

    finished = DBOS.list_workflows(
        status=["SUCCESS", "CANCELLED"],
        completed_before=before.isoformat(),
        limit=PRUNED_AT_ONCE,
        load_input=False,
        load_output=False,
    )
    if finished:
        DBOS.delete_workflows([run.workflow_id for run in finished])
    return len(finished)


def _run(status: WorkflowStatus) -> Run:
    flow, payload, *more = status.input["args"] if status.input else ("", "{}")
    begun = max(1, status.recovery_attempts or 0)
    data = getattr(status.error, "data", None)
    data = data if isinstance(data, dict) else {}
    tries = data.get("tries")
    error = None if status.error is None else str(status.error)
    if status.status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
        error = "Given up: the run could not be begun."
    return Run(
        id=status.workflow_id,
        flow=flow,
        payload=json.loads(payload),
        state=_STATES[status.status],
        created_at=_when(status.created_at) or datetime.fromtimestamp(0, UTC),
        updated_at=_when(status.updated_at) or datetime.fromtimestamp(0, UTC),
        attempts=int(tries) if tries is not None else begun,
        error=error,
        party=str(more[0]) if more else "",
        log=tuple(map(str, data.get("log", ()))),
    )


def _when(epoch_ms: int | None) -> datetime | None:
    return None if epoch_ms is None else datetime.fromtimestamp(epoch_ms / 1000, UTC)
