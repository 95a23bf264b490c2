"""Moving: a whole installation from one set of backends into another, empty one. Called by `safelight move` while nobody serves.

Everything can be begun again: what is there already is found by looking, never believed from a note. Objects first, then rows, then
both are read back from the target and compared with the source; only then may anybody open the target. Version ids are the
store's own and differ between stores; our numbers are in the keys and rows, and those are copied as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

import orjson
import structlog

from safelight.concurrency import for_each
from safelight.domain.events import ImageAccepted
from safelight.domain.images import Status
from safelight.domain.queries import ImageQuery, Sort
from safelight.errors import DamagedObject, Missing, WrongState
from safelight.ports.archive import Archive, Layer, Pile, Row, Tables
from safelight.ports.catalog import Catalog
from safelight.ports.storage import Stored
from safelight.services.development import Buckets

log = structlog.get_logger()

PAGE: Final = 1000
ROWS: Final = 500
_INCOMING: Final = "incoming/"
"""Uploads under way live for a day at most, and not every store keeps them in this bucket: they are begun again."""


class Stage(StrEnum):
    """What a move does, in this order."""

    COUNT = "count"
    OBJECTS = "objects"
    ROWS = "rows"
    VERIFY_OBJECTS = "verify_objects"
    VERIFY_ROWS = "verify_rows"
    INDEX = "index"


@dataclass(frozen=True, slots=True)
class Holdings:
    """What an installation keeps that cannot be made again."""

    tables: Tables
    buckets: Buckets

    @property
    def archives(self) -> tuple[tuple[str, Archive], ...]:
        """Both buckets by name."""
        return ("originals", self.buckets.originals), ("renditions", self.buckets.renditions)


@dataclass(slots=True)
class Shelf:
    """What there is of one bucket."""

    keys: int = 0
    versions: int = 0
    markers: int = 0
    bytes: int = 0

    def add(self, pile: Pile) -> None:
        """Count a pile."""
        self.keys += 1
        self.markers += sum(layer.is_marker for layer in pile.layers)
        self.versions += sum(not layer.is_marker for layer in pile.layers)
        self.bytes += sum(layer.size_bytes for layer in pile.layers)


@dataclass(frozen=True, slots=True)
class Sheet:
    """What there is of one table: how many rows, and the SHA-256 over all of them in order."""

    rows: int
    sha256: str


@dataclass(slots=True)
class Report:
    """What a move has carried and found to be equal on both sides."""

    buckets: dict[str, Shelf] = field(default_factory=dict)
    tables: dict[str, Sheet] = field(default_factory=dict)
    documents: int = 0
    unsettled: int = 0
    """Images whose development goes on at the target."""
    carried: int = 0
    """Versions and markers that this run has written; the others were there already."""
    is_resumed: bool = False


Told = Callable[[Stage, int, int], None]
"""(stage, how much more is done, how much there is in all): bytes for objects, rows for rows."""


@dataclass(frozen=True, slots=True)
class Move:
    """One move. `run` may be repeated until it returns."""

    source: Holdings
    target: Holdings
    told: Told
    at_once: int = 8
    """Keys on their way at the same time."""

    async def run(
        self,
        name: str,
        index: Callable[[], Awaitable[int]],
        settle: Callable[[], Awaitable[int]],
        keys: Sequence[Row] = (),
    ) -> Report:
        """Carry everything over, compare, and let the target be opened.

        Args:
            name: Of the source; a move into the same target goes on only under the same name.
            index: Makes the target's search from its catalog; how many documents.
            settle: Tells the target what work is unfinished; of how many images.
            keys: Rows of `inherited_keys` that the target has beside those of the source: what was made under the source's own.

        Raises WrongState for a target that holds something else, DamagedObject for bytes that are not what they should be.

        """
        report = Report(is_resumed=await self._claim(name))
        for bucket, archive in self.source.archives:
            report.buckets[bucket] = await self._counted(archive)
        await self._carry_objects(report)
        await self._carry_rows()
        await self._verify_objects(report)
        report.tables = await self._verified_rows()
        report.documents = await index()
        report.unsettled = await settle()
        await self._hand_down(keys)
        await self.target.tables.set_filling(None)
        log.info("move.done", source=name, carried=report.carried, documents=report.documents)
        return report

    async def _claim(self, name: str) -> bool:
        """Whether this goes on with a move that was begun before."""
        if (half := await self.source.tables.filling()) is not None:
            raise WrongState(f"The source is itself half filled from {half}. Finish that move first.")
        tables = self.target.tables
        filling = await tables.filling()
        if filling == name:
            return True
        if filling is not None:
            raise WrongState(f"The target is half filled from {filling}. Finish that move, or give another target.")
        for table in tables.names:
            if await tables.last(table) is not None:
                raise WrongState(f"The target's catalog is not empty ({table}). A move needs an empty target.")
        for bucket, archive in self.target.archives:
            if found := await archive.piles(limit=1):
                raise WrongState(f"The target's {bucket} are not empty ({found[0].key}). A move needs an empty target.")
        await tables.set_filling(name)
        return False

    async def _counted(self, archive: Archive) -> Shelf:
        shelf = Shelf()
        async for pile in _walk(archive):
            shelf.add(pile)
            self.told(Stage.COUNT, 1, 0)
        return shelf

    # Objects

    async def _carry_objects(self, report: Report) -> None:
        total = sum(shelf.bytes for shelf in report.buckets.values())
        for (_, source), (_, target) in zip(self.source.archives, self.target.archives, strict=True):

            async def carry(pair: _Pair, source: Archive = source, target: Archive = target) -> None:
                report.carried += await self._carried(source, target, pair)
                if pair.source is not None:
                    self.told(Stage.OBJECTS, _bytes_of(pair.source), total)

            await for_each(_pairs(source, target), carry, self.at_once)

    async def _carried(self, source: Archive, target: Archive, pair: _Pair) -> int:
        """Make the target's pile the source's; how many layers were written."""
        wanted = () if pair.source is None else pair.source.layers
        there = () if pair.target is None else pair.target.layers
        shared = 0
        while shared < min(len(wanted), len(there)) and _is_alike(wanted[shared], there[shared]):
            shared += 1
        if shared < len(there):
            # Not what a move leaves when it ends early: the source has changed since. From this layer on it is built again.
            for layer in reversed(there[shared:]):
                await target.delete(pair.key, version=layer.version)
        for layer in wanted[shared:]:
            await self._lay(source, target, pair.key, layer)
        return len(wanted) - shared

    async def _lay(self, source: Archive, target: Archive, key: str, layer: Layer) -> None:
        if layer.is_marker:
            marker = Stored(
                key=key,
                version=layer.version,
                size_bytes=0,
                etag="",
                media_type="",
                modified_at=layer.modified_at,
                metadata={},
                is_marker=True,
            )
            await target.lay(marker, b"")
            return
        try:
            opened = await source.open(key, version=layer.version)
        except Missing:
            raise WrongState(f"The source changes while it is moved ({key}). Stop whatever uses it.") from None
        laid = await target.lay(opened.stored, opened.chunks)
        if laid.size_bytes != layer.size_bytes or not _is_same(opened.stored.etag, laid.etag):
            await target.delete(key, version=laid.version)
            raise DamagedObject(f"The bytes of {key} are not what the source says that they are.")

    async def _verify_objects(self, report: Report) -> None:
        total = sum(shelf.bytes for shelf in report.buckets.values())
        for (bucket, source), (_, target) in zip(self.source.archives, self.target.archives, strict=True):
            seen = Shelf()

            async def verify(pair: _Pair, source: Archive = source, target: Archive = target, seen: Shelf = seen) -> None:
                if not await self._is_equal(source, target, pair):
                    # Once more from the bottom: the source may have changed between two runs in a way that a listing does not tell.
                    stale = () if pair.target is None else pair.target.layers
                    for layer in reversed(stale):
                        await target.delete(pair.key, version=layer.version)
                    report.carried += await self._carried(source, target, replace(pair, target=None))
                    again = [pile for pile in await target.piles(pair.key, limit=1) if pile.key == pair.key]
                    if not await self._is_equal(source, target, replace(pair, target=again[0] if again else None)):
                        raise DamagedObject(f"The target does not give back {pair.key} as it was written.")
                if pair.source is not None:
                    seen.add(pair.source)
                    self.told(Stage.VERIFY_OBJECTS, _bytes_of(pair.source), total)

            await for_each(_pairs(source, target), verify, self.at_once)
            report.buckets[bucket] = seen

    async def _is_equal(self, source: Archive, target: Archive, pair: _Pair) -> bool:
        """Whether both piles have the same layers, and the bytes that the target gives back have the checksums of the source."""
        wanted = () if pair.source is None else pair.source.layers
        there = () if pair.target is None else pair.target.layers
        if len(wanted) != len(there) or not all(map(_is_alike, wanted, there)):
            return False
        for was, now in zip(wanted, there, strict=True):
            if was.is_marker:
                continue
            before = await source.stat(pair.key, version=was.version)
            opened = await target.open(pair.key, version=now.version)
            digest = hashlib.sha256()
            async for chunk in opened.chunks:
                digest.update(chunk)
            after = opened.stored
            if digest.hexdigest() != after.etag or not _is_same(before.etag, after.etag):
                return False
            if (before.media_type, dict(before.metadata)) != (after.media_type, dict(after.metadata)):
                return False
        return True

    # Rows

    async def _carry_rows(self) -> None:
        for table in self.source.tables.names:
            after = await self.target.tables.last(table)
            while rows := await self.source.tables.read(table, after=after, limit=ROWS):
                await self.target.tables.write(table, rows)
                self.told(Stage.ROWS, len(rows), 0)
                after = rows[-1]

    async def _hand_down(self, keys: Sequence[Row]) -> None:
        """After the comparison, since the source has no such rows: who ends here begins with the rows again."""
        there = [(row["purpose"], row["id"]) for row in await self.target.tables.read("inherited_keys", limit=ROWS)]
        await self.target.tables.write("inherited_keys", [key for key in keys if (key["purpose"], key["id"]) not in there])

    async def _verified_rows(self) -> dict[str, Sheet]:
        was, now = await self._sheets(self.source.tables), await self._sheets(self.target.tables)
        if was != now:
            # The source was started and stopped between two runs: what was copied then is not what is there now.
            await self.target.tables.clear()
            await self._carry_rows()
            was, now = await self._sheets(self.source.tables), await self._sheets(self.target.tables)
        differing = [table for table, sheet in was.items() if now[table] != sheet]
        if differing:
            raise WrongState(f"The rows of {', '.join(differing)} differ. Stop whatever uses source or target, and move again.")
        return now

    async def _sheets(self, tables: Tables) -> dict[str, Sheet]:
        return {table: await self._sheet(tables, table) for table in tables.names}

    async def _sheet(self, tables: Tables, table: str) -> Sheet:
        return await sheet_of(tables, table, lambda count: self.told(Stage.VERIFY_ROWS, count, 0))


async def sheet_of(tables: Tables, table: str, told: Callable[[int], None] = lambda _: None) -> Sheet:
    """What there is of the table. `told` hears of so many rows more."""
    digest, count, after = hashlib.sha256(), 0, None
    while rows := await tables.read(table, after=after, limit=ROWS):
        for row in rows:
            digest.update(canonical(row))
        count, after = count + len(rows), rows[-1]
        told(len(rows))
    return Sheet(count, digest.hexdigest())


async def settle(catalog: Catalog, buckets: Buckets) -> int:
    """Tell the target what the source's workflow engine had not finished; of how many images.

    Its runs stay behind, so the work is found from the records: images that are being developed, or whose development was given up,
    are developed; originals in the trash get their delete marker. The search is made anew as a whole, and the sweep removes what
    was to be erased.
    """
    async with catalog.directory() as directory:
        tenants = await directory.tenants()
    count = 0
    for tenant in tenants:
        for status in (Status.DEVELOPING, Status.FAILED):
            for is_trashed in (False, True):
                query = ImageQuery(status=status, is_trashed=is_trashed, sort=Sort.CREATED, limit=200)
                async for images in _pages(catalog, tenant.id, query):
                    async with catalog.tenant(tenant.id, writes=True) as records:
                        for image in images:
                            await records.emit(ImageAccepted.of(image))
                    count += len(images)
        trash = ImageQuery(status=Status.READY, is_trashed=True, sort=Sort.CREATED, limit=200)
        async for images in _pages(catalog, tenant.id, trash):
            await for_each(images, lambda image: buckets.originals.delete(image.original_key), 8)
    return count


async def _pages(catalog: Catalog, tenant: Any, query: ImageQuery) -> AsyncIterator[tuple[Any, ...]]:
    query = replace(query, skips_damaged=True)  # they were moved as they are; `reconcile` tells of them
    while True:
        async with catalog.tenant(tenant) as records:
            page = await records.images.page(query)
        yield page.images
        if page.next is None:
            return
        query = replace(query, cursor=page.next)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A key on both sides."""

    key: str
    source: Pile | None
    target: Pile | None


async def _walk(archive: Archive) -> AsyncIterator[Pile]:
    after = ""
    while page := await archive.piles(after=after, limit=PAGE):
        for pile in page:
            if not pile.key.startswith(_INCOMING):
                yield pile
        after = page[-1].key


async def _pairs(source: Archive, target: Archive) -> AsyncIterator[_Pair]:
    """Both buckets side by side, by key. What is written behind where the walk stands is not met by it again."""
    ours, theirs = _walk(source), _walk(target)
    left, right = await anext(ours, None), await anext(theirs, None)
    while left is not None or right is not None:
        key = min(pile.key for pile in (left, right) if pile is not None)
        yield _Pair(key, left if left and left.key == key else None, right if right and right.key == key else None)
        if left is not None and left.key == key:
            left = await anext(ours, None)
        if right is not None and right.key == key:
            right = await anext(theirs, None)


def _bytes_of(pile: Pile) -> int:
    return sum(layer.size_bytes for layer in pile.layers)


def _is_alike(one: Layer, other: Layer) -> bool:
    return (one.is_marker, one.size_bytes) == (other.is_marker, other.size_bytes)


def _is_same(was: str, now: str) -> bool:
    """Whether the checksums agree. An object that somebody else put into S3 has no SHA-256 to compare with."""
    return was == now or len(was) != len(now)


def canonical(row: Row) -> bytes:
    """The row as a line that is the same wherever it is kept."""
    return orjson.dumps(dict(row), option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE, default=_hex)


def _hex(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(type(value).__name__)
