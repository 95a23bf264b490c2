"""S3Vault: backups below one prefix of a bucket, which need not be the installation's, nor at the same provider.

    <prefix>/<name>           an entry, sealed before it leaves this machine (`_vaults`)
    <prefix>/vault, salt      what tells the key, and what a key is made of that comes from a passphrase
    <prefix>/locks/<random>   the command that uses the vault now

The bucket need not keep versions. Where it does, or holds objects by object lock, removing an entry lays a delete marker on it: what
is gone for good is a matter of the bucket's own lifecycle, and not of whoever has these credentials.

A lock is an object that is written anew every two minutes, judged by the time that the server gave it. Two commands that come at
once may both be turned away; never do both go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import structlog

from safelight.adapters.storage._frames import HEADER_BYTES
from safelight.adapters.storage._keyring import KeyRing
from safelight.adapters.storage._vaults import (
    SALT_BYTES,
    STRIDE,
    check_mark,
    mark_of,
    opened,
    ring_of_file,
    ring_of_passphrase,
    sealed,
    unsealer_of,
)
from safelight.adapters.storage.s3 import listing
from safelight.adapters.storage.s3.options import S3Options
from safelight.adapters.storage.s3.store import S3Store
from safelight.errors import BackendUnavailable, DamagedObject, DataDirInUse, Missing, SafelightError, WrongState
from safelight.ports.storage import Body, Opened

log = structlog.get_logger(__name__)

RENEWED_S: Final = 120.0
"""How often a lock is written anew."""
STALE_S: Final = 600.0
"""Age of a lock whose command has died."""


class S3Vault:
    """Keeps Vault.

    Args:
        options: Where and how; both of its buckets are the one of the backups, which need not keep versions.
        key_file: Keys of 64 hexadecimal digits, the one in use first.
        passphrase: Instead: a key is made of it, as `DirectoryVault` does.

    """

    def __init__(self, options: S3Options, *, key_file: Path | None = None, passphrase: bytes = b"") -> None:
        self._store: Final = S3Store(options)
        self._objects: Final = self._store.bucket("originals")
        self._where: Final = f"s3://{options.originals_bucket}/{options.prefix}"
        self._key_file: Final = key_file
        self._passphrase: Final = passphrase
        self._ring: KeyRing | None = None
        self._lock: Final = f"locks/{secrets.token_hex(16)}"
        self._renewed_at = 0.0
        self._renewing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Under a lock in the bucket, which ends with the command, or ten minutes after it was killed."""
        if self._ring is not None:
            return
        await self._store.open()
        try:
            await self._take()
            ring = await self._keys()
            await self._check(ring)
            self._ring = ring
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """The lock goes, and every connection."""
        self._ring = None
        task, self._renewing = self._renewing, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        try:
            with contextlib.suppress(SafelightError):
                await self._discard(self._lock)
        finally:
            await self._store.close()

    async def has(self, name: str) -> bool:
        """By a HEAD."""
        self._opened()
        try:
            await self._objects.stat(name)
        except Missing:
            return False
        return True

    async def put(self, name: str, body: Body) -> None:
        """A body of more than 8 MiB is spooled, sealed, before its first byte leaves."""
        await self._objects.put(name, sealed(self._opened(), name, body))

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Every frame is checked when it is opened, and the whole once more at its end."""
        ring = self._opened()
        return _plain(ring, name, await self._objects.open(name))

    async def names(self, folder: str) -> list[str]:
        """By listing, a thousand at a time."""
        self._opened()
        connection, options = self._store.connection, self._store.options
        found: list[str] = []
        async for page in listing.names(connection, options.originals_bucket, f"{options.prefix}{folder}/", ""):
            below = (name.removeprefix(options.prefix) for name in page)
            found += [name for name in below if "/" not in name.removeprefix(f"{folder}/")]
        return sorted(found)

    async def remove(self, name: str) -> None:
        """Gone, or under a delete marker."""
        self._opened()
        await self._objects.delete(name)

    # Keys

    async def _keys(self) -> KeyRing:
        if self._key_file is not None:
            return ring_of_file(self._key_file)
        salt = await self._small("salt")
        if salt is None:
            if await self._small("vault") is not None:
                raise WrongState(f"The backups in {self._where} are sealed with a key file, not with a passphrase.")
            salt = secrets.token_bytes(SALT_BYTES)
            await self._objects.put("salt", salt)
        return await asyncio.to_thread(ring_of_passphrase, self._passphrase, salt)

    async def _check(self, ring: KeyRing) -> None:
        mark = await self._small("vault")
        if mark is not None:
            check_mark(ring, mark, self._where)
            return
        if await self._objects.scan("snapshots/", limit=1):
            raise WrongState(f"{self._where} holds backups, and the object `vault` that tells their key is missing.")
        await self._objects.put("vault", mark_of(ring))

    async def _small(self, name: str) -> bytes | None:
        try:
            return await self._objects.get(name)
        except Missing:
            return None

    # The lock

    async def _take(self) -> None:
        version = await self._written()
        locks = await self._locks()
        mine = locks.pop(self._lock, None)
        if mine is None:
            raise BackendUnavailable("The object store does not list what was just written.")
        stale = [name for name, at in locks.items() if mine - at > STALE_S]
        if len(stale) < len(locks):
            raise DataDirInUse(
                f"Another command uses the backups in {self._where}. If it was killed, this goes on its own within ten minutes."
            )
        for name in stale:
            await self._discard(name)
        self._renewing = asyncio.create_task(self._renew(version), name="vault lock")

    async def _locks(self) -> dict[str, float]:
        """When each was written, by the server's clock."""
        connection, options = self._store.connection, self._store.options
        answer = await connection.call(
            "list locks",
            lambda: connection.client.list_objects_v2(Bucket=options.originals_bucket, Prefix=f"{options.prefix}locks/"),
        )
        found = answer.get("Contents", ())
        return {each["Key"].removeprefix(options.prefix): each["LastModified"].timestamp() for each in found}

    async def _written(self) -> str:
        at = time.monotonic()
        stored = await self._objects.put(self._lock, b"", media_type="text/plain")
        self._renewed_at = at
        return stored.version

    async def _renew(self, version: str) -> None:
        while True:
            await asyncio.sleep(RENEWED_S)
            with contextlib.suppress(SafelightError):  # tried again; who has not been able to for long stops to write
                before, version = version, await self._written()
                if before != version:
                    await self._objects.delete(self._lock, version=before)

    async def _discard(self, lock: str) -> None:
        for stored in await self._objects.versions(lock):
            with contextlib.suppress(SafelightError):  # held by object lock: it is stale soon
                await self._objects.delete(lock, version=stored.version)

    def _opened(self) -> KeyRing:
        if self._ring is None:
            raise BackendUnavailable("The vault is closed.")
        if time.monotonic() - self._renewed_at > STALE_S - RENEWED_S:
            raise BackendUnavailable(f"The lock on {self._where} could not be kept: another command may have begun.")
        return self._ring


async def _plain(ring: KeyRing, name: str, entry: Opened) -> AsyncIterator[bytes]:
    held = b""
    unsealer = None
    first = 0
    async for chunk in entry.chunks:
        held += chunk
        if unsealer is None:
            if len(held) < HEADER_BYTES:
                continue
            unsealer = unsealer_of(ring, name, held[:HEADER_BYTES], entry.stored.size_bytes)
            held = held[HEADER_BYTES:]
        whole = len(held) // STRIDE
        if whole:
            yield opened(unsealer, first, held[: whole * STRIDE])
            first, held = first + whole, held[whole * STRIDE :]
    if unsealer is None:
        raise DamagedObject
    if held:
        yield opened(unsealer, first, held)
    elif not first:
        raise DamagedObject
