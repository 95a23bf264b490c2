"""Vaults: what both kinds have in common: their keys, the mark by which a wrong key is told, and entries sealed under their names.

An entry is sealed like a blob of the embedded store (`_frames`) and bound to its name, so that entries cannot change places.
Called by `vault` and `s3.vault`.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from safelight.adapters.storage._frames import FRAME_BYTES, HEADER_BYTES, TAG_BYTES, Sealer, Unsealer
from safelight.adapters.storage._keyring import KEY_BYTES, KeyRing, UnknownKey, key_id
from safelight.errors import DamagedObject, WrongState
from safelight.ports.storage import Body

SALT_BYTES: Final = 16
STRIDE: Final = FRAME_BYTES + TAG_BYTES
_MARK: Final = b"Safelight vault 1"


def ring_of_file(key_file: Path) -> KeyRing:
    """The keys of the file. Raises WrongState."""
    try:
        return KeyRing.load(key_file)
    except FileNotFoundError:
        raise WrongState(f"There is no key file {key_file}.") from None


def ring_of_passphrase(passphrase: bytes, salt: bytes) -> KeyRing:
    """One key, made by scrypt (RFC 7914) with N = 2**17, r = 8, p = 1."""
    key = hashlib.scrypt(passphrase, salt=salt, n=2**17, r=8, p=1, maxmem=2**28, dklen=KEY_BYTES)
    return KeyRing(key_id(key), {key_id(key): AESGCM(key)})


def mark_of(ring: KeyRing) -> bytes:
    """What is kept beside the entries, sealed."""
    return sealed_whole(ring, "vault", _MARK)


def check_mark(ring: KeyRing, sealed: bytes, where: str) -> None:
    """Raises WrongState for another key than the vault was made with."""
    try:
        unsealer = Unsealer(ring, _id("vault"), sealed[:HEADER_BYTES], len(_MARK))
        mark = b"".join(unsealer.open(0, sealed[HEADER_BYTES:]))
    except (UnknownKey, ValueError):
        mark = b""
    if mark != _MARK:
        raise WrongState(f"The backups in {where} were made with another key or passphrase.")


def sealed_whole(ring: KeyRing, name: str, data: bytes) -> bytes:
    """A small entry."""
    sealer = Sealer(ring, _id(name))
    return b"".join([sealer.header, *sealer.update(data), sealer.finish()])


async def sealed(ring: KeyRing, name: str, body: Body) -> AsyncIterator[bytes]:
    """An entry, in the memory of a piece of its body."""
    sealer = Sealer(ring, _id(name))
    yield sealer.header
    async for chunk in chunks_of(body):
        if frames := sealer.update(chunk):
            yield b"".join(frames)
    yield sealer.finish()


def unsealer_of(ring: KeyRing, name: str, header: bytes, size_bytes: int) -> Unsealer:
    """Of an entry of so many sealed bytes. Raises DamagedObject."""
    frames_bytes = size_bytes - HEADER_BYTES
    try:
        return Unsealer(ring, _id(name), header, max(0, frames_bytes - frames_of(size_bytes) * TAG_BYTES))
    except (UnknownKey, ValueError):
        raise DamagedObject from None


def frames_of(size_bytes: int) -> int:
    """How many frames an entry of so many sealed bytes has."""
    return max(1, -(-(size_bytes - HEADER_BYTES) // STRIDE))


def opened(unsealer: Unsealer, first: int, frames: bytes) -> bytes:
    """The plain bytes of some frames. Raises DamagedObject."""
    try:
        return b"".join(unsealer.open(first, frames))
    except ValueError:
        raise DamagedObject from None


async def chunks_of(body: Body) -> AsyncIterator[bytes]:
    """A body as it comes."""
    if isinstance(body, bytes):
        yield body
        return
    async for chunk in body:
        yield chunk


def _id(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:16]
