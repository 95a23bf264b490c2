"""Local storage: objects as files below one folder, with nothing to install or run. What a laptop or one server starts with.

    <root>/objects.db    which versions exist, see `_index`
    <root>/blobs/        their bytes, sealed unless there is no key file, see `_blobs`, `_frames`, `_keyring`
    <root>/tmp/          bytes on their way in

A put writes a draft, fsyncs it, renames it to a fresh random name, fsyncs the folder and commits a row; that commit is the moment
the version exists. A crash before it leaves an orphan, which `sweep` removes; nothing acknowledged is lost, nothing half is seen.

One LocalStore serves all buckets of a root; any number of processes may use the root at once, on a local file system (SQLite's
WAL needs shared memory, so not over NFS). Wiring builds it; services see its buckets as Storage.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, ParamSpec, Self, TypeVar

import structlog

from safelight.adapters.storage._blobs import PIECE_BYTES, Blob, BlobReader, Blobs, BlobWriter
from safelight.adapters.storage._index import CommitUnsure, Index, Row
from safelight.adapters.storage._keyring import KeyRing, UnknownKey, create_key_file
from safelight.adapters.storage._names import check_key
from safelight.errors import BackendUnavailable, DamagedObject, Missing, WrongState
from safelight.ports.archive import Pile
from safelight.ports.storage import Body, Opened, Stored

log = structlog.get_logger(__name__)

T = TypeVar("T")
P = ParamSpec("P")
Clock = Callable[[], datetime]

THREADS: Final = 8
"""They mostly sit in fsync, so more than cores: eight concurrent fsyncs share the file system's journal commits, and at 256 KiB
each their buffers stay at a few MiB."""


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep removed: blobs without a row, and drafts that nobody was writing any more."""

    blobs: int
    temporary: int


@dataclass(frozen=True, slots=True)
class _Parts:
    """What there is between open and close."""

    index: Index
    blobs: Blobs
    threads: ThreadPoolExecutor

    def close(self) -> None:
        self.threads.shutdown()
        self.index.close()


class LocalStore:
    """One root with all its buckets. Built closed, bound to no event loop; open it after any fork."""

    def __init__(self, root: Path, *, key_file: Path | None, clock: Clock = utc_now) -> None:
        """`key_file=None` stores plain bytes; blobs that were sealed before then need their key file back to be read."""
        self.root = root
        self.key_file = key_file
        self.clock = clock
        self._ring: KeyRing | None = None
        self._parts: _Parts | None = None
        self._batch: _Batch | None = None

    def bucket(self, name: str) -> LocalStorage:
        """The Storage of that name; buckets need no creation."""
        return LocalStorage(self, name)

    async def open(self) -> None:
        """Make or check folders, index and keys. A second open does nothing.

        Raises WrongState when the key file is missing or another store's, BackendUnavailable when the root cannot be used.
        """
        if self._parts is not None:
            return
        threads = ThreadPoolExecutor(THREADS, thread_name_prefix="safelight-storage")
        try:
            index, blobs = await asyncio.wrap_future(threads.submit(_answering, self._prepare))
        except BaseException:
            threads.shutdown(wait=False)
            raise
        self._parts = _Parts(index, blobs, threads)
        self._batch = None

    async def close(self) -> None:
        """Let running work end, then let go of everything. Later calls raise BackendUnavailable until the next open."""
        parts, self._parts = self._parts, None
        if parts is not None:
            await asyncio.to_thread(parts.close)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def sweep(self, older_than_s: float = 3600.0) -> Swept:
        """Remove what crashes left behind. Must be longer than a commit may take; 0 only while nobody writes to the root."""

        def work(parts: _Parts) -> Swept:
            return Swept(*parts.blobs.sweep(parts.index.known, older_than_s))

        swept = await self.run(work)
        log.info("storage.swept", blobs=swept.blobs, temporary=swept.temporary)
        return swept

    async def run(self, work: Callable[[_Parts], T]) -> T:
        """Do blocking work in one of the store's threads. Cancelled, it lets the thread finish alone."""
        return await asyncio.wrap_future(self._submit(work))

    async def settle(self, work: Callable[[_Parts], T]) -> T:
        """Like run, but cancelled, it waits until the thread is done, so that there is a state to clean up."""
        job = self._submit(work)
        result = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(result)
        except asyncio.CancelledError:
            job.cancel()  # nothing to wait for when no thread has begun
            await _finished(result)
            raise

    async def together(self, put: _Put, data: bytes) -> Stored:
        """Like settle for a whole body that need not be durable: with all others of this turn of the loop, in one go.

        A photograph's dozen renditions then take one hop to a thread and one transaction. Durable ones stay apart: theirs is the
        time in fsync, which several threads share.
        """
        batch = self._batch
        if batch is None:
            batch = self._batch = _Batch([])
            batch.sending = asyncio.ensure_future(self._send(batch))
        batch.puts.append((put, data))
        assert batch.sending is not None
        try:
            await asyncio.shield(batch.sending)
        except asyncio.CancelledError:
            await _finished(batch.sending)
            raise
        return put.stored

    async def _send(self, batch: _Batch) -> None:
        self._batch = None  # whoever comes from here on is the next one's
        await self.run(batch.work)

    def reader(self, parts: _Parts, blob: Blob) -> BlobReader:
        """In a thread: the open blob. Raises FileNotFoundError, DamagedObject, WrongState when its master key is not to be had."""
        try:
            return parts.blobs.open(blob, self._ring)
        except UnknownKey as unknown:
            # Either another process has rotated the key since this one has read the file, or the header is damaged.
            if unknown.key_id not in parts.index.master_keys():
                raise DamagedObject from unknown
            self._ring = _ring_of(self.key_file, parts.index)
            return parts.blobs.open(blob, self._ring)

    def writer(self, parts: _Parts) -> BlobWriter:
        """In a thread: a new blob, sealed with the first key of the ring."""
        return parts.blobs.create(self._ring)

    def _submit(self, work: Callable[[_Parts], T]) -> Future[T]:
        parts = self._parts
        if parts is None:
            raise BackendUnavailable("The file storage is closed.")
        try:
            return parts.threads.submit(_answering, work, parts)
        except RuntimeError as error:
            raise BackendUnavailable("The file storage is closed.") from error

    def _prepare(self) -> tuple[Index, Blobs]:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # One process at a time: switching to WAL and making the first key bear no company.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            index = Index(self.root / "objects.db")
            try:
                blobs = Blobs(self.root)
                self._ring = self._open_keys(index, blobs)
            except BaseException:
                index.close()
                raise
        finally:
            os.close(descriptor)
        return index, blobs

    def _open_keys(self, index: Index, blobs: Blobs) -> KeyRing | None:
        used = index.master_keys()
        if self.key_file is None and not used:
            return None
        # Blobs without any row: the index is lost, and a new key would make sure that nobody ever looks for the old one.
        if self.key_file is not None and not self.key_file.exists() and not used and (blobs.is_empty() or not index.is_empty()):
            create_key_file(self.key_file)
        ring = _ring_of(self.key_file, index)
        if ring.active not in used:
            index.record_master_key(ring.active)
        return ring


def _ring_of(key_file: Path | None, index: Index) -> KeyRing:
    if key_file is None:
        raise WrongState("Objects here are encrypted, but no key file is set.")
    try:
        ring = KeyRing.load(key_file)
    except FileNotFoundError:
        raise WrongState(f"The key file {key_file} is missing, and there are objects that only its keys can open.") from None
    lacking = index.master_keys() - ring.ciphers.keys()
    if lacking:
        ids = ", ".join(sorted(id.hex() for id in lacking))
        raise WrongState(f"The key file {key_file} does not hold the keys that objects here are encrypted with: {ids}.")
    return ring


@dataclass(frozen=True, slots=True)
class LocalStorage:
    """One bucket of a LocalStore; keeps the promises of Storage and Archive."""

    store: LocalStore
    name: str

    async def put(
        self,
        key: str,
        body: Body,
        *,
        media_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        is_durable: bool = True,
    ) -> Stored:
        """See Storage.put. Bytes take one hop to a thread; a stream one per 256 KiB, and no more is read until they are written.

        Bytes that need not be durable share hop and transaction with all that are put in the same turn of the loop.
        A put that is cancelled is taken back, even when its commit could not be stopped any more.
        """
        check_key(key)
        put = _Put(self.store, self.name, key, media_type, dict(metadata or {}), if_absent=if_absent, is_durable=is_durable)
        return await self._put(put, body)

    async def _put(self, put: _Put, body: Body) -> Stored:
        try:
            if isinstance(body, bytes):
                if put.may_share:
                    return await self.store.together(put, body)
                return await self.store.settle(lambda parts: put.whole(parts, body))
            held: list[bytes] = []
            held_bytes = 0
            async for chunk in body:
                held.append(chunk)
                held_bytes += len(chunk)
                if held_bytes >= PIECE_BYTES:
                    piece, held, held_bytes = b"".join(held), [], 0
                    await self.store.settle(lambda parts, piece=piece: put.write(parts, piece))  # type: ignore[misc]
            return await self.store.settle(lambda parts: put.whole(parts, b"".join(held)))
        except BaseException:
            await put.take_back()
            raise

    async def get(self, key: str, *, version: str | None = None) -> bytes:
        """See Storage.get."""

        def work(parts: _Parts) -> bytes:
            row, reader = self._open(parts, key, version)
            try:
                size = row.stored.size_bytes
                return b"".join(
                    reader.read(start, min(start + PIECE_BYTES, size)) for start in range(0, max(1, size), PIECE_BYTES)
                )
            finally:
                reader.close()

        return await self.store.run(work)

    async def open(self, key: str, *, start: int = 0, end: int | None = None, version: str | None = None) -> Opened:
        """See Storage.open. The first chunk is read here, so small objects take one hop and damage shows before any byte."""

        def work(parts: _Parts) -> Opened:
            row, reader = self._open(parts, key, version)
            size = row.stored.size_bytes
            first = min(max(start, 0), size)
            chunks = _Chunks(self.store, reader, first, size if end is None else max(first, min(end, size)))
            chunks.read_ahead(parts)
            return Opened(row.stored, chunks)

        return await self.store.run(work)

    async def stat(self, key: str, *, version: str | None = None) -> Stored:
        """See Storage.stat."""
        return await self.store.run(lambda parts: self._find(parts, key, version)[0].stored)

    async def delete(self, key: str, *, version: str | None = None) -> None:
        """See Storage.delete."""

        def work(parts: _Parts) -> None:
            if version is None:
                parts.index.mark(self.name, self._marker(key))
            else:
                parts.blobs.remove(parts.index.remove(self.name, key, version))

        await self.store.run(work)

    async def restore(self, key: str, *, version: str | None = None) -> Stored:
        """See Storage.restore. A copy shares the blob, so it costs a row whatever the size."""

        def work(parts: _Parts) -> Stored:
            if version is None:
                return parts.index.unhide(self.name, key)
            return parts.index.copy(self.name, key, version, new_version=_new_version(), now=self.store.clock())

        return await self.store.run(work)

    async def versions(self, key: str) -> list[Stored]:
        """See Storage.versions."""
        return await self.store.run(lambda parts: parts.index.history(self.name, key))

    async def scan(self, prefix: str, *, after: str = "", limit: int = 1000) -> list[Stored]:
        """See Storage.scan."""
        return await self.store.run(lambda parts: parts.index.scan(self.name, prefix, after, limit))

    async def purge(self, prefix: str) -> int:
        """See Storage.purge. Rows first: a crash in between leaves orphans for the sweep, never rows without bytes."""

        def work(parts: _Parts) -> int:
            count, blobs = parts.index.purge(self.name, prefix)
            parts.blobs.remove(blobs)
            return count

        return await self.store.run(work)

    async def piles(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> list[Pile]:
        """See Archive.piles."""
        return await self.store.run(lambda parts: parts.index.piles(self.name, prefix, after, limit))

    async def lay(self, stored: Stored, body: Body) -> Stored:
        """See Archive.lay."""
        check_key(stored.key)
        if stored.is_marker:
            marker = replace(self._marker(stored.key), modified_at=stored.modified_at)
            await self.store.run(lambda parts: parts.index.lay(self.name, marker))
            return marker
        metadata = dict(stored.metadata)
        put = _Put(self.store, self.name, stored.key, stored.media_type, metadata, at=stored.modified_at)
        return await self._put(put, body)

    def _find(self, parts: _Parts, key: str, version: str | None) -> tuple[Row, Blob]:
        row = parts.index.find(self.name, key, version)
        if row is None or row.blob is None:
            raise Missing
        return row, row.blob

    def _open(self, parts: _Parts, key: str, version: str | None) -> tuple[Row, BlobReader]:
        while True:
            row, blob = self._find(parts, key, version)
            try:
                return row, self.store.reader(parts, blob)
            except FileNotFoundError:
                # A row that is gone by now was purged between the look-up and the open: look again.
                if parts.index.known([blob.name]):
                    log.error("storage.blob_missing", bucket=self.name, blob=blob.name)
                    raise DamagedObject from None
            except DamagedObject:
                log.error("storage.blob_damaged", bucket=self.name, blob=blob.name)
                raise

    def _marker(self, key: str) -> Stored:
        return Stored(
            key=key,
            version=_new_version(),
            size_bytes=0,
            etag="",
            media_type="",
            modified_at=self.store.clock(),
            metadata={},
            is_marker=True,
        )


class _Put:
    """One put under way. Its methods run in a thread, one after another; `take_back` undoes whatever they did."""

    def __init__(
        self,
        store: LocalStore,
        bucket: str,
        key: str,
        media_type: str,
        metadata: Mapping[str, str],
        *,
        if_absent: bool = False,
        is_durable: bool = True,
        at: datetime | None = None,
    ) -> None:
        self._store = store
        self._at = at
        self._bucket = bucket
        self._key = key
        self._media_type = media_type
        self._metadata = metadata
        self._if_absent = if_absent
        self._is_durable = is_durable
        self._writer: BlobWriter | None = None
        self.row: tuple[str, Stored, Blob] | None = None
        self.is_committed = False
        self.is_unsure = False

    def write(self, parts: _Parts, data: bytes) -> None:
        """Append to the draft."""
        if self._writer is None:
            self._writer = self._store.writer(parts)
        self._writer.write(data)

    def whole(self, parts: _Parts, data: bytes) -> Stored:
        """Append the last bytes and commit."""
        self.finish(parts, data)
        _commit(parts, [self], if_absent=self._if_absent, is_durable=self._is_durable)
        return self.stored

    @property
    def may_share(self) -> bool:
        """Whether it can be done along with others: it waits for no disk, and no other's refusal can be its own."""
        return not self._is_durable and not self._if_absent

    def finish(self, parts: _Parts, data: bytes) -> None:
        """Append the last bytes and give the blob its place; `_commit` makes it an object."""
        self.write(parts, data)
        assert self._writer is not None
        blob = self._writer.finish(is_durable=self._is_durable)
        stored = Stored(
            key=self._key,
            version=_new_version(),
            size_bytes=blob.size_bytes,
            etag=blob.etag,
            media_type=self._media_type,
            modified_at=self._at or self._store.clock(),
            metadata=self._metadata,
        )
        self.row = self._bucket, stored, blob

    @property
    def stored(self) -> Stored:
        """What it has become, once committed."""
        assert self.row is not None
        return self.row[1]

    async def take_back(self) -> None:
        """Leave nothing behind. Works on a closed store and under repeated cancellation; its own failure is left to the sweep."""
        if self._writer is None:
            return
        try:
            job = self._store._submit(self._undo)  # noqa: SLF001
        except BackendUnavailable:
            self._writer.discard()
            return
        await _finished(asyncio.wrap_future(job))

    def _undo(self, parts: _Parts) -> None:
        assert self._writer is not None
        if self.is_committed:
            parts.blobs.remove(parts.index.remove(self._bucket, self._key, self.stored.version))
        elif not self.is_unsure:
            self._writer.discard()


@dataclass(slots=True)
class _Batch:
    """Puts that are done together: all of them come to be, or none."""

    puts: list[tuple[_Put, bytes]]
    sending: asyncio.Task[None] | None = None

    def work(self, parts: _Parts) -> None:
        """In a thread."""
        for put, data in self.puts:
            put.finish(parts, data)
        _commit(parts, [put for put, _ in self.puts], if_absent=False, is_durable=False)


def _commit(parts: _Parts, puts: Sequence[_Put], *, if_absent: bool, is_durable: bool) -> None:
    rows = [put.row for put in puts if put.row is not None]
    try:
        parts.index.add(rows, if_absent=if_absent, is_durable=is_durable)
    except CommitUnsure:
        for put in puts:
            put.is_unsure = True  # the blob stays: either a row names it, or the sweep will find out
        raise
    for put in puts:
        put.is_committed = True


class _Chunks(AsyncIterator[bytes]):
    """The bytes of an open blob, at most 256 KiB at a time. Dropping it releases the descriptor, iterated or not."""

    def __init__(self, store: LocalStore, reader: BlobReader, start: int, end: int) -> None:
        self._store = store
        self._reader = reader
        self._at = start
        self._end = end
        self._ahead = b""

    def read_ahead(self, _: _Parts) -> None:
        """In a thread: fetch the next chunk; the descriptor goes with the last one."""
        end = min(self._at + PIECE_BYTES, self._end)
        try:
            self._ahead = self._reader.read(self._at, end)
        except BaseException:
            end = self._end
            raise
        finally:
            self._at = end
            if end == self._end:
                self._reader.close()

    async def __anext__(self) -> bytes:
        if not self._ahead:
            if self._at == self._end:
                raise StopAsyncIteration
            await self._store.run(self.read_ahead)
        chunk, self._ahead = self._ahead, b""
        return chunk

    async def aclose(self) -> None:
        """Stop here."""
        self._ahead, self._at = b"", self._end
        self._reader.close()


def _answering(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run in a thread: no driver's exception leaves, the log keeps the cause."""
    try:
        return work(*args, **kwargs)
    except (OSError, sqlite3.Error) as error:
        log.warning("storage.failed", error=type(error).__name__, reason=str(error))
        raise BackendUnavailable("The file storage does not answer.") from error


async def _finished(result: asyncio.Future[T]) -> None:
    """Until it is done. Cancellations are not passed on: the caller is raising already, and must not leave the thread alone."""
    while not result.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([result])
    if not result.cancelled():
        result.exception()  # looked at, so that asyncio does not report it as lost


def _new_version() -> str:
    return secrets.token_hex(16)
