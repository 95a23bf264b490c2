"""Uploads that come in pieces, by as many requests as it takes, through any process: what tus 1.0 asks for, without its words.

The row decides (ADR 0016). A request that begins to send saves the row's next revision, so whoever was sending before cannot
save any more: a client that lost its connection goes on at once, here or elsewhere, and bytes of the request that it gave up
never count. Bytes lie in the store before the row tells of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from safelight.domain import access
from safelight.domain.accounts import Actor
from safelight.domain.ids import UploadId
from safelight.domain.tenants import Room
from safelight.domain.tus import Checksum
from safelight.domain.uploads import PIECE_BYTES, Method, Piece, Upload, UploadState, checked_size, kept_apart
from safelight.errors import (
    BadField,
    ChunkMismatch,
    EmptyFile,
    Forbidden,
    Gone,
    Missing,
    SafelightError,
    Stale,
    TakenOver,
    TooManyBytes,
    Unavailable,
    WrongOffset,
    WrongState,
)
from safelight.services.copies import MOST, Copies, Copy
from safelight.services.uploads import Announced, Uploads

log = structlog.get_logger()

_OVER = frozenset({UploadState.ABANDONED, UploadState.EXPIRED})


@dataclass(frozen=True, slots=True)
class Resumable:
    """From an announcement to bytes that have arrived; what happens then is the affair of Uploads."""

    uploads: Uploads
    copies: Copies
    _taking: set[asyncio.Task[None]] = field(default_factory=set)

    async def create(self, actor: Actor, announced: Announced, *, metadata: str = "", is_partial: bool = False) -> Upload:
        """A row to send to. Raises Forbidden, BadField, Unsupported, TooManyBytes, EmptyFile, Missing (album)."""
        if announced.size_bytes == 0:
            raise EmptyFile
        upload = replace(self.uploads.described(actor, announced), tus_metadata=metadata)
        if is_partial:
            upload = replace(upload, tus_concat="partial")
        await self.uploads.add(actor, upload)
        return upload

    async def get(self, actor: Actor, upload_id: UploadId) -> Upload:
        """How far it has come. Raises Missing, Gone for one that was given up or came too late."""
        upload = await self.uploads.get(actor, upload_id)
        if upload.method is not Method.TUS:
            raise Missing
        is_late = upload.state is UploadState.PENDING and upload.expires_at <= self.uploads.clock()
        if upload.state in _OVER or is_late:
            raise Gone
        return upload

    async def append(
        self,
        actor: Actor,
        upload_id: UploadId,
        body: AsyncIterable[bytes],
        *,
        offset_bytes: int,
        coming_bytes: int = 0,
        size_bytes: int | None = None,
        checksum: Checksum | None = None,
    ) -> Upload:
        """More of its bytes: the upload as it is then. What has come of a body that breaks off is kept, unless it has a checksum.

        `coming_bytes` is what the body says it has; `size_bytes` is of the whole file, for an upload that was created without; it may be said again. Raises WrongOffset, BadField for another size, TooManyBytes, QuotaExceeded, ChunkMismatch, TakenOver, Gone, Missing, Forbidden for one
        that was joined of others, and what the body raises.
        """
        upload = await self.get(actor, upload_id)
        access.require(actor, "upload.change", upload)
        if upload.tus_concat.startswith("final"):
            raise Forbidden("An upload that was joined of others takes no bytes.")
        if offset_bytes != upload.offset_bytes:
            raise WrongOffset(offset_bytes=upload.offset_bytes)
        size = self._size(upload, size_bytes)
        if upload.is_whole:
            async for chunk in body:
                if chunk:
                    raise TooManyBytes("The upload has all its bytes.", limit=upload.offset_bytes)
            return upload
        room = (self.uploads.limits.max_bytes if size is None else size) - upload.offset_bytes
        left = await self.uploads.ingest.standing.room(upload.tenant, upload.offset_bytes + coming_bytes)
        copy = self.copies.begin(upload)
        try:
            upload = await self._save(upload, upload.claimed(at=self._now(), expires_at=self._now() + self._ttl, size_bytes=size))
            source = _Source(body, copy, upload.offset_bytes, room, left, checksum)
            async with aclosing(source.pieces()) as pieces:
                upload = await (self._checked(upload, source, pieces) if checksum else self._streamed(upload, pieces))
        except BaseException:
            copy.spool.close()
            raise
        if upload.state is UploadState.ARRIVED:
            self._take_in(upload, copy)
        else:
            self.copies.leave(copy, upload)
        if source.error is not None:
            raise source.error
        return upload

    async def join(self, actor: Actor, announced: Announced, parts: Sequence[UploadId], *, metadata: str, concat: str) -> Upload:
        """One upload of the bytes of several, which end. Raises as create does, WrongState for a part that is not whole, Gone."""
        partials = [await self.get(actor, part) for part in parts]
        if any(not partial.is_partial or not partial.is_whole for partial in partials):
            raise WrongState("Only partial uploads that are whole can be joined.")
        announced = replace(announced, size_bytes=sum(partial.offset_bytes for partial in partials))
        upload = self.uploads.described(actor, announced)
        pieces: list[Piece] = []
        try:
            for partial in partials:
                opened = await self.uploads.incoming.open(partial)
                pieces.append(await self.uploads.incoming.append(upload, opened.chunks))
            upload = replace(
                upload,
                tus_metadata=metadata,
                tus_concat=concat,
                pieces=tuple(pieces),
                offset_bytes=sum(piece.size_bytes for piece in pieces),
                state=UploadState.ARRIVED,
            )
            await self.uploads.add(actor, upload)
        except SafelightError as error:
            # Who does not answer may have committed all the same: those bytes are left to the sweep, which asks the catalog.
            if not isinstance(error, Unavailable):
                await self._dropped(upload, pieces)
            raise
        for partial in {partial.id: partial for partial in partials}.values():
            try:
                await self.uploads.abandon(actor, partial.id)
            except SafelightError as error:  # it expires
                log.warning("upload.part_left", upload_id=partial.id, code=error.code)
        self._take_in(upload)
        return upload

    async def abandon(self, actor: Actor, upload_id: UploadId) -> None:
        """Do not take it in; what has come of it is removed. Raises Missing, Gone, WrongState when it is in."""
        await self.get(actor, upload_id)
        await self.uploads.abandon(actor, upload_id)

    @property
    def _ttl(self) -> timedelta:
        return self.uploads.limits.ttl

    def _now(self) -> datetime:
        return self.uploads.clock()

    def _size(self, upload: Upload, said: int | None) -> int | None:
        if said is None or said == upload.size_bytes:
            return upload.size_bytes
        if upload.size_bytes is not None or said < upload.offset_bytes or said == 0:
            raise BadField("Upload-Length is said once, and not below what has come.", field="Upload-Length")
        return checked_size(said, Method.TUS, max_bytes=self.uploads.limits.max_bytes)

    async def _streamed(self, upload: Upload, pieces: AsyncIterator[bytes]) -> Upload:
        """Piece after piece counts as soon as it is stored."""
        async for data in pieces:
            upload = await self._grown(upload, [await self.uploads.incoming.append(upload, data)])
        # The last byte may have come before anybody said that it was the last.
        return await self._grown(upload, []) if upload.is_whole and upload.state is UploadState.PENDING else upload

    async def _checked(self, upload: Upload, source: _Source, pieces: AsyncIterator[bytes]) -> Upload:
        """Everything counts, or nothing."""
        stored: list[Piece] = []
        try:
            async for data in pieces:
                piece = await self.uploads.incoming.append(upload, data)
                stored.append(piece)
            source.check()
        except SafelightError:
            await self.uploads.incoming.drop(stored)
            raise
        return await self._grown(upload, stored)

    async def _grown(self, upload: Upload, new: list[Piece]) -> Upload:
        incoming = self.uploads.incoming
        pieces = (*upload.pieces, *new)
        joined: tuple[Piece, ...] = ()
        size = sum(piece.size_bytes for piece in new)
        kept = kept_apart(upload.pieces, size)
        if new and kept < len(upload.pieces) and upload.offset_bytes + size != upload.size_bytes:
            joined = pieces[kept:]
            together = await incoming.open(replace(upload, pieces=joined))
            new = [await incoming.append(upload, together.chunks)]
            pieces = (*upload.pieces[:kept], *new)
        now = self._now()
        saved = await self._save(upload, upload.grown(pieces, at=now, expires_at=now + self._ttl), new)
        if joined:
            await self._dropped(upload, joined)
        return saved

    async def _save(self, before: Upload, after: Upload, new: Sequence[Piece] = ()) -> Upload:
        """The next revision of the row. One that others have changed raises Gone, Missing or TakenOver, and takes the bytes back."""
        try:
            async with self.uploads.catalog.tenant(before.tenant, writes=True) as records:
                await records.uploads.save(after)
        except (Stale, Missing):
            refusal: SafelightError = Missing()
            try:
                async with self.uploads.catalog.tenant(before.tenant) as records:
                    current = await records.uploads.get(before.id)
                # A save whose answer was lost is tried again, and finds its own revision in the way.
                if new and set(new) <= set(current.pieces):
                    return current
                # One that has ended well meanwhile is not gone: whoever asks how far it has come learns that it is whole.
                refusal = Gone() if current.state in _OVER else TakenOver()
            except Missing:
                pass
            await self._dropped(before, new)
            raise refusal from None
        return after

    async def _dropped(self, upload: Upload, pieces: Sequence[Piece]) -> None:
        try:
            await self.uploads.incoming.drop(pieces)
        except SafelightError as error:  # they go with the upload
            log.warning("upload.pieces_left", upload_id=upload.id, code=error.code)

    def _take_in(self, upload: Upload, copy: Copy | None = None) -> None:
        """Without anybody waiting; should we die of it, the clock finds the row marked."""
        if copy is not None and (len(self._taking) >= MOST or not copy.is_of(upload)):
            copy.spool.close()
            copy = None

        async def take() -> None:
            try:
                await self.uploads.arrived(upload.tenant, upload.id, copy=None if copy is None else copy.spool)
            except SafelightError as error:
                log.warning("upload.not_taken_yet", upload_id=upload.id, code=error.code)
            finally:
                if copy is not None:
                    copy.spool.close()

        task = asyncio.create_task(take())
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)


class _Source:
    """A body, on its way to the disk, from where pieces of it go to the store while more of it comes.

    One that breaks off ends there; `error` says why, for whoever has stored what came before.
    """

    def __init__(
        self, body: AsyncIterable[bytes], copy: Copy, start: int, room: int, quota: Room, checksum: Checksum | None
    ) -> None:
        """`room` is what the upload may still have, `quota` what its tenant may, of the whole upload."""
        self.error: SafelightError | None = None
        self._chunks = aiter(body)
        self._copy = copy
        self._start = start
        self._room = room
        self._quota = quota
        self._checksum = checksum
        self._hash = checksum.start() if checksum else None
        self._come = self._taken = 0
        self._is_over = False
        self._more, self._less = asyncio.Event(), asyncio.Event()

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Of PIECE_BYTES, which S3 takes in one request and more not; the last one of what there is.

        Raises TooManyBytes, QuotaExceeded and Unavailable (the disk) as soon as that is known: nothing of what is left may be kept then.
        """
        reading = asyncio.ensure_future(self._read())
        try:
            while True:
                while self._come - self._taken < PIECE_BYTES and not self._is_over:
                    self._more.clear()
                    await self._more.wait()
                if self._is_over:
                    await reading
                size = min(PIECE_BYTES, self._come - self._taken)
                if not size:
                    return
                yield await self._copy.read(self._start + self._taken, size)
                self._taken += size
                self._less.set()
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            _ = reading.cancelled() or reading.exception()  # whoever leaves early has an error of its own

    def check(self) -> None:
        """Raises ChunkMismatch for other bytes than the checksum is of, and whatever broke them off."""
        if self.error is not None:
            raise self.error
        if self._hash is not None and self._checksum is not None and self._hash.digest() != self._checksum.digest:
            raise ChunkMismatch

    async def _read(self) -> None:
        """One piece ahead of the one that is being stored."""
        try:
            while (chunk := await self._chunk()) is not None:
                if len(chunk) > self._room:
                    raise TooManyBytes("The body has more bytes than the upload has left.", limit=self._room)
                self._room -= len(chunk)
                self._quota.require(self._start + self._come + len(chunk))
                if self._hash is not None:
                    self._hash.update(chunk)
                await self._copy.add(chunk)
                self._come += len(chunk)
                self._more.set()
                while self._come - self._taken >= 2 * PIECE_BYTES:
                    self._less.clear()
                    await self._less.wait()
        finally:
            self._is_over = True
            self._more.set()

    async def _chunk(self) -> bytes | None:
        try:
            return await anext(self._chunks, None)
        except SafelightError as error:
            self.error = error
            return None
