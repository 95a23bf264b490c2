"""Tickets: the right to send one file to Safelight itself, sealed into a URL as a store's presigned URL is. Pure, no clock.

A ticket says everything that is checked before the first byte is read: whose upload, how, until when, how many bytes, which
type. HMAC-SHA256 (RFC 2104) under a secret that no client ever gets.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from safelight.domain.ids import TenantId, UploadId
from safelight.domain.uploads import Method
from safelight.errors import BadSignature, ExpiredSignature

_DOMAIN: Final = b"safelight-incoming-v1\n"
"""Separates these signatures from any other use of the same secret."""
MAX_POLICY: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What may be sent. `exp` is in seconds since 1970; the file may have [min_bytes, max_bytes] bytes."""

    tenant: TenantId
    upload: UploadId
    method: Method
    exp: int
    media_type: str
    min_bytes: int
    max_bytes: int


def sealed(ticket: Ticket, secret: bytes) -> tuple[str, str]:
    """The policy, URL-safe base 64 of its JSON, and its signature."""
    policy = base64.urlsafe_b64encode(json.dumps(asdict(ticket), separators=(",", ":")).encode()).rstrip(b"=").decode()
    return policy, _signature(policy, secret)


def unsealed(policy: str, signature: str, secrets: Sequence[bytes], *, now: datetime) -> Ticket:
    """The ticket again. Raises BadSignature for what none of the secrets has sealed, ExpiredSignature."""
    if len(policy) > MAX_POLICY or not any(
        hmac.compare_digest(_signature(policy, secret).encode(), signature.encode(errors="replace")) for secret in secrets
    ):
        raise BadSignature
    try:
        values = json.loads(base64.urlsafe_b64decode(policy + "=" * (-len(policy) % 4)))
        ticket = Ticket(**{**values, "method": Method(values["method"])})
    except (binascii.Error, ValueError, TypeError, KeyError):  # sealed by another release
        raise BadSignature from None
    if now.timestamp() >= ticket.exp:
        raise ExpiredSignature
    return ticket


def _signature(policy: str, secret: bytes) -> str:
    mac = hmac.digest(secret, _DOMAIN + policy.encode(errors="replace"), hashlib.sha256)
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
