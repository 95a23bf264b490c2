"""Users, API keys and signing keys of one tenant in DynamoDB: one partition of the table. Signing secrets are sealed on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from safelight.adapters.catalog import rows
from safelight.adapters.catalog.dynamodb import items
from safelight.adapters.catalog.dynamodb.items import Item, Key, placed
from safelight.adapters.catalog.dynamodb.transaction import PRESENT, Transaction
from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.secretbox import SecretBox
from safelight.domain.accounts import ApiKey, Grammar, SigningKey, User
from safelight.domain.ids import TenantId, UserId
from safelight.domain.people import Letter
from safelight.domain.queries import micros
from safelight.errors import AlreadyExists, Busy, Missing

if TYPE_CHECKING:  # which itself reads users as they are read here
    from safelight.adapters.catalog.dynamodb.issuers import DynamoIssuers

_USER: Final = ("id", "tenant", "name", "role", "created_at", "disabled_at")
_KEY: Final = (
    "id", "tenant", "user", "name", "secret_hash", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at",
    "networks",
)  # fmt: skip


def user_of(item: Item) -> User:
    """The user from his item."""
    return rows.user_of({name: item.get(name) for name in _USER})


def api_key_of(item: Item) -> ApiKey:
    """The key from its item."""
    return rows.key_of({name: item.get(name) for name in _KEY})


@dataclass(frozen=True, slots=True)
class DynamoApiKeys:
    """Keeps ApiKeyRecords."""

    transaction: Transaction
    tenant: TenantId

    async def add(self, key: ApiKey) -> None:
        """The key, and an item that tells whose it is. Raises Missing for a user whom this tenant does not have."""
        self.transaction.require_writing()
        require_own(key.tenant, self.tenant)
        user = items.user_key(self.tenant, key.user)
        if await self.transaction.item(user) is None:
            raise Missing
        holder = items.api_key_holder(key.id)
        if await self.transaction.item(holder) is not None:
            raise AlreadyExists
        self.transaction.add(
            placed(items.api_key(self.tenant, key.id), rows.key_columns(key)), otherwise=AlreadyExists, unit=key.id
        )
        self.transaction.add(placed(holder, {"tenant": self.tenant, "user": key.user}), otherwise=AlreadyExists, unit=key.id)
        self.transaction.check(user, PRESENT, otherwise=Missing, unit=key.id)

    async def all(self, user: UserId | None = None) -> list[ApiKey]:
        """All of them, chosen and sorted here."""
        found = [
            item
            for item in await self.transaction.collection(items.tenant_key(self.tenant)[0], "KEY#")
            if user in (None, item["user"])
        ]
        return sorted(map(api_key_of, found), key=lambda key: (key.created_at, key.id), reverse=True)

    async def save(self, key: ApiKey) -> None:
        """Of two revocations the first stands."""
        self.transaction.require_writing()
        require_own(key.tenant, self.tenant)
        before = await self.transaction.item(items.api_key(self.tenant, key.id))
        if before is None:
            raise Missing
        columns = rows.key_columns(key)
        after = {name: columns[name] for name in ("name", "networks", "revoked_at")}
        if before.get("revoked_at") is not None:
            after["revoked_at"] = before["revoked_at"]
        self.transaction.change(before, after, expected={"revoked_at": before.get("revoked_at")}, otherwise=Busy, unit=key.id)


@dataclass(frozen=True, slots=True)
class DynamoAccounts:
    """Keeps AccountRecords."""

    transaction: Transaction
    tenant: TenantId
    box: SecretBox
    api_keys: DynamoApiKeys
    issuers: DynamoIssuers

    async def add_user(self, user: User) -> None:
        """The user, and an item that holds the name."""
        self.transaction.require_writing()
        require_own(user.tenant, self.tenant)
        item = placed(items.user_key(self.tenant, user.id), rows.user_columns(user))
        if await self.transaction.item(items.key_of(item)) is not None:
            raise AlreadyExists
        await self._claim(user)
        self.transaction.add(item, otherwise=AlreadyExists, unit=user.id)

    async def users(self) -> list[User]:
        """All of them, sorted here."""
        found = await self._all("USER#")
        return sorted(map(user_of, found), key=lambda user: user.name)

    async def save_user(self, user: User) -> None:
        """Change what differs, the holder of the name with it."""
        self.transaction.require_writing()
        require_own(user.tenant, self.tenant)
        before = await self.transaction.item(items.user_key(self.tenant, user.id))
        if before is None:
            raise Missing
        columns = rows.user_columns(user)
        if before["name"] != user.name:
            await self._claim(user)
            self.transaction.remove(items.user_name(self.tenant, before["name"]), unit=user.id)
        self.transaction.change(before, columns, expected={"name": before["name"]}, unit=user.id)

    async def remove_user(self, user_id: UserId) -> None:
        """The user's items last: who fails in between finds the user and does it again."""
        self.transaction.require_writing()
        user = await self.transaction.item(items.user_key(self.tenant, user_id))
        if user is None:
            raise Missing
        gone: list[Key] = []
        for key in await self._all("KEY#"):
            if key["user"] == user_id:
                gone += [items.key_of(key), items.api_key_holder(key["id"])]
        credential = await self.transaction.item(items.credential_key(self.tenant, user_id))
        if credential is not None:
            gone += [items.key_of(credential), items.address_key(self.tenant, credential["email"])]
        gone += [items.code_key(self.tenant, user_id, letter) for letter in Letter]
        gone.append(items.totp_key(self.tenant, user_id))
        lists: tuple[tuple[str, Callable[[str], Key]], ...] = (
            (items.session_entry(self.tenant, user_id, "")[0], items.session_key),
            (items.passkey_entry(self.tenant, user_id, "")[0], items.passkey_key),
            (items.identity_entry(self.tenant, user_id, "")[0], lambda pk: (pk, items.META)),
            (items.grants_of(self.tenant, user_id), lambda album: items.grant_key(album, user_id)),
            (items.link_by(self.tenant, user_id, "")[0], items.link_key),
        )
        for partition, key_of in lists:
            for entry in await self.transaction.collection(partition):
                gone += [key_of(entry["SK"]), items.key_of(entry)]
        for at, gone_key in enumerate([*gone, items.user_name(self.tenant, user["name"]), items.key_of(user)]):
            self.transaction.remove(gone_key, unit=f"{user_id} {at // 80}")

    async def add_signing_key(self, key: SigningKey) -> None:
        """A new item with a sealed secret."""
        self.transaction.require_writing()
        require_own(key.tenant, self.tenant)
        columns = {
            "kid": key.kid,
            "tenant": key.tenant,
            "grammar": key.grammar.value,
            "secret": self.box.seal(key.secret, context=self._context(key.kid)),
            "salt": self.box.seal(key.salt, context=f"{self._context(key.kid)}/salt") if key.salt else None,
            "size_bytes": key.size_bytes,
            "created_at": micros(key.created_at),
            "retired_at": rows.maybe_micros(key.retired_at),
        }
        item = placed(items.ring_key(self.tenant, key.kid), columns)
        if await self.transaction.item(items.key_of(item)) is not None:
            raise AlreadyExists
        self.transaction.add(item, otherwise=AlreadyExists, unit=key.kid)

    async def signing_keys(self) -> list[SigningKey]:
        """The ring, unsealed."""
        ring = [
            SigningKey(
                kid=item["kid"],
                tenant=item["tenant"],
                secret=self.box.unseal(item["secret"], context=self._context(item["kid"])),
                created_at=rows.moment(item["created_at"]),
                retired_at=rows.maybe_moment(item.get("retired_at")),
                grammar=Grammar(item["grammar"]),
                salt=self.box.unseal(item["salt"], context=f"{self._context(item['kid'])}/salt") if item.get("salt") else b"",
                size_bytes=item["size_bytes"],
            )
            for item in await self._all("RING#")
        ]
        return sorted(ring, key=lambda key: (key.created_at, key.kid), reverse=True)

    async def retire_signing_key(self, kid: str, at: datetime) -> None:
        """The last time stands: a retirement that lies ahead may be moved."""
        self.transaction.require_writing()
        before = await self.transaction.item(items.ring_key(self.tenant, kid))
        if before is None:
            raise Missing
        self.transaction.change(before, {"retired_at": micros(at)}, unit=kid)

    async def _claim(self, user: User) -> None:
        """The name for this user. Raises AlreadyExists, now or at the end of the transaction."""
        rows.checked_text(user.name)
        name = items.user_name(self.tenant, user.name)
        if await self.transaction.item(name) is not None:
            raise AlreadyExists
        self.transaction.add(placed(name, {"user": user.id}), otherwise=AlreadyExists, unit=user.id)

    async def _all(self, prefix: str) -> list[Item]:
        return await self.transaction.collection(items.tenant_key(self.tenant)[0], prefix)

    def _context(self, kid: str) -> str:
        return f"{self.tenant}/{kid}"
