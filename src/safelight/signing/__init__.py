"""Signed URLs: HMAC-SHA256 (RFC 2104) over the path and its expiry, under a key named in the URL. Pure text and bytes, no clock.

Used by services.signer (to make), by domain.proofs (to check), and by clients that hold a key. A signed URL is a secret: never log one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

KID_LENGTH: Final = 12
_DOMAIN: Final = b"safelight-url-v1"
"""Separates these signatures from any other use that somebody might make of the same secret."""


def sign(secret: bytes, path: str, *, kid: str, exp: int) -> str:
    """URL-safe base 64 of the 32 byte MAC, 43 characters. `path` is the decoded path, `exp` seconds since 1970."""
    message = b"\n".join((_DOMAIN, path.encode(), kid.encode(), str(exp).encode()))
    return base64.urlsafe_b64encode(hmac.digest(secret, message, hashlib.sha256)).rstrip(b"=").decode()


def verify(secret: bytes, path: str, *, kid: str, exp: int, sig: str) -> bool:
    """Whether the signature is right, in a time that does not depend on where it differs. Says nothing of the expiry."""
    return hmac.compare_digest(sign(secret, path, kid=kid, exp=exp).encode(), sig.encode(errors="replace"))


def signed(secret: bytes, path: str, *, kid: str, exp: int, query: Iterable[tuple[str, str]] = ()) -> str:
    """The path with `kid`, `exp` and `sig` behind whatever query it already has."""
    pairs = [*query, ("kid", kid), ("exp", str(exp)), ("sig", sign(secret, path, kid=kid, exp=exp))]
    return path + "?" + "&".join(f"{name}={value}" for name, value in pairs)


def expiry(now_s: float, ttl_s: int) -> int:
    """When a URL made now should expire: at least `ttl_s` from now, on a multiple of it, so that it stays the same for a while.

    A browser then finds its cached copy again, which a URL with a new expiry on every listing would defeat.
    """
    return (int(now_s) // ttl_s + 2) * ttl_s
