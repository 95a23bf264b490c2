"""Renditions in files, at most so many bytes together, shared by the server processes of a machine.

A file is `tenant/image/version.generation.name` and holds a nonce and AES-256-GCM over the bytes, with the key it lies under bound in. So what
is torn, cut or exchanged does not open and is removed, and a disk that goes astray shows nobody's pictures. It is written beside and
renamed, without fsync: what a power cut spoils is found out by the seal.

There is no index. The file system says what is there and how large; a file's modification time says when it was last asked for. When
too much has been written since the last count, everything is counted anew and the oldest tenth makes room. Every process does
so for itself: one that removes what another counts on only makes it count again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from safelight.errors import WrongState

log = structlog.get_logger()

_KEY: Final = re.compile(
    r"([a-zA-Z0-9-]{1,64})/([a-zA-Z0-9-]{1,64})/([0-9]{1,10}(?:/g[0-9]{1,10})?)/([a-zA-Z0-9_-]{1,80}\.[a-z]{3,5})"
)
_MAGIC: Final = b"SLS1"
_NONCE: Final = 12
_TAG: Final = 16
_WRITING: Final = ".writing"
_ROOM: Final = 0.9
"""To how much of its capacity it is emptied."""
_FRESH_S: Final = 60.0
"""How often a file's time is moved on: not for every one of a thousand hits a second."""
_STALE_S: Final = 3600.0
"""After which a file that is still being written belongs to a process that is gone."""


@dataclass(frozen=True, slots=True)
class _File:
    at: float
    size_bytes: int
    path: Path


class DiskShelf:
    """Keeps Shelf. Files are touched in threads; the event loop never waits for a disk."""

    def __init__(self, path: Path, *, capacity_bytes: int, key: bytes) -> None:
        """`key` has 32 bytes. One that is new forgets everything that was kept under the old one."""
        self._path = path
        self._capacity = capacity_bytes
        self._seal = AESGCM(key)
        self._used = 0
        self._counting = threading.Lock()
        self._warned_at = -_FRESH_S

    async def open(self) -> None:
        """Count what is there. Raises WrongState when nothing can be written."""
        await asyncio.to_thread(self._open)

    async def get(self, key: str) -> bytes | None:
        """The bytes exactly as they were put, or None."""
        path = self._place(key)
        return None if path is None else await asyncio.to_thread(self._get, path, key)

    async def put(self, key: str, body: bytes) -> None:
        """Keep them, unless they would be more than a sixteenth of everything."""
        path = self._place(key)
        if path is not None and len(body) <= self._capacity // 16:
            await asyncio.to_thread(self._put, path, key, body)

    async def drop(self, prefix: str) -> int:
        """Let go of everything under 'tenant/' or 'tenant/image/'; how many."""
        parts = prefix.rstrip("/").split("/")
        if not 1 <= len(parts) <= 2 or not all(re.fullmatch(r"[a-zA-Z0-9-]{1,64}", part) for part in parts):
            return 0
        return await asyncio.to_thread(self._drop, self._path.joinpath(*parts))

    def _place(self, key: str) -> Path | None:
        match = _KEY.fullmatch(key)
        if match is None:
            return None
        tenant, image, version, name = match.groups()
        return self._path / tenant / image / f"{version.replace('/', '.')}.{name}"

    def _open(self) -> None:
        writing = self._path / _WRITING
        try:
            writing.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = writing / secrets.token_hex(8)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise WrongState(f"SAFELIGHT_DELIVERY__DISK_PATH {self._path} cannot be used: {error.strerror}.") from error
        for left in writing.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > _STALE_S:
                    left.unlink()
        self._make_room()

    def _get(self, path: Path, key: str) -> bytes | None:
        try:
            with path.open("rb") as file:
                sealed = file.read()
                stood = os.fstat(file.fileno()).st_mtime
        except OSError:
            return None
        try:
            if sealed[: len(_MAGIC)] != _MAGIC:
                raise InvalidTag
            at = len(_MAGIC) + _NONCE
            body = self._seal.decrypt(sealed[len(_MAGIC) : at], sealed[at:], key.encode())
        except (InvalidTag, ValueError):
            log.warning("shelf.damaged", path=str(path))
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        if time.time() - stood > _FRESH_S:
            with contextlib.suppress(OSError):
                os.utime(path)
        return body

    def _put(self, path: Path, key: str, body: bytes) -> None:
        nonce = secrets.token_bytes(_NONCE)
        beside = self._path / _WRITING / secrets.token_hex(16)
        try:
            with beside.open("xb") as file:
                file.write(_MAGIC + nonce)
                file.write(self._seal.encrypt(nonce, body, key.encode()))
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink()
            if time.monotonic() - self._warned_at > _FRESH_S:
                self._warned_at = time.monotonic()
                log.warning("shelf.not_written", error=error.strerror)
            return
        self._used += len(body) + len(_MAGIC) + _NONCE + _TAG
        if self._used > self._capacity:
            self._make_room()

    def _drop(self, folder: Path) -> int:
        found = list(_files(folder))
        shutil.rmtree(folder, ignore_errors=True)
        return len(found)

    def _make_room(self) -> None:
        """Count; over the capacity, remove what was asked for the longest ago. One thread does, the others go on."""
        if not self._counting.acquire(blocking=False):
            return
        try:
            files = sorted(_files(self._path), key=lambda file: file.at)
            used = sum(file.size_bytes for file in files)
            if used > self._capacity:
                for file in files:
                    if used <= self._capacity * _ROOM:
                        break
                    with contextlib.suppress(OSError):
                        file.path.unlink()
                    used -= file.size_bytes
                    with contextlib.suppress(OSError):
                        file.path.parent.rmdir()  # refuses while there is more in it
            self._used = used
        finally:
            self._counting.release()


def _files(folder: Path) -> Iterator[_File]:
    """Every rendition below; what vanishes meanwhile is left out."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        with contextlib.suppress(OSError):
            if entry.is_dir(follow_symlinks=False):
                if entry.name != _WRITING:
                    yield from _files(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                about = entry.stat(follow_symlinks=False)
                yield _File(about.st_mtime, about.st_size, Path(entry.path))
