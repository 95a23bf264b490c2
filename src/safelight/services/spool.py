"""Spool: a file without a name that holds one upload while it is looked at; gone when its descriptor is, whatever kills us."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safelight.errors import TooManyBytes, Unavailable

CHUNK: Final = 512 * 1024
"""Each is a trip to a thread, and held in memory once an upload."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """What was written: where it can be read from, how much it is and its SHA-256 in hexadecimal."""

    fd: int
    size_bytes: int
    sha256: str


class Spool:
    """A file that takes bytes one behind the other and knows their SHA-256. It is gone with the object, or when it is closed."""

    def __init__(self, folder: Path) -> None:
        """Raises Unavailable when the folder takes no file."""
        self.fd: Final = nameless(folder)
        self._digest = hashlib.sha256()
        self._writing: asyncio.Future[None] | None = None
        self._closed = weakref.finalize(self, os.close, self.fd)
        self.size_bytes = 0

    @property
    def is_open(self) -> bool:
        """Whether the file is there."""
        return self._closed.alive

    async def write(self, data: bytes) -> None:
        """These come next. Raises Unavailable when the disk is full: then it is of no use any more."""
        self._writing = asyncio.ensure_future(asyncio.to_thread(self._write, data))
        await asyncio.shield(self._writing)
        self.size_bytes += len(data)

    def written(self) -> Spooled:
        """What there is; its descriptor is the spool's."""
        return Spooled(self.fd, self.size_bytes, self._digest.hexdigest())

    def close(self) -> None:
        """Let go of the file. A thread that still writes for somebody who has gone away ends first: its number may be another's then."""
        if self._writing is None or self._writing.done():
            self._closed()
        else:
            self._writing.add_done_callback(lambda done: (done.cancelled() or done.exception(), self._closed()))

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        write_all(self.fd, data)


@contextmanager
def _with_room() -> Iterator[None]:
    """A full disk is no fault of the request: whoever sends the file again in a while may have more luck."""
    try:
        yield
    except OSError as error:
        raise Unavailable("There is no room for the upload at the moment.") from error


def nameless(folder: Path) -> int:
    """A descriptor to write and read, of a file in this folder. Raises Unavailable."""
    with _with_room():
        try:
            return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:  # a file system without O_TMPFILE
            fd, path = tempfile.mkstemp(dir=folder)
            Path(path).unlink()
            return fd


def write_all(fd: int, data: bytes | bytearray) -> None:
    """All of it, however little the system takes at a time. Raises Unavailable."""
    view = memoryview(data)
    with _with_room():
        while view:
            view = view[os.write(fd, view) :]


async def chunks_of(fd: int) -> AsyncIterator[bytes]:
    """All bytes of a file in order, wherever it stands."""
    offset = 0
    while chunk := await asyncio.to_thread(os.pread, fd, CHUNK, offset):
        yield chunk
        offset += len(chunk)


@asynccontextmanager
async def spooled(
    chunks: AsyncIterable[bytes], folder: Path, *, max_bytes: int, fits: Callable[[int], None] = lambda _: None
) -> AsyncIterator[Spooled]:
    """The bytes in a file for as long as the block lasts.

    Raises TooManyBytes as soon as they are more than allowed, Unavailable when the disk is full, and whatever `fits` raises for as
    many as have come.
    """
    spool = Spool(folder)
    try:
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise TooManyBytes(f"The file has more than {max_bytes} bytes.", limit=max_bytes)
            fits(size)
            await spool.write(chunk)
        yield spool.written()
    finally:
        spool.close()
