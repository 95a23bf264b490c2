"""What users prove themselves with beside a password, in DynamoDB: authenticator apps, passkeys, marks of what was used.

An app's last step, its recovery codes and a passkey's counter are written only over what this transaction has read, and a mark
only where there is none: of two who bring the same code at once, one comes first and the other is told to try again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from safelight.adapters.catalog import rows
from safelight.adapters.catalog.dynamodb import items
from safelight.adapters.catalog.dynamodb.items import Item, Key, columns_of, key_of, placed
from safelight.adapters.catalog.dynamodb.transaction import PRESENT, Transaction
from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.secretbox import SecretBox
from safelight.domain.factors import Passkey, Totp
from safelight.domain.ids import PasskeyId, TenantId, UserId
from safelight.domain.queries import micros
from safelight.errors import AlreadyExists, Busy, Missing

_USED_UP: Final = ("secret", "confirmed_at", "last_step", "recovery")


@dataclass(frozen=True, slots=True)
class DynamoFactors:
    """Keeps FactorRecords."""

    transaction: Transaction
    tenant: TenantId
    box: SecretBox

    async def totp(self, user: UserId) -> Totp:
        """By the user, unsealed."""
        item = await self._found(items.totp_key(self.tenant, user))
        secret = self.box.unseal(item["secret"], context=rows.totp_context(self.tenant, user))
        return rows.totp_of({**columns_of(item, Totp), "secret": secret})

    async def put_totp(self, totp: Totp) -> None:
        """In the place of what this transaction has seen there, and of nothing else."""
        await self._begin(totp.tenant, totp.user)
        key = items.totp_key(self.tenant, totp.user)
        sealed = self.box.seal(totp.secret, context=rows.totp_context(totp.tenant, totp.user))
        item = placed(key, rows.totp_columns(totp) | {"secret": sealed})
        before = await self.transaction.item(key)
        if before is None:
            self.transaction.add(item, otherwise=Busy, unit=totp.user)
            self.transaction.check(items.user_key(self.tenant, totp.user), PRESENT, otherwise=Missing, unit=totp.user)
        else:
            as_read = {name: before.get(name) for name in _USED_UP}
            self.transaction.change(before, item, expected=as_read, otherwise=Busy, unit=totp.user)

    async def drop_totp(self, user: UserId) -> None:
        """By the user."""
        self.transaction.require_writing()
        self.transaction.remove(items.totp_key(self.tenant, user), unit=user)

    async def add_passkey(self, passkey: Passkey) -> None:
        """The passkey, and an entry in the user's list."""
        await self._begin(passkey.tenant, passkey.user)
        key = items.passkey_key(passkey.id)
        if await self.transaction.item(key) is not None:
            raise AlreadyExists
        item = placed(key, rows.passkey_columns(passkey))
        self.transaction.add(item, otherwise=AlreadyExists, unit=passkey.id)
        entry = items.passkey_entry(self.tenant, passkey.user, passkey.id)
        self.transaction.put(placed(entry, {}), unit=passkey.id)
        self.transaction.check(items.user_key(self.tenant, passkey.user), PRESENT, otherwise=Missing, unit=passkey.id)

    async def passkey(self, passkey_id: PasskeyId) -> Passkey:
        """By its id."""
        return _passkey_of(await self._found(items.passkey_key(passkey_id)))

    async def passkeys(self, user: UserId) -> list[Passkey]:
        """Those of the user's list, sorted here."""
        entries = await self.transaction.collection(items.passkey_entry(self.tenant, user, "")[0])
        found = await self.transaction.items(items.passkey_key(entry["SK"]) for entry in entries)
        return sorted(map(_passkey_of, found.values()), key=lambda passkey: (passkey.created_at, passkey.id))

    async def save_passkey(self, passkey: Passkey) -> None:
        """Change what differs, of the passkey as it was read."""
        await self._begin(passkey.tenant)
        before = await self._found(items.passkey_key(passkey.id))
        as_read = {"sign_count": before["sign_count"]}
        self.transaction.change(before, rows.passkey_columns(passkey), expected=as_read, otherwise=Busy, unit=passkey.id)

    async def remove_passkey(self, passkey_id: PasskeyId) -> None:
        """It, and its entry."""
        self.transaction.require_writing()
        before = await self._found(items.passkey_key(passkey_id))
        self.transaction.remove(key_of(before), expected=PRESENT, otherwise=Missing, unit=passkey_id)
        self.transaction.remove(items.passkey_entry(self.tenant, before["user"], passkey_id), unit=passkey_id)

    async def spend(self, mark: str, until: datetime) -> None:
        """A new item; the key is everybody's."""
        self.transaction.require_writing()
        key = items.spent_key(mark)
        if await self.transaction.item(key) is not None:
            raise AlreadyExists
        columns = {"mark": mark, "tenant": self.tenant, "expires_at": micros(until)}
        item = placed(key, columns | items.expiring(mark, until))
        self.transaction.add(item, otherwise=AlreadyExists, unit=mark)

    async def _begin(self, tenant: TenantId, user: UserId | None = None) -> None:
        self.transaction.require_writing()
        require_own(tenant, self.tenant)
        if user is not None:
            await self._found(items.user_key(self.tenant, user))

    async def _found(self, key: Key) -> Item:
        item = await self.transaction.item(key)
        if item is None or item["tenant"] != self.tenant:
            raise Missing
        return item


def _passkey_of(item: Item) -> Passkey:
    return rows.passkey_of(columns_of(item, Passkey))
