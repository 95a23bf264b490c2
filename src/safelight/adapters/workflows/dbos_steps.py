"""The steps of a run under DBOS: its workflow body, with the tries, the rests and the way out when the process closes.

DBOS calls `run` in one of its threads; the steps themselves are coroutines of the application and run on its event loop, where
their connections live. Not the choice of what runs next: that is `dbos_dispatch`.

A run ends here in one of three ways: it returns (done), it raises Dead (a dead letter, on_dead has been called before), or it raises
Interrupted, which is no Exception and which DBOS therefore does not record: the run stays as it was and is taken up again.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import json
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

import sqlalchemy as sa
import structlog
from dbos import DBOS, PortableWorkflowError
from dbos import error as dbos_errors

from safelight.adapters.workflows.patience import ANNOUNCE, Notes, in_time, is_permanent, rest_s, told
from safelight.errors import Missing, SafelightError, by_code
from safelight.flows import Bound, Retry, Step

log = structlog.get_logger(__name__)


class Interrupted(BaseException):
    """The run stops here without an end: the process closes, or another one has taken the run over."""


class Dead(Exception):
    """The run is a dead letter. DBOS stores message, `code` and `data` as JSON; `tries` and `log` are read back by the adapter."""

    def __init__(self, cause: BaseException, tries: int, notes: Iterable[str] = ()) -> None:
        super().__init__(told(cause))
        self.cause = cause
        self.code = cause.code if isinstance(cause, SafelightError) else None
        self.data = {"tries": tries, "log": list(notes)}


class Steps:
    """Runs the steps of one process. Every method may be called from any thread."""

    def __init__(self, bound: Bound, loop: asyncio.AbstractEventLoop, *, max_recoveries: int) -> None:
        self._bound = bound
        self._loop = loop
        self._max_recoveries = max_recoveries
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._afoot: set[concurrent.futures.Future[None]] = set()
        self._is_abandoned = False
        self._taken_up: dict[str, int] = {}
        self.interrupted: set[str] = set()
        """Runs that left because this process closes; the others that left belong to somebody else by now."""

    def stop(self) -> None:
        """Begin no further step, rest no longer; steps afoot go on."""
        self._stopping.set()

    def abandon(self) -> None:
        """Cancel the steps that are still afoot. Their runs leave at once, even where a step does not listen."""
        self._stopping.set()
        with self._lock:
            self._is_abandoned = True
            afoot = list(self._afoot)
        for future in afoot:
            future.cancel()

    def note_taken_up(self, run_id: str, times: int) -> None:
        """The run that is about to begin has been begun so often, this time included."""
        if times > 1:
            self._taken_up[run_id] = times

    def run(self, run_id: str, flow_name: str, payload: str) -> None:
        """The workflow body. Raises Dead, or Interrupted."""
        taken_up = self._taken_up.pop(run_id, 1)
        try:
            self._run(run_id, flow_name, payload, taken_up)
        except Interrupted:
            if self._stopping.is_set():
                self.interrupted.add(run_id)
            raise
        except dbos_errors.DBOSWorkflowConflictIDError:
            # This process was taken for dead (stopped for long, say) and the run was adopted; DBOS refused our write.
            log.warning("workflows.run_lost", run_id=run_id, flow=flow_name)
            raise Interrupted from None
        except sa.exc.SQLAlchemyError as error:
            # The engine's own store failed, which says nothing about the step: the dispatcher takes the run up again.
            log.error("workflows.store_failed", run_id=run_id, flow=flow_name, error=told(error))
            raise Interrupted from None

    def _run(self, run_id: str, flow_name: str, payload: str, taken_up: int) -> None:
        try:
            if taken_up > self._max_recoveries + 1:
                times = taken_up - 1
                raise Dead(SafelightError(f"Given up: the process ended {times} times while this was running."), times)
            flow = self._bound.flows.get(flow_name)
            if flow is None:
                raise Dead(Missing(f"There is no flow {flow_name}."), 1)
            notes = Notes()
            for step in flow.steps:
                if self._stopping.is_set():
                    raise Interrupted
                DBOS.run_step({"name": step.name}, self._step, run_id, flow_name, step, payload, notes)
        except sa.exc.SQLAlchemyError:
            raise
        except Exception as error:
            # A replay of a recorded failure (the process ended between the step and the end of its run) has lost its type.
            cause = (
                error.cause
                if isinstance(error, Dead)
                else by_code(str(error.code or ""), error.message)
                if isinstance(error, PortableWorkflowError)
                else error
            )
            self._announce(run_id, flow_name, payload, cause)
            raise

    def _step(self, run_id: str, flow_name: str, step: Step, payload: str, notes: Notes) -> None:
        """All tries of one step; one record in DBOS. Raises Dead, or Interrupted."""
        function = self._bound.functions[f"{flow_name}.{step.name}"]
        # Each try gets a fresh copy, so a step that changes the payload changes it for nobody else.
        self._try(
            lambda: in_time(lambda: function(json.loads(payload)), step, notes),
            step.retry,
            {"run_id": run_id, "flow": flow_name, "step": step.name},
            "workflows.step_failed",
            notes,
        )

    def _announce(self, run_id: str, flow_name: str, payload: str, cause: BaseException) -> None:
        """Tell `on_dead` before the end is recorded: a crash in between tells it twice, never not at all."""
        log.error("workflows.run_dead", run_id=run_id, flow=flow_name, error=told(cause))
        try:
            self._try(
                lambda: self._bound.on_dead(flow_name, json.loads(payload), cause),
                ANNOUNCE,
                {"run_id": run_id, "flow": flow_name},
                "workflows.on_dead_failed",
                Notes(),
            )
        except Dead as error:
            log.error("workflows.on_dead_given_up", run_id=run_id, flow=flow_name, error=str(error))

    def _try(self, call: Callable[[], Awaitable[None]], retry: Retry, context: dict[str, str], event: str, notes: Notes) -> None:
        tries = 0
        while True:
            tries += 1
            try:
                self._on_loop(call, context)
            except Exception as error:
                notes.add("try failed", step=context.get("step", ""), tries=tries, error=told(error))
                if is_permanent(error) or tries >= retry.attempts:
                    raise Dead(error, tries, notes) from error
                rest = rest_s(retry, tries)
                log.warning(event, **context, tries=tries, rest_s=rest, error=told(error))
                if self._stopping.wait(rest):
                    raise Interrupted from None
            else:
                return

    def _on_loop(self, call: Callable[[], Awaitable[None]], context: dict[str, str]) -> None:
        """Do it on the application's loop and wait here for its end. Raises Interrupted when it was cancelled."""

        async def called() -> None:
            structlog.contextvars.bind_contextvars(**context)
            await call()

        future = self._submitted(called())
        try:
            future.result()
        except (concurrent.futures.CancelledError, asyncio.CancelledError):
            raise Interrupted from None
        finally:
            with self._lock:
                self._afoot.discard(future)

    def _submitted(self, coroutine: Coroutine[Any, Any, None]) -> concurrent.futures.Future[None]:
        with self._lock:
            if self._is_abandoned:
                coroutine.close()
                raise Interrupted
            try:
                # An empty context: what DBOS keeps in ours (it is inside a workflow) must not leak into the application's task.
                future = contextvars.Context().run(asyncio.run_coroutine_threadsafe, coroutine, self._loop)
            except RuntimeError:
                # The loop is closed under us: the application ended without closing the engine.
                coroutine.close()
                raise Interrupted from None
            self._afoot.add(future)
            return future
