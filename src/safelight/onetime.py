"""One-time secrets made from the id of what they open: nothing to keep, nothing to leak with the database.

`key` is not in the database; the id is fresh for each. The same id gives the same secrets, so a letter that is sent twice says
the same twice. Pure text and bytes, no clock, like `signing`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

DIGITS: Final = 8
_DOMAIN: Final = b"safelight-onetime-v1"


def token(key: bytes, parts: Sequence[str]) -> str:
    """The parts and a MAC of 256 bits, joined by dots; for a link."""
    return ".".join((*parts, base64.urlsafe_b64encode(_mac(key, b"token", parts)).rstrip(b"=").decode()))


def opened(keys: Sequence[bytes], text: str, count: int) -> list[str] | None:
    """The parts of a token that one of the keys has made, of which there are `count`; None for anything else."""
    *parts, _ = text.split(".", count + 1)
    if len(parts) != count:
        return None
    given = text.encode(errors="replace")
    # No short cut: every key is tried, and each comparison takes the same time.
    fits = [hmac.compare_digest(token(key, parts).encode(errors="replace"), given) for key in keys]
    return parts if any(fits) else None


def digits(key: bytes, parts: Sequence[str]) -> str:
    """Eight digits, for typing."""
    number = int.from_bytes(_mac(key, b"digits", parts)[:8]) % 10**DIGITS
    return f"{number:0{DIGITS}}"


def are_digits(keys: Sequence[bytes], parts: Sequence[str], text: str) -> bool:
    """Whether one of the keys makes these digits; blanks and dashes between them do not count."""
    given = "".join(c for c in text if c not in " -").encode(errors="replace")
    fits = [hmac.compare_digest(digits(key, parts).encode(), given) for key in keys]
    return any(fits)


def _mac(key: bytes, use: bytes, parts: Sequence[str]) -> bytes:
    message = b"\n".join((_DOMAIN, use, *(part.encode(errors="replace") for part in parts)))
    return hmac.digest(key, message, hashlib.sha256)
