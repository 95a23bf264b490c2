"""Reconciling: records, objects, search documents and work are held against each other. For `safelight reconcile` and the clock.

Everything here is judged by listings; whether bytes are still what they were is seen by whoever reads them. What has changed within
the `grace` is left alone, since its flows may still be at work on it. Nothing is mended on the word of an old look: each record is
read again, and mended only if it is the one that was judged.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import structlog

from safelight.concurrency import for_each
from safelight.domain.events import ImageAccepted, ImageEdited, ImageFailed
from safelight.domain.ids import ImageId, TenantId
from safelight.domain.images import Image, Problem, Status
from safelight.domain.queries import ImageQuery, Page, Sort
from safelight.errors import BackendUnavailable, DamagedRecord, Missing, SearchUnavailable
from safelight.observability import Instruments
from safelight.ports.archive import Archive, Pile
from safelight.ports.workflows import RunState, Workflows
from safelight.services.development import Development, document, is_findable
from safelight.services.upkeep import Upkeep, known_of
from safelight.services.uploads import Uploads

log = structlog.get_logger()

GRACE: Final = timedelta(hours=1)
FIRST: Final = 20
"""How many of each kind are named."""
LOST: Final = "original_missing"
"""The problem of an image whose original is not in the store."""


class Drift(StrEnum):
    """What does not agree with what."""

    RECORD = "record_damaged"
    """A record that cannot be read. Nothing of it is judged or touched; a backup has it as it was."""
    ORIGINAL = "original_missing"
    """A record whose original, of any version, is not in the store. The image is told of; its record and renditions stay."""
    MASTER = "master_missing"
    """A record without the master that transforms are made of. The image is developed again."""
    RENDITION = "rendition_missing"
    """A record that names a rendition which is not there. The image is developed again."""
    STUCK = "stuck"
    """An image that is being developed by nobody. The flow is started again."""
    MARKER = "marker"
    """An image in the trash whose original has no delete marker, or the reverse. The marker is set or taken off."""
    UNINDEXED = "unindexed"
    """An image that the search does not know, or not as it is. It is indexed."""
    STRAY = "stray_document"
    """A search document without an image that can be found. It is removed."""
    ORPHAN = "orphan"
    """Objects of an image that no record knows. They are removed."""
    LEFTOVER = "leftover"
    """Objects of a version that its record does not know. They are removed."""
    INCOMING = "incoming"
    """Bytes of an upload that has ended. They are removed."""


ALL: Final = frozenset(Drift)
SAFE: Final = frozenset({Drift.MASTER, Drift.RENDITION, Drift.STUCK, Drift.MARKER, Drift.UNINDEXED, Drift.STRAY})
"""What the clock mends: nothing of it removes bytes or tells an owner of a loss, should the store only seem to be empty."""
_FOLDER: Final = re.compile(r"[0-9]+(p[0-9]+)?")
_ANEW: Final = frozenset({Drift.MASTER, Drift.RENDITION, Drift.STUCK})


@dataclass(slots=True)
class Finding:
    """How often a kind was found, how many of it were mended, and the first of them by name."""

    count: int = 0
    mended: int = 0
    first: list[str] = field(default_factory=list)

    def note(self, name: str, *, is_mended: bool) -> None:
        """One more."""
        self.count += 1
        self.mended += is_mended
        if len(self.first) < FIRST:
            self.first.append(name)


@dataclass(slots=True)
class Reconciliation:
    """What was looked at and what was found."""

    images: int = 0
    has_search: bool = True
    """Without a search there is nothing to compare."""
    findings: dict[Drift, Finding] = field(default_factory=lambda: {kind: Finding() for kind in Drift})

    @property
    def is_clean(self) -> bool:
        """Everything agrees."""
        return not any(finding.count for finding in self.findings.values())

    def note(self, kind: Drift, name: str, *, is_mended: bool) -> None:
        """One more."""
        self.findings[kind].note(name, is_mended=is_mended)


@dataclass(frozen=True, slots=True)
class Reconciler:
    """One pass over everything."""

    development: Development
    uploads: Uploads
    upkeep: Upkeep
    workflows: Workflows
    instruments: Instruments
    most_anew: int = 1000
    """How many images one pass sends to be developed again."""
    at_once: int = 8

    async def run(
        self, *, mends: frozenset[Drift], grace: timedelta = GRACE, told: Callable[[int], None] = lambda _: None
    ) -> Reconciliation:
        """Compare, and mend these kinds.

        Args:
            mends: What is mended; none for a dry run.
            grace: What has changed more recently is not judged.
            told: Hears how many images more have been looked at.

        """
        report = Reconciliation()
        before = self.development.clock() - grace
        async with self.development.catalog.directory() as directory:
            tenants = [tenant.id for tenant in await directory.tenants()]
        for tenant in tenants:
            await self._records(tenant, report, mends, before, told)
        async for bucket, tenant, orphan in self.upkeep.orphans(before=before):
            if is_mended := Drift.ORPHAN in mends:
                await bucket.purge(f"{tenant}/{orphan}/")
            report.note(Drift.ORPHAN, orphan, is_mended=is_mended)
        async for upload in self.uploads.left_over():
            if is_mended := Drift.INCOMING in mends:
                await self.uploads.incoming.discard(upload)
            report.note(Drift.INCOMING, upload.id, is_mended=is_mended)
        self._tell(report)
        return report

    def _tell(self, report: Reconciliation) -> None:
        for kind, finding in report.findings.items():
            self.instruments.drift.labels(kind.value).set(finding.count)
            self.instruments.mended.labels(kind.value).inc(finding.mended)
            if finding.count:
                level = log.error if kind in (Drift.ORIGINAL, Drift.RECORD) else log.warning
                level("reconcile.found", drift=kind.value, count=finding.count, mended=finding.mended, first=finding.first)
        self.instruments.reconciled_at.set(self.development.clock().timestamp())
        log.info("reconcile.done", images=report.images, is_clean=report.is_clean)

    # Records against objects, work and search

    async def _records(
        self, tenant: TenantId, report: Reconciliation, mends: frozenset[Drift], before: datetime, told: Callable[[int], None]
    ) -> None:
        try:
            held = await self._held(tenant)
        except SearchUnavailable:
            held, report.has_search = {}, False

        async def look(image: Image) -> None:
            digest = held.pop(image.id, None)
            report.images += 1
            if image.updated_at < before:
                try:
                    await self._look(image, digest, report, mends, before)
                except DamagedRecord:  # damaged since, or of those that belong to it
                    report.note(Drift.RECORD, image.id, is_mended=False)
            told(1)

        for is_trashed in (False, True):
            async for page in self._pages(tenant, is_trashed=is_trashed):
                await for_each(page.images, look, self.at_once)
                for image_id in page.damaged:
                    held.pop(image_id, None)
                    report.note(Drift.RECORD, image_id, is_mended=False)
                    told(1)
                report.images += len(page.damaged)
        await self._strays(tenant, held, report, mends, before)

    async def _held(self, tenant: TenantId) -> dict[ImageId, str]:
        held: dict[ImageId, str] = {}
        after = ""
        while page := await self.development.search.digests(tenant, after=after):
            held |= page
            after = max(page)
        return held

    async def _look(
        self, image: Image, digest: str | None, report: Reconciliation, mends: frozenset[Drift], before: datetime
    ) -> None:
        originals = await piles_under(self.development.buckets.originals, image.prefix)
        renditions = await piles_under(self.development.buckets.renditions, image.prefix)
        found = drifts(image, originals, renditions)
        if image.status is Status.DEVELOPING and Drift.ORIGINAL not in found and not await self._is_at_work(image):
            found.add(Drift.STUCK)
        if report.has_search and digest != (document(image).digest if is_findable(image) else None):
            found.add(Drift.UNINDEXED if is_findable(image) else Drift.STRAY)
        is_told = image.problem is not None and image.problem.code == LOST
        leftovers = self._of_buckets(unknown(image, originals, renditions, before))
        if not found and not leftovers and not is_told:
            return
        current = await self._current(image)
        if current is None or current.revision != image.revision:
            return  # it is being worked on; the next pass sees what has become of it
        if is_told and Drift.ORIGINAL not in found and Drift.ORIGINAL in mends:
            await self._told_found(image)
            return
        is_anew = False
        for kind in sorted(found, key=list(Drift).index):
            if kind in _ANEW and is_anew:
                report.note(kind, image.id, is_mended=True)
                continue
            may = kind in mends and not (kind in _ANEW and Drift.ORIGINAL in found)
            if kind in _ANEW and sum(report.findings[one].mended for one in _ANEW) >= self.most_anew:
                may = False
            is_mended = may and await self._mended(kind, image)
            is_anew = is_anew or (kind in _ANEW and is_mended)
            report.note(kind, image.id, is_mended=is_mended)
        for bucket, key in leftovers:
            if is_mended := Drift.LEFTOVER in mends:
                await _removed(bucket, key)
            report.note(Drift.LEFTOVER, key, is_mended=is_mended)

    async def _mended(self, kind: Drift, image: Image) -> bool:
        clock = self.development.clock
        payload = ImageEdited.of(image).to_json()
        match kind:
            case Drift.ORIGINAL:
                if image.problem is not None and image.problem.code == LOST:
                    return False  # told already; nothing more can be done here
                lost = image.lost(Problem(code=LOST, detail="The original is not in the store any more."), at=clock())
                return await self.development.changed(image, lost, ImageFailed if lost.status is Status.FAILED else ImageEdited)
            case Drift.STUCK:
                return await self.development.changed(image, image.developed_again(at=clock()), ImageAccepted)
            case Drift.MASTER | Drift.RENDITION:
                if image.is_trashed or image.problem is not None or image.status is not Status.READY:
                    return False  # first restored, or looked at by somebody: it was refused when it was tried again
                return await self.development.changed(image, image.developed_again(at=clock()), ImageAccepted)
            case Drift.MARKER:
                await self.development.mark(payload)
                return True
            case Drift.UNINDEXED | Drift.STRAY:
                await self.development.index(payload)
                return True
            case _:
                raise AssertionError(kind)

    async def _told_found(self, image: Image) -> None:
        """The original is there again: somebody has put it back. What was never developed can be now."""
        at = self.development.clock()
        if image.status is Status.FAILED:
            await self.development.changed(image, image.developed_again(at=at), ImageAccepted)
        else:
            await self.development.changed(image, image.found(at=at), ImageEdited)

    async def _is_at_work(self, image: Image) -> bool:
        """Whether a run of this version is waiting or running, as far as the engine can be asked."""
        async with self.development.catalog.journal(image.tenant) as journal:
            entries = [numbered.entry for numbered in await journal.after(0, image=image.id, limit=1000)]
        runs = {f"develop:{one.occurrence}" for one in entries if one.version == image.version and not one.flow}
        for run_id in runs:
            try:
                run = await self.workflows.get(run_id)
            except Missing:
                continue
            except BackendUnavailable:
                return False  # not open here: a run that is alive after all is done twice, which changes nothing
            if run.state in (RunState.WAITING, RunState.RUNNING):
                return True
        return False

    async def _strays(
        self, tenant: TenantId, held: dict[ImageId, str], report: Reconciliation, mends: frozenset[Drift], before: datetime
    ) -> None:
        """Documents whose records were not met; looked for once more, since records come and go while we walk."""
        if not held:
            return
        still = held.keys() & (await self._held(tenant)).keys()
        ids = sorted(still)
        for at in range(0, len(ids), 200):
            try:
                async with self.development.catalog.tenant(tenant) as records:
                    known = await known_of(records, ids[at : at + 200])
            except Missing:
                return  # the tenant is gone, and what it had in the search is taken out by its erasure
            for id in ids[at : at + 200]:
                image = known.get(id)
                if id in known and (image is None or is_findable(image) or image.updated_at >= before):
                    continue
                if is_mended := Drift.STRAY in mends:
                    await self.development.search.remove(tenant, [id])
                report.note(Drift.STRAY, id, is_mended=is_mended)

    async def _current(self, image: Image) -> Image | None:
        with contextlib.suppress(Missing):
            async with self.development.catalog.tenant(image.tenant) as records:
                return await records.images.get(image.id)
        return None

    async def _pages(self, tenant: TenantId, *, is_trashed: bool) -> AsyncIterator[Page]:
        query = ImageQuery(is_trashed=is_trashed, sort=Sort.CREATED, limit=200, skips_damaged=True)
        while True:
            try:
                async with self.development.catalog.tenant(tenant) as records:
                    page = await records.images.page(query)
            except Missing:
                return  # the tenant is gone
            yield page
            if page.next is None:
                return
            query = replace(query, cursor=page.next)

    def _of_buckets(self, leftovers: tuple[list[str], list[str]]) -> list[tuple[Archive, str]]:
        buckets = self.development.buckets
        return [(buckets.originals, key) for key in leftovers[0]] + [(buckets.renditions, key) for key in leftovers[1]]


def drifts(image: Image, originals: Mapping[str, Pile], renditions: Mapping[str, Pile]) -> set[Drift]:
    """What of the image's record does not agree with its objects, by their piles."""
    if image.status is Status.REJECTED:
        return set()
    found: set[Drift] = set()
    if not all(has_bytes(originals.get(image.key_of_version(version.number))) for version in image.versions):
        found.add(Drift.ORIGINAL)
    if image.developed_version:
        if not is_readable(originals.get(image.delivered_master_key)):
            found.add(Drift.MASTER)
        if not all(is_readable(renditions.get(rendition.object_key)) for rendition in image.renditions):
            found.add(Drift.RENDITION)
    top = originals.get(image.original_key)
    if image.status is not Status.DEVELOPING and has_bytes(top) and is_readable(top) == image.is_trashed:
        found.add(Drift.MARKER)
    return found


def unknown(
    image: Image, originals: Mapping[str, Pile], renditions: Mapping[str, Pile], before: datetime
) -> tuple[list[str], list[str]]:
    """Keys of versions and generations that the record does not know and that were written before then, of both buckets.

    Bytes come before rows, so those of a replacement that is just coming in are not known yet either.
    """
    known = {version.number for version in image.versions} - ({image.version} if image.status is Status.REJECTED else set())
    versions, delivered = set(map(str, known)), {image.folder, image.developed_folder}
    # Made by a process that still believed in the generation before, while that was purged.
    outdated = [key for key, pile in renditions.items() if image.is_outdated(key) and _written_at(pile) < before]
    return _others(originals, versions, before), sorted({*_others(renditions, delivered, before), *outdated})


def _others(piles: Mapping[str, Pile], folders: set[str], before: datetime) -> list[str]:
    found: list[str] = []
    for key, pile in piles.items():
        folder = key.split("/")[2]
        if _FOLDER.fullmatch(folder) and folder not in folders and _written_at(pile) < before:
            found.append(key)
    return found


def _written_at(pile: Pile) -> datetime:
    return max(layer.modified_at for layer in pile.layers)


def has_bytes(pile: Pile | None) -> bool:
    """Whether any version is there, be it under a delete marker."""
    return pile is not None and any(not layer.is_marker for layer in pile.layers)


def is_readable(pile: Pile | None) -> bool:
    """Whether a plain read finds it."""
    return pile is not None and not pile.layers[-1].is_marker


async def piles_under(bucket: Archive, prefix: str) -> dict[str, Pile]:
    """All of them, by key."""
    piles: dict[str, Pile] = {}
    after = ""
    while page := await bucket.piles(prefix, after=after, limit=1000):
        piles |= {pile.key: pile for pile in page}
        after = page[-1].key
    return piles


async def _removed(bucket: Archive, key: str) -> None:
    """For good, every version of this very key."""
    for stored in await bucket.versions(key):
        await bucket.delete(key, version=stored.version)
