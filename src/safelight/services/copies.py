"""Copies: what comes in pieces, on this process's disk before it goes to the store, and as long as it may be of use there.

A client may take as long as it likes for a piece, so pieces wait on the disk and not in memory. And a store that is far away would have
to give back what it was given: where all of an upload has come through one process, its copy is looked at instead. A copy is never what
counts: it is believed only at the revision of the upload's row at which it was left, so bytes that were sent elsewhere meanwhile, or
that did not count, end it.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from pathlib import Path
from typing import Final

from safelight.domain.ids import UploadId
from safelight.domain.uploads import Upload
from safelight.errors import Unavailable
from safelight.services.spool import Spool

MOST: Final = 8
"""Copies of one process that wait for the next request of their upload, or for being looked at."""
IDLE_S: Final = 30.0
"""How long a copy waits for the next request of its upload."""
_WRITE_BYTES: Final = 1024 * 1024
"""What is held in memory; each is a trip to a thread."""


class Copy:
    """One upload's bytes from offset `since` on."""

    def __init__(self, folder: Path, since: int) -> None:
        """Raises Unavailable when the folder takes no file."""
        self.spool: Final = Spool(folder)
        self._since: Final = since
        self._held = bytearray()
        self._turn: Final = asyncio.Lock()

    async def add(self, chunk: bytes) -> None:
        """These come next. Raises Unavailable when the disk is full."""
        self._held += chunk
        if len(self._held) >= _WRITE_BYTES:
            await self._flush()

    async def read(self, start: int, size: int) -> bytes:
        """So many bytes of those that were added, from this offset of the upload on. Raises Unavailable."""
        await self._flush()
        data = await asyncio.to_thread(os.pread, self.spool.fd, size, start - self._since)
        if len(data) < size:
            raise Unavailable("What has come of the upload cannot be read back.")
        return data

    def is_of(self, upload: Upload) -> bool:
        """Whether it is all that has come of the upload."""
        return self._since == 0 and self.spool.size_bytes == upload.offset_bytes

    async def _flush(self) -> None:
        async with self._turn:
            data = bytes(self._held)
            self._held.clear()
            if data:
                await self.spool.write(data)


class Copies:
    """Those of one process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._left: OrderedDict[UploadId, tuple[int, Copy, asyncio.TimerHandle]] = OrderedDict()

    def begin(self, upload: Upload) -> Copy:
        """For a request that sends what comes behind `upload`: the copy of all before, or a new one. Raises Unavailable."""
        if upload.id in self._left:
            revision, copy = self._picked_up(upload.id)
            if revision == upload.revision:
                return copy
            copy.spool.close()
        return Copy(self._folder, upload.offset_bytes)

    def leave(self, copy: Copy, upload: Upload) -> None:
        """Until the next request, which finds `upload` as it is now; unless it would be of no use to that."""
        if upload.is_partial or not copy.is_of(upload):
            copy.spool.close()
            return
        if upload.id in self._left:  # of a request that ended late
            self._end(upload.id)
        if len(self._left) >= MOST:
            self._end(next(iter(self._left)))
        end = asyncio.get_running_loop().call_later(IDLE_S, lambda: self._end(upload.id))
        self._left[upload.id] = upload.revision, copy, end

    def _end(self, upload: UploadId) -> None:
        self._picked_up(upload)[1].spool.close()

    def _picked_up(self, upload: UploadId) -> tuple[int, Copy]:
        revision, copy, end = self._left.pop(upload)
        end.cancel()
        return revision, copy
