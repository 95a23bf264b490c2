"""Identifiers: 26 characters of lower-case Crockford base 32, sortable by time, 80 random bits (the ULID layout)."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from typing import NewType

TenantId = NewType("TenantId", str)
UserId = NewType("UserId", str)
ImageId = NewType("ImageId", str)
AlbumId = NewType("AlbumId", str)
KeyId = NewType("KeyId", str)
UploadId = NewType("UploadId", str)
CodeId = NewType("CodeId", str)
SessionId = NewType("SessionId", str)
PasskeyId = NewType("PasskeyId", str)
EndpointId = NewType("EndpointId", str)
DeliveryId = NewType("DeliveryId", str)
IssuerId = NewType("IssuerId", str)
ErasureId = NewType("ErasureId", str)
PurgeId = NewType("PurgeId", str)
RedevelopmentId = NewType("RedevelopmentId", str)
WarmingId = NewType("WarmingId", str)
LinkId = NewType("LinkId", str)

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_SHAPE = re.compile(r"[0-7][0-9a-hjkmnp-tv-z]{25}")


def new_id(now_s: float | None = None) -> str:
    """A fresh identifier; later ones sort after earlier ones at a millisecond's resolution."""
    milliseconds = int((time.time() if now_s is None else now_s) * 1000)
    number = (milliseconds << 80) | secrets.randbits(80)
    return _text(number)


def derived_id(at_s: float, seed: str) -> str:
    """The same identifier for the same time and text, for what must be recorded once by whoever comes first."""
    number = (int(at_s * 1000) << 80) | int.from_bytes(hashlib.sha256(seed.encode()).digest()[:10], "big")
    return _text(number)


def least_id(at_s: float) -> str:
    """Before every identifier of that time or later, behind every earlier one."""
    return _text(int(at_s * 1000) << 80)


def is_id(text: str) -> bool:
    """Whether the text has the shape of an identifier; ten kilobytes of anything else cost nothing to refuse."""
    return len(text) == 26 and _SHAPE.fullmatch(text) is not None


def _text(number: int) -> str:
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))
