"""Access tokens: our own, signed by a ring of keys that is published, and whoever else's `issuers` names.

Whom a token stands for is remembered by its hash for BELIEVED_S, then everything is looked at anew: the signature and its key,
the session that may have ended, the user who may be suspended. In the process that ends a session it opens nothing at once.
Cookies, API keys and who may do what are not here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import structlog

from safelight import jose
from safelight.concurrency import Believed
from safelight.domain import access
from safelight.domain.accounts import Actor, User, scopes_of
from safelight.domain.ids import SessionId, is_id, new_id
from safelight.domain.people import Algorithm, Session, TokenKey, rotation, signs
from safelight.errors import AlreadyExists, Missing, Unauthenticated, WrongState
from safelight.jose import BadToken, PublicKey
from safelight.ports.catalog import Catalog

log = structlog.get_logger()

BELIEVED_S: Final = 5.0
"""How long an ended session or a suspended user may still be believed by another process."""
PUBLISHED_S: Final = 300
"""How long others may keep our key set; a new key signs nothing before they have had time to fetch it."""
_RING_S: Final = 5.0
_KNOWN_AFTER: Final = timedelta(seconds=PUBLISHED_S)


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A compact JWT and how long it is good."""

    text: str
    life_s: int


class Issuer(Protocol):
    """Somebody whose tokens are believed: how they are verified, and whom they stand for."""

    @property
    def name(self) -> str:
        """The `iss` of its tokens, exactly."""
        ...

    @property
    def leeway_s(self) -> float:
        """How long behind its `exp` a token is still taken, since clocks differ."""
        ...

    async def verified(self, token: str, peek: jose.Peek) -> Mapping[str, Any]:
        """The token's claims. Raises BadToken, Unavailable while nobody can tell."""
        ...

    async def actor(self, claims: Mapping[str, Any]) -> Actor:
        """Whom verified claims stand for now. Raises BadToken when they may come in no longer."""
        ...


@dataclass(frozen=True, slots=True)
class Bearers:
    """From a token to an actor, through the issuer that it names."""

    issuers: Mapping[str, Issuer]
    clock: Callable[[], datetime]
    believed: Believed[bytes, tuple[Actor, float]]
    """By the token's hash: whom it stands for, and its end. Cleared when sessions end or keys are retired."""
    outside: Callable[[jose.Peek], Awaitable[Issuer | None]] | None = None
    """Finds whose it is when it is none of `issuers`."""

    async def authenticate(self, token: str) -> Actor:
        """Whose token it is. Raises Unauthenticated, and never says why; Unavailable while an issuer's keys cannot be had."""
        fingerprint = hashlib.sha256(token.encode(errors="replace")).digest()
        try:
            actor, expires_at = await self.believed.read(fingerprint, lambda: self._verified(token))
            if self.clock().timestamp() >= expires_at:
                raise BadToken("expired")
        except BadToken as error:
            log.info("token.refused", why=str(error))
            raise Unauthenticated from None
        return actor

    async def _verified(self, token: str) -> tuple[Actor, float]:
        peek = jose.peek(token)
        issuer = self.issuers.get(peek.issuer)
        if issuer is None and self.outside is not None:
            issuer = await self.outside(peek)
        if issuer is None:
            raise BadToken("nobody's issuer")
        claims = await issuer.verified(token, peek)
        return await issuer.actor(claims), float(claims["exp"]) + issuer.leeway_s


@dataclass(frozen=True, slots=True)
class Tokens:
    """Our own issuer. Keeps Issuer."""

    catalog: Catalog
    clock: Callable[[], datetime]
    name: str
    audience: str
    algorithm: Algorithm
    life: timedelta
    rings: Believed[str, list[TokenKey]]
    forget: Callable[[], None]

    @property
    def leeway_s(self) -> float:
        """The clock is our own."""
        return 0.0

    async def issue(self, user: User, session: Session) -> AccessToken:
        """A token for the user, within the session."""
        now = self.clock()
        key = await self._signing_key(now)
        at, life_s = int(now.timestamp()), int(self.life.total_seconds())
        claims = {
            "iss": self.name,
            "sub": user.id,
            "aud": self.audience,
            "iat": at,
            "exp": at + life_s,
            "jti": new_id(now.timestamp()),
            "sid": session.id,
            "tenant": user.tenant,
            "scope": " ".join(sorted(scopes_of(user.role))),
            "amr": list(session.methods),
            "auth_time": int(session.proven_at.timestamp()),
        }
        return AccessToken(jose.signed(key.private, algorithm=key.algorithm, kid=key.kid, claims=claims), life_s)

    async def certified(self, claims: Mapping[str, Any], *, kind: str) -> str:
        """Signed with the key that signs tokens, and typed so that nobody takes it for one."""
        now = self.clock()
        key = await self._signing_key(now)
        told = {**claims, "iss": self.name, "iat": int(now.timestamp())}
        return jose.signed(key.private, algorithm=key.algorithm, kid=key.kid, claims=told, kind=kind)

    async def verified(self, token: str, peek: jose.Peek) -> Mapping[str, Any]:
        """Ours is typed `at+jwt` (RFC 9068 section 4), signed by a key of the ring with that key's algorithm."""
        if peek.type not in jose.AT_JWT:
            raise BadToken("no access token")
        now = self.clock()
        key = next((key for key in await self._ring() if key.kid == peek.kid), None)
        if key is None or (key.retired_at is not None and key.retired_at <= now) or key.algorithm != peek.algorithm:
            raise BadToken("no such key")
        public = jose.public_of(key.private, algorithm=key.algorithm, kid=key.kid)
        claims = jose.verified(token, public, issuer=self.name, audience=self.audience, now=now)
        if not all(isinstance(claims.get(name), str) for name in ("sub", "sid", "tenant", "scope", "jti")):
            raise BadToken("a claim is missing")
        if type(claims.get("auth_time")) is not int:
            raise BadToken("no time of authentication")
        return claims

    async def actor(self, claims: Mapping[str, Any]) -> Actor:
        """The session must be live and its user not suspended; the role is the one of now, the scopes are the token's at most."""
        if not is_id(claims["sid"]):
            raise BadToken("no session")
        try:
            async with self.catalog.directory() as directory:
                session, user = await directory.people.session(SessionId(claims["sid"]))
        except Missing:
            raise BadToken("no session") from None
        if not session.is_live(self.clock()) or user.disabled_at is not None:
            raise BadToken("session ended")
        if (user.id, user.tenant) != (claims["sub"], claims["tenant"]):
            raise BadToken("another user's session")
        scopes = frozenset(scope for scope in scopes_of(user.role) if scope in claims["scope"].split())
        # The token's own, not the session's: who copied an older token gains nothing by its user's stepping up.
        proven_at = datetime.fromtimestamp(claims["auth_time"], UTC)
        return Actor(tenant=user.tenant, user=user.id, role=user.role, scopes=scopes, session=session.id, proven_at=proven_at)

    async def published(self) -> Sequence[PublicKey]:
        """The public halves of every key that is believed, newest first; there is one at least."""
        now = self.clock()
        await self._signing_key(now)
        ring = [key for key in await self._ring() if key.retired_at is None or key.retired_at > now]
        return [jose.public_of(key.private, algorithm=key.algorithm, kid=key.kid) for key in ring]

    async def keys(self, actor: Actor) -> Sequence[TokenKey]:
        """The ring, newest first."""
        access.require(actor, "tokens.read")
        async with self.catalog.directory() as directory:
            return await directory.people.trust.token_keys()

    async def add_key(self, actor: Actor, *, algorithm: Algorithm | None = None) -> TokenKey:
        """A new key: published at once, and what signs as soon as verifiers have had time to fetch it."""
        access.require(actor, "tokens.manage")
        return await self._add(algorithm or self.algorithm)

    async def retire_key(self, actor: Actor, kid: str, *, after: timedelta | None = None) -> datetime:
        """Sign nothing with it any more, and believe nothing of it later: by default when its last token has expired.

        Raises Missing, WrongState for the last live one.
        """
        access.require(actor, "tokens.manage")
        at = self.clock() + (self.life + timedelta(seconds=_RING_S) if after is None else after)
        async with self.catalog.directory(writes=True) as directory:
            ring = await directory.people.trust.token_keys()
            if not any(key.kid == kid for key in ring):
                raise Missing
            if not any(key.kid != kid and key.retired_at is None for key in ring):
                raise WrongState("This is the last live token key; add another first.")
            await directory.people.trust.retire_token_key(kid, at)
        self.rings.clear()
        self.forget()
        return at

    async def rotate(self, *, after: timedelta) -> None:
        """Let a younger key take over from one that is older than that; several servers may find this due at once."""
        now = self.clock()
        async with self.catalog.directory() as directory:
            ring = await directory.people.trust.token_keys()
        due = rotation(ring, now, after=after, known_after=_KNOWN_AFTER)
        if due.kid is not None:
            try:
                await self._add(self.algorithm, kid=due.kid)
            except AlreadyExists:
                self.rings.clear()
            else:
                log.info("token_key.added_by_age", kid=due.kid)
        for key in due.outdated:
            async with self.catalog.directory(writes=True) as directory:
                await directory.people.trust.retire_token_key(key.kid, now + self.life + timedelta(seconds=_RING_S))
            self.rings.clear()
            log.info("token_key.retired_by_age", kid=key.kid)

    async def _signing_key(self, now: datetime) -> TokenKey:
        key = signs(await self._ring(), now, known_after=_KNOWN_AFTER)
        return key or await self._add(self.algorithm)

    async def _add(self, algorithm: Algorithm, *, kid: str = "") -> TokenKey:
        key = TokenKey(
            kid=kid or new_id(self.clock().timestamp())[-16:],
            algorithm=algorithm,
            private=jose.new_private(algorithm),
            created_at=self.clock(),
        )
        async with self.catalog.directory(writes=True) as directory:
            await directory.people.trust.add_token_key(key)
        self.rings.clear()
        return key

    async def _ring(self) -> list[TokenKey]:
        return await self.rings.read("ring", self._kept)

    async def _kept(self) -> list[TokenKey]:
        async with self.catalog.directory() as directory:
            return await directory.people.trust.token_keys()
