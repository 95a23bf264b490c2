"""Backups: an installation as it was at one moment, kept in a vault, made while servers run, given back into an empty place.

    rows/<id>             every row of the catalog, read of one moment, a line each
    index/<id>            the objects that these rows name, a line each
    objects/<ab>/<sha256> their bytes, once however many backups have them
    snapshots/<id>        what the others amount to; it comes last, and only with it there is a backup

Objects never change under their key, and the rows name each with its SHA-256: so rows first, and then the objects that they name,
is the moment of the rows, whatever is uploaded, trashed or edited meanwhile. Only a purge could take away what is still to be
copied. Then the rows are read again, in which the purged image is not any more; what was copied stays and is not copied twice. An
original that is missing although its row is still there was lost before: the backup goes on without it and names it.

Delete markers are not kept: they follow from the rows, and restoring sets them. Neither is what is made on request, nor work under
way, which is begun again from the rows, nor the search, which is made of them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import orjson
import structlog

from safelight.concurrency import for_each
from safelight.domain.backups import Retention
from safelight.domain.ids import new_id
from safelight.errors import DamagedObject, Missing, WrongState
from safelight.imaging.spec import MASTERS
from safelight.ports.archive import Archive, Moments, Row, Tables
from safelight.ports.storage import Stored
from safelight.ports.vault import Vault
from safelight.services.development import Buckets
from safelight.services.moving import ROWS, Sheet, canonical, sheet_of

log = structlog.get_logger()

TRIES: Final = 5
"""How often rows are read again because of purges before what is missing is taken for lost."""
_PIECE: Final = 256 * 1024
_AT_ONCE: Final = 8


class Stage(StrEnum):
    """What is going on."""

    ROWS = "rows"
    OBJECTS = "objects"
    VERIFY = "verify"
    INDEX = "index"
    PRUNE = "prune"


Told = Callable[[Stage, int], None]
"""(stage, how much more is done): rows, objects or documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One backup."""

    id: str
    at: datetime
    """The moment that it is of."""
    version: str
    """Of Safelight that made it."""
    tables: Mapping[str, Sheet]
    objects: int
    bytes: int
    lost: tuple[str, ...] = ()
    """Keys of objects that were missing or damaged when it was made."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Files of the installation without which nobody can sign in, by name."""


@dataclass(slots=True)
class Copied:
    """What one `create` has written; the rest was there already."""

    objects: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Pruned:
    """What one `prune` has kept and removed, oldest first."""

    kept: tuple[Snapshot, ...]
    removed: tuple[Snapshot, ...]
    objects: int = 0
    """Entries that no kept backup needs."""


@dataclass(frozen=True, slots=True)
class Named:
    """An object that a row names. `sha256` is empty where the row does not say it."""

    bucket: str
    key: str
    sha256: str
    is_original: bool


@dataclass(frozen=True, slots=True)
class _Line:
    """An object as the index of a backup has it."""

    bucket: str
    stored: Stored


@dataclass(frozen=True, slots=True)
class Backups:
    """All that there is in one vault."""

    vault: Vault
    clock: Callable[[], datetime]
    version: str
    told: Told = lambda _stage, _more: None

    async def all(self) -> list[Snapshot]:
        """Oldest first. Raises DamagedObject."""
        return [await self._snapshot(name) for name in await self.vault.names("snapshots")]

    async def get(self, id: str) -> Snapshot:
        """By its id, or `latest`. Raises Missing."""
        names = await self.vault.names("snapshots")
        name = names[-1] if names and id == "latest" else f"snapshots/{id}"
        if name not in names:
            raise Missing(f"There is no backup {id}." if names else "There is no backup yet.")
        return await self._snapshot(name)

    # Making one

    async def create(self, tables: Moments, buckets: Buckets, secrets: Mapping[str, str]) -> tuple[Snapshot, Copied]:
        """One of now. Killed at any point, it leaves the ones before whole, and nothing that the next does not remove."""
        await self._tidy()
        copied = Copied()
        gone: set[str] = set()
        for _ in range(TRIES):
            snapshot, missing = await self._attempt(tables, buckets, secrets, copied)
            if missing <= gone:  # nothing was purged meanwhile: what is missing is missing for good
                break
            gone |= missing
            log.info("backup.rows_read_again", missing=len(missing))
        await self.vault.put(f"snapshots/{snapshot.id}", _dumped(snapshot))
        log.info("backup.created", backup=snapshot.id, objects=snapshot.objects, copied=copied.objects, lost=len(snapshot.lost))
        return snapshot, copied

    async def _attempt(
        self, tables: Moments, buckets: Buckets, secrets: Mapping[str, str], copied: Copied
    ) -> tuple[Snapshot, set[str]]:
        """A backup that nobody knows of yet, and the keys that were not to be had."""
        sheets: dict[str, Sheet] = {}
        async with tables.moment():
            at = self.clock()
            id = new_id(at.timestamp())
            await self.vault.put(f"rows/{id}", _joined(self._rows(tables, sheets)))
        missing: set[str] = set()
        count = Copied()
        await self.vault.put(f"index/{id}", _joined(self._objects(id, buckets, copied, count, missing)))
        snapshot = Snapshot(
            id=id,
            at=at,
            version=self.version,
            tables=sheets,
            objects=count.objects,
            bytes=count.bytes,
            lost=tuple(sorted(missing)),
            secrets=secrets,
        )
        return snapshot, missing

    async def _rows(self, tables: Tables, sheets: dict[str, Sheet]) -> AsyncIterator[bytes]:
        for table in tables.names:
            digest, count, after = hashlib.sha256(), 0, None
            while rows := await tables.read(table, after=after, limit=ROWS):
                for row in rows:
                    digest.update(canonical(row))
                    yield _packed(table, row)
                count, after = count + len(rows), rows[-1]
                self.told(Stage.ROWS, len(rows))
            sheets[table] = Sheet(count, digest.hexdigest())

    async def _objects(self, id: str, buckets: Buckets, copied: Copied, count: Copied, missing: set[str]) -> AsyncIterator[bytes]:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(named: Named) -> Stored | None:
            async with gate:
                return await self._kept(named, _bucket(buckets, named.bucket), copied)

        async for table, row in self._lines(id):
            if table != "images":
                continue
            named = objects_of(row)
            for each, stored in zip(named, await asyncio.gather(*map(one, named)), strict=True):
                self.told(Stage.OBJECTS, 1)
                if stored is None:
                    if each.is_original:
                        missing.add(each.key)
                    continue  # what is not an original is made again
                count.objects += 1
                count.bytes += stored.size_bytes
                yield _line(each.bucket, stored)

    async def _kept(self, named: Named, archive: Archive, copied: Copied) -> Stored | None:
        """The object, now in the vault; None when it is not to be had."""
        try:
            stored = await _newest(archive, named.key)
            sha256 = named.sha256 or stored.etag
            name = _name(sha256)
            if not await self.vault.has(name):
                opened = await archive.open(named.key, version=stored.version)
                await self.vault.put(name, _checked(opened.chunks, sha256))
                copied.objects += 1
                copied.bytes += stored.size_bytes
        except Missing:
            return None
        except DamagedObject:
            log.error("backup.object_damaged", key=named.key)
            return None
        return Stored(
            key=named.key,
            version="",
            size_bytes=stored.size_bytes,
            etag=sha256,
            media_type=stored.media_type,
            modified_at=stored.modified_at,
            metadata=dict(stored.metadata),
        )

    async def _tidy(self) -> None:
        """What a killed `create` has left beside the objects, which the next one uses."""
        known = {name.rpartition("/")[2] for name in await self.vault.names("snapshots")}
        for folder in ("rows", "index"):
            for name in await self.vault.names(folder):
                if name.rpartition("/")[2] not in known:
                    await self.vault.remove(name)

    # Letting go of some

    async def prune(self, retention: Retention, *, is_dry: bool = False) -> Pruned:
        """Remove the backups that need not be kept, then what no kept one needs. Raises DamagedObject before anything is removed.

        A backup is gone with its first file, so that killed at any point, this leaves every kept one whole; what is left over is
        removed by the next call.
        """
        found = await self.all()
        kept_ids = retention.kept((one.id, one.at) for one in found)
        pruned = Pruned(
            kept=tuple(one for one in found if one.id in kept_ids), removed=tuple(one for one in found if one.id not in kept_ids)
        )
        needed: set[bytes] = set()
        for one in pruned.kept:  # all of them first: an index that cannot be read tells of nothing that may go
            needed |= set(await self._needed(one))
            self.told(Stage.INDEX, one.objects)
        if not is_dry:
            for one in pruned.removed:
                await self.vault.remove(f"snapshots/{one.id}")
            await self._tidy()
        for shard in range(256):
            for name in await self.vault.names(f"objects/{shard:02x}"):
                if bytes.fromhex(name.rpartition("/")[2]) in needed:
                    continue
                pruned.objects += 1
                self.told(Stage.PRUNE, 1)
                if not is_dry:
                    await self.vault.remove(name)
        log.info("backup.pruned", kept=len(pruned.kept), removed=len(pruned.removed), objects=pruned.objects, is_dry=is_dry)
        return pruned

    async def sizes(self) -> list[tuple[Snapshot, int]]:
        """Each with the bytes that no other one needs, which is what removing it alone would free; oldest first. Raises DamagedObject."""
        found = await self.all()
        users: Counter[bytes] = Counter()
        own: list[dict[bytes, int]] = []
        for one in found:
            own.append(await self._needed(one))
            users.update(own[-1].keys())
        return [
            (one, sum(size_bytes for digest, size_bytes in needed.items() if users[digest] == 1))
            for one, needed in zip(found, own, strict=True)
        ]

    async def _needed(self, snapshot: Snapshot) -> dict[bytes, int]:
        """The SHA-256 of every object of it, with its bytes. About 150 bytes of memory for each."""
        needed: dict[bytes, int] = {}
        count = 0
        async for line in self._index(snapshot.id):
            needed[bytes.fromhex(line.stored.etag)] = line.stored.size_bytes
            count += 1
        if count != snapshot.objects:
            raise DamagedObject(f"The index of the backup {snapshot.id} is not whole.")
        return needed

    # Reading one

    async def verify(self, snapshot: Snapshot) -> list[str]:
        """Read all of it: the names of entries that are missing or not what they were."""
        bad: list[str] = []
        digests = {table: hashlib.sha256() for table in snapshot.tables}
        counts = dict.fromkeys(snapshot.tables, 0)
        try:
            async for table, row in self._lines(snapshot.id):
                digests[table].update(canonical(row))
                counts[table] += 1
            if dict(snapshot.tables) != {table: Sheet(counts[table], digests[table].hexdigest()) for table in counts}:
                bad.append(f"rows/{snapshot.id}")
        except (Missing, DamagedObject, KeyError, ValueError):
            bad.append(f"rows/{snapshot.id}")
        seen: set[str] = set()
        count = 0
        try:
            async for line in self._index(snapshot.id):
                count += 1
                name = _name(line.stored.etag)
                if name not in seen:
                    seen.add(name)
                    if not await self._is_sound(name, line.stored.etag):
                        bad.append(name)
                self.told(Stage.VERIFY, 1)
            if count != snapshot.objects:
                bad.append(f"index/{snapshot.id}")
        except (Missing, DamagedObject, ValueError):
            bad.append(f"index/{snapshot.id}")
        return bad

    async def _is_sound(self, name: str, sha256: str) -> bool:
        try:
            async for _ in _checked(await self.vault.read(name), sha256):
                pass
        except (Missing, DamagedObject):
            return False
        return True

    # Giving one back

    async def restore(
        self,
        snapshot: Snapshot,
        tables: Tables,
        buckets: Buckets,
        *,
        index: Callable[[], Awaitable[int]],
        settle: Callable[[], Awaitable[int]],
    ) -> int:
        """Fill an empty place with it, and compare every row and object; how many documents the search has.

        May be repeated until it returns; nobody can open the place before. Raises WrongState for a place that is not empty,
        DamagedObject for a backup that is not what it was.
        """
        by = f"backup {snapshot.id}"
        await _claim(tables, buckets, by)
        waiting: dict[str, list[Row]] = {}
        async for table, row in self._lines(snapshot.id):
            batch = waiting.setdefault(table, [])
            batch.append(row)
            if len(batch) == ROWS or len(waiting) > 1:
                done = next(iter(waiting)) if len(waiting) > 1 else table
                await self._written(tables, done, waiting.pop(done))
        for table, rows in waiting.items():
            await self._written(tables, table, rows)
        await for_each(
            self._index(snapshot.id), lambda line: self._given_back(line, _bucket(buckets, line.bucket)), at_once=_AT_ONCE
        )
        for table, sheet in snapshot.tables.items():
            if await sheet_of(tables, table, lambda more: self.told(Stage.VERIFY, more)) != sheet:
                raise DamagedObject(f"The rows of {table} are not what they were when the backup was made.")
        documents = await index()
        await settle()
        await tables.set_filling(None)
        log.info("backup.restored", backup=snapshot.id, documents=documents)
        return documents

    async def _written(self, tables: Tables, table: str, rows: list[Row]) -> None:
        await tables.write(table, rows)
        self.told(Stage.ROWS, len(rows))

    async def _given_back(self, line: _Line, archive: Archive) -> None:
        wanted = line.stored
        there = [stored for stored in await archive.versions(wanted.key) if not stored.is_marker]
        if not there:
            body = _checked(await self.vault.read(_name(wanted.etag)), wanted.etag)
            there = [await archive.lay(wanted, body)]
        opened = await archive.open(wanted.key, version=there[0].version)
        async for _ in _checked(opened.chunks, wanted.etag):
            pass
        self.told(Stage.OBJECTS, 1)

    # Entries

    async def _snapshot(self, name: str) -> Snapshot:
        document = orjson.loads(b"".join([chunk async for chunk in await self.vault.read(name)]))
        tables = {table: Sheet(**sheet) for table, sheet in document.pop("tables").items()}
        at, lost = datetime.fromisoformat(document.pop("at")), tuple(document.pop("lost"))
        return Snapshot(**document, at=at, tables=tables, lost=lost)

    async def _lines(self, id: str) -> AsyncIterator[tuple[str, Row]]:
        async for line in _split(await self.vault.read(f"rows/{id}")):
            table, row, binary = orjson.loads(line)
            yield table, row | {name: bytes.fromhex(value) for name, value in binary.items()}

    async def _index(self, id: str) -> AsyncIterator[_Line]:
        async for line in _split(await self.vault.read(f"index/{id}")):
            bucket, key, size_bytes, sha256, media_type, modified_at, metadata = orjson.loads(line)
            at = datetime.fromisoformat(modified_at)
            stored = Stored(
                key=key,
                version="",
                size_bytes=size_bytes,
                etag=sha256,
                media_type=media_type,
                modified_at=at,
                metadata=metadata,
            )
            yield _Line(bucket, stored)


def objects_of(row: Row) -> list[Named]:
    """What a row of the table `images` names: originals of all versions, the master and the renditions."""
    prefix = f"{row['tenant']}/{row['id']}"
    found = [Named("originals", f"{prefix}/{one['number']}/original", one["sha256"], is_original=True) for one in row["earlier"]]
    if row["status"] != "rejected":
        found.append(Named("originals", f"{prefix}/{row['version']}/original", row["sha256"], is_original=True))
    if row["developed_version"]:
        keys = (f"{prefix}/{row['developed_version']}/{name}.jpg" for name in MASTERS)
        found += [Named("originals", key, "", is_original=False) for key in keys]
    found += [Named("renditions", one["object_key"], one["etag"], is_original=False) for one in row["renditions"]]
    return found


async def _claim(tables: Tables, buckets: Buckets, by: str) -> None:
    filling = await tables.filling()
    if filling == by:
        await tables.clear()  # what a killed restore has written; objects that are there are looked at, not written again
        return
    if filling is not None:
        raise WrongState(f"The place is half filled from {filling}. Finish that, or give another place.")
    for table in tables.names:
        if await tables.last(table) is not None:
            raise WrongState(f"The catalog there is not empty ({table}). A backup is given back into an empty place.")
    for name, archive in (("originals", buckets.originals), ("renditions", buckets.renditions)):
        if found := await archive.piles(limit=1):
            raise WrongState(f"The {name} there are not empty ({found[0].key}). A backup is given back into an empty place.")
    await tables.set_filling(by)


async def _newest(archive: Archive, key: str) -> Stored:
    """The newest version with bytes, be it under the delete marker of the trash. Raises Missing."""
    try:
        return await archive.stat(key)
    except Missing:
        for stored in await archive.versions(key):
            if not stored.is_marker:
                return await archive.stat(key, version=stored.version)
        raise


async def _checked(chunks: AsyncIterator[bytes], sha256: str) -> AsyncIterator[bytes]:
    """The same bytes. Raises DamagedObject at their end when they are others."""
    digest = hashlib.sha256()
    async for chunk in chunks:
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != sha256:
        raise DamagedObject


async def _joined(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    held = bytearray()
    async for line in lines:
        held += line
        if len(held) >= _PIECE:
            yield bytes(held)
            held.clear()
    yield bytes(held)


async def _split(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    held = b""
    async for chunk in chunks:
        *lines, held = (held + chunk).split(b"\n")
        for line in lines:
            yield line
    if held:
        raise DamagedObject


def _packed(table: str, row: Row) -> bytes:
    binary = {name: value.hex() for name, value in row.items() if isinstance(value, bytes)}
    plain = {name: value for name, value in row.items() if name not in binary}
    return orjson.dumps([table, plain, binary], option=orjson.OPT_APPEND_NEWLINE)


def _line(bucket: str, stored: Stored) -> bytes:
    values: list[Any] = [bucket, stored.key, stored.size_bytes, stored.etag, stored.media_type, stored.modified_at]
    return orjson.dumps([*values, dict(stored.metadata)], option=orjson.OPT_APPEND_NEWLINE)


def _dumped(snapshot: Snapshot) -> bytes:
    return orjson.dumps(snapshot)


def _name(sha256: str) -> str:
    return f"objects/{sha256[:2]}/{sha256}"


def _bucket(buckets: Buckets, name: str) -> Archive:
    return buckets.originals if name == "originals" else buckets.renditions
