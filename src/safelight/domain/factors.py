"""What a user proves themselves with beside a password: an authenticator app with its recovery codes, and passkeys.

Rules about their values. How a code is computed is in `totp`, how a passkey's answer is verified in `passkeys`. Of recovery codes
MACs are kept, under a key that is not in the catalog; of an app its secret, which the catalog seals.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from safelight import totp as app
from safelight.domain.ids import PasskeyId, TenantId, UserId

RECOVERY_CODES: Final = 10
CONFIRMED_WITHIN: Final = timedelta(minutes=15)
"""How long an app that was shown its secret may take to show a code of it."""
_ALPHABET: Final = "abcdefghjkmnpqrstvwxyz0123456789"
"""Crockford's base 32 in lower case: nothing that is read as something else."""
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

    def can_be_confirmed(self, now: datetime) -> bool:
        """It waits for its first code, and not for too long."""
        return self.confirmed_at is None and now - self.created_at < CONFIRMED_WITHIN

    def taking(self, text: str, *, now: datetime) -> Totp | None:
        """After this code of the app; None when it is wrong, too old, too early or was taken before."""
        given = "".join(text.split())
        step = app.step_of(self.secret, given, now_s=now.timestamp(), after=self.last_step)
        return None if step is None else self.used(step)

    def recovering(self, text: str, keys: Sequence[bytes]) -> Totp | None:
        """After this recovery code; None when it is none of those that are left. `keys`: each may have made its MAC."""
        for mac in (self._mac(key, text) for key in keys):
            # No short cut: every one is compared.
            fits = [hmac.compare_digest(mac, one) for one in self.recovery]
            if any(fits):
                return self.without(mac)
        return None

    def with_recovery(self, key: bytes) -> tuple[Totp, tuple[str, ...]]:
        """With new recovery codes in the place of those before, and the codes, which nobody sees again. 50 random bits each."""
        codes = tuple("-".join(_letters(5) for _ in range(2)) for _ in range(RECOVERY_CODES))
        return replace(self, recovery=tuple(self._mac(key, code) for code in codes)), codes

    def _mac(self, key: bytes, text: str) -> bytes:
        # Of this user's app alone: copied to another row it opens nothing.
        plain = "".join(c for c in text.casefold() if c not in " -")
        message = f"recovery\n{self.tenant}\n{self.user}\n{plain}".encode(errors="replace")
        return hmac.digest(key, message, hashlib.sha256)


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


def _letters(count: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(count))


def passkey_id(credential: bytes) -> PasskeyId:
    """What a passkey is called here: half a SHA-256 of its credential id, which may itself have a thousand bytes."""
    return PasskeyId(hashlib.sha256(credential).hexdigest()[:32])
