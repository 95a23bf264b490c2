"""STARTS: which event starts which flow; CLOCK: what runs when. A flow is a tuple of steps, each takes the event's payload and may run twice.

What the steps do is in the services; how often they are tried is here; who runs them is behind the Workflows port.
Step functions are bound by `wiring`, so this floor names them and the services do not know that they are steps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from safelight.domain.events import (
    AlbumCreated,
    AlbumDeleted,
    AlbumEdited,
    EndpointDisabled,
    ErasureRequested,
    Event,
    ImageAccepted,
    ImageDamaged,
    ImageEdited,
    ImageFailed,
    ImageNarrowed,
    ImagePurged,
    ImageReady,
    ImageRedeveloping,
    ImageRejected,
    ImageReplaced,
    ImageRestored,
    ImageTrashed,
    ImageUncached,
    ImportRequested,
    MailDue,
    UploadRejected,
)

StepFunction = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Takes the payload, tells nothing back: what a step found is in the catalog or the storage, keyed by the payload's ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a step is tried, and how long it rests between: first_wait_s * backoff ** n, when the error is transient."""

    attempts: int = 5
    first_wait_s: float = 0.5
    backoff: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: a name (part of the run's history, never renamed) and its patience.

    A try is broken off, and counts as failed, after `timeout_s` seconds, and after `heartbeat_s` without a sign of life
    (`concurrency.beat`) where that is given. Work waits for places inside its step, so a timeout is for what hangs, not for what
    is slow.
    """

    name: str
    retry: Retry = Retry()
    timeout_s: float = 3600.0
    heartbeat_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Steps in order."""

    name: str
    steps: tuple[Step, ...]


# A call to a store or a database ends by itself within the minutes of its own settings; what takes longer than these hangs.
_INDEX: Final = Step(name="index", timeout_s=900.0)
DEVELOP: Final = Flow(name="develop", steps=(Step(name="develop", heartbeat_s=900.0), _INDEX))
REINDEX_ONE: Final = Flow(name="index", steps=(_INDEX,))
HIDE: Final = Flow(name="hide", steps=(_INDEX, Step(name="mark", timeout_s=900.0)))
PURGE: Final = Flow(name="purge", steps=(Step(name="forget", timeout_s=900.0), Step(name="erase")))
# Short patience: a run that rests keeps a place from pictures. What is left when the mail server is down is taken up again by
# the chore `resend_mail` as soon as that answers.
MAIL: Final = Flow(
    name="mail", steps=(Step(name="send", retry=Retry(attempts=4, first_wait_s=1.0, backoff=3.0), timeout_s=900.0),)
)
# The rests add up to two minutes: a source that is down is said to be unreachable after one (services.imports), so that what
# becomes a dead letter is a fault of ours.
_FETCH: Final = Step(name="fetch", retry=Retry(attempts=6, first_wait_s=1.0, backoff=3.0), timeout_s=7200.0, heartbeat_s=600.0)
IMPORT: Final = Flow(name="import", steps=(_FETCH,))
# Patience of days: whoever is to be erased is not left half erased since a store was down for an hour.
_DAYS: Final = Retry(attempts=12, first_wait_s=1.0, backoff=3.0)
ERASE: Final = Flow(
    name="erase",
    steps=(
        Step(name="note", retry=_DAYS),
        Step(name="images", retry=_DAYS, timeout_s=86400.0),
        Step(name="belongings", retry=_DAYS, timeout_s=86400.0),
        Step(name="account", retry=_DAYS),
        Step(name="certify", retry=_DAYS),
    ),
)

ERASE_TENANT: Final = Flow(
    name="erase_tenant",
    steps=(
        Step(name="note", retry=_DAYS, timeout_s=86400.0),
        Step(name="images", retry=_DAYS, timeout_s=86400.0),
        Step(name="belongings", retry=_DAYS, timeout_s=86400.0),
        Step(name="people", retry=_DAYS, timeout_s=86400.0),
        Step(name="caches", retry=Retry(attempts=100, first_wait_s=1.0, backoff=1.5)),
        Step(name="record", retry=_DAYS),
        Step(name="certify", retry=_DAYS, timeout_s=86400.0),
    ),
)

# A page of images that are made ahead of who asks; what it waits for is room, and each rendition has a time of its own.
WARM: Final = Flow(name="warm", steps=(Step(name="page", timeout_s=86400.0, heartbeat_s=600.0),))
BAKE: Final = Flow(name="bake", steps=(Step(name="bake", timeout_s=86400.0, heartbeat_s=600.0),))
UNCACHE: Final = Flow(name="uncache", steps=(Step(name="note"),))

FLOWS: Final[dict[str, Flow]] = {
    flow.name: flow for flow in (DEVELOP, REINDEX_ONE, HIDE, PURGE, MAIL, IMPORT, ERASE, ERASE_TENANT, UNCACHE, WARM, BAKE)
}

STARTS: Final[dict[type[Event], Flow]] = {
    ImageAccepted: DEVELOP,
    ImageReplaced: DEVELOP,
    ImageRedeveloping: DEVELOP,
    ImageEdited: REINDEX_ONE,
    ImageTrashed: HIDE,
    ImageRestored: HIDE,
    ImagePurged: PURGE,
    ImageNarrowed: UNCACHE,
    MailDue: MAIL,
    ImportRequested: IMPORT,
    ErasureRequested: ERASE,
}

QUIET: Final[frozenset[type[Event]]] = frozenset(
    {
        ImageReady,
        ImageRejected,
        ImageFailed,
        ImageUncached,
        ImageDamaged,
        UploadRejected,
        AlbumCreated,
        AlbumEdited,
        AlbumDeleted,
        EndpointDisabled,
    }
)
"""Events that start no flow; every event is here or in STARTS, a test sees to it."""

CLOCK: Final[dict[str, float]] = {
    "purge_trash": 3600.0,
    "sample_usage": 600.0,
    "sweep_objects": 6 * 3600.0,
    "sweep_orphans": 6 * 3600.0,
    "expire_noncurrent": 24 * 3600.0,
    "abort_multipart": 24 * 3600.0,
    "prune_runs": 3600.0,
    "sweep_uploads": 60.0,
    "sweep_incoming": 6 * 3600.0,
    "resend_mail": 30.0,
    "sweep_sessions": 3600.0,
    "rotate_token_keys": 3600.0,
    "sweep_webhooks": 3600.0,
    "sweep_journal": 3600.0,
    "seal_trail": 1.0,
    "prune_trail": 24 * 3600.0,
    "anchor_trail": 3600.0,
    "reconcile": 3600.0,
    "scrub": 3600.0,
    "purge_caches": 2.0,
    "sweep_purges": 24 * 3600.0,
    "sweep_remote": 24 * 3600.0,
    "sweep_warmings": 24 * 3600.0,
    "redevelop": 1.0,
    "sweep_redevelopments": 24 * 3600.0,
    "erase_tenants": 60.0,
}
"""Chores that nobody asks for, and every how many seconds. Each may run twice at once: several processes keep the same clock."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The flows with the functions that do their steps: what an engine needs to run them."""

    flows: Mapping[str, Flow]
    functions: Mapping[str, StepFunction]
    on_dead: Callable[[str, Mapping[str, Any], BaseException], Awaitable[None]]
    """(flow, payload, error): called when a run becomes a dead letter; must not raise for a repeated call."""

    def __post_init__(self) -> None:
        wanted = {f"{flow.name}.{step.name}" for flow in self.flows.values() for step in flow.steps}
        if wanted != set(self.functions):
            raise ValueError(f"Step functions do not match the flows: {sorted(wanted ^ set(self.functions))}")
