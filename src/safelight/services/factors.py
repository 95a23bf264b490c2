"""A user's authenticator app and recovery codes: enrolled, confirmed, made anew, removed; and what an administrator takes away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from safelight import totp as app
from safelight.domain import access
from safelight.domain.accounts import Actor, Role
from safelight.domain.factors import Totp
from safelight.domain.ids import UserId
from safelight.domain.people import Letter
from safelight.errors import BadCode, Forbidden, Missing, WrongState
from safelight.ports.catalog import Catalog
from safelight.services.post import due
from safelight.services.relay import Relay
from safelight.services.signin import end_others
from safelight.services.stepup import StepUp, confirmed, proven

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator app is told; `secret` in base 32, the QR codes as data URIs. Not shown again."""

    secret: str
    uri: str
    qr_svg: str
    qr_png: str


@dataclass(frozen=True, slots=True)
class FactorsHeld:
    """What a user has beside a password."""

    totp_since: datetime | None
    recovery_codes: int
    passkeys: int


@dataclass(frozen=True, slots=True)
class Factors:
    """`product` is what apps list the account under; `forget` is called when sessions have ended."""

    catalog: Catalog
    clock: Callable[[], datetime]
    relay: Relay
    step_up: StepUp
    recovery_keys: Sequence[bytes]
    product: str
    forget: Callable[[], None]

    async def held(self, actor: Actor) -> FactorsHeld:
        """The actor's own."""
        access.require(actor, "factors.read")
        async with self.catalog.tenant(actor.tenant) as records:
            totp, passkeys = await confirmed(records, actor.user), await records.factors.passkeys(actor.user)
        return FactorsHeld(totp.confirmed_at if totp else None, len(totp.recovery) if totp else 0, len(passkeys))

    async def enrol(self, actor: Actor) -> Enrolment:
        """A secret for an app; nothing is asked for until `confirm`. Raises StepUpRequired, WrongState when there is one."""
        access.require(actor, "factors.change")
        await self.step_up.require(actor)
        totp = Totp(tenant=actor.tenant, user=actor.user, secret=app.new_secret(), created_at=self.clock())
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            if await confirmed(records, actor.user) is not None:
                raise WrongState("An authenticator app is in use; remove it first.")
            credential = await records.people.credential(actor.user)
            await records.factors.put_totp(totp)
        uri = app.uri(totp.secret, issuer=self.product, account=credential.email)
        return Enrolment(app.base32(totp.secret), uri, *app.qr_codes(uri))

    async def confirm(self, actor: Actor, *, code: str) -> tuple[str, ...]:
        """The app works: from now on sign-ins ask for it, and other sessions end. The recovery codes, known only now.

        Raises BadCode; WrongState when nothing was enrolled in the last minutes.
        """
        access.require(actor, "factors.change")
        now = self.clock()
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            try:
                totp = await records.factors.totp(actor.user)
            except Missing:
                totp = None
            if totp is None or not totp.can_be_confirmed(now):
                raise WrongState("No authenticator app waits for its first code; enrol one.")
            used = totp.taking(code, now=now)
            if used is None:
                raise BadCode
            after, codes = replace(used, confirmed_at=now).with_recovery(self.recovery_keys[0])
            await records.factors.put_totp(after)
            await end_others(records, actor.user, keep=actor.session, now=now)
            await proven(records, actor, ("otp", "mfa"), now)
            await due(records, actor.user, Letter.MFA_ON, now)
        self.forget()
        self.relay.nudge()
        log.info("mfa.on", user=actor.user)
        return codes

    async def disable(self, actor: Actor) -> None:
        """No app and no recovery codes any more. Raises StepUpRequired, Missing."""
        access.require(actor, "factors.change")
        await self.step_up.require(actor)
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            if await confirmed(records, actor.user) is None:
                raise Missing
            await records.factors.drop_totp(actor.user)
            await due(records, actor.user, Letter.MFA_OFF, self.clock())
        self.relay.nudge()
        log.info("mfa.off", user=actor.user)

    async def regenerate(self, actor: Actor) -> tuple[str, ...]:
        """Other recovery codes; those before open nothing any more. Raises StepUpRequired, Missing."""
        access.require(actor, "factors.change")
        await self.step_up.require(actor)
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            totp = await confirmed(records, actor.user)
            if totp is None:
                raise Missing
            after, codes = totp.with_recovery(self.recovery_keys[0])
            await records.factors.put_totp(after)
            await due(records, actor.user, Letter.RECOVERY_MADE, self.clock())
        self.relay.nudge()
        return codes

    async def reset(self, actor: Actor, user_id: UserId) -> None:
        """Take app, recovery codes and passkeys from a user who has lost them, and end their sessions. Raises Missing, Forbidden."""
        access.require(actor, "users.manage")
        await self.step_up.require(actor)
        now = self.clock()
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            user = next((one for one in await records.accounts.users() if one.id == user_id), None)
            if user is None:
                raise Missing
            if user.role is Role.OPERATOR and actor.role is not Role.OPERATOR:
                raise Forbidden
            await records.factors.drop_totp(user_id)
            for passkey in await records.factors.passkeys(user_id):
                await records.factors.remove_passkey(passkey.id)
            await end_others(records, user_id, keep=None, now=now)
            await due(records, user_id, Letter.MFA_RESET, now)
        self.forget()
        self.relay.nudge()
        log.warning("mfa.reset", user=user_id, by=actor.user)
