"""SecretBox: signing secrets at rest, AES-256-GCM (NIST SP 800-38D). The catalog seals with it; keys come from settings.

A blob is `1 | key id (8) | nonce (12) | ciphertext and tag`. The context (tenant and kid) is authenticated with it, so a
blob that was copied to another row does not open. Nonces are random: safe for 2**32 secrets under one key.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from safelight.errors import DamagedRecord

KEY_BYTES: Final = 32
_LAYOUT: Final = b"\x01"
_ID_BYTES: Final = 8
_NONCE_BYTES: Final = 12


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"safelight secret box\x00" + key).digest()[:_ID_BYTES]


class SecretBox:
    """Seals with `key`; opens what `key` or one of the `older` ones has sealed. Keys are 32 random bytes."""

    def __init__(self, key: bytes, *older: bytes) -> None:
        for one in (key, *older):
            if len(one) != KEY_BYTES:
                raise ValueError(f"A secret box takes keys of {KEY_BYTES} bytes.")
        self._current: Final = _key_id(key)
        self._ciphers: Final = {_key_id(one): AESGCM(one) for one in (key, *older)}

    def seal(self, secret: bytes, *, context: str) -> bytes:
        """The blob to keep."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _LAYOUT + self._current + nonce + self._ciphers[self._current].encrypt(nonce, secret, context.encode())

    def unseal(self, blob: bytes, *, context: str) -> bytes:
        """The secret again. Raises DamagedRecord for another key, another context or a damaged blob."""
        key_id, rest = blob[1 : 1 + _ID_BYTES], blob[1 + _ID_BYTES :]
        cipher = self._ciphers.get(key_id)
        if not blob.startswith(_LAYOUT) or cipher is None:
            raise DamagedRecord("A signing secret was sealed with a key that is not configured.")
        try:
            return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError) as error:
            raise DamagedRecord("A signing secret is damaged.") from error
