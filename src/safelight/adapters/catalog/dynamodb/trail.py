"""One chain of the audit trail in DynamoDB: sealed entries by number, and for every actor the numbers of their entries.

What has no place yet lies in a partition of its own, which takes a thousand writes a second, as a tenant's lists do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import orjson

from safelight.adapters.catalog import rows
from safelight.adapters.catalog.dynamodb import items
from safelight.adapters.catalog.dynamodb.items import Item, Key
from safelight.adapters.catalog.dynamodb.transaction import MAX_LOOKED_AT, PAGE, Transaction
from safelight.domain.audit import Checkpoint, Entry, Head, Sealed, TrailQuery, new_head
from safelight.errors import AlreadyExists, Forbidden, Stale, TooBroad


@dataclass(frozen=True, slots=True)
class DynamoTrail:
    """Keeps TrailRecords."""

    transaction: Transaction
    chain: str

    async def append(self, entry: Entry) -> None:
        """A new item, committed with what it tells of."""
        self.transaction.require_writing()
        if entry.chain != self.chain:
            raise Forbidden("The entry belongs to another chain.")
        unit = entry.object.partition("/")[2] or entry.id
        key = items.unsealed(self.chain), entry.id
        if self.transaction.pending(key) is not None:
            raise AlreadyExists
        self.transaction.add(_item(key, entry), otherwise=AlreadyExists, unit=unit)

    async def unsealed(self, limit: int) -> list[Entry]:
        """The partition's first items."""
        found = await self.transaction.collection(items.unsealed(self.chain), limit=limit)
        return [_entry(item) for item in found]

    async def head(self) -> Head:
        """One item."""
        item = await self.transaction.item(items.trail_head(self.chain))
        if item is None:
            return new_head(self.chain)
        return Head(Checkpoint(item["number"], item["hash"]), Checkpoint(item["pruned_number"], item["pruned_hash"]))

    async def seal(self, sealed: Sequence[Sealed], head: Head, *, was: Head) -> None:
        """All in one transaction of the table, on the condition that the head is still the one that was seen."""
        self.transaction.require_writing()
        if await self.head() != was:
            raise Stale
        unit, (pk, sk) = f"seal {self.chain}", items.trail_head(self.chain)
        columns = {
            "number": head.last.number,
            "hash": head.last.hash,
            "pruned_number": head.pruned.number,
            "pruned_hash": head.pruned.hash,
        }
        before = await self.transaction.item((pk, sk))
        if before is None:
            self.transaction.add({"PK": pk, "SK": sk, **columns}, otherwise=Stale, unit=unit)
        else:
            expected = {name: before[name] for name in ("number", "pruned_number")}
            self.transaction.change(before, columns, expected=expected, otherwise=Stale, unit=unit)
        for one in sealed:
            place = items.trail_place(one.number)
            item = _item((items.trail(self.chain), place), one.entry) | {"number": one.number, "hash": one.hash}
            self.transaction.add(item, otherwise=Stale, unit=unit)
            found_by = {"PK": items.trail_of(self.chain, one.entry.actor), "SK": place, "number": one.number}
            self.transaction.add(found_by, otherwise=Stale, unit=unit)
            self.transaction.remove((items.unsealed(self.chain), one.entry.id), unit=unit)

    async def page(self, query: TrailQuery) -> list[Sealed]:
        """Along the chain, or along the numbers of the actors that are asked for."""
        head, found, looked_at = await self.head(), list[Sealed](), 0
        low, high = head.pruned.number + 1, head.last.number
        if query.after is not None and query.is_oldest_first:
            low = max(low, query.after + 1)
        elif query.after is not None:
            high = min(high, query.after - 1)
        async for item in self._walk(query, low, high):
            looked_at += 1
            if looked_at > MAX_LOOKED_AT:
                raise TooBroad
            sealed = Sealed(item["number"], item["hash"], _entry(item))
            if query.matches(sealed.entry):
                found.append(sealed)
            if len(found) == query.limit:
                break
        return found

    async def forget_origins(self, actors: Sequence[str], limit: int) -> int:
        """By the actors' numbers, a few at a time; then what has no place yet."""
        self.transaction.require_writing()
        forgotten = 0
        for item in await self._of(actors):
            if item.get("origin") is not None and forgotten < limit:
                self.transaction.change(item, {"origin": None}, unit=item["id"])
                forgotten += 1
        for item in await self.transaction.collection(items.unsealed(self.chain)):
            if item["actor"] in actors and item.get("origin") is not None and forgotten < limit:
                self.transaction.change(item, {"origin": None}, unit=item["id"])
                forgotten += 1
        return forgotten

    async def drop_pruned(self, limit: int) -> int:
        """From the beginning of the partition."""
        self.transaction.require_writing()
        high = items.trail_place((await self.head()).pruned.number)
        gone = await self.transaction.collection(items.trail(self.chain), low=items.trail_place(0), high=high, limit=limit)
        for item in gone:
            self.transaction.remove(items.key_of(item), unit=item["id"])
            self.transaction.remove((items.trail_of(self.chain, item["actor"]), item["SK"]), unit=item["id"])
        return len(gone)

    async def _walk(self, query: TrailQuery, low: int, high: int) -> AsyncIterator[Item]:
        if query.actors is not None:
            of = [item for item in await self._of(sorted(query.actors)) if low <= item["number"] <= high]
            for item in sorted(of, key=lambda item: item["number"], reverse=not query.is_oldest_first):
                yield item
            return
        step = PAGE
        while low <= high:
            # Numbers have no gaps, so a window of them is a page in either direction.
            first, last = (low, min(high, low + step - 1)) if query.is_oldest_first else (max(low, high - step + 1), high)
            window = await self.transaction.collection(
                items.trail(self.chain), low=items.trail_place(first), high=items.trail_place(last)
            )
            for item in window if query.is_oldest_first else reversed(window):
                yield item
            low, high = (last + 1, high) if query.is_oldest_first else (low, first - 1)

    async def _of(self, actors: Sequence[str]) -> list[Item]:
        places: list[Key] = []
        for actor in actors:
            entries = await self.transaction.collection(items.trail_of(self.chain, actor), limit=MAX_LOOKED_AT)
            places += [(items.trail(self.chain), entry["SK"]) for entry in entries]
        return list((await self.transaction.items(places)).values())


def _item(key: Key, entry: Entry) -> Item:
    columns = rows.entry_columns(entry)
    origin = None if columns["origin"] is None else orjson.dumps(columns["origin"]).decode()
    return columns | {"PK": key[0], "SK": key[1], "origin": origin}


def _entry(item: Item) -> Entry:
    origin = item.get("origin")
    return rows.entry_of(item | {"origin": None if origin is None else orjson.loads(origin)})
