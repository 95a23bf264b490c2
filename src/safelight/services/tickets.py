"""What is handed out between two halves of a proof: a ticket between password and code, a challenge before a passkey's answer.

Neither is kept when it is made, so that strangers who ask for a million fill no table; they are sealed with a key that is in no
database. What has served is marked as spent, in the transaction of what it served for, until it would have expired anyway.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from safelight import onetime
from safelight.domain.ids import TenantId, UserId, new_id
from safelight.domain.people import Credential
from safelight.domain.queries import micros

TICKET_S: Final = 300
CHALLENGE_S: Final = 300
_NONCE_BYTES: Final = 16
_EXPIRY_BYTES: Final = 8
_MAC_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Ticket:
    """That the password of this user was right, as it was then."""

    tenant: TenantId
    user: UserId
    mark: str
    expires_at: datetime
    changed_at: str


@dataclass(frozen=True, slots=True)
class Tickets:
    """For one sign-in each. `keys`: the first seals, every one is believed."""

    keys: Sequence[bytes]

    def made(self, credential: Credential, now: datetime) -> str:
        """What the client brings back with a code."""
        expires_at = int(now.timestamp()) + TICKET_S
        parts = ("mfa", credential.tenant, credential.user, new_id(now.timestamp()), str(expires_at), _stamp(credential))
        return onetime.token(self.keys[0], parts)

    def opened(self, text: str, now: datetime) -> Ticket | None:
        """The ticket again; None for what was not made here, and when its time is over."""
        parts = onetime.opened(self.keys, text, 6)
        if parts is None or parts[0] != "mfa":
            return None
        _, tenant, user, mark, expires_at, changed_at = parts
        until = datetime.fromtimestamp(int(expires_at), UTC)
        return Ticket(TenantId(tenant), UserId(user), mark, until, changed_at) if now < until else None

    @staticmethod
    def is_of(ticket: Ticket, credential: Credential) -> bool:
        """The password is still the one that was right."""
        return credential.is_usable and ticket.changed_at == _stamp(credential)


@dataclass(frozen=True, slots=True)
class Challenges:
    """What authenticators sign (WebAuthn section 13.4.3): `nonce (16) | expiry (8) | MAC (32)` over what it is for."""

    keys: Sequence[bytes]

    def made(self, purpose: str, now: datetime) -> bytes:
        """One for this purpose, to be answered within CHALLENGE_S."""
        expires_at = int(now.timestamp()) + CHALLENGE_S
        body = secrets.token_bytes(_NONCE_BYTES) + expires_at.to_bytes(_EXPIRY_BYTES, "big")
        return body + self._mac(self.keys[0], purpose, body)

    def opened(self, challenge: bytes, purpose: str, now: datetime) -> tuple[str, datetime] | None:
        """What marks it as spent, and until when; None when it is not ours, for something else, or too old."""
        body, mac = challenge[:-_MAC_BYTES], challenge[-_MAC_BYTES:]
        if len(body) != _NONCE_BYTES + _EXPIRY_BYTES:
            return None
        fits = [hmac.compare_digest(self._mac(key, purpose, body), mac) for key in self.keys]
        if not any(fits):
            return None
        until = datetime.fromtimestamp(int.from_bytes(body[_NONCE_BYTES:], "big"), UTC)
        return (body[:_NONCE_BYTES].hex(), until) if now < until else None

    @staticmethod
    def _mac(key: bytes, purpose: str, body: bytes) -> bytes:
        return hmac.digest(key, b"safelight-challenge-v1\n" + purpose.encode() + b"\n" + body, hashlib.sha256)


def _stamp(credential: Credential) -> str:
    return str(micros(credential.changed_at))
