"""Signing in with a passkey, adding one, and stepping up with one. What an authenticator signs is verified by `passkeys`.

The user handle that an authenticator keeps is `<tenant>.<user>`, so that a sign-in without any name finds its way to one tenant's
records. It is only a hint: the passkey must be that user's, and the signature its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import structlog

from safelight.domain import access
from safelight.domain.accounts import Actor
from safelight.domain.factors import PASSKEYS, Passkey, passkey_id
from safelight.domain.ids import PasskeyId, TenantId, UserId, is_id
from safelight.domain.people import Letter
from safelight.errors import AlreadyExists, BadField, BadPasskey, Missing, SafelightError, Unauthenticated, WrongState
from safelight.passkeys import BadAnswer, RelyingParty, challenge_of, credential_of, handle_of
from safelight.ports.catalog import Catalog, Records
from safelight.services.post import due
from safelight.services.relay import Relay
from safelight.services.secondleg import known
from safelight.services.signin import Grant, SignIn
from safelight.services.stepup import StepUp, proven
from safelight.services.tickets import Challenges
from safelight.services.tokens import AccessToken

log = structlog.get_logger()

METHODS: Final = ("pop", "user", "mfa")
"""RFC 8176: a key was proven, the user was there, by more than one factor."""
_TRANSPORTS: Final = frozenset({"usb", "nfc", "ble", "smart-card", "hybrid", "internal"})
_NO_ENTRY: Final = "This passkey does not open anything here, or its answer came too late."


@dataclass(frozen=True, slots=True)
class Passkeys:
    """Challenges are for one purpose: signing in, or what one session does."""

    catalog: Catalog
    clock: Callable[[], datetime]
    relay: Relay
    party: RelyingParty
    challenges: Challenges
    signin: SignIn
    step_up: StepUp

    async def list(self, actor: Actor) -> Sequence[Passkey]:
        """The actor's, oldest first."""
        access.require(actor, "factors.read")
        async with self.catalog.tenant(actor.tenant) as records:
            return await records.factors.passkeys(actor.user)

    async def to_register(self, actor: Actor) -> dict[str, Any]:
        """Options for `navigator.credentials.create`. Raises StepUpRequired."""
        access.require(actor, "factors.change")
        await self.step_up.require(actor)
        async with self.catalog.tenant(actor.tenant) as records:
            credential = await records.people.credential(actor.user)
            held = await records.factors.passkeys(actor.user)
        return self.party.registration(
            challenge=self.challenges.made(_within(actor, "register"), self.clock()),
            handle=f"{actor.tenant}.{actor.user}".encode(),
            name=credential.email,
            known=[passkey.credential for passkey in held],
        )

    async def register(self, actor: Actor, *, name: str, answer: Mapping[str, Any]) -> Passkey:
        """A passkey from what the authenticator made. Raises StepUpRequired, BadPasskey, BadField, WrongState."""
        access.require(actor, "factors.change")
        await self.step_up.require(actor)
        name, now = _name(name), self.clock()
        try:
            challenge = challenge_of(answer)
            opened = self.challenges.opened(challenge, _within(actor, "register"), now)
            if opened is None:
                raise BadAnswer("no challenge of ours")
            made = self.party.registered(answer, challenge)
        except BadAnswer as error:
            log.info("passkey.refused", why=str(error)[:200], user=actor.user)
            raise BadPasskey from None
        passkey = Passkey(
            id=passkey_id(made.credential),
            tenant=actor.tenant,
            user=actor.user,
            credential=made.credential,
            public_key=made.public_key,
            sign_count=made.sign_count,
            name=name,
            created_at=now,
            transports=_transports(answer),
            aaguid=made.aaguid,
            is_synced=made.is_synced,
        )
        # Somebody's already, of whichever tenant, is told like any other answer that does not fit.
        async with self._spending(actor.tenant, opened, otherwise=BadPasskey()) as records:
            if len(await records.factors.passkeys(actor.user)) >= PASSKEYS:
                raise WrongState(f"There are {PASSKEYS} passkeys; remove one first.")
            await records.factors.add_passkey(passkey)
            await due(records, actor.user, Letter.PASSKEY_ADDED, now)
        self.relay.nudge()
        log.info("passkey.added", user=actor.user, passkey=passkey.id)
        return passkey

    async def rename(self, actor: Actor, id: PasskeyId, name: str) -> Passkey:
        """One of the actor's, under another name. Raises Missing, BadField."""
        access.require(actor, "factors.change")
        name = _name(name)
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            passkey = replace(await _own(records, actor, id), name=name)
            await records.factors.save_passkey(passkey)
        return passkey

    async def remove(self, actor: Actor, id: PasskeyId) -> None:
        """One of the actor's opens nothing any more. Raises StepUpRequired, Missing."""
        access.require(actor, "factors.change")
        await self.step_up.require(actor)
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            await _own(records, actor, id)
            await records.factors.remove_passkey(id)
            await due(records, actor.user, Letter.PASSKEY_REMOVED, self.clock())
        self.relay.nudge()
        log.info("passkey.removed", user=actor.user, passkey=id)

    def to_sign_in(self) -> dict[str, Any]:
        """Options for `navigator.credentials.get`, the same for everybody: nothing tells who has a passkey."""
        return self.party.assertion(challenge=self.challenges.made("signin", self.clock()))

    async def sign_in(self, answer: Mapping[str, Any], *, address: str, agent: str) -> Grant:
        """A session for whom the passkey belongs to. Raises Unauthenticated without saying why.

        No lock-out: there is nothing to guess, and somebody whose account strangers keep locked still gets in.
        """
        now = self.clock()
        try:
            tenant, user_id = _handle(answer)
            _, credential, user = await known(self.catalog, tenant, user_id)
            if user.disabled_at is not None or credential.verified_at is None:
                raise BadAnswer("suspended")
            verified, opened = await self._verified(answer, tenant, user_id, "signin", now)
        except (BadAnswer, Missing) as error:
            raise _refused(error) from None
        async with self._spending(tenant, opened, otherwise=Unauthenticated(_NO_ENTRY)) as records:
            await _use(records, verified)
            begun = await self.signin.begin(records, user, now, METHODS, address=address, agent=agent)
        return await self.signin.granted(user, begun)

    async def to_step_up(self, actor: Actor) -> dict[str, Any]:
        """Options for `navigator.credentials.get` with one of the actor's passkeys."""
        access.require(actor, "session.step_up")
        async with self.catalog.tenant(actor.tenant) as records:
            held = await records.factors.passkeys(actor.user)
        challenge = self.challenges.made(_within(actor, "step-up"), self.clock())
        return self.party.assertion(challenge=challenge, known=[passkey.credential for passkey in held])

    async def prove(self, actor: Actor, answer: Mapping[str, Any]) -> AccessToken:
        """A token that says that the user was here just now. Raises Unauthenticated."""
        access.require(actor, "session.step_up")
        now = self.clock()
        try:
            verified, opened = await self._verified(answer, actor.tenant, actor.user, _within(actor, "step-up"), now)
        except (BadAnswer, Missing) as error:
            raise _refused(error) from None
        async with self._spending(actor.tenant, opened, otherwise=Unauthenticated(_NO_ENTRY)) as records:
            await _use(records, verified)
            await proven(records, actor, METHODS, now)
        return await self.step_up.issue(actor)

    async def _verified(
        self, answer: Mapping[str, Any], tenant: TenantId, user: UserId, purpose: str, now: datetime
    ) -> tuple[Passkey, tuple[str, datetime]]:
        """The passkey as it will be after this use, and the challenge's mark. Raises BadAnswer, Missing."""
        credential, challenge = credential_of(answer), challenge_of(answer)
        opened = self.challenges.opened(challenge, purpose, now)
        if opened is None:
            raise BadAnswer("no challenge of ours")
        async with self.catalog.tenant(tenant) as records:
            passkey = await records.factors.passkey(passkey_id(credential))
        if passkey.user != user or passkey.credential != credential:
            raise BadAnswer("another user's")
        count, is_synced = self.party.asserted(answer, challenge, public_key=passkey.public_key, sign_count=passkey.sign_count)
        return passkey.used(count, at=now, is_synced=is_synced), opened

    @asynccontextmanager
    async def _spending(
        self, tenant: TenantId, opened: tuple[str, datetime], *, otherwise: SafelightError
    ) -> AsyncIterator[Records]:
        """The challenge is spent in the transaction of what it allows: brought twice at once, one comes first."""
        try:
            async with self.catalog.tenant(tenant, writes=True) as records:
                await records.factors.spend(*opened)
                yield records
        except AlreadyExists:
            raise otherwise from None


async def _use(records: Records, passkey: Passkey) -> None:
    try:
        kept = await records.factors.passkey(passkey.id)
    except Missing:  # removed this very moment
        raise Unauthenticated(_NO_ENTRY) from None
    if kept.sign_count >= passkey.sign_count and (kept.sign_count or passkey.sign_count):
        raise _refused(BadAnswer("the counter went back"))
    await records.factors.save_passkey(replace(passkey, name=kept.name))


async def _own(records: Records, actor: Actor, id: PasskeyId) -> Passkey:
    passkey = await records.factors.passkey(id)
    if passkey.user != actor.user:
        raise Missing
    return passkey


def _refused(error: Exception) -> Unauthenticated:
    log.info("passkey.refused", why=str(error)[:200])
    return Unauthenticated(_NO_ENTRY)


def _within(actor: Actor, act: str) -> str:
    """A purpose of one session: what another session asked for is not answered here."""
    return f"{act}/{actor.session}"


def _handle(answer: Mapping[str, Any]) -> tuple[TenantId, UserId]:
    tenant, _, user = handle_of(answer).partition(".")
    if not is_id(tenant) or not is_id(user):
        raise BadAnswer("no handle of ours")
    return TenantId(tenant), UserId(user)


def _name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > 100 or not name.isprintable():
        raise BadField("A name has 1 to 100 printable characters.", field="name")
    return name


def _transports(answer: Mapping[str, Any]) -> tuple[str, ...]:
    told = answer["response"].get("transports") or ()
    return tuple(sorted(_TRANSPORTS.intersection(one for one in told if isinstance(one, str))))
