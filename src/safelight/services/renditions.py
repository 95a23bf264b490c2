"""Renditions: the bytes under a key. From memory, this machine's disk, the store, or made now, once however many ask.

What is in the picture is no business of this module: a `Wanted` says how it is made. Called by `delivery`, and for what is made
before anybody asks, by `warmings` and `baking`.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from safelight.concurrency import ByteLru, Expiring, Gate, SingleFlight
from safelight.domain.ids import TenantId
from safelight.errors import DamagedObject, Missing, SafelightError
from safelight.imaging import Format
from safelight.observability import Instruments
from safelight.ports.shelf import Shelf
from safelight.ports.storage import Storage
from safelight.services.turns import Turns

log = structlog.get_logger()

_LARGEST_DRAFT_BYTES: Final = 256 * 1024

BakeLater = Callable[[TenantId, str, Mapping[str, str]], Awaitable[None]]
"""Starts the flow `bake` of a tenant for a key, with this payload."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A rendition: where it is kept, and how it is made where it is not."""

    key: str
    format: Format
    weight: int
    make: Callable[[], Awaitable[bytes]]
    prepare: Callable[[], Awaitable[None]] | None = None
    """Fetches what `make` needs and may itself have to be made: before there is a place among those at work, lest all of them wait
    for one more."""
    is_kept: bool = True
    """In the store, beyond this machine."""
    stored_at: str = ""
    """Where in the store, if not under the key."""
    rank: int = 0
    """At the gate: behind everybody of a lower one."""
    draft: str = ""
    """Where in the store it lies until a better one is baked, and what that is made of; '' where it is as good as it gets."""
    text: str = ""

    def is_draft(self, source: str) -> bool:
        """Whether what came from there is to be replaced by something better under the same key."""
        return bool(self.draft) and source in ("rendered", "draft")

    @property
    def place(self) -> str:
        """Where in the store."""
        return self.stored_at or self.key


@dataclass(frozen=True, slots=True)
class Renditions:
    """One per process: its memory is its own, its turns are shared with the other servers."""

    store: Storage
    shelf: Shelf | None
    memory: ByteLru[str]
    gate: Gate
    turns: Turns
    instruments: Instruments
    render_s: float
    """Seconds that making one may take, once it has begun."""
    bake_later: BakeLater | None = None
    """None where AVIFs are made at their best at once, and so there are no drafts."""
    drafts: Expiring[str, bytes] = field(default_factory=lambda: Expiring(ttl_s=10.0, size=100, now=time.monotonic))
    """Apart from memory, where nothing is ever replaced."""
    _flights: SingleFlight[str, tuple[bytes, str]] = field(default_factory=lambda: SingleFlight(ends_with_callers=True))

    async def found(self, wanted: Wanted) -> tuple[bytes, str]:
        """The bytes, from memory, this machine's disk, the store, or made now; and which."""
        body = self.memory.get(wanted.key)
        if body is not None:
            self.instruments.deliveries_from_memory.inc()
            return body, "memory"
        if wanted.draft and (body := self.drafts.get(wanted.key)) is not None:
            self.instruments.deliveries.labels("draft").inc()
            return body, "draft"
        body, source = await self._flights.do(wanted.key, lambda: self._fetched(wanted))
        if not wanted.is_draft(source):
            self.memory.put(wanted.key, body)
        elif len(body) <= _LARGEST_DRAFT_BYTES:
            self.drafts.put(wanted.key, body)
        self.instruments.deliveries.labels(source).inc()
        return body, source

    async def _fetched(self, wanted: Wanted) -> tuple[bytes, str]:
        if self.shelf is not None and (kept := await self.shelf.get(wanted.key)) is not None:
            return kept, "disk"
        body, source = await self._stored_or_made(wanted)
        if wanted.is_draft(source):
            await self._bake_later(wanted)
        elif self.shelf is not None:
            await self.shelf.put(wanted.key, body)
        return body, source

    async def _stored_or_made(self, wanted: Wanted) -> tuple[bytes, str]:
        since_s = time.monotonic()
        key = wanted.place
        for attempt in itertools.count():
            body = await self._stored(key)
            if body is not None:
                return body, "store"
            if wanted.draft and (body := await self._stored(wanted.draft)) is not None:
                return body, "draft"
            if attempt == 0 and wanted.prepare is not None:
                await wanted.prepare()
            if not wanted.is_kept:  # then there is nothing to wait for that another server makes
                async with self.gate.admit(wanted.weight, party=_party(key)):
                    return await wanted.make(), "rendered"
            # A place first, then the turn: who still queues for a place keeps no other server from working.
            async with (
                self.gate.admit(wanted.weight, party=_party(key), rank=wanted.rank),
                self.turns.turn(f"render:{key}", since_s=since_s, patience_s=self.render_s) as is_ours,
            ):
                if is_ours:
                    body = await self.turns.late_look(lambda: self._stored(key))
                    if body is not None:
                        return body, "store"
                    if wanted.draft and (body := await self.turns.late_look(lambda: self._stored(wanted.draft))) is not None:
                        return body, "draft"
                    body = await wanted.make()
                    await self.store.put(wanted.draft or key, body, media_type=wanted.format.media_type, is_durable=False)
                    return body, "rendered"
            await self.turns.rest(attempt)
        raise AssertionError("counting has no end")

    async def _stored(self, key: str) -> bytes | None:
        try:
            return await self.store.get(key)
        except (Missing, DamagedObject):
            return None  # never made, lost or spoilt: it can be made

    async def warm(self, wanted: Wanted) -> bool:
        """Have it in the store; whether it had to be made. Behind everybody who asks for one, and memory is left to them."""
        with contextlib.suppress(Missing):
            await self.store.stat(wanted.place)
            return False
        # A flight of its own: whoever asks meanwhile need not wait behind everybody else with it.
        _, source = await self._flights.do(f"warm:{wanted.key}", lambda: self._stored_or_made(replace(wanted, rank=1)))
        return source == "rendered"

    async def make(self, wanted: Wanted) -> bytes:
        """Made anew, behind everybody who asks for one, and kept nowhere. Raises Busy."""
        if wanted.prepare is not None:
            await wanted.prepare()
        async with self.gate.admit(wanted.weight, party=_party(wanted.key), rank=1):
            return await wanted.make()

    async def replace_draft(self, key: str, draft: str, better: Callable[[], Awaitable[bytes | None]]) -> None:
        """In the place of a draft, the better one, if there is one and it is smaller. May run twice."""
        first = await self._stored(draft)
        if first is None:
            return
        if await self._stored(key) is None:
            best = min(first, await better() or first, key=len)
            await self.store.put(key, best, media_type=Format.AVIF.media_type, is_durable=False)
        for stored in await self.store.versions(draft):
            await self.store.delete(draft, version=stored.version)
        self.drafts.drop(key)

    async def _bake_later(self, wanted: Wanted) -> None:
        assert self.bake_later is not None  # or there were no drafts
        tenant, image, *_ = wanted.key.split("/")
        payload = {"tenant": tenant, "image": image, "text": wanted.text, "key": wanted.key, "draft": wanted.draft}
        try:
            await self.bake_later(TenantId(tenant), wanted.key, payload)
        except SafelightError as error:
            log.warning("delivery.not_baked", key=wanted.key, code=error.code)  # whoever comes next asks again


def _party(key: str) -> str:
    """Whose place at the gate it takes: every key begins with its tenant."""
    return key.partition("/")[0]
