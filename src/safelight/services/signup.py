"""Signing up, and everything that a mailed code opens: verifying an address, choosing a password, invitations.

Nobody learns here who has an account: whatever is asked, the answer is the same and the work nearly so; only the letter differs,
and that goes to the address itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from safelight.domain import access
from safelight.domain.accounts import Actor, Role, Tenant, User
from safelight.domain.events import MailDue
from safelight.domain.ids import CodeId, UserId, new_id
from safelight.domain.people import Credential, Letter, OneTimeCode, email_of, words_of
from safelight.errors import AlreadyExists, BadCode, Forbidden, Missing
from safelight.ports.catalog import Catalog, Records
from safelight.services.lockout import Lockout
from safelight.services.passwords import Passwords
from safelight.services.post import Codes, due
from safelight.services.relay import Relay

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What shows that somebody reads the address: a link's token, or address and digits."""

    token: str = ""
    tenant: str = ""
    email: str = ""
    digits: str = ""


@dataclass(frozen=True, slots=True)
class SignUp:
    """`open_at`: names of the tenants that anybody may join, or `*`."""

    catalog: Catalog
    clock: Callable[[], datetime]
    relay: Relay
    passwords: Passwords
    lockout: Lockout
    codes: Codes
    open_at: frozenset[str]
    forget: Callable[[], None]
    """Called when sessions have ended: nobody in this process believes their tokens any longer."""

    async def sign_up(self, *, tenant: str, email: str, password: str, language: str) -> None:
        """Ask for an account; the rest is in the mail. Raises Forbidden where sign-up is closed, BadField, WeakPassword, Busy."""
        place = await self._open(tenant)
        email = email_of(email)
        await self.passwords.require_good(password, words_of(email))
        password_hash = await self.passwords.hash(password)
        if not await self.lockout.may_mail(tenant, email):
            return
        now = self.clock()
        async with self.catalog.tenant(place.id, writes=True) as records:
            # Looked up in this transaction: writers of a tenant take turns, so nobody else adds the address meanwhile.
            found = await self._found(tenant, email)
            if found is None:
                user = await self._user(records, email, Role.USER, now)
                await records.people.add_credential(
                    Credential(
                        tenant=place.id,
                        user=user.id,
                        email=email,
                        password_hash=password_hash,
                        changed_at=now,
                        language=language,
                    )
                )
                await due(records, user.id, Letter.VERIFY, now)
            elif found.verified_at is not None:
                await due(records, found.user, Letter.EXISTS, now)
            elif not found.password_hash:
                await due(records, found.user, Letter.INVITE, now)
            else:
                # Not verified yet: who can read the mail decides, and the newest mail goes with the newest password.
                await records.people.save_credential(
                    replace(found, password_hash=password_hash, changed_at=now, language=language)
                )
                await due(records, found.user, Letter.VERIFY, now)
        self.relay.nudge()

    async def verify(self, proof: Proof, *, address: str) -> None:
        """The address is the user's. Raises BadCode, LockedOut."""
        now = self.clock()

        async def confirm(records: Records, credential: Credential, code: OneTimeCode) -> None:
            await records.people.save_credential(replace(credential, verified_at=credential.verified_at or now))

        await self._redeem(proof, (Letter.VERIFY,), confirm, address)
        log.info("signup.verified")

    async def invite(self, actor: Actor, user_id: UserId, *, email: str, language: str) -> None:
        """Let a user of the tenant sign in with this address, once they have chosen a password. Raises Missing, AlreadyExists."""
        access.require(actor, "users.manage")
        email, now = email_of(email), self.clock()
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            user = next((one for one in await records.accounts.users() if one.id == user_id), None)
            if user is None:
                raise Missing
            if user.role is Role.OPERATOR and actor.role is not Role.OPERATOR:
                raise Forbidden
            await self._invite(records, user, email, language, now)
        self.relay.nudge()

    async def add_invited(self, actor: Actor, user: User, *, email: str, language: str) -> None:
        """Keep a new user together with the invitation. Raises BadField, AlreadyExists for a name or address that is taken."""
        access.require(actor, "users.manage")
        email, now = email_of(email), self.clock()
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            await records.accounts.add_user(user)
            await self._invite(records, user, email, language, now)
        self.relay.nudge()

    async def forgot(self, *, tenant: str, email: str) -> None:
        """Send a letter with which to choose another password, if there is such a user. Raises BadField."""
        email = email_of(email)
        place = await self._place(tenant)
        is_allowed = await self.lockout.may_mail(tenant, email)
        if place is None or not is_allowed:
            return
        now = self.clock()
        async with self.catalog.tenant(place.id, writes=True) as records:
            found = await self._found(tenant, email)
            if found is not None:
                letter = Letter.RESET if found.is_usable else Letter.INVITE if not found.password_hash else Letter.VERIFY
                await due(records, found.user, letter, now)
            else:
                # A letter to nobody, dropped by the post: the same rows and the same flow, for the sake of the clock.
                nobody, id = UserId(new_id(now.timestamp())), CodeId(new_id(now.timestamp()))
                await records.emit(MailDue(place.id, nobody, Letter.EXISTS.value, id))
        self.relay.nudge()

    async def reset(self, proof: Proof, *, password: str, address: str) -> None:
        """Choose a password by a mailed code; every session of the user ends. Raises BadCode, LockedOut, WeakPassword, Busy."""
        if proof.token and self.codes.opened(proof.token) is None:
            raise BadCode
        await self.passwords.require_good(password, words_of(proof.email))
        if proof.email:
            await self.lockout.require(proof.tenant, email_of(proof.email), address)
        password_hash = await self.passwords.hash(password)
        now = self.clock()

        async def choose(records: Records, credential: Credential, code: OneTimeCode) -> None:
            await records.people.save_credential(
                replace(credential, password_hash=password_hash, changed_at=now, verified_at=credential.verified_at or now)
            )
            for session in await records.people.sessions(credential.user):
                await records.people.save_session(session.ended(now))
            if code.letter is Letter.RESET:
                await due(records, credential.user, Letter.CHANGED, now)

        credential, tenant = await self._redeem(proof, (Letter.RESET, Letter.INVITE), choose, address)
        self.forget()
        await self.lockout.forgive(tenant.name, credential.email)
        self.relay.nudge()
        log.info("password.reset", user=credential.user)

    async def _redeem(
        self,
        proof: Proof,
        letters: Sequence[Letter],
        act: Callable[[Records, Credential, OneTimeCode], Awaitable[None]],
        address: str,
    ) -> tuple[Credential, Tenant]:
        """Use up a live code and act, in one transaction: of two who use it at once, one does. Raises BadCode, LockedOut."""
        opened = self.codes.opened(proof.token) if proof.token else None
        if opened is None and not proof.email:
            raise BadCode
        email = ""
        if opened is None:
            email = email_of(proof.email)
            await self.lockout.require(proof.tenant, email, address)
            found = await self._found(proof.tenant, email)
            if found is None:
                await self.lockout.count(proof.tenant, email, address)
                raise BadCode
            tenant_id, user_id = found.tenant, found.user
        else:
            tenant_id, user_id, letter, code_id = opened
            letters = (letter,) if letter in letters else ()
        now = self.clock()
        try:
            async with self.catalog.tenant(tenant_id, writes=True) as records:
                credential = await records.people.credential(user_id)
                live = [code for code in await _codes(records, user_id, letters) if code.is_live(now)]
                fitting = [code for code in live if (code.id == code_id if opened else self.codes.are_digits(code, proof.digits))]
                if fitting:
                    await records.people.put_code(replace(fitting[0], used_at=now))
                    await act(records, credential, fitting[0])
                    return credential, records.tenant
                if opened is None:
                    for code in live:
                        await records.people.put_code(replace(code, tries=code.tries + 1))
        except Missing:
            raise BadCode from None
        if opened is None:
            await self.lockout.count(proof.tenant, email, address)
        raise BadCode

    async def _invite(self, records: Records, user: User, email: str, language: str, now: datetime) -> None:
        try:
            known = await records.people.credential(user.id)
        except Missing:
            await records.people.add_credential(
                Credential(tenant=user.tenant, user=user.id, email=email, changed_at=now, language=language)
            )
        else:
            if known.is_usable:
                raise AlreadyExists("This user signs in already.")
            await records.people.save_credential(replace(known, email=email, language=language))
        await due(records, user.id, Letter.INVITE, now)

    async def _user(self, records: Records, email: str, role: Role, now: datetime) -> User:
        user = User(id=UserId(new_id(now.timestamp())), tenant=records.tenant.id, name=email, role=role, created_at=now)
        try:
            await records.accounts.add_user(user)
        except AlreadyExists:  # somebody without an address is called like that; to refuse would tell
            user = replace(user, name=f"{email} ({user.id[-6:]})")
            await records.accounts.add_user(user)
        return user

    async def _found(self, tenant: str, email: str) -> Credential | None:
        try:
            async with self.catalog.directory() as directory:
                return (await directory.people.by_email(tenant, email))[0]
        except Missing:
            return None

    async def _place(self, name: str) -> Tenant | None:
        async with self.catalog.directory() as directory:
            return next((tenant for tenant in await directory.tenants() if tenant.name == name), None)

    async def _open(self, name: str) -> Tenant:
        place = await self._place(name)
        if place is None or not self.open_at & {name, "*"}:
            raise Forbidden("Sign-up is closed here; ask an administrator for an invitation.")
        place.require_active()
        return place


async def _codes(records: Records, user: UserId, letters: Sequence[Letter]) -> list[OneTimeCode]:
    found = []
    for letter in letters:
        try:
            found.append(await records.people.code(user, letter))
        except Missing:
            continue
    return found
