"""Signing in and staying so: passwords, sessions, their refresh tokens. A session is a family of refresh tokens.

A refresh token is `sr_<session>_<family>_<turn>`: the family's secret tells a copy of ours from a forgery, the turn's which of
them it is. Each refreshes once; whoever presents an older one has a copy, and the family ends (RFC 9700 section 4.14.2).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from safelight.domain import access
from safelight.domain.accounts import Actor, User, hash_of
from safelight.domain.ids import SessionId, UserId, is_id, new_id
from safelight.domain.people import SESSIONS, Credential, Letter, Presented, Session, email_of, words_of
from safelight.errors import MfaRequired, Missing, Unauthenticated, WrongState
from safelight.ports.catalog import Catalog, Records
from safelight.services.lockout import Lockout
from safelight.services.passwords import Passwords
from safelight.services.post import due
from safelight.services.relay import Relay
from safelight.services.stepup import SECOND_LEG, StepUp, confirmed
from safelight.services.tickets import TICKET_S, Tickets
from safelight.services.tokens import AccessToken, Tokens

log = structlog.get_logger()

REFRESH_PREFIX: Final = "sr"
_WRONG: Final = "Address or password are not right, or the address is not verified yet."


@dataclass(frozen=True, slots=True)
class Grant:
    """What a client gets: an access token for requests, a refresh token for the next grant."""

    access: AccessToken
    refresh_token: str
    session: Session


@dataclass(frozen=True, slots=True)
class SignIn:
    """Takes passwords and refresh tokens, gives grants."""

    catalog: Catalog
    clock: Callable[[], datetime]
    relay: Relay
    passwords: Passwords
    lockout: Lockout
    tokens: Tokens
    refresh_life: timedelta
    step_up: StepUp
    tickets: Tickets

    async def sign_in(self, *, tenant: str, email: str, password: str, address: str, agent: str) -> Grant:
        """Begin a session. Raises Unauthenticated without saying why, LockedOut, BadField, Busy.

        Raises MfaRequired with a ticket for `SecondLeg.verify` where the user has an authenticator app. Failures are not forgiven
        by the password alone then, else who knows it could guess at codes for ever.
        """
        email = email_of(email)

        async def attempt() -> tuple[Credential, User]:
            # Looked at inside the gate: of a thousand parallel guesses, only as many as there are places see the same count.
            await self.lockout.require(tenant, email, address)
            found = await self._found(tenant, email)
            kept = found[0].password_hash if found else ""
            is_right = await self.passwords.matches(kept, password)
            if found is None or not is_right or not found[0].is_usable or found[1].disabled_at is not None:
                await self.lockout.count(tenant, email, address)
                raise Unauthenticated(_WRONG)
            return found

        credential, user = await self.passwords.in_turn(attempt)
        fresh = await self.passwords.hash(password) if self.passwords.hasher.is_outdated(credential.password_hash) else ""
        now, begun = self.clock(), None
        async with self.catalog.tenant(user.tenant, writes=True) as records:
            current = await records.people.credential(user.id)
            if current.password_hash != credential.password_hash:
                raise Unauthenticated(_WRONG)  # changed this very moment; sessions begun with the old one have just ended
            if fresh:
                await records.people.save_credential(replace(current, password_hash=fresh))
            if await confirmed(records, user.id) is None:
                begun = await self.begin(records, user, now, ("pwd",), address=address, agent=agent)
        if begun is None:
            raise MfaRequired(ticket=self.tickets.made(credential, now), methods=SECOND_LEG, expires_in=TICKET_S)
        await self.lockout.forgive(tenant, email)
        return await self.granted(user, begun)

    async def begin(
        self, records: Records, user: User, now: datetime, methods: tuple[str, ...], *, address: str, agent: str
    ) -> tuple[str, Session]:
        """A new session in this transaction, and its refresh token; the longest unused one makes room. Raises TenantSuspended."""
        records.tenant.require_active()
        refresh_token, session = _new_session(user, now, now + self.refresh_life, address=address, agent=agent)
        session = replace(session, methods=methods)
        for oldest in (await records.people.sessions(user.id))[SESSIONS - 1 :]:
            await records.people.save_session(oldest.ended(now))
        await records.people.add_session(session)
        return refresh_token, session

    async def granted(self, user: User, begun: tuple[str, Session]) -> Grant:
        """What a session that is kept now gives its client."""
        refresh_token, session = begun
        log.info("session.begun", user=user.id, session=session.id, methods=session.methods)
        return Grant(await self.tokens.issue(user, session), refresh_token, session)

    async def refresh(self, token: str) -> Grant:
        """The next grant of a session. Raises Unauthenticated; WrongState when a request at the same time was quicker."""
        begun_at = self.clock()
        session_id, family, turn = _parsed(token)
        known, user = await self._known(session_id)
        # A forgery stops here, before it could keep other writers of the tenant waiting.
        if not hmac.compare_digest(hash_of(family), known.family_hash) or user.disabled_at is not None:
            raise Unauthenticated
        secret = _secret()
        async with self.catalog.tenant(known.tenant, writes=True) as records:
            records.tenant.require_active()
            session = await records.people.session(session_id)
            now = self.clock()
            if not session.is_live(now):
                raise Unauthenticated
            presented = session.presented(hash_of(turn), begun_at=begun_at)
            if presented is Presented.CURRENT:
                session = session.rotated(hash_of(secret), at=now, life=self.refresh_life)
                await records.people.save_session(session)
            elif presented is Presented.REPLAYED:
                await records.people.save_session(session.ended(now))
        if presented is Presented.OVERTAKEN:
            raise WrongState("Another request has just refreshed this session; use what it was given.")
        if presented is Presented.REPLAYED:
            self.tokens.forget()
            log.warning("session.replayed", user=user.id, session=session.id)
            raise Unauthenticated
        return Grant(await self.tokens.issue(user, session), _token(session.id, family, secret), session)

    async def sign_out(self, token: str) -> None:
        """End the session that a refresh token belongs to, whichever of the family it is. Raises Unauthenticated."""
        session_id, family, _ = _parsed(token)
        known, _ = await self._known(session_id)
        if not hmac.compare_digest(hash_of(family), known.family_hash):
            raise Unauthenticated
        async with self.catalog.tenant(known.tenant, writes=True) as records:
            session = await records.people.session(session_id)
            await records.people.save_session(session.ended(self.clock()))
        self.tokens.forget()

    async def sessions(self, actor: Actor) -> Sequence[Session]:
        """The actor's live sessions, most recently used first."""
        access.require(actor, "session.list")
        async with self.catalog.tenant(actor.tenant) as records:
            found = await records.people.sessions(actor.user)
        return [session for session in found if session.is_live(self.clock())]

    async def end(self, actor: Actor, session_id: SessionId) -> None:
        """End one of the actor's sessions. Raises Missing."""
        access.require(actor, "session.end")
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            session = await records.people.session(session_id)
            if session.user != actor.user:
                raise Missing
            await records.people.save_session(session.ended(self.clock()))
        self.tokens.forget()

    async def end_all(self, actor: Actor) -> int:
        """End every session of the actor, this one too; how many that were."""
        access.require(actor, "session.end")
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            count = await end_others(records, actor.user, keep=None, now=self.clock())
        self.tokens.forget()
        return count

    async def change_password(self, actor: Actor, *, current: str, new: str, address: str) -> None:
        """Another password, for who knows the one now; the other sessions end.

        Raises StepUpRequired, Unauthenticated, WeakPassword, LockedOut.
        """
        access.require(actor, "password.change")
        await self.step_up.require(actor)
        async with self.catalog.tenant(actor.tenant) as records:
            credential, tenant = await records.people.credential(actor.user), records.tenant

        async def attempt() -> None:
            await self.lockout.require(tenant.name, credential.email, address)
            if not await self.passwords.matches(credential.password_hash, current):
                await self.lockout.count(tenant.name, credential.email, address)
                raise Unauthenticated("The current password is not right.")

        await self.passwords.in_turn(attempt)
        await self.passwords.require_good(new, words_of(credential.email))
        password_hash, now = await self.passwords.hash(new), self.clock()
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            latest = await records.people.credential(actor.user)
            if latest.password_hash != credential.password_hash:
                raise WrongState("The password was changed by another request.")
            await records.people.save_credential(replace(latest, password_hash=password_hash, changed_at=now))
            await end_others(records, actor.user, keep=actor.session, now=now)
            await due(records, actor.user, Letter.CHANGED, now)
        self.tokens.forget()
        self.relay.nudge()

    async def sweep(self) -> int:
        """Forget what expired a week ago."""
        async with self.catalog.directory(writes=True) as directory:
            return await directory.people.sweep(self.clock() - timedelta(days=7))

    async def _found(self, tenant: str, email: str) -> tuple[Credential, User] | None:
        try:
            async with self.catalog.directory() as directory:
                return await directory.people.by_email(tenant, email)
        except Missing:
            return None

    async def _known(self, session_id: SessionId) -> tuple[Session, User]:
        try:
            async with self.catalog.directory() as directory:
                return await directory.people.session(session_id)
        except Missing:
            raise Unauthenticated from None


async def end_others(records: Records, user: UserId, *, keep: SessionId | None, now: datetime) -> int:
    """End every session of the user but one; how many that were."""
    ending = [session for session in await records.people.sessions(user) if session.id != keep]
    for session in ending:
        await records.people.save_session(session.ended(now))
    return len(ending)


def _new_session(user: User, now: datetime, expires_at: datetime, *, address: str, agent: str) -> tuple[str, Session]:
    family, turn = _secret(), _secret()
    session = Session(
        id=SessionId(new_id(now.timestamp())),
        tenant=user.tenant,
        user=user.id,
        created_at=now,
        used_at=now,
        expires_at=expires_at,
        family_hash=hash_of(family),
        current_hash=hash_of(turn),
        proven_at=now,
        address=address[:64],
        agent="".join(c for c in agent if c.isprintable())[:200],
    )
    return _token(session.id, family, turn), session


def _secret() -> str:
    # Hexadecimal, so that the underscore stays a separator.
    return secrets.token_hex(24)


def _token(session: SessionId, family: str, turn: str) -> str:
    return f"{REFRESH_PREFIX}_{session}_{family}_{turn}"


def _parsed(token: str) -> tuple[SessionId, str, str]:
    parts = token.split("_", 4)
    if len(parts) != 4 or parts[0] != REFRESH_PREFIX or not is_id(parts[1]):
        raise Unauthenticated
    return SessionId(parts[1]), parts[2], parts[3]
