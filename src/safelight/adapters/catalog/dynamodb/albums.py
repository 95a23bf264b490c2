"""The albums of one tenant in DynamoDB. An image's place is two items, one with the album and one with the image.

Positions are handed out by a counter of the album, outside any transaction, so that uploads into one album do not wait for each
other; what is put before another image goes between its neighbours, see `positions`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from safelight.adapters.catalog.dynamodb import items
from safelight.adapters.catalog.dynamodb.faults import ConditionFailed
from safelight.adapters.catalog.dynamodb.items import Item, decoded, encoded
from safelight.adapters.catalog.dynamodb.shares import DynamoShares, counted, forget_link
from safelight.adapters.catalog.dynamodb.transaction import PRESENT, Transaction, Walk
from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.positions import GAP, between
from safelight.domain.albums import Album
from safelight.domain.ids import AlbumId, ImageId, TenantId, UserId
from safelight.errors import AlreadyExists, Missing, Stale


@dataclass(frozen=True, slots=True)
class DynamoAlbums:
    """Keeps AlbumRecords."""

    transaction: Transaction
    tenant: TenantId
    shares: DynamoShares

    async def add(self, album: Album) -> None:
        """A new item."""
        self.transaction.require_writing()
        require_own(album.tenant, self.tenant)
        item = items.album_item(album)
        if await self.transaction.item(items.key_of(item)) is not None:
            raise AlreadyExists
        self.transaction.add(item, otherwise=AlreadyExists, unit=album.id)

    async def get(self, album_id: AlbumId) -> Album:
        """With its images outside the trash counted."""
        return (await counted(self.transaction, [await self._found(album_id)]))[0]

    async def save(self, album: Album) -> None:
        """Change what differs. The cover is part of what must not have changed: removing its image unsets it in passing."""
        self.transaction.require_writing()
        require_own(album.tenant, self.tenant)
        before = await self._found(album.id)
        if before["revision"] != album.revision - 1:
            raise Stale
        expected = {"revision": before["revision"], "cover": before.get("cover")}
        self.transaction.change(before, items.album_item(album), expected=expected, unit=album.id)

    async def remove(self, album_id: AlbumId) -> None:
        """The album first; its places may follow in further transactions, and lead nowhere until then."""
        self.transaction.require_writing()
        await self._found(album_id)
        self.transaction.remove(items.album_key(album_id), expected=PRESENT, otherwise=Missing, unit=album_id)
        for grant in await self.transaction.collection(items.album_key(album_id)[0], "GRANT#"):
            self.transaction.remove(items.key_of(grant), unit=grant["user"])
            self.transaction.remove((items.grants_of(self.tenant, grant["user"]), album_id), unit=grant["user"])
        entries = await self.transaction.collection(items.album_key(album_id)[0], "LINK#")
        links = await self.transaction.items(items.link_key(one["SK"].removeprefix("LINK#")) for one in entries)
        for link in links.values():
            forget_link(self.transaction, link)
        for place in await self._places(album_id):
            self._take_out(album_id, place["image"])

    async def page(self, owner: UserId | None, *, after: AlbumId | None = None, limit: int = 50) -> list[Album]:
        """Along TenantIndex or UserIndex."""
        self.transaction.require_open()
        asked = ("albums", owner, after, limit)
        if asked in self.transaction.memo:
            return list(self.transaction.memo[asked])
        partition = f"ALBUMS#{self.tenant}" + ("" if owner is None else f"#{owner}")
        walk = Walk(
            index="TenantIndex" if owner is None else "UserIndex",
            partition=("tenant_key" if owner is None else "user_key", partition),
            order="created_key",
            high=after,
            is_descending=True,
        )
        keys = []
        async for entry in self.transaction.entries(walk, limit=limit + 1):
            if entry["created_key"] != after:
                keys.append(items.key_of(entry))
            if len(keys) == limit:
                break
        found = await self.transaction.items(keys)
        here = [found[key] for key in keys if key in found and found[key]["tenant"] == self.tenant]
        albums = await counted(self.transaction, here)
        if not self.transaction.writes:
            self.transaction.memo[asked] = tuple(albums)
        return albums

    async def insert(
        self,
        album_id: AlbumId,
        image_ids: Sequence[ImageId],
        *,
        before: ImageId | None = None,
        lent_by: Collection[UserId] = (),
    ) -> int:
        """Everything is looked up before anything is moved, so that Missing leaves the album as it was."""
        self.transaction.require_writing()
        album = await self._found(album_id)
        ids = list(dict.fromkeys(image_ids))
        images = {item["id"]: item for item in (await self.transaction.items(map(items.image_key, ids))).values()}
        if any(image_id not in images or images[image_id]["tenant"] != self.tenant for image_id in ids):
            raise Missing
        if before is not None and await self.transaction.item(items.place_key(album_id, before)) is None:
            raise Missing
        if not ids:
            return 0
        held = await self.transaction.items(items.place_key(album_id, image_id) for image_id in ids)
        for image_id, position in (await self._room(album, ids, before)).items():
            place = held.get(items.place_key(album_id, image_id))
            is_lent = images[image_id]["owner"] in lent_by
            if place is None:
                self._put_in(album_id, images[image_id], position, is_lent=is_lent)
            else:
                moved = {"position": position, "is_lent": is_lent or place["is_lent"]}
                self.transaction.change(place, moved, unit=image_id)
        return len(ids) - len(held)

    async def drop(self, album_id: AlbumId, image_ids: Sequence[ImageId]) -> int:
        """Places, and the cover with them."""
        self.transaction.require_writing()
        album = await self._found(album_id)
        if album.get("cover") in image_ids:
            self.transaction.change(album, {"cover": None}, expected={"cover": album["cover"]}, unit=album_id)
        held = await self.transaction.items(items.place_key(album_id, image_id) for image_id in image_ids)
        for place in held.values():
            self._take_out(album_id, place["image"])
        return len(held)

    async def of_image(self, image_id: ImageId) -> list[AlbumId]:
        """By the items that lie with the image, as far as their albums are still there."""
        holders = await self.transaction.collection(items.image_key(image_id)[0], "ALBUM#")
        albums = await self.transaction.items(items.album_key(one["SK"].removeprefix("ALBUM#")) for one in holders)
        return sorted(AlbumId(item["id"]) for item in albums.values() if item["tenant"] == self.tenant)

    def _put_in(self, album_id: AlbumId, image: Item, position: int, *, is_lent: bool) -> None:
        """The place, as long as album and image still are what they were.

        The image counts its places, so that whoever trashes or removes it at the same moment does not miss this one.
        """
        pk, sk = items.holder_key(image["id"], album_id)
        self.transaction.put(items.place_item(album_id, image, position, is_lent=is_lent), unit=image["id"])
        self.transaction.put({"PK": pk, "SK": sk, "tenant": self.tenant}, unit=image["id"])
        as_seen = {"PK": ..., "trashed_at": image.get("trashed_at")}
        self.transaction.increase(image, "places", 1, expected=as_seen, unit=image["id"])
        self.transaction.check(items.album_key(album_id), PRESENT, otherwise=Missing, unit=image["id"])

    def _take_out(self, album_id: AlbumId, image_id: str) -> None:
        self.transaction.remove(items.place_key(album_id, image_id), unit=image_id)
        self.transaction.remove(items.holder_key(image_id, album_id), unit=image_id)

    async def _room(self, album: Item, ids: list[ImageId], before: ImageId | None) -> Mapping[ImageId, int]:
        """Free positions before that image or behind the last."""
        if before is None:
            return dict(zip(ids, await self._reserved(album, len(ids)), strict=True))
        moved = set(ids)
        places = sorted(await self._places(AlbumId(album["id"])), key=lambda place: (place["position"], place["image"]))
        at = next(n for n, place in enumerate(places) if place["image"] == before)
        behind = [place for place in places[at:] if place["image"] not in moved]
        if not behind:
            return dict(zip(ids, await self._reserved(album, len(ids)), strict=True))
        low = next((place["position"] for place in reversed(places[:at]) if place["image"] not in moved), None)
        positions = between(low, behind[0]["position"], len(ids))
        if positions is not None:
            return dict(zip(ids, positions, strict=True))
        # No room: all that follows moves behind the last. The last one goes first, so that the order holds wherever it ends.
        positions = await self._reserved(album, len(ids) + len(behind))
        for place, position in reversed(list(zip(behind, positions[len(ids) :], strict=True))):
            self.transaction.change(place, {"position": position}, unit=place["image"])
        return dict(zip(ids, positions, strict=False))

    async def _reserved(self, album: Item, count: int) -> list[int]:
        """Positions behind all others, given to nobody else, whether or not the transaction commits. Raises Missing."""
        key = items.key_of(album)
        mine = self.transaction.pending(key)
        if mine is not None:
            last = mine["last_position"] = mine.get("last_position", 0) + GAP * count
        else:
            try:
                answer = await self.transaction.connection.call(
                    "update_item",
                    TableName=self.transaction.connection.options.table,
                    Key=encoded({"PK": key[0], "SK": key[1]}),
                    UpdateExpression="ADD last_position :room",
                    ConditionExpression="attribute_exists(PK)",
                    ExpressionAttributeValues=encoded({":room": GAP * count}),
                    ReturnValues="UPDATED_NEW",
                )
            except ConditionFailed:
                raise Missing from None
            last = decoded(answer["Attributes"])["last_position"]
        return [last - GAP * (count - 1 - n) for n in range(count)]

    async def _places(self, album_id: AlbumId) -> list[Item]:
        return await self.transaction.collection(items.album_key(album_id)[0], "IMAGE#")

    async def _found(self, album_id: AlbumId) -> Item:
        item = await self.transaction.item(items.album_key(album_id))
        if item is None or item["tenant"] != self.tenant:
            raise Missing
        return item
