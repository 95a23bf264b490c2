"""Who signs in: credentials, one-time codes, sessions, failed attempts, and the keys that sign tokens. Rules about their values.

Not who may do what (`access`), and no secret in the clear: a credential holds a hash, a session hashes of its tokens, a code
nothing at all, since its letters are made from its id and a key that is not in the catalog.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal

from safelight.domain.ids import CodeId, SessionId, TenantId, UserId
from safelight.errors import BadField

CODE_TRIES: Final = 5
"""Wrong digits after which a code is dead: with eight digits one guess in twenty million."""
SESSIONS: Final = 50
"""Live sessions of one user; the longest unused makes room."""
_EMAIL: Final = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)


def email_of(text: str) -> str:
    """The address as it is kept and compared: HTML's syntax of e-mail addresses, folded to lower case. Raises BadField.

    ASCII only, so that no two addresses look or fold alike (Unicode Technical Report 36); a domain may be in its xn-- form.
    """
    address = text.strip()
    if len(address) > 254 or _EMAIL.fullmatch(address) is None or ".." in address or address.startswith("."):
        raise BadField("This is not an e-mail address.", field="email")
    return address.lower()


def words_of(email: str) -> tuple[str, ...]:
    """What an attacker tries first of somebody with this address."""
    local, _, domain = email.partition("@")
    return (email, local, domain, *local.split("."), *domain.split("."))


class Letter(StrEnum):
    """What is written to people. The first three carry a code."""

    VERIFY = "verify"
    RESET = "reset"
    INVITE = "invite"
    EXISTS = "exists"
    CHANGED = "changed"
    MFA_ON = "mfa_on"
    MFA_OFF = "mfa_off"
    MFA_RESET = "mfa_reset"
    RECOVERY_MADE = "recovery_made"
    RECOVERY_USED = "recovery_used"
    PASSKEY_ADDED = "passkey_added"
    PASSKEY_REMOVED = "passkey_removed"
    WEBHOOK = "webhook"


CODE_LIFE: Final[dict[Letter, timedelta]] = {
    Letter.VERIFY: timedelta(hours=24),
    Letter.RESET: timedelta(hours=1),
    Letter.INVITE: timedelta(days=7),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """How a user signs in: an address, unique in the tenant, and a password. One a user."""

    tenant: TenantId
    user: UserId
    email: str
    password_hash: str = field(default="", repr=False)
    """As `passwords.Hasher` writes it; empty until somebody has chosen a password."""
    verified_at: datetime | None = None
    changed_at: datetime
    language: str = "en"

    @property
    def is_usable(self) -> bool:
        """Verified, with a password."""
        return self.verified_at is not None and bool(self.password_hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class OneTimeCode:
    """What was mailed: a link and eight digits. A user has at most one for each letter; a newer one takes its place."""

    tenant: TenantId
    user: UserId
    letter: Letter
    id: CodeId
    created_at: datetime
    expires_at: datetime
    tries: int = 0
    used_at: datetime | None = None

    def is_live(self, now: datetime) -> bool:
        """Not used, not expired, not guessed at too often."""
        return self.used_at is None and now < self.expires_at and self.tries < CODE_TRIES


class Presented(StrEnum):
    """What a refresh token is to its session."""

    CURRENT = "current"
    OVERTAKEN = "overtaken"
    """The one before, sent before its successor was made: another request of the same client was quicker."""
    REPLAYED = "replayed"
    """Of this family and not the newest: somebody has a copy (RFC 9700 section 4.14.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One sign-in and the family of refresh tokens that came of it; only their SHA-256 is kept."""

    id: SessionId
    tenant: TenantId
    user: UserId
    created_at: datetime
    used_at: datetime
    expires_at: datetime
    family_hash: bytes = field(repr=False)
    current_hash: bytes = field(repr=False)
    previous_hash: bytes = field(default=b"", repr=False)
    ended_at: datetime | None = None
    address: str = ""
    agent: str = ""
    methods: tuple[str, ...] = ("pwd",)
    """How the user proved to be one (RFC 8176)."""
    proven_at: datetime
    """When they did so last: at sign-in, or stepping up since."""

    def is_live(self, now: datetime) -> bool:
        """Neither ended nor expired."""
        return self.ended_at is None and now < self.expires_at

    def presented(self, turn_hash: bytes, *, begun_at: datetime) -> Presented:
        """What the token is whose turn has this hash, in a request that came in at that time."""
        if hmac.compare_digest(turn_hash, self.current_hash):
            return Presented.CURRENT
        # A request that was there before the rotation cannot be a replay of what the rotation made stale. It gets nothing
        # either, so whoever sends it gains nothing; but two tabs that wake at once do not sign their user out.
        if begun_at <= self.used_at and self.previous_hash and hmac.compare_digest(turn_hash, self.previous_hash):
            return Presented.OVERTAKEN
        return Presented.REPLAYED

    def rotated(self, turn_hash: bytes, *, at: datetime, life: timedelta) -> Session:
        """With the next token; the life begins anew."""
        return replace(self, previous_hash=self.current_hash, current_hash=turn_hash, used_at=at, expires_at=at + life)

    def proven(self, methods: tuple[str, ...], *, at: datetime) -> Session:
        """The user has shown once more who they are, by these methods too."""
        return replace(self, methods=tuple(dict.fromkeys((*self.methods, *methods))), proven_at=at)

    def ended(self, at: datetime) -> Session:
        """Over, since the first time that somebody said so."""
        return replace(self, ended_at=self.ended_at or at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Failed attempts in a row: on one account or from one address, under a name that tells neither."""

    subject: str
    count: int
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How many failures are free, and how long the next attempt then waits: 1 s, doubled with each, at most `longest`."""

    free: int
    longest: timedelta
    memory: timedelta = timedelta(hours=24)
    """Failures older than this are forgotten."""

    def wait(self, failures: Failures | None, now: datetime) -> timedelta:
        """Until the next attempt; zero or less when it may come now."""
        if failures is None or failures.count < self.free or now - failures.last_at >= self.memory:
            return timedelta(0)
        pause = timedelta(seconds=2 ** min(failures.count - self.free, 30))
        return min(pause, self.longest) - (now - failures.last_at)


Algorithm = Literal["EdDSA", "ES256", "RS256"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKey:
    """One key of the installation's ring for access tokens; `private` is PKCS #8 in DER. Public halves are published."""

    kid: str
    algorithm: Algorithm
    private: bytes = field(repr=False)
    created_at: datetime
    retired_at: datetime | None = None
    """From here on nothing that it signed is believed. A key with such a time, ahead or not, signs nothing new."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """What is due on a ring of token keys: a new key of this id, and no longer these."""

    kid: str | None
    outdated: tuple[TokenKey, ...]


def rotation(ring: list[TokenKey], now: datetime, *, after: timedelta, known_after: timedelta) -> Rotation:
    """A key older than `after` gets a successor, and goes once that one signs.

    The successor's id follows from its predecessor's, so that of several servers that find this due at once, one adds it.
    """
    live = sorted((key for key in ring if key.retired_at is None), key=lambda key: (key.created_at, key.kid))
    if not live:
        return Rotation(None, ())
    kid: str | None = None
    if now - live[-1].created_at >= after:
        kid, known = live[-1].kid, {key.kid for key in ring}
        while kid in known:
            kid = hashlib.sha256(kid.encode()).hexdigest()[:16]
    signing = signs(ring, now, known_after=known_after)
    outdated = [key for key in live if signing and key.created_at < signing.created_at and now - key.created_at >= after]
    return Rotation(kid, tuple(outdated))


def signs(ring: list[TokenKey], now: datetime, *, known_after: timedelta) -> TokenKey | None:
    """The key to sign with: the newest that verifiers had time to fetch, else the oldest there is. None: make one."""
    live = sorted((key for key in ring if key.retired_at is None), key=lambda key: (key.created_at, key.kid))
    known = [key for key in live if now - key.created_at >= known_after]
    return known[-1] if known else live[0] if live else None
