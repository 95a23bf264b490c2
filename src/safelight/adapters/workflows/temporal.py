"""Workflows on a Temporal server, for installations that run one already or that outgrow their database.

`TemporalWorkflows` is the port: what callers ask. `temporal_run` is the workflow that Temporal keeps, `temporal_steps` runs its steps
here, `places` decides whose turn it is among those that the server has handed out. Everything but the workflow code itself runs on
the event loop that called `open`.

What Temporal's lists show lags behind what happens by a moment: a run that died just now, or was mended, may not be told by `dead`
until then. Questions about one run are answered as it is.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

import structlog

from safelight.adapters.workflows.patience import told
from safelight.errors import BackendUnavailable, BadField, BadOption, Missing, WrongState
from safelight.flows import Bound
from safelight.ports.workflows import Letters, Run, RunState, StepRun

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowExecution, WorkflowExecutionDescription
    from temporalio.runtime import Runtime

    from safelight.adapters.workflows.temporal_steps import Crew

log = structlog.get_logger(__name__)

T = TypeVar("T")

KEEP: Final = timedelta(days=7)
"""How long finished runs are kept, where the namespace keeps them so long."""

ANSWER_S: Final = 8.0
"""One question; then the server counts as away."""
CONNECT_S: Final = 10.0
POLL: Final = timedelta(seconds=70)
"""A worker's question for work waits at the server for a minute."""
CLOSE_S: Final = 2.0
"""Beyond the grace period, for the server to take note of what was handed back."""

_MOST_KEY_BYTES: Final = 64
"""Of a fairness key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalOptions:
    """Where the server is, and who asks.

    Args:
        address: host:port of its frontend.
        namespace: An existing one.
        queue: Of this installation: its task queues and the ids of its runs begin with it.
        has_tls: Whether to speak TLS.
        ca: PEM file of who signed the server's certificate; None for those that the system trusts.
        certificate: PEM file of the client's own certificate, with `key`, where the server asks for one.
        key: PEM file of its private key.
        api_key: Where the server asks for one (Temporal Cloud).

    """

    address: str
    namespace: str = "default"
    queue: str = "safelight"
    has_tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    api_key: str = ""

    @classmethod
    def from_url(cls, url: str, **more: Any) -> TemporalOptions:
        """temporal://host:7233/namespace, or temporals:// with TLS. Raises BadOption."""
        parts = urlsplit(url)
        namespace = unquote(parts.path.strip("/")) or "default"
        try:
            port = parts.port or 7233
        except ValueError:
            port = 0
        if parts.scheme not in ("temporal", "temporals") or not parts.hostname or "/" in namespace or not port:
            raise BadOption("Workflows on Temporal are kept at temporal://host:7233/namespace, or temporals:// with TLS.")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(address=f"{host}:{port}", namespace=namespace, has_tls=parts.scheme == "temporals", **more)

    async def connect(self) -> Client:
        """Raises BackendUnavailable, and BadOption for a certificate that cannot be read."""
        from temporalio.client import Client, TLSConfig

        if (self.certificate is None) != (self.key is None):
            raise BadOption("A client certificate needs its key, and a key its certificate.")
        if not self.has_tls and (self.api_key or self.certificate or self.ca):
            raise BadOption("Keys and certificates are for TLS: say temporals:// in SAFELIGHT_WORKFLOWS__URL.")
        try:
            pem = {name: path.read_bytes() if path else None for name, path in self._files.items()}
        except OSError as error:
            raise BadOption(f"{error.filename} cannot be read: {error.strerror}.") from None
        tls = TLSConfig(server_root_ca_cert=pem["ca"], client_cert=pem["certificate"], client_private_key=pem["key"])
        try:
            async with asyncio.timeout(CONNECT_S):
                return await Client.connect(
                    self.address,
                    namespace=self.namespace,
                    api_key=self.api_key or None,
                    tls=tls if self.has_tls else False,
                    runtime=_runtime(os.getpid()),
                )
        except (RuntimeError, TimeoutError) as error:
            log.error("workflows.connect_failed", address=self.address, error=told(error))
            raise BackendUnavailable(
                f"The Temporal server at {self.address} (SAFELIGHT_WORKFLOWS__URL) does not answer."
            ) from None

    @property
    def _files(self) -> dict[str, Path | None]:
        return {"ca": self.ca, "certificate": self.certificate, "key": self.key}


@dataclass(frozen=True, slots=True)
class Namespace:
    """What an operator wants to know of it."""

    retention: timedelta
    is_prepared: bool
    """It knows the attribute that dead letters are listed by."""


async def look_at(options: TemporalOptions) -> Namespace:
    """The namespace as it is; nothing is changed. Raises BackendUnavailable, BadOption."""
    return await _asked(_look(await options.connect()))


async def prepare(options: TemporalOptions) -> None:
    """Make the namespace ready for runs. Raises BackendUnavailable, BadOption."""
    await _asked(_prepared(await options.connect()))


async def processes_at_work(options: TemporalOptions) -> int:
    """How many processes asked for work of this queue within the last minute and a bit: so long an answer may take to come."""
    from temporalio.api.enums.v1 import TaskQueueType
    from temporalio.api.taskqueue.v1 import TaskQueue
    from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

    client = await options.connect()
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=options.queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
    )
    answer = await _asked(client.workflow_service.describe_task_queue(request))
    since = datetime.now(UTC) - POLL
    return len({it.identity for it in answer.pollers if it.last_access_time.ToDatetime(tzinfo=UTC) > since})


class TemporalWorkflows:
    """Durable runs on a Temporal server.

    `attempts` of a run: for a dead one, how often the step that failed was tried (or, when processes kept ending under it, how often
    that was); for any other, how often it was begun, 1 unless a process was lost.

    Args:
        options: Where the server is.
        bound: The flows and their functions; these run on the event loop that called `open`.
        concurrency: Runs in flight in this process at once, at least 1.
        grace_s: How long `close` lets steps finish, in seconds.
        per_party: Runs of one party in flight in this process at once; None for any number.
        lost_s: A process that gave no sign of life for so many seconds is taken for dead, and its runs are taken up elsewhere.
        max_recoveries: How often one step is taken up again after a process was lost under it; then the run is dead.

    """

    def __init__(
        self,
        options: TemporalOptions,
        bound: Bound,
        *,
        concurrency: int,
        grace_s: float = 20.0,
        per_party: int | None = None,
        lost_s: float = 15.0,
        max_recoveries: int = 5,
    ) -> None:
        if concurrency < 1:
            raise BadOption("Workflows need a concurrency of at least 1.")
        self._options = options
        self._bound = bound
        self._concurrency = concurrency
        self._per_party = per_party or concurrency
        self._grace_s = grace_s
        self._lost_s = lost_s
        self._max_recoveries = max_recoveries
        self._opened: tuple[Client, Crew] | None = None

    async def open(self) -> None:
        """Take part in the work. Open already: nothing happens. Raises BackendUnavailable, and BadOption for what is not prepared."""
        if self._opened is not None:
            return
        # Here and not on top, because it takes a moment that a command without workflows need not wait.
        from safelight.adapters.workflows.temporal_steps import Crew

        client = await self._options.connect()
        await _asked(_prepared(client))
        crew = Crew(
            client,
            self._options.queue,
            self._bound,
            concurrency=self._concurrency,
            per_party=self._per_party,
            lost_s=self._lost_s,
            grace_s=self._grace_s,
        )
        crew.begin()
        self._opened = client, crew
        log.info("workflows.opened", concurrency=self._concurrency, address=self._options.address)

    async def close(self) -> None:
        """Take no new work, let steps finish within the grace period, hand the rest back. Closed already: nothing happens."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        _, crew = opened
        try:
            async with asyncio.timeout(self._grace_s + CLOSE_S):
                await crew.close()
        except TimeoutError:
            # The server is away, or a step is: its runs are taken up elsewhere once we have gone without a word.
            log.warning("workflows.close_unfinished")
        log.info("workflows.closed")

    async def ping(self) -> None:
        """Ask the server for the namespace. Raises BackendUnavailable, also while a worker was turned away."""

        async def question(client: Client, crew: Crew) -> None:
            await _describe_namespace(client)
            if not crew.is_whole:
                raise BackendUnavailable("The Temporal server turned a worker away.")

        await self._ask(question)

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
        """Run the flow once under this id; with the server when this returns. The same id again, also after its end, changes nothing.

        An urgent run begins here at once while there is room, else before all that is not urgent.
        Raises Missing for an unknown flow, BadField for a payload that is not JSON, an empty id or what the server finds too long.
        """
        if flow not in self._bound.flows:
            raise Missing(f"There is no flow {flow}.")
        if not run_id.strip():
            raise BadField("A run needs an id.")
        try:
            text = json.dumps(dict(payload), separators=(",", ":"))
        except (TypeError, ValueError):
            raise BadField("The payload of a run is a JSON object.") from None

        async def question(client: Client, crew: Crew) -> None:
            await self._started(client, crew, flow, run_id, text, is_urgent=is_urgent, party=party, after_s=after_s)

        await self._ask(question)

    async def get(self, run_id: str) -> Run:
        """The run. Raises Missing."""

        async def question(client: Client, crew: Crew) -> Run:
            found = await self._described(client, run_id)
            return await self._run(found, _state(found, has_begun=crew.places.has_begun(run_id)))

        return await self._ask(question)

    async def steps(self, run_id: str) -> Sequence[StepRun]:
        """Its finished steps in order, the one that failed last; empty for an unknown run."""
        from temporalio.client import WorkflowHistory

        async def question(client: Client, _: Crew) -> list[StepRun]:
            try:
                await self._described(client, run_id)
            except Missing:
                return []
            history: WorkflowHistory = await client.get_workflow_handle(self._id(run_id)).fetch_history()
            return _steps(history.events)

        return await self._ask(question)

    async def dead(self, which: Letters = Letters(), *, limit: int = 100) -> Sequence[Run]:  # noqa: B008  (frozen)
        """These dead letters, those started last first. The server is asked by pages until there are enough."""

        async def question(client: Client, _: Crew) -> list[Run]:
            found: list[Run] = []
            if limit > 0:
                async for one in client.list_workflows(
                    f"{self._ours} AND ExecutionStatus = 'Running' AND SafelightState = 'dead'"
                ):
                    run = await self._run(one, RunState.DEAD)
                    if which.takes(run):
                        found.append(run)
                        if len(found) >= limit:
                            break
            return found

        return await self._ask(question, within_s=ANSWER_S * 3)

    async def retry(self, run_id: str) -> None:
        """Run a dead one again from the step that failed, under the same id. Raises Missing, WrongState when it is not dead."""
        await self._mend(run_id, "retry")

    async def discard(self, run_id: str) -> None:
        """Forget a dead one; its id is free again. Raises Missing, WrongState."""
        await self._mend(run_id, "discard")

    async def prune(self, older_than: timedelta = KEEP) -> int:
        """Have the server forget runs that ended so long ago, which it does in its own time; dead letters stay. Returns how many.

        What it keeps no longer anyway (the namespace's retention) is gone without this.
        """
        before = (datetime.now(UTC) - older_than).isoformat()

        async def question(client: Client, _: Crew) -> int:
            count = 0
            async for one in client.list_workflows(f"{self._ours} AND ExecutionStatus != 'Running' AND CloseTime <= '{before}'"):
                count += await _deleted(client, one)
            return count

        pruned = await self._ask(question, within_s=600.0)
        log.info("workflows.pruned", count=pruned)
        return pruned

    async def _ask(self, question: Callable[[Client, Crew], Awaitable[T]], *, within_s: float = ANSWER_S) -> T:
        """What the driver raises becomes BackendUnavailable."""
        if self._opened is None:
            raise BackendUnavailable("The workflow engine is closed.")
        from temporalio.exceptions import TemporalError
        from temporalio.service import RPCError

        try:
            async with asyncio.timeout(within_s):
                return await question(*self._opened)
        except (RPCError, TemporalError, TimeoutError) as error:
            log.error("workflows.backend_failed", error=told(error))
            raise BackendUnavailable("The workflow engine does not answer.") from None

    def _id(self, run_id: str) -> str:
        return f"{self._options.queue}/{run_id}"

    @property
    def _ours(self) -> str:
        from safelight.adapters.workflows.temporal_run import TYPE

        return f"WorkflowType = '{TYPE}' AND TaskQueue = '{self._options.queue}'"

    async def _started(
        self, client: Client, crew: Crew, flow: str, run_id: str, text: str, *, is_urgent: bool, party: str, after_s: float
    ) -> None:
        from temporalio.common import Priority, WorkflowIDReusePolicy
        from temporalio.exceptions import WorkflowAlreadyStartedError
        from temporalio.service import RPCError, RPCStatusCode

        from safelight.adapters.workflows.temporal_run import BULK, PICKED_UP_S, URGENT, Order, Plan, RunFlow

        place = crew.places.reserve(run_id, party, for_s=PICKED_UP_S) if is_urgent and after_s <= 0 else None
        key = _fairness_key(party)
        order = Order(
            queue=self._options.queue,
            plan=[
                Plan(it.name, it.retry.attempts, it.retry.first_wait_s, it.retry.backoff, it.timeout_s)
                for it in self._bound.flows[flow].steps
            ],
            fairness_key=key,
            is_urgent=is_urgent,
            lost_s=self._lost_s,
            max_recoveries=self._max_recoveries,
            here=crew.here if place is not None else "",
        )
        try:
            await client.start_workflow(
                RunFlow.run,
                order,
                id=self._id(run_id),
                task_queue=self._options.queue,
                memo={"flow": flow, "payload": text, "party": party},
                # A discarded run has failed; one that is done, is at work or is dead keeps its id.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                start_delay=timedelta(seconds=after_s) if after_s > 0 else None,
                request_eager_start=place is not None,
                priority=Priority(priority_key=URGENT if is_urgent else BULK, fairness_key=key),
            )
        except BaseException as error:
            if place is not None:
                crew.places.free(place)
            if isinstance(error, WorkflowAlreadyStartedError):
                return
            if isinstance(error, RPCError) and error.status is RPCStatusCode.INVALID_ARGUMENT:
                raise BadField(f"Temporal refuses the run: {error.message}.") from None
            raise

    async def _described(self, client: Client, run_id: str) -> WorkflowExecutionDescription:
        from temporalio.client import WorkflowExecutionStatus
        from temporalio.service import RPCError, RPCStatusCode

        try:
            found = await client.get_workflow_handle(self._id(run_id)).describe()
        except RPCError as error:
            if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                raise Missing(f"There is no run {run_id}.") from None
            raise
        if found.status is WorkflowExecutionStatus.FAILED:  # discarded
            raise Missing(f"There is no run {run_id}.")
        return found

    async def _mend(self, run_id: str, how: str) -> None:
        from temporalio.client import WorkflowUpdateFailedError
        from temporalio.service import RPCError, RPCStatusCode

        async def question(client: Client, crew: Crew) -> None:
            found = await self._described(client, run_id)
            state = _state(found, has_begun=crew.places.has_begun(run_id))
            if state is not RunState.DEAD:
                raise WrongState(f"The run is {state}, not dead.")
            try:
                await client.get_workflow_handle(self._id(run_id), run_id=found.run_id).execute_update(how)
            except WorkflowUpdateFailedError:
                raise WrongState("The run is not dead any more.") from None
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                raise WrongState("The run is not dead any more.") from None

        await self._ask(question)

    async def _run(self, found: WorkflowExecution, state: RunState) -> Run:
        memo = await found.memo()
        died_at = memo.get("died_at")
        is_dead = state is RunState.DEAD
        updated_at = datetime.fromisoformat(died_at) if died_at else found.close_time or _last_begun(found) or found.start_time
        return Run(
            id=found.id.removeprefix(f"{self._options.queue}/"),
            flow=str(memo.get("flow", "")),
            payload=json.loads(memo.get("payload", "{}")),
            state=state,
            created_at=found.start_time,
            updated_at=updated_at,
            attempts=int(memo["tries"]) if is_dead and memo.get("tries") else 1 + int(memo.get("lost") or 0),
            error=memo.get("error") if is_dead else None,
            party=str(memo.get("party", "")),
            log=tuple(memo.get("log") or ()) if is_dead else (),
        )


@functools.cache
def _runtime(pid: int) -> Runtime:
    """One for each process, since its threads do not survive a fork; its words go through the application's handlers."""
    from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

    logger = logging.getLogger("temporalio.core")
    logs = LoggingConfig(TelemetryFilter(core_level="ERROR", other_level="ERROR"), forwarding=LogForwardingConfig(logger))
    return Runtime(telemetry=TelemetryConfig(logging=logs))


async def _describe_namespace(client: Client) -> Any:
    from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

    return await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))


async def _asked(question: Awaitable[T]) -> T:
    """Outside an open engine. Raises BackendUnavailable, and BadOption for what only an operator can mend."""
    from temporalio.service import RPCError, RPCStatusCode

    try:
        async with asyncio.timeout(CONNECT_S):
            return await question
    except TimeoutError:
        raise BackendUnavailable("The Temporal server does not answer.") from None
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise BadOption("The Temporal server has no namespace of the name in SAFELIGHT_WORKFLOWS__URL.") from None
        if error.status in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED):
            raise BadOption(f"The Temporal server refuses us: {error.message}.") from None
        log.error("workflows.open_failed", error=told(error))
        raise BackendUnavailable("The Temporal server does not answer.") from None


async def _look(client: Client) -> Namespace:
    from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest

    from safelight.adapters.workflows.temporal_run import STATE

    described = await _describe_namespace(client)
    known = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=client.namespace))
    retention: timedelta = described.config.workflow_execution_retention_ttl.ToTimedelta()
    return Namespace(retention, STATE.name in known.custom_attributes)


async def _prepared(client: Client) -> None:
    from temporalio.api.enums.v1 import IndexedValueType
    from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
    from temporalio.service import RPCError, RPCStatusCode

    from safelight.adapters.workflows.temporal_run import STATE

    namespace = await _look(client)
    if namespace.retention < KEEP:
        # Told, not refused: an event that comes again after that starts its run again, which each step must stand.
        log.warning("workflows.short_retention", days=namespace.retention.days, wanted_days=KEEP.days)
    if namespace.is_prepared:
        return
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    try:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes={STATE.name: keyword})
        )
    except RPCError as error:
        if error.status in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED):
            raise BadOption(
                "We may not prepare the namespace. Somebody who may adds what dead letters are listed by:"
                f" temporal operator search-attribute create --name {STATE.name} --type Keyword"
            ) from None
        if error.status is not RPCStatusCode.ALREADY_EXISTS:  # another process was faster
            raise


async def _deleted(client: Client, one: WorkflowExecution) -> int:
    from temporalio.api.common.v1 import WorkflowExecution as Which
    from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
    from temporalio.service import RPCError, RPCStatusCode

    which = Which(workflow_id=one.id, run_id=one.run_id)
    try:
        await client.workflow_service.delete_workflow_execution(
            DeleteWorkflowExecutionRequest(namespace=client.namespace, workflow_execution=which)
        )
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return 0
        raise
    return 1


def _fairness_key(party: str) -> str:
    """The party, or what stands for one with a long name."""
    return party if len(party.encode()) <= _MOST_KEY_BYTES else hashlib.sha256(party.encode()).hexdigest()


def _state(found: WorkflowExecutionDescription, *, has_begun: bool) -> RunState:
    from temporalio.client import WorkflowExecutionStatus

    from safelight.adapters.workflows.temporal_run import BEGUN, STATE
    from safelight.adapters.workflows.temporal_steps import RUNS

    if found.status is WorkflowExecutionStatus.COMPLETED:
        return RunState.DONE
    if found.status is not WorkflowExecutionStatus.RUNNING:
        return RunState.CANCELLED
    if found.typed_search_attributes.get(STATE) is not None:
        return RunState.DEAD
    pending = found.raw_description.pending_activities
    if not pending:
        # Not begun, or between two tries or two steps; the history of one that was only started has five events at most.
        return RunState.RUNNING if has_begun or found.history_length > 5 else RunState.WAITING
    one = pending[0]
    says = [json.loads(it.data) for it in one.heartbeat_details.payloads]
    return RunState.RUNNING if has_begun or one.priority.priority_key == BEGUN or RUNS in says else RunState.WAITING


def _last_begun(found: WorkflowExecution) -> datetime | None:
    raw = getattr(found, "raw_description", None)
    times = (
        [it.last_started_time.ToDatetime(tzinfo=UTC) for it in raw.pending_activities if it.HasField("last_started_time")]
        if raw
        else []
    )
    return max(times, default=None)


def _steps(events: Sequence[Any]) -> list[StepRun]:
    """What the history tells of the steps that are finished; a failure stands until the run is retried."""
    from temporalio.api.enums.v1 import EventType

    from safelight.adapters.workflows.temporal_run import GIVEN_UP

    names: dict[int, str] = {}
    began: dict[str, datetime] = {}
    finished: dict[str, StepRun] = {}
    for event in events:
        at = event.event_time.ToDatetime(tzinfo=UTC)
        match event.event_type:
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                one = event.activity_task_scheduled_event_attributes
                names[event.event_id] = name = one.activity_type.name.rpartition(".")[2]
                finished.pop(name, None)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
                began.setdefault(names[event.activity_task_started_event_attributes.scheduled_event_id], at)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                name = names[event.activity_task_completed_event_attributes.scheduled_event_id]
                finished[name] = StepRun(name=name, started_at=began.pop(name, None), ended_at=at)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED:
                failed = event.activity_task_failed_event_attributes
                if failed.failure.application_failure_info.type == GIVEN_UP:
                    name = names[failed.scheduled_event_id]
                    error = failed.failure.message
                    finished[name] = StepRun(name=name, started_at=began.pop(name, None), ended_at=at, error=error)
            case _:
                continue
    return list(finished.values())
