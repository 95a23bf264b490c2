"""How users sign in, in DynamoDB: credentials, codes and sessions of a tenant; failures of the installation.

Here writers of a tenant do not take turns as they do in SQL. Whatever counts or is used up once (a code's tries, a refresh token's
turn) is therefore written only over what this transaction has read; who was second is told to try again, and then sees the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from safelight.adapters.catalog import rows
from safelight.adapters.catalog.dynamodb import items
from safelight.adapters.catalog.dynamodb.accounts import user_of
from safelight.adapters.catalog.dynamodb.faults import ConditionFailed
from safelight.adapters.catalog.dynamodb.issuers import DynamoTrust
from safelight.adapters.catalog.dynamodb.items import Item, Key, columns_of, decoded, encoded, key_of, placed
from safelight.adapters.catalog.dynamodb.transaction import PRESENT, Transaction, Walk
from safelight.adapters.catalog.own import require_own
from safelight.domain.accounts import User
from safelight.domain.ids import KeyId, LinkId, SessionId, TenantId, UserId
from safelight.domain.people import Credential, Failures, Letter, OneTimeCode, Session
from safelight.domain.queries import micros
from safelight.domain.sharing import Link
from safelight.errors import AlreadyExists, Busy, Missing

SWEPT: Final = 500
"""Items that one sweep forgets of each shard, at most."""
_TRIES: Final = 10


@dataclass(frozen=True, slots=True)
class DynamoPeople:
    """Keeps PeopleRecords."""

    transaction: Transaction
    tenant: TenantId

    async def add_credential(self, credential: Credential) -> None:
        """The credential, and an item that holds the address."""
        await self._begin(credential.tenant, credential.user)
        item = placed(items.credential_key(self.tenant, credential.user), rows.credential_columns(credential))
        if await self.transaction.item(key_of(item)) is not None:
            raise AlreadyExists
        await self._claim(credential)
        self.transaction.add(item, otherwise=AlreadyExists, unit=credential.user)
        self.transaction.check(items.user_key(self.tenant, credential.user), PRESENT, otherwise=Missing, unit=credential.user)

    async def credential(self, user: UserId) -> Credential:
        """By the user."""
        return _credential_of(await self._found(items.credential_key(self.tenant, user)))

    async def save_credential(self, credential: Credential) -> None:
        """Change what differs, the holder of the address with it."""
        await self._begin(credential.tenant)
        before = await self._found(items.credential_key(self.tenant, credential.user))
        if before["email"] != credential.email:
            await self._claim(credential)
            self.transaction.remove(items.address_key(self.tenant, before["email"]), unit=credential.user)
        as_read = {name: before.get(name) for name in ("email", "password_hash", "verified_at")}
        after = rows.credential_columns(credential)
        self.transaction.change(before, after, expected=as_read, otherwise=Busy, unit=credential.user)

    async def put_code(self, code: OneTimeCode) -> None:
        """In the place of what this transaction has seen there, and of nothing else: tries cannot be made past each other."""
        await self._begin(code.tenant, code.user)
        columns = rows.code_columns(code)
        item = placed(items.code_key(self.tenant, code.user, code.letter), columns | items.expiring(code.id, code.expires_at))
        before = await self.transaction.item(key_of(item))
        if before is None:
            self.transaction.add(item, otherwise=Busy, unit=code.id)
        else:
            as_read = {name: before.get(name) for name in ("id", "tries", "used_at")}
            self.transaction.change(before, item, expected=as_read, otherwise=Busy, unit=code.id)

    async def code(self, user: UserId, letter: Letter) -> OneTimeCode:
        """By user and letter."""
        item = await self._found(items.code_key(self.tenant, user, letter))
        return rows.code_of(columns_of(item, OneTimeCode))

    async def add_session(self, session: Session) -> None:
        """The session, and an entry in the user's list."""
        await self._begin(session.tenant, session.user)
        item = _session_item(session)
        if await self.transaction.item(key_of(item)) is not None:
            raise AlreadyExists
        self.transaction.add(item, otherwise=AlreadyExists, unit=session.id)
        self.transaction.put(placed(items.session_entry(self.tenant, session.user, session.id), {}), unit=session.id)

    async def session(self, session_id: SessionId) -> Session:
        """By its id."""
        return _session_of(await self._found(items.session_key(session_id)))

    async def save_session(self, session: Session) -> None:
        """Change what differs, of the session as it was read: of two who bring one refresh token, one comes first."""
        await self._begin(session.tenant)
        before = await self._found(items.session_key(session.id))
        as_read = {name: before.get(name) for name in ("current_hash", "ended_at")}
        self.transaction.change(before, _session_item(session), expected=as_read, otherwise=Busy, unit=session.id)

    async def sessions(self, user: UserId) -> list[Session]:
        """Those of the user's list, sorted here."""
        entries = await self.transaction.collection(items.session_entry(self.tenant, user, "")[0])
        found = await self.transaction.items(items.session_key(entry["SK"]) for entry in entries)
        live = [_session_of(item) for item in found.values() if item.get("ended_at") is None]
        return sorted(live, key=lambda session: (session.used_at, session.id), reverse=True)

    async def _begin(self, tenant: TenantId, user: UserId | None = None) -> None:
        self.transaction.require_writing()
        require_own(tenant, self.tenant)
        if user is not None:
            await self._found(items.user_key(self.tenant, user))

    async def _claim(self, credential: Credential) -> None:
        rows.checked_text(credential.email)
        holder = items.address_key(self.tenant, credential.email)
        if await self.transaction.item(holder) is not None:
            raise AlreadyExists
        self.transaction.add(placed(holder, {"user": credential.user}), otherwise=AlreadyExists, unit=credential.user)

    async def _found(self, key: Key) -> Item:
        item = await self.transaction.item(key)
        if item is None or item["tenant"] != self.tenant:
            raise Missing
        return item


@dataclass(frozen=True, slots=True)
class DynamoPeopleDirectory:
    """Keeps PeopleDirectory."""

    transaction: Transaction
    trust: DynamoTrust

    async def by_email(self, tenant: str, email: str) -> tuple[Credential, User]:
        """By the holders of the two names, then both at once."""
        name = await self.transaction.item(items.tenant_name(tenant))
        holder = None if name is None else await self.transaction.item(items.address_key(name["tenant"], email))
        if name is None or holder is None:
            raise Missing
        credential, user = (key(name["tenant"], holder["user"]) for key in (items.credential_key, items.user_key))
        found = await self.transaction.items([credential, user])
        if len(found) != 2:
            raise Missing
        return _credential_of(found[credential]), user_of(found[user])

    async def session(self, session_id: SessionId) -> tuple[Session, User]:
        """By its id, then its user."""
        session = await self.transaction.item(items.session_key(session_id))
        user = None if session is None else await self.transaction.item(items.user_key(session["tenant"], session["user"]))
        if session is None or user is None:
            raise Missing
        return _session_of(session), user_of(user)

    async def link(self, link_id: LinkId) -> tuple[Link, User]:
        """By its id, then album and maker: the album goes first when it is removed."""
        link = await self.transaction.item(items.link_key(link_id))
        if link is None:
            raise Missing
        album, user = items.album_key(link["album"]), items.user_key(link["tenant"], link["made_by"])
        found = await self.transaction.items([album, user])
        if len(found) != 2:
            raise Missing
        return items.link_of(link), user_of(found[user])

    async def failures(self, subjects: Sequence[str]) -> list[Failures]:
        """By their keys."""
        found = await self.transaction.items(map(items.failures_key, subjects))
        return sorted(map(_failures_of, found.values()), key=lambda one: one.subject)

    async def count_failure(self, subject: str, at: datetime, *, since: datetime) -> Failures:
        """At once, whatever becomes of the transaction: an attempt has failed even if what follows it fails too."""
        self.transaction.require_writing()
        key = items.failures_key(subject)
        noted = {"subject": subject, "last_at": micros(at)} | items.expiring(subject, at)
        for _ in range(_TRIES):
            for count, condition in (
                ("#count + :one", "last_at >= :since"),
                (":one", "attribute_not_exists(PK) OR last_at < :since"),
            ):
                try:
                    answer = await self.transaction.connection.call(
                        "update_item",
                        TableName=self.transaction.connection.options.table,
                        Key=encoded({"PK": key[0], "SK": key[1]}),
                        UpdateExpression=f"SET #count = {count}, " + ", ".join(f"{name} = :{name}" for name in noted),
                        ConditionExpression=condition,
                        ExpressionAttributeNames={"#count": "count"},
                        ExpressionAttributeValues=encoded(
                            {":one": 1, ":since": micros(since)} | {f":{name}": value for name, value in noted.items()}
                        ),
                        ReturnValues="ALL_NEW",
                    )
                except ConditionFailed:
                    continue
                item = decoded(answer["Attributes"])
                self.transaction.learn(item)
                return _failures_of(item)
        raise Busy

    async def forget_failures(self, subject: str) -> None:
        """By its key."""
        self.transaction.require_writing()
        self.transaction.remove(items.failures_key(subject), unit=subject)

    async def touch_key(self, key_id: KeyId, at: datetime) -> None:
        """Never back in time: processes may report out of order."""
        self.transaction.require_writing()
        holder = await self.transaction.item(items.api_key_holder(key_id))
        key = None if holder is None else await self.transaction.item(items.api_key(holder["tenant"], key_id))
        if key is not None and key.get("last_used_at", -(2**63)) < micros(at):
            self.transaction.change(key, {"last_used_at": micros(at)}, unit=key_id)

    async def sweep(self, before: datetime) -> int:
        """Along the partitions of TenantIndex that hold what expires; what has been renewed meanwhile stays."""
        self.transaction.require_writing()
        keys: list[Key] = []
        for shard in range(items.EXPIRY_SHARDS):
            partition = ("tenant_key", items.expiry(shard))
            high = items.number_key(micros(before))
            walk = Walk(index="TenantIndex", partition=partition, order="created_key", high=high)
            some = 0
            async for entry in self.transaction.entries(walk, limit=SWEPT):
                keys.append(key_of(entry))
                some += 1
                if some == SWEPT:
                    break
        swept = 0
        for item in (await self.transaction.items(keys)).values():
            expires = "last_at" if "last_at" in item else "expires_at"
            if item[expires] >= micros(before):
                continue
            swept += 1
            unit = item.get("id") or item.get("mark") or item["subject"]
            self.transaction.remove(key_of(item), expected={expires: item[expires]}, otherwise=Busy, unit=unit)
            if item["PK"].startswith("SESSION#"):
                self.transaction.remove(items.session_entry(item["tenant"], item["user"], item["id"]), unit=unit)
        return swept


def _session_item(session: Session) -> Item:
    columns = rows.session_columns(session)
    return placed(items.session_key(session.id), columns | items.expiring(session.id, session.expires_at))


def _session_of(item: Item) -> Session:
    return rows.session_of(columns_of(item, Session))


def _credential_of(item: Item) -> Credential:
    return rows.credential_of(columns_of(item, Credential))


def _failures_of(item: Item) -> Failures:
    return Failures(subject=item["subject"], count=item["count"], last_at=rows.moment(item["last_at"]))
