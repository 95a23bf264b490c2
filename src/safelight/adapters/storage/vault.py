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
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from safelight.adapters.storage._frames import FRAME_BYTES, HEADER_BYTES, TAG_BYTES, Sealer, Unsealer
from safelight.adapters.storage._keyring import KEY_BYTES, KeyRing, UnknownKey, key_id, sync_folder
from safelight.errors import BackendUnavailable, DamagedObject, DataDirInUse, Missing, WrongState
from safelight.ports.storage import Body

T = TypeVar("T")

_MARK: Final = b"Safelight vault 1"
_FRAME: Final = FRAME_BYTES + TAG_BYTES
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
        sealer = Sealer(ring, _id(name))
        draft = self._root / "tmp" / secrets.token_hex(16)
        file = await asyncio.to_thread(_answering, lambda: draft.open("xb"))
        try:
            with file:
                await asyncio.to_thread(_answering, lambda: file.write(sealer.header))
                async for chunk in _chunks(body):
                    frames = sealer.update(chunk)
                    if frames:
                        await asyncio.to_thread(_answering, lambda frames=frames: file.writelines(frames))

                def finish() -> None:
                    file.write(sealer.finish())
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
            try:
                return KeyRing.load(self._key_file)
            except FileNotFoundError:
                raise WrongState(f"There is no key file {self._key_file}.") from None
        path = self._root / "salt"
        if not path.exists():
            if (self._root / "vault").exists():
                raise WrongState(f"The backups in {self._root} are sealed with a key file, not with a passphrase.")
            draft = self._root / "tmp" / "salt"
            draft.write_bytes(secrets.token_bytes(16))
            draft.rename(path)
            sync_folder(self._root)
        key = hashlib.scrypt(self._passphrase, salt=path.read_bytes(), n=2**17, r=8, p=1, maxmem=2**28, dklen=KEY_BYTES)
        return KeyRing(key_id(key), {key_id(key): AESGCM(key)})

    def _check(self) -> None:
        assert self._ring is not None
        path = self._root / "vault"
        if not path.exists():
            if any((self._root / name).exists() for name in ("snapshots", "objects")):
                raise WrongState(f"{self._root} holds backups, and the file {path} that tells their key is missing.")
            sealer = Sealer(self._ring, _id("vault"))
            draft = self._root / "tmp" / "vault"
            draft.write_bytes(b"".join([sealer.header, *sealer.update(_MARK), sealer.finish()]))
            draft.rename(path)
            sync_folder(self._root)
            return
        sealed = path.read_bytes()
        try:
            unsealer = Unsealer(self._ring, _id("vault"), sealed[:HEADER_BYTES], len(_MARK))
            mark = b"".join(unsealer.open(0, sealed[HEADER_BYTES:]))
        except (UnknownKey, ValueError):
            mark = b""
        if mark != _MARK:
            raise WrongState(f"The backups in {self._root} were made with another key or passphrase.")

    def _reader(self, name: str, ring: KeyRing) -> AsyncIterator[bytes]:
        path = self._path(name)
        try:
            with path.open("rb") as file:
                sealed = os.fstat(file.fileno()).st_size - HEADER_BYTES
                count = max(1, -(-sealed // _FRAME))
                try:
                    unsealer = Unsealer(ring, _id(name), file.read(HEADER_BYTES), max(0, sealed - count * TAG_BYTES))
                except (UnknownKey, ValueError):
                    raise DamagedObject from None
        except FileNotFoundError:
            raise Missing from None

        def piece(first: int) -> bytes:
            # Opened for each piece: whoever stops in the middle leaves no descriptor behind.
            with path.open("rb") as file:
                file.seek(HEADER_BYTES + first * _FRAME)
                data = file.read(_PIECE_FRAMES * _FRAME)
            try:
                plain = b"".join(unsealer.open(first, data))
            except ValueError:
                raise DamagedObject from None
            if not data:
                raise DamagedObject
            return plain

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


def _id(name: str) -> bytes:
    """What an entry is bound to, so that files cannot change places."""
    return hashlib.sha256(name.encode()).digest()[:16]


async def _chunks(body: Body) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        yield body
        return
    async for chunk in body:
        yield chunk


def _answering(work: Callable[..., T], *args: object) -> T:
    try:
        return work(*args)
    except OSError as error:
        raise BackendUnavailable(f"The backups cannot be read or written ({error.strerror}).") from error
