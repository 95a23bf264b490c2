"""Failed attempts: counted on the account and on the address they come from, and answered by growing rests.

The account is named by what was typed, whether there is such an account or not: a stranger to us is locked out like anybody.
Names are kept as MACs, so that the table tells no addresses.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from safelight.domain.people import Patience
from safelight.domain.rates import counted_as
from safelight.errors import LockedOut
from safelight.ports.catalog import Catalog

log = structlog.get_logger()

MAILS: Final = 5
"""Mails that strangers can have sent to one address in an hour."""
_MAIL_WINDOW: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Lockout:
    """An account is patient with a person's typing, an address with an office's."""

    catalog: Catalog
    clock: Callable[[], datetime]
    key: bytes
    account: Patience
    address: Patience

    async def require(self, tenant: str, email: str, address: str) -> None:
        """Return, or refuse. Raises LockedOut, with the seconds to wait."""
        account, source = self._account(tenant, email), self._source(address)
        async with self.catalog.directory() as directory:
            noted = {one.subject: one for one in await directory.people.failures([account, source])}
        now = self.clock()
        wait = max(self.account.wait(noted.get(account), now), self.address.wait(noted.get(source), now))
        if wait > timedelta(0):
            raise LockedOut(retry_after_s=math.ceil(wait.total_seconds()))

    async def count(self, tenant: str, email: str, address: str) -> None:
        """One more failure of both."""
        now = self.clock()
        async with self.catalog.directory(writes=True) as directory:
            account = await directory.people.count_failure(self._account(tenant, email), now, since=now - self.account.memory)
            source = await directory.people.count_failure(self._source(address), now, since=now - self.address.memory)
        if account.count == self.account.free or source.count == self.address.free:
            log.warning("signin.locked_out", account_failures=account.count, address_failures=source.count)

    async def forgive(self, tenant: str, email: str) -> None:
        """The account's failures are forgotten; the address keeps its own, else one good account would buy endless guesses."""
        async with self.catalog.directory() as directory:
            if not await directory.people.failures([self._account(tenant, email)]):
                return
        async with self.catalog.directory(writes=True) as directory:
            await directory.people.forget_failures(self._account(tenant, email))

    async def may_mail(self, tenant: str, email: str) -> bool:
        """Whether another mail may go to this address; counted if so. Nobody's letter box is filled in our name."""
        subject, now = self._named("mail", tenant, email), self.clock()
        async with self.catalog.directory(writes=True) as directory:
            noted = await directory.people.failures([subject])
            if noted and noted[0].count >= MAILS and now - noted[0].last_at < _MAIL_WINDOW:
                log.warning("mail.withheld")
                return False
            await directory.people.count_failure(subject, now, since=now - _MAIL_WINDOW)
        return True

    def _account(self, tenant: str, email: str) -> str:
        return self._named("account", tenant, email)

    def _source(self, address: str) -> str:
        return self._named("address", counted_as(address))

    def _named(self, *parts: str) -> str:
        message = "\n".join(parts).encode(errors="replace")
        return hmac.digest(self.key, message, hashlib.sha256).hex()[:40]
