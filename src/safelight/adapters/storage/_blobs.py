"""Blobs: immutable files under random names, written whole or not at all, sealed when there is a key ring.

    blobs/ab/<32 hexadecimal digits>    finished; the first two digits name the folder
    tmp/<32 hexadecimal digits>         being written

A blob is nothing by itself: it belongs to an object once `_index` has committed a row that names it, and whatever no row names
is an orphan for `sweep`. Everything here blocks and runs in `local`'s threads; OSErrors go up as they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safelight.adapters.storage._frames import FRAME_BYTES, HEADER_BYTES, Sealer, Unsealer, sealed_size
from safelight.adapters.storage._keyring import KeyRing, sync_folder
from safelight.errors import DamagedObject

PIECE_BYTES: Final = 256 * 1024
"""What is held in memory of a body or a reader at a time; the port's largest chunk."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A finished blob as its row describes it. `size_bytes` and `etag` are those of the plain bytes."""

    name: str
    size_bytes: int
    etag: str
    is_sealed: bool


class Blobs:
    """The two folders below one root."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "blobs"
        self._drafts = root / "tmp"
        # All folders now, so that no write has to look, and no process can use a folder that another has yet to sync.
        for folder in (self._drafts, *(self._folder / f"{number:02x}" for number in range(256))):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(self._folder)
        sync_folder(root)

    def path(self, name: str) -> str:
        """Where the finished blob is. Text, since taking paths apart and together costs as much as a small blob's writing."""
        return f"{self._folder}/{name[:2]}/{name}"

    def create(self, ring: KeyRing | None) -> BlobWriter:
        """A new blob; nothing is on disk before the first write."""
        return BlobWriter(self, f"{self._drafts}/", ring)

    def open(self, blob: Blob, ring: KeyRing | None) -> BlobReader:
        """Raises FileNotFoundError, UnknownKey, and DamagedObject when length or header are not what they were."""
        return BlobReader(self.path(blob.name), blob, ring)

    def publish(self, draft: str, name: str, *, is_durable: bool) -> None:
        """Give a finished draft its place."""
        target = self.path(name)
        os.rename(draft, target)  # noqa: PTH104
        if is_durable:
            sync_folder(f"{self._folder}/{name[:2]}")

    def remove(self, names: Iterable[str]) -> None:
        """Unlink blobs; those that are gone already are fine."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(name))  # noqa: PTH108

    def is_empty(self) -> bool:
        """Whether there is not one finished blob."""
        return not any(self._listing(float("inf")))

    def sweep(self, known: Callable[[list[str]], AbstractSet[str]], older_than_s: float) -> tuple[int, int]:
        """Unlink orphans and abandoned drafts that have not been touched for so long; how many of each.

        Names are listed first and looked up after, so a row that is committed in between saves its blob.
        """
        before_s = time.time() - older_than_s
        blobs = 0
        for names in self._listing(before_s):
            orphans = set(names) - known(names)
            self.remove(orphans)
            blobs += len(orphans)
        drafts = _older(self._drafts, before_s)
        for name in drafts:
            (self._drafts / name).unlink(missing_ok=True)
        return blobs, len(drafts)

    def _listing(self, before_s: float) -> Iterator[list[str]]:
        for folder in self._folder.iterdir():
            yield _older(folder, before_s)


class BlobWriter:
    """One blob being written by one thread at a time, its digest and size growing with it."""

    def __init__(self, blobs: Blobs, drafts: str, ring: KeyRing | None) -> None:
        """`drafts` is a folder, with its slash."""
        self.name = secrets.token_hex(16)
        self._blobs = blobs
        self._draft = drafts + self.name
        self._sealer = Sealer(ring, bytes.fromhex(self.name)) if ring else None
        self._header = self._sealer.header if self._sealer else b""
        self._digest = hashlib.sha256()
        self._size_bytes = 0
        self._descriptor: int | None = None
        self._is_published = False

    def write(self, data: bytes) -> None:
        """Append plain bytes."""
        view = memoryview(data)
        for at in range(0, len(view), PIECE_BYTES):
            piece = view[at : at + PIECE_BYTES]
            self._digest.update(piece)
            if parts := self._sealer.update(piece) if self._sealer else [piece]:
                self._append(parts)
        self._size_bytes += len(view)

    def finish(self, *, is_durable: bool) -> Blob:
        """Flush, and give the blob its place; with `is_durable` it survives a power cut from here on."""
        descriptor = self._append([self._sealer.finish()] if self._sealer else [])
        # A body may pause for longer than the sweep waits; from here on the blob must look young until its row is committed.
        os.utime(descriptor)
        if is_durable:
            os.fsync(descriptor)
        self._close()
        self._blobs.publish(self._draft, self.name, is_durable=is_durable)
        self._is_published = True
        return Blob(self.name, self._size_bytes, self._digest.hexdigest(), self._sealer is not None)

    def discard(self) -> None:
        """Leave nothing behind, however far it went."""
        was_created = self._descriptor is not None or self._is_published
        self._close()
        if self._is_published:
            self._blobs.remove([self.name])
        elif was_created:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._draft)  # noqa: PTH108

    def _append(self, parts: list[bytes] | list[memoryview]) -> int:
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self._draft, flags, 0o600)
            parts = [self._header, *parts]
        rest = memoryview(b"".join(parts))
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        return self._descriptor

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        self._close()


class BlobReader:
    """One open blob. Unlinking it meanwhile does not disturb the reader; dropping the reader releases the descriptor.

    Every sealed frame is checked when it is opened. Plain blobs have one digest over all: it is checked when they are read from
    end to end, while a range of a plain blob is only as trustworthy as the disk.
    """

    def __init__(self, path: str, blob: Blob, ring: KeyRing | None) -> None:
        self._blob = blob
        self._guard = threading.Lock()
        self._digest = hashlib.sha256()
        self._digested = 0
        self._unsealer: Unsealer | None = None
        self._descriptor: int | None = None
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        wanted = sealed_size(blob.size_bytes) if blob.is_sealed else blob.size_bytes
        if os.fstat(self._descriptor).st_size != wanted:
            raise DamagedObject
        if blob.is_sealed:
            try:
                self._unsealer = Unsealer(
                    ring or KeyRing(b"", {}), bytes.fromhex(blob.name), self._pread(HEADER_BYTES, 0), blob.size_bytes
                )
            except ValueError as error:
                raise DamagedObject from error

    def read(self, start: int, end: int) -> bytes:
        """The plain bytes [start, end), which must lie inside the object. Raises DamagedObject."""
        with self._guard:
            if self._unsealer is None:
                data = self._pread(end - start, start)
                self._check_digest(start, data)
                return data
            first, offset, length = self._unsealer.span(start, end)
            sealed = self._pread(length, offset)
            try:
                frames = self._unsealer.open(first, sealed)
            except ValueError as error:
                raise DamagedObject from error
            skipped = start % FRAME_BYTES if start < self._blob.size_bytes else 0
            return b"".join(frames)[skipped : skipped + end - start]

    def close(self) -> None:
        """Release the descriptor; waits for a read that is under way, since the number may be given out again at once."""
        with self._guard:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _pread(self, length: int, offset: int) -> bytes:
        if self._descriptor is None:
            raise ValueError("read of a closed blob")
        data = os.pread(self._descriptor, length, offset)
        while len(data) < length:
            more = os.pread(self._descriptor, length - len(data), offset + len(data))
            if not more:
                raise DamagedObject
            data += more
        return data

    def _check_digest(self, start: int, data: bytes) -> None:
        if start != self._digested:
            return
        self._digest.update(data)
        self._digested += len(data)
        if self._digested == self._blob.size_bytes and self._digest.hexdigest() != self._blob.etag:
            raise DamagedObject

    def __del__(self) -> None:
        self.close()


def _older(folder: Path, before_s: float) -> list[str]:
    """Names of the files last written before that time; those that vanish meanwhile are left out."""
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                if entry.stat(follow_symlinks=False).st_mtime <= before_s:
                    names.append(entry.name)
    return names
