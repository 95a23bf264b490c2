"""The second leg of a sign-in: a ticket that a right password gave, and a code of the user's authenticator app or a recovery code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from safelight.domain.accounts import Tenant, User
from safelight.domain.ids import TenantId, UserId
from safelight.domain.people import Credential, Session
from safelight.errors import AlreadyExists, BadCode, Missing, Unauthenticated
from safelight.ports.catalog import Catalog
from safelight.services.lockout import Lockout
from safelight.services.passwords import Passwords
from safelight.services.relay import Relay
from safelight.services.signin import Grant, SignIn
from safelight.services.stepup import take_code
from safelight.services.tickets import Ticket, Tickets

METHODS: Final = ("pwd", "otp", "mfa")
_OVER: Final = "This sign-in is over or was never begun; start again with the password."


@dataclass(frozen=True, slots=True)
class SecondLeg:
    """Failures count on the account and the address, as those of the first leg do."""

    catalog: Catalog
    clock: Callable[[], datetime]
    relay: Relay
    passwords: Passwords
    lockout: Lockout
    signin: SignIn
    tickets: Tickets
    recovery_keys: Sequence[bytes]

    async def verify(self, *, ticket: str, code: str, address: str, agent: str) -> Grant:
        """The session that the password began to ask for. Raises Unauthenticated for the ticket, BadCode, LockedOut, Busy.

        A ticket begins one session; a wrong code does not use it up, but counts.
        """
        opened = self.tickets.opened(ticket, self.clock())
        if opened is None:
            raise Unauthenticated(_OVER)
        try:
            tenant, credential, user = await known(self.catalog, opened.tenant, opened.user)
        except Missing:
            raise Unauthenticated(_OVER) from None
        if user.disabled_at is not None:
            raise Unauthenticated(_OVER)
        email = credential.email

        async def attempt() -> tuple[str, Session]:
            # In turn, as passwords are: of a thousand parallel guesses, only as many as there are places see the same count.
            await self.lockout.require(tenant.name, email, address)
            begun = await self._begun(opened, user, code, address=address, agent=agent)
            if begun is None:
                await self.lockout.count(tenant.name, email, address)
                raise BadCode
            return begun

        begun = await self.passwords.in_turn(attempt)
        await self.lockout.forgive(tenant.name, email)
        self.relay.nudge()
        return await self.signin.granted(user, begun)

    async def _begun(self, ticket: Ticket, user: User, code: str, *, address: str, agent: str) -> tuple[str, Session] | None:
        """Code, ticket and session in one transaction: what one of them is refused for leaves all of them as they were."""
        now = self.clock()
        try:
            async with self.catalog.tenant(ticket.tenant, writes=True) as records:
                if not self.tickets.is_of(ticket, await records.people.credential(ticket.user)):
                    raise Unauthenticated(_OVER)  # the password was changed since
                if not await take_code(records, ticket.user, code, keys=self.recovery_keys, now=now):
                    return None
                await records.factors.spend(ticket.mark, ticket.expires_at)
                return await self.signin.begin(records, user, now, METHODS, address=address, agent=agent)
        except AlreadyExists:
            raise Unauthenticated(_OVER) from None


async def known(catalog: Catalog, tenant_id: TenantId, user_id: UserId) -> tuple[Tenant, Credential, User]:
    """Who this is. Raises Missing."""
    async with catalog.tenant(tenant_id) as records:
        tenant, credential = records.tenant, await records.people.credential(user_id)
    async with catalog.directory() as directory:
        credential, user = await directory.people.by_email(tenant.name, credential.email)
    if user.id != user_id:
        raise Missing
    return tenant, credential, user
