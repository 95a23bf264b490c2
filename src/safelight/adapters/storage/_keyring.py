"""Key ring: the master keys that wrap the data key of each blob, read from one text file.

One key a line, 64 hexadecimal digits; blank lines and lines that begin with '#' do not count. The first key wraps, all unwrap:
to rotate, put a new line on top and keep the old ones. A key's id is derived from the key, so it is also its check value:
a blob, or a store, that names an id the file does not yield was made with another key.

Not a key management service: who can read the file can read the objects. Called by `local` and `_frames`.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from safelight.errors import WrongState

log = structlog.get_logger(__name__)

KEY_BYTES: Final = 32
ID_BYTES: Final = 8
_NONCE_BYTES: Final = 12
WRAPPED_BYTES: Final = ID_BYTES + _NONCE_BYTES + KEY_BYTES + 16
"""Key id, nonce, the data key under AES-256-GCM, its tag."""


class UnknownKey(LookupError):
    """The ring has no key with this id. Stays inside the adapter, which knows whether that is damage or a stale ring."""

    def __init__(self, key_id: bytes) -> None:
        self.key_id = key_id
        super().__init__(key_id.hex())


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Master keys by id. Random nonces carry 2**32 wraps a key (NIST SP 800-38D section 8.3): rotate before that."""

    active: bytes
    ciphers: Mapping[bytes, AESGCM]

    @classmethod
    def load(cls, path: Path) -> Self:
        """The keys of the file. Raises FileNotFoundError, WrongState when a line is not a key or there is none."""
        ids: list[bytes] = []
        ciphers: dict[bytes, AESGCM] = {}
        if path.stat().st_mode & 0o077:
            log.warning("storage.key_file_is_readable_by_others", path=str(path))
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            try:
                key = bytes.fromhex(text)
            except ValueError:
                key = b""
            if len(key) != KEY_BYTES:
                raise WrongState(f"Line {number} of the key file {path} is not a key of {2 * KEY_BYTES} hexadecimal digits.")
            ids.append(key_id(key))
            ciphers[ids[-1]] = AESGCM(key)
        if not ids:
            raise WrongState(f"The key file {path} holds no key.")
        return cls(ids[0], ciphers)

    def wrap(self, data_key: bytes, blob_id: bytes) -> bytes:
        """WRAPPED_BYTES that only this ring and only this blob can unwrap."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return self.active + nonce + self.ciphers[self.active].encrypt(nonce, data_key, self.active + blob_id)

    def unwrap(self, wrapped: bytes, blob_id: bytes) -> bytes:
        """The data key. Raises UnknownKey, and ValueError when the bytes were changed or belong to another blob."""
        key_id, nonce = wrapped[:ID_BYTES], wrapped[ID_BYTES : ID_BYTES + _NONCE_BYTES]
        cipher = self.ciphers.get(key_id)
        if cipher is None:
            raise UnknownKey(key_id)
        try:
            return cipher.decrypt(nonce, wrapped[ID_BYTES + _NONCE_BYTES :], key_id + blob_id)
        except InvalidTag:
            raise ValueError("The wrapped key does not belong here.") from None


def create_key_file(path: Path) -> None:
    """A file with one random key; an existing file is left as it is."""
    words = "# Safelight master keys. The first one seals, all of them open. Losing this file is losing the objects.\n"
    if keep_secret(path, f"{words}{secrets.token_hex(KEY_BYTES)}\n"):
        log.info("storage.key_file_created", path=str(path))


def keep_secret(path: Path, text: str) -> bool:
    """A file that nobody else may read, mode 0600, on disk whole or not at all; an existing file is left as it is. Whether it was made."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # unlike rename, never replaces a key that another process has just begun to use
        except FileExistsError:
            return False
    finally:
        draft.unlink()
    sync_folder(path.parent)
    return True


def sync_folder(path: str | Path) -> None:
    """Make the names in a folder survive a power cut; fsync of a file covers its bytes only."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def key_id(key: bytes) -> bytes:
    """The id of a key, which is also its check value."""
    return hmac.digest(key, b"safelight master key id", "sha256")[:ID_BYTES]
