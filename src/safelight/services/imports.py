"""Imports: uploads whose bytes we fetch ourselves, from a URL. The request writes the row, the flow `import` does the rest.

An import is a row of `uploads` with the method `url`: it is accepted, rejected, given up and forgotten by the same rules. What it
has beside is the fetch, which is a step of a durable run: a process that dies in the middle of it loses what it had, and nobody
else's. The step may run twice; whoever saves the row's next revision, in the transaction that records the image, has done it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

import structlog

from safelight.concurrency import Bell, beat, beating
from safelight.domain.accounts import Actor
from safelight.domain.addresses import Reach, parse
from safelight.domain.events import ImportRequested
from safelight.domain.ids import TenantId, UploadId, derived_id
from safelight.domain.uploads import Method, Upload
from safelight.errors import (
    AlreadyExists,
    Forbidden,
    Missing,
    SafelightError,
    SourceNotAllowed,
    SourceUnavailable,
    SourceUnreachable,
    Stale,
)
from safelight.ports.outbound import FetchLimits, Outbound
from safelight.services.relay import Relay
from safelight.services.spool import spooled
from safelight.services.uploads import AT_FAULT, Announced, Uploads

log = structlog.get_logger()

AT_ONCE: Final = 8
"""Fetches of one process: each is a connection that a slow server may keep open, and a file on disk."""
PATIENCE: Final = timedelta(seconds=60)
"""How long a source may fail to answer before the import is refused; the flow's rests add up to more."""
LASTS: Final = timedelta(days=1)
"""How long an import may wait for us when it is our parts that fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRules:
    """Whether, from where and how much."""

    is_enabled: bool
    reach: Reach
    limits: FetchLimits


@dataclass(frozen=True, slots=True)
class Imports:
    """From a URL to an image."""

    uploads: Uploads
    outbound: Outbound
    relay: Relay
    rules: ImportRules
    _bell: Bell[UploadId] = field(default_factory=Bell)
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def request(self, actor: Actor, url: str, announced: Announced, *, key: str = "", is_urgent: bool = True) -> Upload:
        """Write it down; it is fetched from now on, whatever becomes of this process.

        The same URL under the same key of the actor's is the same import, until a week after its end: as it is by now.

        Raises BadField for the URL or the words, SourceNotAllowed, SourceUnreachable, Forbidden, Missing (album).
        """
        if not self.rules.is_enabled:
            raise SourceNotAllowed("This installation does not import by URL.")
        target = parse(url)
        self.rules.reach.admit(target)
        name = announced.file_name or target.file_name
        asked = replace(announced, method=Method.URL, source=str(target), file_name=name)
        upload = self.uploads.described(actor, asked, lasts=LASTS)
        if key:
            upload = replace(upload, id=UploadId(derived_id(0, f"{actor.tenant}\n{actor.user}\n{target}\n{key}")))
        try:
            await self.uploads.add(actor, upload, ImportRequested(upload.tenant, upload.id, is_urgent))
        except AlreadyExists:
            return await self.get(actor, upload.id)
        self.relay.nudge()
        log.info("import.requested", upload_id=upload.id, host=target.host)
        return upload

    async def get(self, actor: Actor, upload_id: UploadId) -> Upload:
        """One import of the actor's. Raises Missing."""
        upload = await self.uploads.get(actor, upload_id)
        if upload.method is not Method.URL:
            raise Missing
        return upload

    async def settled(self, actor: Actor, upload_id: UploadId, wait_s: float) -> Upload:
        """The import when it has ended, or as it is after that many seconds."""
        deadline = asyncio.get_running_loop().time() + wait_s
        async with self._bell.listen(upload_id) as rung:
            while True:
                rung.clear()
                upload = await self.get(actor, upload_id)
                left = deadline - asyncio.get_running_loop().time()
                if not upload.is_open or left <= 0:
                    return upload
                try:
                    async with asyncio.timeout(min(left, 1.0)):  # another process may fetch it: look now and then
                        await rung.wait()
                except TimeoutError:
                    continue

    async def fetch(self, payload: Mapping[str, Any]) -> None:
        """The step: fetch it and take it in, or say why not. Raises what is worth another try."""
        tenant, upload_id = TenantId(payload["tenant"]), UploadId(payload["upload"])
        try:
            async with self._turn():
                upload = await self.uploads.row(tenant, upload_id)
                if upload.is_open:
                    await self._fetched(upload, is_urgent=payload.get("is_urgent", True))
        except (Missing, Stale):
            # Forgotten, given up, or brought to its end by another run of this step; what this one did is undone.
            log.info("import.superseded", upload_id=upload_id)
        self._bell.ring(upload_id)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with beating():
            await self._places.acquire()
        try:
            yield
        finally:
            self._places.release()

    async def _fetched(self, upload: Upload, *, is_urgent: bool) -> None:
        rules, limits = self.rules, self.rules.limits
        try:
            room = await self.uploads.ingest.standing.room(upload.tenant, 1)
            async with (
                self.outbound.fetch(parse(upload.source), reach=rules.reach, limits=limits) as chunks,
                spooled(_beaten(chunks), self.uploads.limits.spool_path, max_bytes=limits.max_bytes, fits=room.require) as spool,
            ):
                await self.uploads.admit(upload, spool, is_urgent=is_urgent)
        except Stale:
            raise
        except SourceUnavailable as error:
            if self.uploads.clock() - upload.created_at < PATIENCE:
                raise
            log.info("import.source_unavailable", upload_id=upload.id, exc_info=error)
            await self.uploads.refuse(upload, SourceUnreachable())
        except SafelightError as error:
            if error.kind not in AT_FAULT and not isinstance(error, Forbidden):
                raise
            await self.uploads.refuse(upload, error)


async def _beaten(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same chunks; each is a sign of life."""
    async for chunk in chunks:
        beat()
        yield chunk
