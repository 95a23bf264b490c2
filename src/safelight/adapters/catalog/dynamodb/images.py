"""The images of one tenant in DynamoDB. Which index answers a question is decided here, by `_plan`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from safelight.adapters.catalog.dynamodb import items, tags
from safelight.adapters.catalog.dynamodb.items import Item, Key
from safelight.adapters.catalog.dynamodb.transaction import MAX_LOOKED_AT, Transaction, Walk, merged
from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.rows import checked_text, handed_out, matches
from safelight.domain.ids import ImageId, TenantId, UserId
from safelight.domain.images import Image, Visibility
from safelight.domain.queries import Cursor, ImageQuery, Page, Sort, micros
from safelight.domain.tenants import NOTHING, UNLIMITED, Quotas, Room, Stored, exceeded
from safelight.errors import AlreadyExists, BadCursor, Busy, DamagedRecord, Missing, SafelightError, Stale, TooBroad

_FETCHED: Final = 100
"""Images fetched at a time, at most."""
_INDEX: Final = {"created_at": "TenantIndex", "taken_at": "TakenIndex", "title": "TitleIndex", "size": "SizeIndex"}


@dataclass(frozen=True, slots=True)
class _Plan:
    """Walks that together pass every image that may match; in the order asked, or to be sorted here."""

    walks: tuple[Walk, ...]
    is_in_order: bool


@dataclass(slots=True)
class DynamoImages:
    """Keeps ImageRecords."""

    transaction: Transaction
    tenant: TenantId
    tagged: set[str] = field(default_factory=set)
    """Partitions in which it has changed the use of tags."""
    counted: Stored = NOTHING
    """What this transaction adds to what the tenant stores."""
    asked: dict[Key, Item | None] = field(default_factory=dict)
    """Bytes that were asked for and not there, each with whose turn it was to add them."""

    async def add(self, image: Image, *, within: Quotas = UNLIMITED) -> None:
        """The image's item, and those it is found by."""
        self.transaction.require_writing()
        require_own(image.tenant, self.tenant)
        item = items.image_item(image)
        if await self.transaction.item(items.image_key(image.id)) is not None:
            raise AlreadyExists
        await self._count(image.stored_bytes, images=1, within=within, unit=image.id)
        self.transaction.add(item, otherwise=AlreadyExists, unit=image.id)
        self._take_turn(items.bytes_key(self.tenant, image.owner, image.sha256), image.id)
        self._follow(None, item)

    async def get(self, image_id: ImageId) -> Image:
        """By its key."""
        return items.image_of(await self._found(image_id))

    async def get_many(self, image_ids: Sequence[ImageId]) -> list[Image]:
        """By their keys, in their order."""
        found = await self._items(image_ids)
        return [items.image_of(found[image_id]) for image_id in image_ids if image_id in found]

    async def save(self, image: Image, *, within: Quotas = UNLIMITED) -> None:
        """Change what differs; what it is found by and its places in albums follow."""
        self.transaction.require_writing()
        require_own(image.tenant, self.tenant)
        before = await self._found(image.id)
        if before["revision"] != image.revision - 1:
            raise Stale
        after = items.image_item(image)
        expected: dict[str, Any] = {"revision": before["revision"]}
        has_moved = any(before[name] != after[name] for name in ("is_trashed", "created_key"))
        places = await self._places(image.id) if has_moved else []
        if has_moved:
            expected["places"] = before.get("places")  # nobody has put it into an album since we looked
        await self._count(after["stored_bytes"] - before["stored_bytes"], images=0, within=within, unit=image.id)
        self.transaction.change(before, after, expected=expected, otherwise=Stale, unit=image.id)
        self._follow(before, after)
        for place in places:
            moved = {"is_trashed": after["is_trashed"], "created_key": after["created_key"]}
            self.transaction.change(place, moved, unit=image.id)

    async def remove(self, image_id: ImageId) -> None:
        """The item, those it is found by, its places, and itself as a cover."""
        self.transaction.require_writing()
        before = await self._found(image_id)
        places = await self._places(image_id)
        expected = {"revision": before["revision"], "places": before.get("places")}
        self.transaction.remove(items.image_key(image_id), expected=expected, otherwise=Stale, unit=image_id)
        await self._count(-before["stored_bytes"], images=-1, within=UNLIMITED, unit=image_id)
        self._follow(before, None)
        albums = [place["PK"].removeprefix("ALBUM#") for place in places]
        for album in albums:
            self.transaction.remove(items.place_key(album, image_id), unit=image_id)
            self.transaction.remove(items.holder_key(image_id, album), unit=image_id)
        for album in (await self.transaction.items(map(items.album_key, albums))).values():
            if album.get("cover") == image_id:
                self.transaction.change(album, {"cover": None}, expected={"cover": image_id}, unit=image_id)

    def _take_turn(self, key: Key, image_id: ImageId) -> None:
        """Where somebody has asked for these bytes in vain: on condition that nobody has added them since."""
        if key not in self.asked:
            return
        before, taken = self.asked.pop(key), items.turn_item(key, image_id)
        if before is None:
            self.transaction.add(taken, otherwise=Busy, unit=image_id)
        else:
            self.transaction.change(before, taken, expected={"image": before["image"]}, otherwise=Busy, unit=image_id)

    async def _count(self, more: int, *, images: int, within: Quotas, unit: str) -> None:
        """Added to the tenant's own item, on condition: of two who take the last place, one is refused when it commits."""
        tenant = await self.transaction.item(items.tenant_key(self.tenant))
        if tenant is None or not (more or images):
            return
        stored = Stored(tenant["stored_bytes"] + self.counted.bytes, tenant["stored_images"] + self.counted.images)
        Room(within, stored).require(more, images=images)
        self.counted = Stored(self.counted.bytes + more, self.counted.images + images)
        limits = {"stored_bytes": within.bytes if more > 0 else 0, "stored_images": within.images if images > 0 else 0}
        self.transaction.tally(
            items.tenant_key(self.tenant),
            {"stored_bytes": more, "stored_images": images},
            most={name: limit for name, limit in limits.items() if limit},
            otherwise=partial(_overtaken, within, stored, more, images),
            unit=unit,
        )

    async def page(self, query: ImageQuery) -> Page:
        """Walk an index past what does not match. Each image is read from the table, so an index that lags tells nothing untrue."""
        if query.cursor is not None and query.cursor.sort is not query.sort:
            raise BadCursor
        self.transaction.require_open()
        if not self.transaction.writes and query in self.transaction.memo:
            found: Page = self.transaction.memo[query]
            return replace(found, images=tuple(map(handed_out, found.images)))
        page = await self._page(query)
        if not self.transaction.writes:
            self.transaction.memo[query] = page
            return replace(page, images=tuple(map(handed_out, page.images)))
        return page

    async def by_sha256(self, sha256: str, owner: UserId) -> Image | None:
        """The first of the partition of these bytes, in the table itself: never behind."""
        key = items.bytes_key(self.tenant, owner, sha256)
        turn = await self.transaction.item(key) if self.transaction.writes else None  # before the look that it stands for
        twins = await self.transaction.collection(items.twins(self.tenant, owner, sha256), limit=1)
        found = await self.get_many([ImageId(one["image"]) for one in twins])
        if not found and self.transaction.writes:
            self.asked[key] = turn
        return found[0] if found else None

    async def trashed_before(self, before: datetime, limit: int = 100) -> list[Image]:
        """Along the tenant's trash, in the table itself."""
        old = await self.transaction.collection(items.trash(self.tenant), high=items.number_key(micros(before)), limit=limit)
        return await self.get_many([ImageId(one["image"]) for one in old])

    async def tags(self, prefix: str = "", limit: int = 100, *, owner: UserId | None = None) -> list[tuple[str, int]]:
        """Counters and what is not in them yet."""
        found = await tags.counted(self.transaction, tags.partition(self.tenant, owner), prefix.casefold())
        return sorted(found.items(), key=lambda one: (-one[1], one[0]))[:limit]

    async def _page(self, query: ImageQuery) -> Page:
        found: list[tuple[str, ImageId, Image | None]] = []
        seen: set[ImageId] = set()
        batch: list[Item] = []
        order = "position_key" if query.sort is Sort.POSITION else items.ORDER[query.sort.column]
        behind = None
        if query.cursor is not None:
            if isinstance(query.cursor.value, str):
                checked_text(query.cursor.value)
            behind = items.order_key(query.cursor.value, query.cursor.image)

        async def fetch() -> None:
            ids = items.ids_of(batch)
            images, lent = await self._items(ids), await self._lent(query, ids)
            for image_id, entry in zip(ids, batch, strict=True):
                if image_id not in images or image_id in seen:
                    continue
                image: Image | None = None
                try:
                    image = items.image_of(images[image_id])
                except DamagedRecord:
                    if not query.skips_damaged:
                        raise
                if image is None or matches(image, query, is_lent=image_id in lent):
                    seen.add(image_id)
                    found.append((entry[order], image_id, image))
            batch.clear()

        async for entry in self._entries(query, order):
            if entry[order] == behind:  # bounds are inclusive
                continue
            batch.append(entry)
            if len(batch) >= min(_FETCHED, max(25, query.limit + 1 - len(found))):
                await fetch()
                if len(found) > query.limit:
                    break
        await fetch()
        shown = found[: query.limit]
        sound = tuple(image for _, _, image in shown if image is not None)
        damaged = tuple(image_id for _, image_id, image in shown if image is None)
        if len(found) <= query.limit:
            return Page(sound, damaged=damaged)
        value, last, _ = shown[-1]
        return Page(sound, Cursor(query.sort, items.order_value(value, query.sort), last), damaged)

    async def _entries(self, query: ImageQuery, order: str) -> AsyncIterator[Item]:
        """What may match, in the order asked and behind the cursor."""
        if query.album is not None:
            album = await self.transaction.item(items.album_key(query.album))
            if album is None or album["tenant"] != self.tenant:
                return
        plan = _plan(query, self.tenant)
        streams = [self.transaction.entries(walk, limit=query.limit + 25) for walk in plan.walks]
        if plan.is_in_order:
            async for entry in merged(streams, order, is_descending=query.sort.is_descending):
                yield entry
            return
        if query.album is not None:
            found = await self._members(query, order)
        else:
            found = [entry for stream in streams async for entry in stream]
        if query.cursor is not None:
            behind = items.order_key(query.cursor.value, query.cursor.image)
            found = [one for one in found if (one[order] < behind if query.sort.is_descending else one[order] > behind)]
        for entry in sorted(found, key=lambda one: str(one[order]), reverse=query.sort.is_descending):
            yield entry

    async def _members(self, query: ImageQuery, order: str) -> list[Item]:
        """The places of an album with what they are to be sorted by: an album has ten thousand images at most."""
        assert query.album is not None
        places = await self.transaction.collection(items.album_key(query.album)[0], "IMAGE#")
        places = [place for place in places if place["is_trashed"] == query.is_trashed]
        if len(places) > MAX_LOOKED_AT:
            raise TooBroad
        if query.sort is Sort.POSITION:
            return [place | {order: items.order_key(place["position"], place["image"])} for place in places]
        images = await self._items([place["image"] for place in places])
        return [place | {order: images[place["image"]][order]} for place in places if place["image"] in images]

    def _follow(self, before: Item | None, after: Item | None) -> None:
        """Bring the items that the image is found by up to it, and the count of its tags."""
        old = {} if before is None else {items.key_of(one): one for one in items.found_by(before)}
        new = {} if after is None else {items.key_of(one): one for one in items.found_by(after)}
        unit = (after or before or {})["id"]
        for key in old.keys() - new.keys():
            self.transaction.remove(key, unit=unit)
        for key, one in new.items():
            if old.get(key) != one:
                self.transaction.put(one, unit=unit)
        self.tagged |= tags.note(self.transaction, self.tenant, before, after)

    async def _places(self, image_id: ImageId) -> list[Item]:
        holders = await self.transaction.collection(items.image_key(image_id)[0], "ALBUM#")
        keys = [items.place_key(one["SK"].removeprefix("ALBUM#"), image_id) for one in holders]
        return list((await self.transaction.items(keys)).values())

    async def _lent(self, query: ImageQuery, image_ids: Sequence[ImageId]) -> set[str]:
        """Those that lie in the album by their owners' will, where that is asked for: not in the index, so read from the table."""
        if query.album is None or not query.lent_by:
            return set()
        places = await self.transaction.items(items.place_key(query.album, image_id) for image_id in image_ids)
        return {place["image"] for place in places.values() if place["is_lent"]}

    async def _items(self, image_ids: Sequence[ImageId]) -> dict[ImageId, Item]:
        found: dict[Key, Item] = await self.transaction.items(map(items.image_key, image_ids))
        return {ImageId(item["id"]): item for item in found.values() if item["tenant"] == self.tenant}

    async def _found(self, image_id: ImageId) -> Item:
        item = await self.transaction.item(items.image_key(image_id))
        if item is None or item["tenant"] != self.tenant:
            raise Missing
        return item


def _plan(query: ImageQuery, tenant: TenantId) -> _Plan:
    """The narrowest partitions that hold every match.

    Those of one owner, of an album and of public images are sorted by upload date: in another order they are read as a whole and
    sorted, up to MAX_LOOKED_AT.
    """
    by_arrival = query.sort.column == "created_at"
    if query.album is not None:
        if not by_arrival:
            return _Plan((), is_in_order=False)
        partition = ("album_key", items.album_key(query.album)[0])
        return _Plan((_walk(query, "AlbumIndex", partition, has_filters=False),), is_in_order=True)
    own = query.owner or query.visible_to
    sees_public = query.visible_to is not None and not query.is_trashed and query.visibility in (None, Visibility.PUBLIC)
    partitions: list[str] = []
    if query.owner is not None:
        if query.visible_to in (None, query.owner) or sees_public:
            partitions.append(items.owners(tenant, query.owner, is_trashed=query.is_trashed))
    elif query.visibility is Visibility.PUBLIC and not query.is_trashed:
        partitions.append(items.public(tenant))
    elif own is not None:
        partitions.append(items.owners(tenant, own, is_trashed=query.is_trashed))
        if sees_public:
            partitions.append(items.public(tenant))
    else:
        everybody = ("tenant_key", items.tenants(tenant, is_trashed=query.is_trashed))
        return _Plan((_walk(query, _INDEX[query.sort.column], everybody),), is_in_order=True)
    walks = tuple(_walk(query, "UserIndex", ("user_key", name), is_in_order=by_arrival) for name in partitions)
    return _Plan(walks, is_in_order=by_arrival)


def _walk(
    query: ImageQuery, index: str, partition: tuple[str, str], *, has_filters: bool = True, is_in_order: bool = True
) -> Walk:
    """The part of a partition between the bounds of time and the cursor, without what the index knows not to match."""
    lows: list[str] = []
    highs: list[str] = []
    order = items.ORDER[query.sort.column] if is_in_order else "created_key"
    bounds = {
        "created_key": (query.created_after, query.created_before),
        "taken_key": (query.taken_after, query.taken_before),
    }
    after, before = bounds.get(order, (None, None))
    if after is not None:
        lows.append(items.number_key(micros(after)))
    if before is not None:
        highs.append(items.number_key(micros(before)))
    if order == "size_key" and query.min_bytes is not None:
        lows.append(items.number_key(_within(query.min_bytes)))
    if order == "size_key" and query.max_bytes is not None:
        highs.append(items.number_key(_within(query.max_bytes)) + "\U0010ffff")
    if query.cursor is not None and is_in_order:
        (highs if query.sort.is_descending else lows).append(items.order_key(query.cursor.value, query.cursor.image))
    return Walk(
        index=index,
        partition=partition,
        order=order,
        low=max(lows, default=None),
        high=min(highs, default=None),
        is_descending=query.sort.is_descending,
        filters=_filters(query) if has_filters else (),
    )


def _filters(query: ImageQuery) -> tuple[tuple[str, str, Any], ...]:
    """What the entries of an index can be told by. Whether an image matches in the end is for `rows.matches` to say."""
    wanted: list[tuple[str, str, Any]] = [
        ("=", name, value.value if name in {"status", "visibility"} else value)
        for name in ("owner", "status", "visibility", "media_type", "camera")
        if (value := getattr(query, name)) is not None
    ]
    times = {
        "created_after": (">=", "created_at"),
        "created_before": ("<", "created_at"),
        "taken_after": (">=", "dated_at"),
        "taken_before": ("<", "dated_at"),
    }
    wanted += [
        (operator, column, micros(at)) for name, (operator, column) in times.items() if (at := getattr(query, name)) is not None
    ]
    if query.min_bytes is not None:
        wanted.append((">=", "size_bytes", _within(query.min_bytes)))
    if query.max_bytes is not None:
        wanted.append(("<=", "size_bytes", _within(query.max_bytes)))
    if query.visible_to is not None and query.owner not in (None, query.visible_to):
        wanted.append(("=", "visibility", Visibility.PUBLIC.value))
    wanted += [("contains", "tags", tag) for tag in dict.fromkeys(query.tags)]
    return tuple(wanted)


def _within(size_bytes: int) -> int:
    """The number, or the nearest that 64 bits hold: no image is larger."""
    return max(-(2**63), min(size_bytes, 2**63 - 1))


def _overtaken(within: Quotas, stored: Stored, more: int, images: int) -> SafelightError:
    """Somebody else took the last place while this transaction lasted: of what there was room for the fewest such."""
    rooms = [
        ((limit - used) / by, name, limit, used)
        for name, by, limit, used in (
            ("bytes", more, within.bytes, stored.bytes),
            ("images", images, within.images, stored.images),
        )
        if limit and by > 0
    ]
    _, which, limit, used = min(rooms, default=(0.0, "bytes", 0, stored.bytes))
    return exceeded(which, limit, used)
