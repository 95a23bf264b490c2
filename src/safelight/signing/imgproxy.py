"""imgproxy's signatures: HMAC-SHA256 (RFC 2104) over salt and path, perhaps only its first bytes. Pure text and bytes.

The path is the one on the wire, percent-encoding and all, behind the signature and with its leading slash. There is no key id in
such a URL, so several pairs of key and salt are tried in turn: that is how imgproxy rotates them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

FULL_BYTES: Final = 32
MIN_BYTES: Final = 8
"""imgproxy allows signatures of one byte, which anybody finds by trying 256; 64 bits is where trying over a network ends."""


def sign(key: bytes, salt: bytes, path: str, *, size_bytes: int = FULL_BYTES) -> str:
    """URL-safe base 64 without padding; `path` as in `/rs:fit:300:200/plain/{id}@webp`."""
    return base64.urlsafe_b64encode(_mac(key, salt, path)[:size_bytes]).rstrip(b"=").decode()


def verify(key: bytes, salt: bytes, path: str, signature: str, *, size_bytes: int = FULL_BYTES) -> bool:
    """Whether it is the signature, of exactly that size, in a time that does not depend on where it differs."""
    try:
        given = base64.b64decode(signature.rstrip("=") + "=" * (-len(signature.rstrip("=")) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(_mac(key, salt, path)[:size_bytes], given)


def _mac(key: bytes, salt: bytes, path: str) -> bytes:
    return hmac.digest(key, salt + path.encode(errors="surrogatepass"), hashlib.sha256)
