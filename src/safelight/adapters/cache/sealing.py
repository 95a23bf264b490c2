"""Sealing: values as they lie in a server that anybody in the network may be able to read. AES-256-GCM (NIST SP 800-38D).

A blob is `salt (16) | nonce (12) | ciphertext and tag`, and the key that it lies under is authenticated with it: what was moved,
changed or sealed by somebody else does not open. Every process seals under a key of its own, derived from the salt, because a
busy installation would put more values under one key than random nonces are good for (2**32).
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_PROCESSES: Final = 256
"""Keys of other processes that are remembered; deriving one costs some microseconds."""


class Sealing:
    """Made from 32 secret bytes that every process of the installation has."""

    def __init__(self, key: bytes) -> None:
        self._key: Final = key
        self._salt: Final = secrets.token_bytes(_SALT_BYTES)
        self._own: Final = self._derived(self._salt)
        self._others: Final[OrderedDict[bytes, AESGCM]] = OrderedDict()

    def seal(self, value: bytes, *, under: str) -> bytes:
        """The blob to send."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return self._salt + nonce + self._own.encrypt(nonce, value, under.encode())

    def unseal(self, blob: bytes, *, under: str) -> bytes | None:
        """The value; None for what we have not sealed under this key of the cache."""
        salt, nonce, sealed = (
            blob[:_SALT_BYTES],
            blob[_SALT_BYTES : _SALT_BYTES + _NONCE_BYTES],
            blob[_SALT_BYTES + _NONCE_BYTES :],
        )
        try:
            return self._cipher(salt).decrypt(nonce, sealed, under.encode())
        except (InvalidTag, ValueError):
            return None

    def _cipher(self, salt: bytes) -> AESGCM:
        if salt == self._salt:
            return self._own
        cipher = self._others.get(salt)
        if cipher is None:
            cipher = self._others[salt] = self._derived(salt)
            if len(self._others) > _PROCESSES:
                self._others.popitem(last=False)
        return cipher

    def _derived(self, salt: bytes) -> AESGCM:
        return AESGCM(HKDF(SHA256(), 32, salt, b"safelight cache").derive(self._key))
