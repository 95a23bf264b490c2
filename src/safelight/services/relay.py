"""From the outbox to the workflow engine and to webhooks: what a transaction told is started at least once, under an id that makes it once.

A crash between commit and start leaves the event in the outbox, a crash between start and marking starts it again under the same
id: neither loses nor doubles anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from safelight.domain.events import Event, ImageArrived, ImportRequested
from safelight.flows import Flow
from safelight.observability import Instruments
from safelight.ports.catalog import Catalog, Told
from safelight.ports.workflows import Workflows
from safelight.services.remembered import Remembered

log = structlog.get_logger()

BATCH: Final = 200


@dataclass(frozen=True, slots=True)
class Relay:
    """One per process; several processes may relay at once, since starting twice is starting once."""

    catalog: Catalog
    workflows: Workflows
    starts: Mapping[type[Event], Flow]
    instruments: Instruments
    remembered: Remembered
    announce: Callable[[Sequence[Told]], Awaitable[None]]
    """Writes down whom of the tenants' endpoints to tell of it; may be called again with the same."""
    _nudged: asyncio.Event = field(default_factory=asyncio.Event)

    def nudge(self) -> None:
        """Something was told a moment ago; do not wait for the next look."""
        self._nudged.set()

    async def relay(self) -> int:
        """Start what the outbox holds; how many events that was."""
        async with self.catalog.directory() as directory:
            untold = await directory.outbox.untold(limit=BATCH)
        if not untold:
            return 0
        for told in untold:
            flow = self.starts.get(type(told.event))
            if flow is not None:
                is_urgent = isinstance(told.event, ImageArrived | ImportRequested) and told.event.is_urgent
                run_id = f"{flow.name}:{told.event.occurrence}"
                payload, party = told.event.to_json(), told.event.tenant
                await self.workflows.start(flow.name, run_id, payload, is_urgent=is_urgent, party=party)
        # Told to the cache by whoever committed, unless that process died in between.
        await self.remembered.forget([told.event for told in untold])
        await self.announce(untold)
        async with self.catalog.directory(writes=True) as directory:
            await directory.outbox.mark_told([told.number for told in untold])
        self.instruments.relayed.inc(len(untold))
        return len(untold)

    async def run(self, *, every_s: float = 1.0) -> None:
        """Relay for as long as the process lives: at once after a nudge, else every so often for other processes' events."""
        while True:
            self._nudged.clear()
            try:
                while await self.relay() == BATCH:
                    pass
            except Exception:
                log.exception("relay.failed")
                await asyncio.sleep(every_s)
            try:
                async with asyncio.timeout(every_s):
                    await self._nudged.wait()
            except TimeoutError:
                continue
