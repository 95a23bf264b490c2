"""What a user proves themselves with beside a password: an authenticator app with its recovery codes, and passkeys.

Rules about their values. How a code is computed is in `totp`, how a passkey's answer is verified in `passkeys`; no secret leaves
the records in the clear but the app's key, which the catalog keeps sealed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from safelight.domain.ids import PasskeyId, TenantId, UserId

RECOVERY_CODES: Final = 10
PASSKEYS: Final = 20
"""Of one user, at most: a list that somebody reads before they delete one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totp:
    """A user's authenticator app (RFC 6238), one a user. It asks for nothing until it is confirmed."""

    tenant: TenantId
    user: UserId
    secret: bytes = field(repr=False)
    created_at: datetime
    confirmed_at: datetime | None = None
    last_step: int = 0
    """The newest time step whose code was taken; neither it nor an older one is taken again (RFC 6238 section 5.2)."""
    recovery: tuple[bytes, ...] = field(default=(), repr=False)
    """MACs of the recovery codes that were not used yet, 32 bytes each."""

    def used(self, step: int) -> Totp:
        """With the code of this step taken."""
        return replace(self, last_step=step)

    def without(self, mac: bytes) -> Totp:
        """With this recovery code used up."""
        return replace(self, recovery=tuple(one for one in self.recovery if one != mac))


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkey:
    """One public key of a user's authenticator (WebAuthn Level 3), under the id that its credential id gives."""

    id: PasskeyId
    tenant: TenantId
    user: UserId
    credential: bytes
    """The credential id, as browsers and authenticators know it."""
    public_key: bytes
    """A COSE key (RFC 9052 section 7)."""
    sign_count: int
    name: str
    created_at: datetime
    used_at: datetime | None = None
    transports: tuple[str, ...] = ()
    aaguid: str = ""
    """The model of the authenticator, where it tells."""
    is_synced: bool = False
    """Backed up by its provider: it may be on several devices."""

    def used(self, sign_count: int, *, at: datetime, is_synced: bool) -> Passkey:
        """After a sign-in with it."""
        return replace(self, sign_count=sign_count, used_at=at, is_synced=is_synced)


def passkey_id(credential: bytes) -> PasskeyId:
    """What a passkey is called here: half a SHA-256 of its credential id, which may itself have a thousand bytes."""
    return PasskeyId(hashlib.sha256(credential).hexdigest()[:32])
