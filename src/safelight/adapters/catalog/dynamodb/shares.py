"""Whom the albums of one tenant are lent to, in DynamoDB. A grant is two items, one with the album and one with the user."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from safelight.adapters.catalog import rows
from safelight.adapters.catalog.dynamodb import items
from safelight.adapters.catalog.dynamodb.items import Item
from safelight.adapters.catalog.dynamodb.transaction import PRESENT, Transaction
from safelight.adapters.catalog.own import require_own
from safelight.domain.albums import Album
from safelight.domain.ids import AlbumId, LinkId, TenantId, UserId
from safelight.domain.images import Image
from safelight.domain.sharing import Grant, Link, Loan
from safelight.errors import AlreadyExists, Missing

_COUNTED: Final = 8
"""Albums of a page whose images are counted at the same time."""


@dataclass(frozen=True, slots=True)
class DynamoShares:
    """Keeps ShareRecords."""

    transaction: Transaction
    tenant: TenantId

    async def put_grant(self, grant: Grant) -> None:
        """Both items, as long as album and user are there."""
        self.transaction.require_writing()
        require_own(grant.tenant, self.tenant)
        await self._require(grant.album, grant.user, unit=grant.user)
        for item in items.grant_items(rows.grant_columns(grant)):
            self.transaction.put(item, unit=grant.user)

    async def drop_grant(self, album_id: AlbumId, user: UserId) -> None:
        """Both items."""
        self.transaction.require_writing()
        grant = await self.transaction.item(items.grant_key(album_id, user))
        if grant is None or grant["tenant"] != self.tenant:
            raise Missing
        self.transaction.remove(items.key_of(grant), unit=user)
        self.transaction.remove((items.grants_of(self.tenant, user), album_id), unit=user)

    async def grants(self, album_id: AlbumId) -> list[Grant]:
        """Those that lie with the album, sorted here."""
        found = await self.transaction.collection(items.album_key(album_id)[0], "GRANT#")
        mine = [items.grant_of(item) for item in found if item["tenant"] == self.tenant]
        return sorted(mine, key=lambda grant: (grant.created_at, grant.user))

    async def lent(
        self, user: UserId, at: datetime, *, after: AlbumId | None = None, limit: int = 50
    ) -> list[tuple[Album, Grant]]:
        """Along the user's partition, backwards; what has ended, or whose album is gone, is passed over."""
        found: list[tuple[Item, Grant]] = []
        while True:
            some = await self.transaction.collection(
                items.grants_of(self.tenant, user), high=after, limit=limit + 1, is_descending=True
            )
            grants = [items.grant_of(item) for item in some if item["SK"] != after]  # bounds are inclusive
            live = {items.album_key(grant.album): grant for grant in grants if grant.is_live(at)}
            albums = await self.transaction.items(live)
            found += [(albums[key], grant) for key, grant in live.items() if key in albums]
            if len(found) >= limit or len(some) <= limit:
                break
            after = grants[-1].album
        shown = found[:limit]
        return list(zip(await counted(self.transaction, [item for item, _ in shown]), (grant for _, grant in shown), strict=True))

    async def loans(self, image: Image, user: UserId) -> list[Loan]:
        """The albums that the image's own items name, then all that is to be known of them at once."""
        holders = await self.transaction.collection(items.image_key(image.id)[0], "ALBUM#")
        held = [one["SK"].removeprefix("ALBUM#") for one in holders]
        keys = [
            (
                items.album_key(album),
                items.place_key(album, image.id),
                items.grant_key(album, user),
                items.grant_key(album, image.owner),
            )
            for album in held
        ]
        found = await self.transaction.items(key for each in keys for key in each)
        loans = []
        for album_key, place_key, taken_key, given_key in keys:
            album, place, taken, given = (found.get(key) for key in (album_key, place_key, taken_key, given_key))
            if album is None or album["tenant"] != self.tenant or place is None or not place["is_lent"]:
                continue
            if album["owner"] == user or taken is not None:
                loans.append(
                    Loan(
                        album=AlbumId(album["id"]),
                        album_owner=UserId(album["owner"]),
                        taken=None if taken is None else items.grant_of(taken),
                        given=None if given is None else items.grant_of(given),
                    )
                )
        return loans

    async def add_link(self, link: Link) -> None:
        """The link, and an entry in the lists of its album and of who made it."""
        self.transaction.require_writing()
        require_own(link.tenant, self.tenant)
        pk, sk = items.link_key(link.id)
        item = rows.link_columns(link) | {"PK": pk, "SK": sk}
        if await self.transaction.item((pk, sk)) is not None:
            raise AlreadyExists
        await self._require(link.album, link.made_by, unit=link.id)
        self.transaction.add(item, otherwise=AlreadyExists, unit=link.id)
        for pk, sk in (items.link_entry(link.album, link.id), items.link_by(self.tenant, link.made_by, link.id)):
            self.transaction.put({"PK": pk, "SK": sk, "tenant": self.tenant}, unit=link.id)

    async def links(self, album_id: AlbumId) -> list[Link]:
        """Those of the album's list, as far as they are still there."""
        entries = await self.transaction.collection(items.album_key(album_id)[0], "LINK#")
        keys = [items.link_key(one["SK"].removeprefix("LINK#")) for one in entries if one["tenant"] == self.tenant]
        found = await self.transaction.items(keys)
        return sorted(map(items.link_of, found.values()), key=lambda link: link.id, reverse=True)

    async def drop_link(self, album_id: AlbumId, link_id: LinkId) -> None:
        """The link with its entries."""
        self.transaction.require_writing()
        link = await self.transaction.item(items.link_key(link_id))
        if link is None or (link["tenant"], link["album"]) != (self.tenant, album_id):
            raise Missing
        forget_link(self.transaction, link)

    async def _require(self, album_id: AlbumId, user: UserId, *, unit: str) -> None:
        """Now, and when the transaction commits. Raises Missing."""
        keys = items.album_key(album_id), items.user_key(self.tenant, user)
        found = await self.transaction.items(keys)
        if len(found) != 2 or found[keys[0]]["tenant"] != self.tenant:
            raise Missing
        for key in keys:
            self.transaction.check(key, PRESENT, otherwise=Missing, unit=unit)


def forget_link(transaction: Transaction, link: Item) -> None:
    """The link and its entries gone."""
    lists = items.link_entry(link["album"], link["id"]), items.link_by(link["tenant"], link["made_by"], link["id"])
    for key in (items.key_of(link), *lists):
        transaction.remove(key, unit=link["id"])


async def counted(transaction: Transaction, found: Sequence[Item]) -> list[Album]:
    """The albums of these items, with their images outside the trash counted."""
    turns = asyncio.Semaphore(_COUNTED)

    async def count(item: Item) -> Album:
        async with turns:
            return items.album_of(item, await transaction.count(item["PK"], "IMAGE#", without="is_trashed"))

    return list(await asyncio.gather(*map(count, found)))
