"""Stepping up: dangerous acts ask for a recent proof of who acts (RFC 9470), and this takes one within a session.

The proof counts for the access token that it gives, by that token's `auth_time`, and for those that the session gets later: an
older token, that somebody may have copied, gains nothing. Whoever has an authenticator app proves with it, not with the password.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from safelight.domain import access
from safelight.domain.accounts import Actor
from safelight.domain.factors import Totp
from safelight.domain.ids import UserId
from safelight.domain.people import Letter, Session
from safelight.errors import BadCode, Missing, StepUpRequired, Unauthenticated
from safelight.ports.catalog import Catalog, Records
from safelight.services.lockout import Lockout
from safelight.services.passwords import Passwords
from safelight.services.post import due
from safelight.services.relay import Relay
from safelight.services.tokens import AccessToken, Tokens

log = structlog.get_logger()

SECOND_LEG: Final = ("totp", "recovery_code")
"""What completes a sign-in that a password began."""


@dataclass(frozen=True, slots=True)
class StepUp:
    """`within`: how recent is recent. `recovery_keys`: what recovery codes are kept under."""

    catalog: Catalog
    clock: Callable[[], datetime]
    relay: Relay
    passwords: Passwords
    lockout: Lockout
    tokens: Tokens
    within: timedelta
    recovery_keys: Sequence[bytes]

    async def require(self, actor: Actor) -> None:
        """Return, or refuse. Raises StepUpRequired, and says by what and how recently the actor must have proven who they are."""
        if access.is_recent(actor, now=self.clock(), within=self.within):
            return
        methods: list[str] = []
        if actor.session is not None:  # whom another issuer signed in proves it there
            async with self.catalog.tenant(actor.tenant) as records:
                methods = await proofs(records, actor.user)
        raise StepUpRequired(max_age_s=int(self.within.total_seconds()), methods=methods)

    async def prove(self, actor: Actor, *, password: str, code: str, address: str) -> AccessToken:
        """A token that says that the user was here just now. Raises Unauthenticated, BadCode, LockedOut, Busy."""
        access.require(actor, "session.step_up")
        async with self.catalog.tenant(actor.tenant) as records:
            credential, tenant = await records.people.credential(actor.user), records.tenant
            asks_for_code = await confirmed(records, actor.user) is not None

        async def attempt() -> None:
            await self.lockout.require(tenant.name, credential.email, address)
            if asks_for_code:
                is_right = await self._is_code(actor, code)
            else:
                is_right = await self.passwords.matches(credential.password_hash, password)
                if is_right:
                    await self._keep(actor, ("pwd",))
            if not is_right:
                await self.lockout.count(tenant.name, credential.email, address)
                raise BadCode if asks_for_code else Unauthenticated("The password is not right.")

        await self.passwords.in_turn(attempt)
        await self.lockout.forgive(tenant.name, credential.email)
        self.relay.nudge()
        return await self.issue(actor)

    async def issue(self, actor: Actor) -> AccessToken:
        """A token for the actor's session as it is now. Raises Unauthenticated."""
        assert actor.session is not None
        try:
            async with self.catalog.directory() as directory:
                session, user = await directory.people.session(actor.session)
        except Missing:
            raise Unauthenticated from None
        if not session.is_live(self.clock()) or user.disabled_at is not None:
            raise Unauthenticated
        log.info("session.stepped_up", user=user.id, session=session.id)
        return await self.tokens.issue(user, session)

    async def _is_code(self, actor: Actor, code: str) -> bool:
        now = self.clock()
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            if not await take_code(records, actor.user, code, keys=self.recovery_keys, now=now):
                return False
            await proven(records, actor, ("otp", "mfa"), now)
        return True

    async def _keep(self, actor: Actor, methods: tuple[str, ...]) -> None:
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            await proven(records, actor, methods, self.clock())


async def proven(records: Records, actor: Actor, methods: tuple[str, ...], now: datetime) -> Session:
    """Note in the actor's session that its user has shown who they are. Raises Unauthenticated when it has ended."""
    assert actor.session is not None
    session = await records.people.session(actor.session)
    if session.user != actor.user or not session.is_live(now):
        raise Unauthenticated
    await records.people.save_session(session := session.proven(methods, at=now))
    return session


async def confirmed(records: Records, user: UserId) -> Totp | None:
    """The user's authenticator app, if there is one that was confirmed."""
    try:
        totp = await records.factors.totp(user)
    except Missing:
        return None
    return totp if totp.confirmed_at is not None else None


async def proofs(records: Records, user: UserId) -> list[str]:
    """By what the user can step up."""
    first = ["password"] if await confirmed(records, user) is None else list(SECOND_LEG)
    return first + (["passkey"] if await records.factors.passkeys(user) else [])


async def take_code(records: Records, user: UserId, text: str, *, keys: Sequence[bytes], now: datetime) -> bool:
    """Use up a code of the user's app or a recovery code, in this transaction; False when it is neither."""
    totp = await confirmed(records, user)
    if totp is None:
        return False
    after = totp.taking(text, now=now)
    if after is None:
        after = totp.recovering(text, keys)
        if after is None:
            return False
        log.warning("mfa.recovery_code_used", user=user, left=len(after.recovery))
        await due(records, user, Letter.RECOVERY_USED, now)
    await records.factors.put_totp(after)
    return True
