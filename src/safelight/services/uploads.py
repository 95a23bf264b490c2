"""Uploads that do not pass through the API: announced, sent to the store, taken in by whoever hears of it first, once.

The store's event, the client's completion and the clock all call `arrived`. Each of them may do the whole work; the one that
saves the next revision of the upload's row, in the transaction that records the image, has done it, and the others take back
what they did. A crash at any point leaves either bytes that a sweep removes, or a row that the clock takes up again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from safelight.concurrency import SingleFlight
from safelight.domain import access
from safelight.domain.accounts import Actor
from safelight.domain.events import Event, UploadRejected
from safelight.domain.ids import AlbumId, TenantId, UploadId, UserId, derived_id, is_id, new_id
from safelight.domain.images import Image, Problem, Visibility, checked, normal_file_name
from safelight.domain.uploads import KEPT, UNKNOWN_TYPE, DropFolder, Method, Upload, UploadState, checked_media_type, checked_size
from safelight.errors import (
    AlreadyExists,
    Busy,
    ChecksumMismatch,
    DamagedRecord,
    EmptyFile,
    Kind,
    Missing,
    NotArrived,
    QuotaExceeded,
    SafelightError,
    Stale,
    TooManyBytes,
    WrongState,
    by_code,
)
from safelight.observability import Instruments
from safelight.ports.catalog import Catalog, Records
from safelight.ports.incoming import Incoming, Offer
from safelight.ports.storage import Opened
from safelight.services.apart import apart
from safelight.services.ingest import Accepted, Arrival, Ingest
from safelight.services.lending import album_for, takes_from
from safelight.services.spool import Spool, Spooled, spooled

log = structlog.get_logger()

AT_ONCE: Final = 8
"""Uploads that one process looks at together: each is a file on disk meanwhile."""
RACES: Final = 5
"""How often one process looks again after another one was faster; a row changes three times in its life."""
LEFT_OVER: Final = timedelta(hours=24)
"""How old an object on its way in must be that belongs to no open upload; it was sent again, or too late."""
AT_FAULT: Final = frozenset({Kind.BAD_REQUEST, Kind.CONFLICT, Kind.TOO_LARGE, Kind.UNSUPPORTED, Kind.UNPROCESSABLE})
"""Errors that the file or its words have deserved; the others are ours, and are tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """What a client says of a file that it is going to send, or that we are to fetch from `source`."""

    method: Method = Method.POST
    media_type: str = UNKNOWN_TYPE
    size_bytes: int | None = None
    sha256: str = ""
    source: str = ""
    file_name: str = ""
    title: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    album: AlbumId | None = None
    visibility: Visibility = Visibility.PRIVATE
    custom: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """`ttl` is how long an offer is good."""

    max_bytes: int
    ttl: timedelta
    spool_path: Path
    drop_folder: DropFolder


@dataclass(frozen=True, slots=True)
class Uploads:
    """From an announcement to an image."""

    catalog: Catalog
    incoming: Incoming
    ingest: Ingest
    clock: Callable[[], datetime]
    instruments: Instruments
    limits: UploadLimits
    _flights: SingleFlight[UploadId, Upload] = field(default_factory=SingleFlight)
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def expect(self, actor: Actor, announced: Announced) -> tuple[Upload, Offer]:
        """A row for the file, and the right to send it. Raises as `described` and `add`."""
        upload = self.described(actor, announced)
        room = await self.ingest.standing.room(actor.tenant, upload.size_bytes or 1)
        most = self.limits.max_bytes if room.bytes_left is None else min(self.limits.max_bytes, room.bytes_left)
        offer = await self.incoming.offer(upload, max_bytes=most)
        await self.add(actor, upload)
        return upload, offer

    def described(self, actor: Actor, announced: Announced, *, lasts: timedelta | None = None) -> Upload:
        """What is announced, as a record that nobody knows yet. Raises Forbidden, BadField, Unsupported, TooManyBytes."""
        access.require(actor, "image.create")
        words = checked({"title": announced.title, "description": announced.description, "tags": announced.tags})
        now = self.clock()
        return Upload(
            id=UploadId(new_id(now.timestamp())),
            tenant=actor.tenant,
            owner=actor.user,
            created_at=now,
            updated_at=now,
            expires_at=now + (lasts or self.limits.ttl),
            method=announced.method,
            media_type=checked_media_type(announced.media_type),
            size_bytes=checked_size(announced.size_bytes, announced.method, max_bytes=self.limits.max_bytes),
            sha256=announced.sha256,
            source=announced.source,
            file_name=normal_file_name(announced.file_name),
            album=announced.album,
            visibility=announced.visibility,
            custom=announced.custom,
            **words,
        )

    async def add(self, actor: Actor, upload: Upload, *events: Event) -> None:
        """Expect it from now on, and tell these events in the same transaction. Raises Forbidden, Missing (album), QuotaExceeded."""
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            if not upload.is_partial:
                self.ingest.standing.room_of(records.tenant, upload.size_bytes or 1)
            if upload.album is not None:
                await album_for(records, actor, "album.contribute", upload.album, self.clock())
            await records.uploads.add(upload)
            for event in events:
                await records.emit(event)
        log.info("upload.expected", upload_id=upload.id, method=upload.method)

    async def get(self, actor: Actor, upload_id: UploadId) -> Upload:
        """One upload of the actor's. Raises Missing."""
        upload = await self.row(actor.tenant, upload_id)
        access.require(actor, "upload.read", upload)
        return upload

    async def abandon(self, actor: Actor, upload_id: UploadId) -> None:
        """Do not take it in; what has come of it is removed. Abandoning again is fine. Raises Missing, WrongState when it is in."""
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            upload = await records.uploads.get(upload_id)
            access.require(actor, "upload.change", upload)
            if upload.is_open:
                await records.uploads.save(upload.abandoned(at=self.clock()))
            elif upload.state is UploadState.ACCEPTED:
                raise WrongState("The upload has become an image; delete that.")
        await self.incoming.discard(upload)

    async def awaited(self, tenant: TenantId, upload_id: UploadId) -> None:
        """Return while the upload may still be sent. Raises Missing, WrongState."""
        upload = await self.row(tenant, upload_id)
        if not upload.is_open:
            raise WrongState(f"The upload is {upload.state}.")

    async def complete(self, actor: Actor, upload_id: UploadId, *, is_urgent: bool = True) -> Upload:
        """The client says that it has sent everything: the upload, accepted.

        Raises NotArrived; for a file that was refused what refused it; WrongState for one that was given up or came too late.
        """
        access.require(actor, "upload.change", await self.get(actor, upload_id))
        return said(await self.arrived(actor.tenant, upload_id, is_urgent=is_urgent))

    async def arrived(
        self, tenant: TenantId, upload_id: UploadId, *, is_urgent: bool = True, copy: Spool | None = None
    ) -> Upload:
        """Take in what was sent, once however often and by whomever this is called: the upload as it has ended.

        Not urgent: nobody waits for the image. A copy of all its bytes spares reading them from the store.

        Raises Missing for an unknown upload, NotArrived, and what is worth another try.
        """
        return await self._flights.do(upload_id, lambda: self._arrived(tenant, upload_id, is_urgent=is_urgent, copy=copy))

    async def found(self, key: str) -> Upload:
        """Take in an object that nobody has announced, if the drop folder's rule says whose it is: the upload as it has ended.

        Every version is one upload, however often it is told of. What becomes an image leaves the folder; what cannot stays.
        Raises Missing for what belongs to nobody, and what `arrived` raises.
        """
        owner = self.limits.drop_folder.owner_of(key)
        if owner is None:
            raise Missing
        upload = await self._adopted(key, *owner)
        is_new = True
        try:
            async with self.catalog.tenant(upload.tenant, writes=True) as records:
                await records.uploads.add(upload)
            log.info("upload.found", upload_id=upload.id)
        except AlreadyExists:
            is_new = False
        upload = await self.arrived(upload.tenant, upload.id, is_urgent=False)
        if not is_new and upload.state is UploadState.ACCEPTED:
            await self._cleared(upload)  # who took it in may have died before, or was not answered
        return upload

    async def _adopted(self, key: str, tenant_name: str, user_name: str) -> Upload:
        async with self.catalog.directory() as directory:
            tenant = next((one for one in await directory.tenants() if one.name == tenant_name), None)
        if tenant is None:
            raise Missing
        async with self.catalog.tenant(tenant.id) as records:
            user = next((one for one in await records.accounts.users() if one.name == user_name), None)
        if user is None or user.disabled_at is not None:
            raise Missing
        now = self.clock()
        upload = Upload(
            id=UploadId(""),
            tenant=tenant.id,
            owner=user.id,
            created_at=now,
            updated_at=now,
            expires_at=now + self.limits.ttl,
            method=Method.FOUND,
            source=key,
            file_name=normal_file_name(key),
        )
        stored = (await self.incoming.open(upload)).stored
        return replace(
            upload,
            id=UploadId(derived_id(stored.modified_at.timestamp(), f"{tenant.id}\n{key}\n{stored.version}")),
            source_version=stored.version,
            size_bytes=stored.size_bytes,
            media_type=stored.media_type,
        )

    async def developing_failed(self, upload: Upload, error: SafelightError) -> None:
        """The image was refused by its developing after all, and is gone: say so where its sender looks."""
        async with self.catalog.tenant(upload.tenant, writes=True) as records:
            current = await records.uploads.get(upload.id)
            if current.state is UploadState.ACCEPTED:
                problem = Problem(code=error.code, detail=error.detail)
                await records.uploads.save(current.rejected(problem, at=self.clock()))
                await records.emit(UploadRejected(upload.tenant, upload.id))
        self.ingest.relay.nudge()

    async def sweep(self) -> int:
        """Take up what nobody has told of, end what came too late, forget what has ended long ago; how many."""
        async with self.catalog.directory() as directory:
            tenants = await directory.tenants()
        swept = 0
        for tenant in tenants:
            due: list[Upload] = []
            with apart("sweep_uploads", tenant.id):
                async with self.catalog.tenant(tenant.id) as records:
                    due = await records.uploads.due(self.clock(), limit=1000)
            for upload in due:
                try:
                    await self._look_after(upload)
                    swept += 1
                except SafelightError as error:
                    log.warning("upload.sweep_failed", upload_id=upload.id, code=error.code)
        if swept:
            log.info("uploads.swept", count=swept)
        return swept

    async def sweep_objects(self) -> int:
        """Remove what was sent again after its end, or too late; how many files."""
        removed = 0
        async for upload in self.left_over():
            await self.incoming.discard(upload)
            removed += 1
        return removed

    async def left_over(self) -> AsyncIterator[Upload]:
        """The uploads of whose objects `sweep_objects` removes some, once for each object."""
        before, after = self.clock() - LEFT_OVER, ""
        while page := await self.incoming.scan(after=after):
            after = page[-1].key
            for stored in page:
                parts = stored.key.partition(".")[0].split("/")  # behind the dot is the piece's own name
                if stored.modified_at >= before or len(parts) != 3 or not (is_id(parts[1]) and is_id(parts[2])):
                    continue
                try:
                    upload = await self.row(TenantId(parts[1]), UploadId(parts[2]))
                except DamagedRecord as error:
                    log.error("upload.unreadable", tenant=parts[1], upload_id=parts[2], error=error.detail)
                    continue
                except Missing:
                    upload = _nobodys(TenantId(parts[1]), UploadId(parts[2]), stored.modified_at)
                if not upload.is_open:
                    yield upload

    async def _look_after(self, upload: Upload) -> None:
        if not upload.is_open:
            async with self.catalog.tenant(upload.tenant, writes=True) as records:
                await records.uploads.remove(upload.id)
            return
        try:
            await self.arrived(upload.tenant, upload.id, is_urgent=False)
        except NotArrived:
            if await self._end(upload, self._came_to_nothing):
                await self.incoming.discard(upload)
        except SafelightError as error:
            if self.clock() - upload.created_at < KEPT:
                raise
            # A week of trying is enough; who asks is told why it never became an image.
            problem = _problem(error)
            await self._end(upload, lambda current: current.rejected(problem, at=self.clock()))
            log.error("upload.given_up", upload_id=upload.id, code=error.code)

    async def _end(self, upload: Upload, change: Callable[[Upload], Upload]) -> bool:
        async with self.catalog.tenant(upload.tenant, writes=True) as records:
            current = await records.uploads.get(upload.id)
            if current.is_open and current.due_at <= self.clock():  # else it has been sent more of meanwhile
                await records.uploads.save(ended := change(current))
                if ended.state is UploadState.REJECTED:
                    await records.emit(UploadRejected(upload.tenant, upload.id))
                return True
        return False

    def _came_to_nothing(self, upload: Upload) -> Upload:
        """Never sent; or it had arrived, and whatever cleans the bucket has taken its bytes before we did."""
        if upload.state is UploadState.PENDING:
            return upload.expired(at=self.clock())
        return upload.rejected(
            Problem(code=NotArrived.code, detail="What had arrived has vanished from the store."), at=self.clock()
        )

    async def row(self, tenant: TenantId, upload_id: UploadId) -> Upload:
        """The upload, whoever asks. Raises Missing."""
        async with self.catalog.tenant(tenant) as records:
            return await records.uploads.get(upload_id)

    async def _arrived(self, tenant: TenantId, upload_id: UploadId, *, is_urgent: bool, copy: Spool | None) -> Upload:
        async with self._places:
            for _ in range(RACES):
                upload = await self.row(tenant, upload_id)
                if not upload.is_open:
                    return upload
                if upload.method is Method.URL:  # it is fetched, not sent
                    raise NotArrived
                if upload.method is Method.TUS and upload.state is UploadState.PENDING:
                    raise NotArrived  # its last byte makes it ARRIVED, in the same save
                try:
                    source = copy or await self.incoming.open(upload)
                    upload = await self._taken(await self._marked(upload), source, is_urgent=is_urgent)
                except (Stale, Missing) as error:
                    # Another process has changed the row, or taken it in and cleared it away.
                    upload = await self.row(tenant, upload_id)
                    if upload.is_open and isinstance(error, Missing):
                        raise NotArrived from None
                    continue
                await self._cleared(upload)
                return upload
        raise Busy

    async def _marked(self, upload: Upload) -> Upload:
        """Noted durably that there is something: from now on the clock sees to it that it ends."""
        if upload.state is UploadState.ARRIVED:
            return upload
        async with self.catalog.tenant(upload.tenant, writes=True) as records:
            await records.uploads.save(upload := upload.arrived(at=self.clock()))
        return upload

    async def _taken(self, upload: Upload, source: Opened | Spool, *, is_urgent: bool) -> Upload:
        try:
            return await self._accepted(upload, source, is_urgent=is_urgent)
        except Stale:
            raise
        except SafelightError as error:
            if error.kind not in AT_FAULT and not isinstance(error, QuotaExceeded):
                raise
            return await self.refuse(upload, error)

    async def refuse(self, upload: Upload, error: SafelightError) -> Upload:
        """The file is at fault: say so where its sender looks. Raises Stale."""
        rejected = upload.rejected(_problem(error), at=self.clock())
        async with self.catalog.tenant(upload.tenant, writes=True) as records:
            await records.uploads.save(rejected)
            await records.emit(UploadRejected(upload.tenant, upload.id))
        self.ingest.relay.nudge()
        log.info("upload.rejected", upload_id=upload.id, code=error.code)
        return rejected

    async def _accepted(self, upload: Upload, source: Opened | Spool, *, is_urgent: bool) -> Upload:
        most = self.limits.max_bytes
        size = source.size_bytes if isinstance(source, Spool) else source.stored.size_bytes
        if size == 0:
            raise EmptyFile
        if size > most:
            raise TooManyBytes(f"The file has more than {most} bytes.", limit=most)
        await self.ingest.standing.room(upload.tenant, size)
        if isinstance(source, Spool):
            return await self.admit(upload, source.written(), is_urgent=is_urgent)
        stored = source.stored
        async with spooled(source.chunks, self.limits.spool_path, max_bytes=most) as spool:

            async def promote(image: Image) -> bool:
                kept = {"media_type": image.media_type, "sha256": spool.sha256}
                return await self.incoming.promote(upload, stored, image.original_key, **kept)

            return await self.admit(upload, spool, keep=promote, is_urgent=is_urgent)

    async def admit(
        self,
        upload: Upload,
        spool: Spooled,
        *,
        keep: Callable[[Image], Awaitable[bool]] | None = None,
        is_urgent: bool = True,
    ) -> Upload:
        """Make an image of what has arrived, and end the row, in one transaction; `keep` as of Ingest.admit.

        Raises what is wrong with the file, and Stale, with nothing left behind, when somebody else has changed the row.
        """
        if spool.size_bytes == 0:
            raise EmptyFile
        if upload.sha256 and spool.sha256 != upload.sha256:
            raise ChecksumMismatch
        saved: list[Upload] = []

        async def beside(records: Records, accepted: Accepted) -> None:
            became = upload.accepted(accepted.image.id, duplicate_of=accepted.duplicate_of, at=self.clock())
            await records.uploads.save(became)
            saved.append(became)

        accepted = await self.ingest.admit(
            upload.tenant,
            upload.owner,
            Arrival(
                fd=spool.fd,
                size_bytes=spool.size_bytes,
                sha256=spool.sha256,
                file_name=upload.file_name,
                title=upload.title,
                description=upload.description,
                tags=upload.tags,
                album=await self._album(upload),
                visibility=upload.visibility,
                custom=upload.custom,
                is_urgent=is_urgent,
            ),
            keep=keep,
            beside=beside,
        )
        if accepted.is_new:
            self.instruments.accepted.labels(accepted.image.media_type).inc()
            self.instruments.accepted_bytes.inc(accepted.image.size_bytes)
        return saved[-1]

    async def _album(self, upload: Upload) -> AlbumId | None:
        """Where it was to go; an album that is gone by now, or takes nothing of theirs, does not cost the owner the picture."""
        if upload.album is None:
            return None
        async with self.catalog.tenant(upload.tenant) as records:
            try:
                album = await records.albums.get(upload.album)
                if await takes_from(records, upload.owner, album, self.clock()):
                    return album.id
            except Missing:
                pass
        log.info("upload.album_gone", upload_id=upload.id)
        return None

    async def _cleared(self, upload: Upload) -> None:
        """Nothing stays of what was sent; what was found and refused stays where its owner put it.

        Raises what discarding raises for what was found: no sweep looks there, but the store's event comes again.
        """
        if upload.source and upload.problem is not None:
            return
        try:
            await self.incoming.discard(upload)
        except SafelightError as error:  # the sweep finds it
            if upload.method is Method.FOUND:
                raise
            log.warning("upload.not_cleared", upload_id=upload.id, code=error.code)


def said(upload: Upload) -> Upload:
    """The upload, if it has become an image. Raises what refused it, WrongState."""
    if upload.state is UploadState.ACCEPTED:
        return upload
    if upload.problem is not None:
        raise by_code(upload.problem.code, upload.problem.detail)
    raise WrongState(f"The upload is {upload.state}.")


def _problem(error: SafelightError) -> Problem:
    return Problem(code=error.code, detail=error.detail)


def _nobodys(tenant: TenantId, upload_id: UploadId, at: datetime) -> Upload:
    """Stands for an object whose upload nobody remembers."""
    return Upload(
        id=upload_id,
        tenant=tenant,
        owner=UserId(""),
        created_at=at,
        updated_at=at,
        expires_at=at,
        state=UploadState.EXPIRED,
    )
