"""Remote sources: pictures that lie elsewhere, fetched when one of them is asked for, kept for a while, and asked about as they age.

A copy is one object of the renditions bucket under `{tenant}/remote-{digest of its address}/`, with what its source said of it as
the object's metadata, so that both change at once; what is made of it lies beside it, under keys with the hash of its bytes. Nothing
here is the only copy of anything: the clock removes what nobody asks for, and a purge all that there is of one address.

Who asks for a picture makes us ask somebody else: at most one of us at a time does so for an address, and what failed is not tried
again for some seconds.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from safelight.concurrency import Expiring, Gate, SingleFlight
from safelight.domain.accounts import Tenant
from safelight.domain.addresses import Reach, Target
from safelight.domain.ids import TenantId
from safelight.domain.sources import BucketObject, Elsewhere, Patience, covered, good_for, is_shared, source
from safelight.errors import (
    Busy,
    DamagedObject,
    EmptyFile,
    Kind,
    Missing,
    SafelightError,
    SourceFailed,
    SourceNotAllowed,
    SourceRefused,
    SourceTimedOut,
    SourceUnavailable,
    SourceUnreachable,
)
from safelight.imaging import Format, Header, Sandbox
from safelight.imaging.transform import Original
from safelight.ports.archive import Archive
from safelight.ports.catalog import Catalog
from safelight.ports.foreign_buckets import ForeignBuckets
from safelight.ports.outbound import FetchLimits, Outbound, Reading
from safelight.ports.shelf import Shelf
from safelight.ports.storage import Stored
from safelight.services.spool import chunks_of, spooled
from safelight.services.turns import Turns

log = structlog.get_logger()

AT_ONCE: Final = 8
"""Fetches of one process: each is a connection that a slow server may keep open, and a file on disk."""
WAITING: Final = 64
STALE: Final = timedelta(days=1)
"""For which a copy whose source fails is delivered past its time (RFC 5861)."""
_FOLDER: Final = "remote-"
_MAX_HEADER: Final = 256
_UNREADABLE: Final = "no-store"
"""What is taken for said by a source that says too much to be kept."""
_UNKNOWN: Final = "unknown"
"""The name of a colour profile that may be any: whether there is one, only decoding tells."""
_AT_FAULT: Final = frozenset({Kind.FORBIDDEN, Kind.MISSING, Kind.TOO_LARGE, Kind.UNSUPPORTED, Kind.UNPROCESSABLE})
"""Kinds of refusals that are the source's, and will be the same a moment later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRules:
    """How far, how much and for how long."""

    reach: Reach
    limits: FetchLimits
    patience: Patience
    failed_s: int
    """Seconds for which a source that failed is left alone."""
    kept: timedelta
    """How long a copy stays that nobody asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A picture from elsewhere that is at hand. Times in UTC; `folder` ends with '/'."""

    folder: str
    sha256: str
    original: Original
    came_at: datetime
    """When its source first gave these bytes."""
    fresh_until: datetime
    control: str
    """What its source last said to caches."""
    etag: str = ""
    modified: str = ""
    """As its source says it."""

    @property
    def key(self) -> str:
        """Of its bytes."""
        return key_of(self.folder)

    @property
    def is_shared(self) -> bool:
        """Whether caches between us and the reader may keep what is made of it."""
        return is_shared({"cache-control": self.control})

    def conditions(self) -> Mapping[str, str]:
        """By which its source tells whether there is another one (RFC 9110 section 13.1)."""
        said = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in said.items() if value}

    def metadata(self) -> dict[str, str]:
        """What is kept with its bytes."""
        original = self.original
        return {
            "source-format": original.format.value,
            "source-pixels": f"{original.width} {original.height} {original.frames} {int(original.has_alpha)}",
            "source-times": f"{int(self.came_at.timestamp())} {int(self.fresh_until.timestamp())}",
            "source-control": self.control,
            "source-etag": self.etag,
            "source-modified": self.modified,
        }

    @classmethod
    def of(cls, folder: str, stored: Stored) -> Copy:
        """From what is kept. Raises Missing for what is no copy."""
        said = stored.metadata
        try:
            width, height, frames, has_alpha = map(int, said["source-pixels"].split())
            came_at, fresh_until = (datetime.fromtimestamp(int(text), UTC) for text in said["source-times"].split())
            original = _original(Format(said["source-format"]), width, height, frames, has_alpha=bool(has_alpha))
        except (KeyError, ValueError):
            raise Missing from None
        return cls(
            folder=folder,
            sha256=stored.etag,
            original=original,
            came_at=came_at,
            fresh_until=fresh_until,
            control=said.get("source-control", _UNREADABLE),
            etag=said.get("source-etag", ""),
            modified=said.get("source-modified", ""),
        )


@dataclass(frozen=True, slots=True)
class RemoteSources:
    """One per process: it believes what it knows of a copy for at most two seconds, and that a source fails for as long as the rules say."""

    catalog: Catalog
    renditions: Archive
    shelf: Shelf | None
    sandbox: Sandbox
    outbound: Outbound
    buckets: ForeignBuckets | None
    """None where no settings say how buckets are reached."""
    turns: Turns
    clock: Callable[[], datetime]
    spool_path: Path
    rules: RemoteRules
    gate: Gate = field(default_factory=lambda: Gate(capacity=AT_ONCE, queue=WAITING))
    _known: Expiring[str, Copy] = field(default_factory=lambda: Expiring(ttl_s=2.0, size=10_000, now=time.monotonic))
    _failed: Expiring[str, SafelightError | Copy] = field(init=False)
    """What is said meanwhile of an address whose source is left alone."""
    _flights: SingleFlight[str, Copy] = field(default_factory=SingleFlight)

    def __post_init__(self) -> None:
        failed: Expiring[str, SafelightError | Copy] = Expiring(ttl_s=self.rules.failed_s, size=10_000, now=time.monotonic)
        object.__setattr__(self, "_failed", failed)

    async def copy(self, house: Tenant, found: Elsewhere) -> Copy:
        """A copy that is good, of what the tenant's list covers.

        Raises Missing, SourceNotAllowed, SourceFailed, SourceTimedOut, Busy, and what a file is refused with.
        """
        folder = folder_of(house.id, found)
        failed = self._failed.get(folder)
        if isinstance(failed, Copy):
            return failed
        if failed is not None:
            raise type(failed)(failed.detail, **failed.extra)
        known = self._known.get(folder)
        if known is not None and self.clock() < known.fresh_until:
            return known
        copy = await self._flights.do(folder, lambda: self._looked_up(house, found, folder))
        self._known.put(folder, copy)
        return copy

    async def fetched(self, copy: Copy) -> int:
        """Its file in memory, as a child can map it; to be closed by the caller. Raises Missing where it has been replaced or removed."""
        fd = os.memfd_create("source", os.MFD_CLOEXEC)
        digest = hashlib.sha256()
        try:
            opened = await self.renditions.open(copy.key)
            async for chunk in opened.chunks:
                digest.update(chunk)
                os.write(fd, chunk)
            if digest.hexdigest() != copy.sha256:
                raise Missing
        except BaseException as error:
            os.close(fd)
            self._known.drop(copy.folder)
            if isinstance(error, DamagedObject):
                await self.renditions.purge(copy.folder)  # it can be fetched again
                raise Missing from error
            raise
        return fd

    async def purge(self, tenant: TenantId, url: str) -> None:
        """All that is kept of an address of this tenant's. May run twice."""
        await self._remove(folder_of(tenant, source(url)))

    async def sweep(self) -> int:
        """Let go of what nobody has asked for in a long time; how many objects."""
        before, swept = self.clock() - self.rules.kept, 0
        async with self.catalog.directory() as directory:
            tenants = await directory.tenants()
        for tenant in tenants:
            after = ""
            while page := await self.renditions.piles(f"{tenant.id}/{_FOLDER}", after=after):
                for pile in page:
                    if max(layer.modified_at for layer in pile.layers) < before:
                        for layer in pile.layers:
                            await self.renditions.delete(pile.key, version=layer.version)
                        swept += 1
                after = page[-1].key
        return swept

    async def _looked_up(self, house: Tenant, found: Elsewhere, folder: str) -> Copy:
        since_s, patience_s = time.monotonic(), self.rules.limits.total_s
        for attempt in itertools.count():
            copy = await self._stored(folder)
            if copy is not None and self.clock() < copy.fresh_until:
                return copy
            async with (
                self.gate.admit(1, party=house.id),
                self.turns.turn(f"remote:{folder}", since_s=since_s, patience_s=patience_s) as is_ours,
            ):
                if is_ours:
                    late = await self.turns.late_look(lambda: self._stored(folder))
                    if late is not None and self.clock() < late.fresh_until:
                        return late
                    return await self._asked_for(house, found, late or copy, folder)
            await self.turns.rest(attempt)
        raise AssertionError("counting has no end")

    async def _asked_for(self, house: Tenant, found: Elsewhere, copy: Copy | None, folder: str) -> Copy:
        try:
            return await self._refreshed(house, found, copy, folder)
        except SafelightError as error:
            refusal = self._told(error)
            if refusal is None:
                raise  # a fault of ours: nothing is said of the source by it
            now = self.clock()
            log.info("remote.refused", folder=folder, code=error.code)
            if isinstance(refusal, Missing):
                await self._remove(folder)
            elif copy is not None and refusal.is_transient and now - copy.fresh_until < STALE:
                spared = replace(copy, fresh_until=now + timedelta(seconds=self.rules.failed_s))
                self._failed.put(folder, spared)
                return spared
            self._failed.put(folder, refusal)
            raise refusal from error

    def _told(self, error: SafelightError) -> SafelightError | None:
        """What who asks for the picture is told; None where the fault is none of the source's."""
        match error:
            case SourceTimedOut():
                return SourceTimedOut(retry_after_s=self.rules.failed_s)
            case SourceUnavailable() | SourceUnreachable() | SourceRefused():
                # One answer for all of them: the difference would tell a stranger what there is in our network.
                return SourceFailed(retry_after_s=self.rules.failed_s)
            case SourceNotAllowed():
                return SourceNotAllowed()
            case _:
                return error if error.kind in _AT_FAULT else None

    async def _refreshed(self, house: Tenant, found: Elsewhere, copy: Copy | None, folder: str) -> Copy:
        async with self._reading(house, found, copy.conditions() if copy else {}) as reading:
            if reading.is_unchanged and copy is not None:
                return await self._kept_on(copy, reading)
            async with spooled(reading.chunks, self.spool_path, max_bytes=self.rules.limits.max_bytes) as spool:
                if not spool.size_bytes:
                    raise EmptyFile
                header = await self.sandbox.probe(spool.fd)
                is_same = copy is not None and copy.sha256 == spool.sha256
                fetched = Copy(
                    folder=folder,
                    sha256=spool.sha256,
                    original=_original_of(header),
                    came_at=copy.came_at if copy is not None and is_same else self.clock().replace(microsecond=0),
                    **self._said(reading.headers),
                )
                return await self._kept(fetched, chunks_of(spool.fd))

    def _reading(self, house: Tenant, found: Elsewhere, conditions: Mapping[str, str]) -> AbstractAsyncContextManager[Reading]:
        """What its source answers. Redirects lead to what the tenant's list covers, or nowhere."""
        if isinstance(found, BucketObject):
            if self.buckets is None:
                raise SourceNotAllowed
            return self.buckets.get(found, conditions, limits=self.rules.limits)
        listed = {place.port for place in map(source, house.sources) if isinstance(place, Target)}
        own = self.rules.reach
        reach = replace(own, ports=own.ports | listed, is_listed=lambda target: covered(target, house.sources))
        return self.outbound.get(found, conditions, reach=reach, limits=self.rules.limits)

    async def _kept_on(self, copy: Copy, reading: Reading) -> Copy:
        """The copy, good for another while: by what this answer says, and where it is silent by what was said before (RFC 9111 section 4.3.4)."""
        before = {"etag": copy.etag, "last-modified": copy.modified}
        if "expires" not in reading.headers:
            before["cache-control"] = copy.control
        said = self._said({**before, **reading.headers})
        try:
            opened = await self.renditions.open(copy.key)
        except Missing:
            raise Busy("The picture has just been let go of; ask again.", retry_after_s=1) from None
        return await self._kept(replace(copy, **said), opened.chunks)

    async def _kept(self, copy: Copy, chunks: AsyncIterator[bytes]) -> Copy:
        media_type = copy.original.format.media_type
        await self.renditions.put(copy.key, chunks, media_type=media_type, metadata=copy.metadata(), is_durable=False)
        for older in (await self.renditions.versions(copy.key))[1:]:
            await self.renditions.delete(copy.key, version=older.version)
        return copy

    def _said(self, headers: Mapping[str, str]) -> dict[str, Any]:
        """What an answer's headers (lower case) say of a copy."""
        now = self.clock()
        return {
            "fresh_until": now + timedelta(seconds=good_for(headers, self.rules.patience, now)),
            "control": _kept_text(headers.get("cache-control", ""), _UNREADABLE),
            "etag": _kept_text(headers.get("etag", "")),
            "modified": _kept_text(headers.get("last-modified", "")),
        }

    async def _stored(self, folder: str) -> Copy | None:
        try:
            return Copy.of(folder, await self.renditions.stat(key_of(folder)))
        except Missing:
            return None

    async def _remove(self, folder: str) -> None:
        await self.renditions.purge(folder)
        if self.shelf is not None:
            await self.shelf.drop(folder)
        self._known.drop(folder)
        self._failed.drop(folder)


def folder_of(tenant: TenantId, found: Elsewhere) -> str:
    """Under which lies what is kept of an address."""
    return f"{tenant}/{_FOLDER}{hashlib.sha256(str(found).encode()).hexdigest()[:32]}/"


def key_of(folder: str) -> str:
    """Where the bytes of a copy lie."""
    return f"{folder}source"


def _original_of(header: Header) -> Original:
    return _original(header.format, header.width, header.height, header.frames, has_alpha=header.has_alpha)


def _original(format: Format, width: int, height: int, frames: int, *, has_alpha: bool) -> Original:
    return Original(format=format, width=width, height=height, frames=frames, has_alpha=has_alpha, profile=_UNKNOWN)


def _kept_text(text: str, otherwise: str = "") -> str:
    """A header's value, to be kept as it came if it is one that a header may have."""
    return text if len(text) <= _MAX_HEADER and text.isascii() and text.isprintable() else otherwise
