"""DirectoryVault: backups as plain files below one folder, which any tool may carry elsewhere.

    <root>/<name>             an entry, sealed like a blob of the embedded store (`_frames`) and bound to its name
    <root>/vault              says what this is, sealed: a wrong key is told before anything is written
    <root>/salt               for a key that is made of a passphrase
    <root>/tmp/               entries on their way in; a crash leaves some, the next `open` removes them

An entry is written as a draft, fsynced, renamed, and its folder fsynced: it is there whole, or it is not there.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, TypeVar

from safelight.adapters.storage._frames import HEADER_BYTES
from safelight.adapters.storage._keyring import KeyRing, sync_folder
from safelight.adapters.storage._vaults import (
    SALT_BYTES,
    STRIDE,
    check_mark,
    frames_of,
    mark_of,
    opened,
    ring_of_file,
    ring_of_passphrase,
    sealed,
    unsealer_of,
)
from safelight.errors import BackendUnavailable, DamagedObject, DataDirInUse, Missing, WrongState
from safelight.ports.storage import Body

T = TypeVar("T")

_PIECE_FRAMES: Final = 4


class DirectoryVault:
    """Keeps Vault.

    Args:
        root: The folder; made where there is none.
        key_file: Keys of 64 hexadecimal digits, the one in use first.
        passphrase: Instead: a key is made of it by scrypt (RFC 7914) with N = 2**17, r = 8, p = 1 and the vault's own salt.

    """

    def __init__(self, root: Path, *, key_file: Path | None = None, passphrase: bytes = b"") -> None:
        self._root: Final = root
        self._key_file: Final = key_file
        self._passphrase: Final = passphrase
        self._ring: KeyRing | None = None
        self._lock: int | None = None

    async def open(self) -> None:
        """Under a lock of the folder, which is released with the process."""
        await asyncio.to_thread(_answering, self._open)

    async def close(self) -> None:
        """The lock goes."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    async def has(self, name: str) -> bool:
        """By the file."""
        return await asyncio.to_thread(self._path(name).exists)

    async def put(self, name: str, body: Body) -> None:
        """In pieces: a body of any length takes the memory of one."""
        ring = self._opened()
        draft = self._root / "tmp" / secrets.token_hex(16)
        file = await asyncio.to_thread(_answering, lambda: draft.open("xb"))
        try:
            with file:
                async for frames in sealed(ring, name, body):
                    await asyncio.to_thread(_answering, file.write, frames)

                def finish() -> None:
                    file.flush()
                    os.fsync(file.fileno())
                    path = self._path(name)
                    if not path.parent.exists():
                        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                        sync_folder(path.parent.parent)
                    draft.rename(path)
                    sync_folder(path.parent)

                await asyncio.to_thread(_answering, finish)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Every frame is checked when it is opened."""
        ring = self._opened()
        return await asyncio.to_thread(_answering, lambda: self._reader(name, ring))

    async def names(self, folder: str) -> list[str]:
        """Files in the folder itself."""

        def listed() -> list[str]:
            if not (self._root / folder).is_dir():
                return []
            return sorted(f"{folder}/{path.name}" for path in (self._root / folder).iterdir() if path.is_file())

        return await asyncio.to_thread(_answering, listed)

    async def remove(self, name: str) -> None:
        """The file."""
        await asyncio.to_thread(_answering, lambda: self._path(name).unlink(missing_ok=True))

    def _open(self) -> None:
        if self._lock is not None:
            return
        for folder in (self._root, self._root / "tmp"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataDirInUse(f"Another command uses the backups in {self._root}.") from None
            self._ring = self._keys()
            self._check()
            for draft in (self._root / "tmp").iterdir():
                draft.unlink()
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock

    def _keys(self) -> KeyRing:
        if self._key_file is not None:
            return ring_of_file(self._key_file)
        path = self._root / "salt"
        if not path.exists():
            if (self._root / "vault").exists():
                raise WrongState(f"The backups in {self._root} are sealed with a key file, not with a passphrase.")
            draft = self._root / "tmp" / "salt"
            draft.write_bytes(secrets.token_bytes(SALT_BYTES))
            draft.rename(path)
            sync_folder(self._root)
        return ring_of_passphrase(self._passphrase, path.read_bytes())

    def _check(self) -> None:
        assert self._ring is not None
        path = self._root / "vault"
        if not path.exists():
            if any((self._root / name).exists() for name in ("snapshots", "objects")):
                raise WrongState(f"{self._root} holds backups, and the file {path} that tells their key is missing.")
            draft = self._root / "tmp" / "vault"
            draft.write_bytes(mark_of(self._ring))
            draft.rename(path)
            sync_folder(self._root)
            return
        check_mark(self._ring, path.read_bytes(), str(self._root))

    def _reader(self, name: str, ring: KeyRing) -> AsyncIterator[bytes]:
        path = self._path(name)
        try:
            with path.open("rb") as file:
                size_bytes = os.fstat(file.fileno()).st_size
                count = frames_of(size_bytes)
                unsealer = unsealer_of(ring, name, file.read(HEADER_BYTES), size_bytes)
        except FileNotFoundError:
            raise Missing from None

        def piece(first: int) -> bytes:
            # Opened for each piece: whoever stops in the middle leaves no descriptor behind.
            with path.open("rb") as file:
                file.seek(HEADER_BYTES + first * STRIDE)
                data = file.read(_PIECE_FRAMES * STRIDE)
            if not data:
                raise DamagedObject
            return opened(unsealer, first, data)

        async def pieces() -> AsyncIterator[bytes]:
            for first in range(0, count, _PIECE_FRAMES):
                yield await asyncio.to_thread(_answering, piece, first)

        return pieces()

    def _path(self, name: str) -> Path:
        return self._root / name

    def _opened(self) -> KeyRing:
        if self._lock is None or self._ring is None:
            raise BackendUnavailable("The vault is closed.")
        return self._ring


def _answering(work: Callable[..., T], *args: object) -> T:
    try:
        return work(*args)
    except OSError as error:
        raise BackendUnavailable(f"The backups cannot be read or written ({error.strerror}).") from error
