"""Copies: uploads that come in pieces through this process, on its own disk as well, so that nobody fetches them back to look at them.

A store that is far away takes the bytes and would have to give them all back. A copy is never what counts: it is believed only at the
revision of the upload's row at which it was left, so bytes that were sent elsewhere meanwhile, or that did not count, end it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from pathlib import Path
from typing import Final

import structlog

from safelight.domain.ids import UploadId
from safelight.domain.uploads import Upload
from safelight.errors import Unavailable
from safelight.services.spool import Spool

log = structlog.get_logger()

MOST: Final = 8
"""Copies of one process, each a file on disk of as much as an upload may have."""
IDLE_S: Final = 30.0
"""How long a copy waits for the next request of its upload."""
_WRITE_BYTES: Final = 1024 * 1024


class Copy:
    """One upload's bytes from the first on. It is written beside what the store is given, never waited for but by its next bytes."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self._held = bytearray()
        self._writing: asyncio.Task[None] | None = None
        self._is_whole = True

    async def add(self, chunk: bytes) -> None:
        """These come next. A disk that takes no more ends the copy, and nothing else."""
        self._held += chunk
        if len(self._held) >= _WRITE_BYTES:
            await self._flush()

    async def holds(self, size_bytes: int) -> bool:
        """Whether it has all that has been added, and that is so much."""
        await self._flush()
        await self._written()
        return self._is_whole and self.spool.size_bytes == size_bytes

    async def _flush(self) -> None:
        await self._written()
        if self._held and self._is_whole:
            self._writing = asyncio.create_task(self.spool.write(bytes(self._held)))
        self._held.clear()

    async def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            await writing
        except Unavailable as error:
            log.warning("upload.not_copied", reason=str(error.__cause__))
            self._is_whole = False


class Copies:
    """Those of one process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._all: set[Copy] = set()
        self._left: OrderedDict[UploadId, tuple[int, Copy, asyncio.TimerHandle]] = OrderedDict()

    def begin(self, upload: Upload) -> Copy | None:
        """For a request that sends what comes behind `upload`: the copy of all before, or None where there is none, or no room for one."""
        if upload.id in self._left:
            revision, copy = self._picked_up(upload.id)
            if revision == upload.revision:
                return copy
            self.end(copy)
        if upload.offset_bytes or upload.is_partial:
            return None
        if len(self._all) >= MOST:
            if not self._left:
                return None
            self.end(self._picked_up(next(iter(self._left)))[1])
        try:
            copy = Copy(Spool(self._folder))
        except Unavailable as error:
            log.warning("upload.not_copied", reason=str(error.__cause__))
            return None
        self._all.add(copy)
        return copy

    def leave(self, copy: Copy, upload: Upload) -> None:
        """Until the next request, which finds `upload` as it is now."""
        if upload.id in self._left:  # of a request that ended late
            self.end(self._picked_up(upload.id)[1])
        end = asyncio.get_running_loop().call_later(IDLE_S, lambda: self.end(self._picked_up(upload.id)[1]))
        self._left[upload.id] = upload.revision, copy, end

    def end(self, copy: Copy | None) -> None:
        """It is of no use any more."""
        if copy is not None:
            copy.spool.close()
            self._all.discard(copy)

    def _picked_up(self, upload: UploadId) -> tuple[int, Copy]:
        revision, copy, end = self._left.pop(upload)
        end.cancel()
        return revision, copy
