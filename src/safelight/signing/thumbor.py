"""thumbor's signatures: HMAC-SHA1 (RFC 2104) over what stands behind them, padded URL-safe base 64. Pure text and bytes.

HMAC-SHA1 is not broken as HMAC, but nobody would choose it today, and such a URL never expires: a tenant opts in by keeping a key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac


def sign(key: bytes, path: str) -> str:
    """28 characters; `path` without a leading slash, as in `300x200/smart/{id}`."""
    return base64.urlsafe_b64encode(hmac.digest(key, path.encode(errors="surrogatepass"), hashlib.sha1)).decode()


def verify(key: bytes, path: str, signature: str) -> bool:
    """Whether it is the signature, in a time that does not depend on where it differs."""
    return hmac.compare_digest(sign(key, path).encode(), signature.encode(errors="replace"))
