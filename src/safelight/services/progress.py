"""Progress: what the steps of the flows tell of themselves, and following the journal as it grows.

Telling: each try of a step leaves entries in the journal, before it begins and before the engine records it as finished, so that
the journal has them in their order with what the step itself tells; a crash in between tells it twice. What comes up while a
transaction is under way goes out in the next, together: a busy process does not commit once for each.

Following: whoever watches has a place in the journal, which is all that a stream is. Each process reads on once for all its
streams of a tenant and keeps the newest entries at hand; who is further behind, because it resumes or is slow, reads its own way
through the journal until it has caught up. So a stream goes on in any process, and none holds more than others need.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Final

import structlog

from safelight.domain import access
from safelight.domain.accounts import Actor, Role
from safelight.domain.ids import ImageId, TenantId, UserId
from safelight.domain.journal import Entry, Numbered, StepNote
from safelight.errors import Busy, Missing, SafelightError, TooManyStreams
from safelight.observability import Instruments
from safelight.ports.catalog import Catalog
from safelight.services.apart import apart

log = structlog.get_logger()

StepFunction = Callable[[Mapping[str, Any]], Awaitable[None]]

AT_HAND: Final = 1000
"""Entries of a tenant that are kept in memory while somebody follows it."""
PAGE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """How many streams at once, how often to read on for them, in seconds, and for how many days the journal is kept."""

    streams: int
    per_user: int
    every_s: float = 1.0
    kept: timedelta = timedelta(days=7)


@dataclass(slots=True)
class _Channel:
    """One tenant that is followed here. All that is behind `floor` and not behind `seen` is in `entries`."""

    floor: int
    seen: int
    streams: int = 0
    entries: deque[Numbered] = field(default_factory=deque)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, entries: list[Numbered]) -> None:
        """Read on, and wake everybody."""
        for one in entries:
            self.entries.append(one)
            self.seen = one.number
        while len(self.entries) > AT_HAND:
            self.floor = self.entries.popleft().number
        self.wake()

    def wake(self) -> None:
        rung, self.changed = self.changed, asyncio.Event()
        rung.set()

    def behind(self, number: int) -> list[Numbered]:
        """What is at hand behind that number, in order."""
        return list(takewhile(lambda one: one.number > number, reversed(self.entries)))[::-1]


@dataclass(frozen=True, slots=True)
class Progress:
    """One per process."""

    catalog: Catalog
    clock: Callable[[], datetime]
    instruments: Instruments
    limits: StreamLimits
    _waiting: dict[TenantId, list[tuple[Entry, asyncio.Future[None]]]] = field(default_factory=lambda: defaultdict(list))
    _channels: dict[TenantId, _Channel] = field(default_factory=dict)
    _users: Counter[UserId] = field(default_factory=Counter)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _nudged: asyncio.Event = field(default_factory=asyncio.Event)
    _closing: asyncio.Event = field(default_factory=asyncio.Event)

    # Telling

    def told(self, flow: str, step: str, function: StepFunction) -> StepFunction:
        """The step's function, telling of each try that it begins, and how that ends."""

        async def told(payload: Mapping[str, Any]) -> None:
            await self._put(payload, StepNote.STARTED, flow, step)
            try:
                await function(payload)
            except Exception as error:
                code = error.code if isinstance(error, SafelightError) else SafelightError.code
                await self._put(payload, StepNote.FAILED, flow, step, code)
                raise
            await self._put(payload, StepNote.DONE, flow, step)

        return told

    def _put(self, payload: Mapping[str, Any], note: StepNote, flow: str, step: str, code: str = "") -> asyncio.Future[None]:
        entry = Entry(
            image=ImageId(payload["image"]),
            owner=UserId(payload.get("owner", "")),
            name=note.value,
            at=self.clock(),
            version=int(payload.get("version", 0)),
            revision=int(payload.get("revision", 0)),
            flow=flow,
            step=step,
            code=code,
        )
        put: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[TenantId(payload["tenant"])].append((entry, put))
        self._run("tell", self._tell)
        return put

    async def _tell(self) -> None:
        while self._waiting:
            tenant, waiting = self._waiting.popitem()
            try:
                async with self.catalog.journal(tenant, writes=True) as journal:
                    for entry, _ in waiting:
                        await journal.add(entry)
            except Missing:
                log.info("progress.tenant_gone", tenant=tenant)
            except Exception:
                # The work itself is not to fail for want of a word about it; its outcome is an event in its own transaction.
                log.exception("progress.not_told", entries=len(waiting))
            for _, put in waiting:
                if not put.done():
                    put.set_result(None)
        self._nudged.set()

    # Following

    @contextlib.contextmanager
    def place(self, actor: Actor) -> Iterator[None]:
        """Hold one of the streams of this process for the block. Raises Busy, TooManyStreams, Forbidden."""
        access.require(actor, "image.list")
        if self._closing.is_set() or self._users.total() >= self.limits.streams:
            raise Busy("This server has no stream left.", retry_after_s=5)
        if self._users[actor.user] >= self.limits.per_user:
            raise TooManyStreams(retry_after_s=5)
        self._users[actor.user] += 1
        self.instruments.streams.inc()
        try:
            yield
        finally:
            self.instruments.streams.dec()
            self._users[actor.user] -= 1
            if not self._users[actor.user]:
                del self._users[actor.user]

    async def follow(
        self, actor: Actor, *, image: ImageId | None = None, after: int | None = None, beat_s: float = 15.0
    ) -> AsyncGenerator[Numbered | None, None]:
        """Entries behind a number as they come to be, None whenever nothing has come for so long; ends when the process closes.

        Of the tenant for its admins, of the actor's own images for others, or of one image, which the caller has admitted.
        Without a number: from now on, or from the first that is kept of one image.
        """
        owner = actor.user if image is None and actor.role is Role.USER else None
        async with self._followed(actor.tenant) as channel:
            async with self.catalog.journal(actor.tenant) as journal:
                last = await journal.last()
            # A number that was never given, in another catalog for instance, must not make deaf.
            at = min(after, last) if after is not None else 0 if image is not None else last
            while not self._closing.is_set():
                changed, seen, is_behind = channel.changed, channel.seen, at < channel.floor
                entries = await self._page(actor.tenant, at, owner, image) if is_behind else channel.behind(at)
                for one in entries:
                    at = one.number
                    if owner in (None, one.entry.owner) and image in (None, one.entry.image):
                        yield one
                if is_behind and len(entries) == PAGE:
                    continue
                at = max(at, seen)  # what is not behind it and was not among these is not for us
                if changed is channel.changed:
                    try:
                        async with asyncio.timeout(beat_s):
                            await changed.wait()
                    except TimeoutError:
                        yield None

    async def sweep(self) -> int:
        """Forget what is older than the journal is kept; how many entries."""
        async with self.catalog.directory() as directory:
            tenants = await directory.tenants()
        swept = 0
        for tenant in tenants:
            gone = 1
            with apart("sweep_journal", tenant.id):
                while gone:
                    async with self.catalog.journal(tenant.id, writes=True) as journal:
                        gone = await journal.sweep(self.clock() - self.limits.kept)
                    swept += gone
        if swept:
            log.info("journal.swept", entries=swept)
        return swept

    async def open(self) -> None:
        """Streams may begin."""
        self._closing.clear()

    async def close(self) -> None:
        """End every stream, and tell what is still to be told."""
        self.drain()
        reading = self._tasks.pop("read", None)
        if reading is not None:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
        while "tell" in self._tasks:
            await asyncio.wait([self._tasks["tell"]])

    def drain(self) -> None:
        """End every stream, and begin none: their clients find another process."""
        self._closing.set()
        for channel in self._channels.values():
            channel.wake()

    @contextlib.asynccontextmanager
    async def _followed(self, tenant: TenantId) -> AsyncIterator[_Channel]:
        if tenant not in self._channels:
            async with self.catalog.journal(tenant) as journal:
                last = await journal.last()
            self._channels.setdefault(tenant, _Channel(floor=last, seen=last))
        channel = self._channels[tenant]
        channel.streams += 1
        self._run("read", self._read)
        try:
            yield channel
        finally:
            channel.streams -= 1
            if not channel.streams:
                del self._channels[tenant]

    async def _read(self) -> None:
        while self._channels:
            self._nudged.clear()
            for tenant, channel in list(self._channels.items()):
                try:
                    while entries := await self._page(tenant, channel.seen, None, None):
                        channel.take(entries)
                except Exception:
                    log.exception("progress.not_read")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.limits.every_s):
                    await self._nudged.wait()

    async def _page(self, tenant: TenantId, after: int, owner: UserId | None, image: ImageId | None) -> list[Numbered]:
        async with self.catalog.journal(tenant) as journal:
            return await journal.after(after, owner=owner, image=image, limit=PAGE)

    def _run(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """See that there is one task that does this, now and until it finds nothing more to do."""
        if name in self._tasks:
            return

        async def done() -> None:
            try:
                await work()
            finally:
                self._tasks.pop(name, None)

        self._tasks[name] = asyncio.get_running_loop().create_task(done(), name=f"progress {name}")
