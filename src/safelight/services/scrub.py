"""Scrubbing: every stored byte is read and held against the checksum that its record, or else the store, knows of it.

For `safelight scrub` and the clock. Listings, by which `reconciler` judges, do not tell that a disk has changed a bit. All versions
of originals, masters, renditions and tiles are read, at a pace; after every few images the place is noted, so that whoever comes
next goes on there.

An object is read twice before it is called damaged. A damaged layer is removed where a sound one of the same key remains, or where
the object can be made again, which is then begun. A damaged original cannot: its bytes stay, its record says so, and it is given
out no more; its owner is told by the event `image.damaged`.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import structlog

from safelight.concurrency import Pace, for_each
from safelight.domain.events import ImageAccepted, ImageDamaged, ImageEdited
from safelight.domain.ids import TenantId
from safelight.domain.images import DAMAGED, Image, Status
from safelight.domain.queries import Cursor, ImageQuery, Page, Sort
from safelight.errors import BackendUnavailable, BadCursor, DamagedObject, DamagedRecord, Missing
from safelight.imaging.spec import LESSER_SIDES
from safelight.observability import Instruments
from safelight.ports.archive import Archive, Pile
from safelight.services.development import Development
from safelight.services.reconciler import LOST, Drift, Finding, drifts, piles_under
from safelight.services.rounds import Rounds

log = structlog.get_logger()

SHARE: Final = timedelta(minutes=55)
"""The clock reads one share in this time, by whichever process comes first."""
LONGEST: Final = timedelta(minutes=45)
"""And ends it after so long, however much is left: it is over before another process would begin the next."""
_PAGE: Final = 50
"""Images after which the place is noted."""
_END: Final = "end"
"""In place of a cursor: nothing comes behind."""
_UNREAD_IN_A_ROW: Final = 5
"""Objects after which it is the store that does not answer, and not an object that cannot be read."""


class Flaw(StrEnum):
    """What is wrong with an object."""

    RECORD = "record_damaged"
    """The record of an image cannot be read, so that nobody knows what its objects should be. They are left alone."""
    ORIGINAL = "original_damaged"
    """The bytes of an original are not those that came in. It is marked, and given out no more."""
    MASTER = "master_damaged"
    """The master that transforms are made of. The image is developed again."""
    RENDITION = "rendition_damaged"
    """A preset, for which the image is developed again, or a transform, which is made again when it is asked for."""
    TILES = "tiles_damaged"
    """The tiles of a large picture. They are cut again when somebody zooms in."""
    LAYER = "layer_damaged"
    """One version of an object that has a sound one, too. It is removed."""
    ORIGINAL_MISSING = "original_missing"
    """Left to `reconcile`, which may be told that the store is whole."""
    MASTER_MISSING = "master_missing"
    """The image is developed again."""
    RENDITION_MISSING = "rendition_missing"
    """The image is developed again."""
    UNREAD = "unread"
    """The store does not give it out. Tried again with the next round."""


_MISSING: Final = {
    Drift.ORIGINAL: Flaw.ORIGINAL_MISSING,
    Drift.MASTER: Flaw.MASTER_MISSING,
    Drift.RENDITION: Flaw.RENDITION_MISSING,
}


@dataclass(slots=True)
class Scrubbed:
    """What has been read since the round began, and what was found."""

    began_at: datetime
    images: int = 0
    objects: int = 0
    bytes: int = 0
    anew: int = 0
    """Images that were sent to be developed again."""
    is_whole: bool = False
    """The round has come to its end."""
    findings: dict[Flaw, Finding] = field(default_factory=lambda: {kind: Finding() for kind in Flaw})

    @property
    def is_clean(self) -> bool:
        """Everything that was read is what it was."""
        return not any(finding.count for finding in self.findings.values())


@dataclass(frozen=True, slots=True)
class _Place:
    """Behind the last image that was looked at."""

    tenant: str = ""
    is_trashed: bool = False
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class _Judged:
    """An object's versions, by whether their bytes are what they were."""

    archive: Archive
    pile: Pile
    sound: tuple[str, ...]
    damaged: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.pile.key.rpartition("/")[2]

    @property
    def number(self) -> int:
        """Of the image's version that it belongs to."""
        found = re.match(r"\d+", self.pile.key.split("/")[2])  # of a folder such as 2 or 2p1
        return int(found[0]) if found else 0


@dataclass(frozen=True, slots=True)
class Scrub:
    """Rounds over everything that is stored. One of the clock's and one of the command's do not disturb each other."""

    development: Development
    rounds: Rounds
    instruments: Instruments
    most_anew: int = 1000
    """How many images one round sends to be developed again."""
    at_once: int = 4

    async def total(self) -> int:
        """How many images there are, of all tenants."""
        async with self.development.catalog.directory() as directory:
            return sum(tenant.stored.images for tenant in await directory.tenants())

    async def share(self, every: timedelta, pace: Pace) -> bool:
        """The clock's: as much of the round as is due now, so that one takes that long. Whether anything was to be mended."""
        note = await self.rounds.read("scrub")
        now = self.development.clock()
        if ended := note.get("ended_at"):
            self.instruments.scrubbed_at.set(datetime.fromisoformat(ended).timestamp())
            if "place" not in note and now - datetime.fromisoformat(note["began_at"]) < every:
                return False
        if not await self.rounds.is_due("scrub_share", SHARE):
            return False
        total = await self.total()

        def is_enough(report: Scrubbed) -> bool:
            at = self.development.clock()
            return report.images >= total * ((at - report.began_at + SHARE) / every) or at - now > LONGEST

        report = await self.run("scrub", pace, is_enough=is_enough)
        if report.is_whole:
            self.instruments.scrubbed_at.set(self.development.clock().timestamp())
        return not report.is_clean

    async def run(
        self,
        name: str,
        pace: Pace,
        *,
        mends: bool = True,
        told: Callable[[Scrubbed], None] = lambda _: None,
        is_enough: Callable[[Scrubbed], bool] = lambda _: False,
    ) -> Scrubbed:
        """Go on with the round of this name where it was left, or begin one. Raises BackendUnavailable; it can be gone on with.

        Args:
            name: Of the note that it leaves.
            pace: Of bytes.
            mends: Whether anything is mended or marked.
            told: Hears how far it has come, after each image.
            is_enough: Whether to stop here, asked before the first and after every few images.

        """
        note = await self.rounds.read(name)
        report, start = _read(note, self.development.clock())
        ended_at = note.get("ended_at")
        unread = _Unread()

        async def look(image: Image) -> None:
            try:
                await self._look(image, report, pace, unread, mends=mends)
            except DamagedRecord:  # since the page was read
                self._note(report, Flaw.RECORD, image.id, is_mended=False)
            report.images += 1
            told(report)

        if is_enough(report):
            return report
        async for page, place in self._pages(start):
            await for_each(page.images, look, self.at_once)
            for image_id in page.damaged:
                self._note(report, Flaw.RECORD, image_id, is_mended=False)
            report.images += len(page.damaged)
            await self.rounds.write(name, _noted(report, place, ended_at))
            if is_enough(report):
                return report
        report.is_whole = True
        await self.rounds.write(name, _noted(report, None, self.development.clock().isoformat()))
        log.info("scrub.done", images=report.images, objects=report.objects, bytes=report.bytes, is_clean=report.is_clean)
        return report

    async def _pages(self, place: _Place) -> AsyncIterator[tuple[Page, _Place]]:
        """From behind the place, each with the place behind it."""
        async with self.development.catalog.directory() as directory:
            tenants = sorted(tenant.id for tenant in await directory.tenants())
        for tenant in tenants:
            for is_trashed in (False, True):
                if (tenant, is_trashed) < (place.tenant, place.is_trashed):
                    continue
                at = place.cursor if (tenant, is_trashed) == (place.tenant, place.is_trashed) else ""
                if at == _END:
                    continue
                async for page, cursor in self._of_tenant(tenant, at, is_trashed=is_trashed):
                    yield page, _Place(tenant, is_trashed, cursor)

    async def _of_tenant(self, tenant: TenantId, at: str, *, is_trashed: bool) -> AsyncIterator[tuple[Page, str]]:
        cursor: Cursor | None = None
        with contextlib.suppress(BadCursor):
            cursor = Cursor.decode(at, Sort.CREATED) if at else None
        while True:
            query = ImageQuery(is_trashed=is_trashed, sort=Sort.CREATED, limit=_PAGE, cursor=cursor, skips_damaged=True)
            try:
                async with self.development.catalog.tenant(tenant) as records:
                    page = await records.images.page(query)
            except Missing:
                return  # the tenant is gone
            yield page, _END if page.next is None else page.next.encode()
            if page.next is None:
                return
            cursor = page.next

    # One image

    async def _look(self, image: Image, report: Scrubbed, pace: Pace, unread: _Unread, *, mends: bool) -> None:
        if image.status in (Status.REJECTED, Status.DEVELOPING):
            return  # without bytes, or being written
        buckets = self.development.buckets
        originals = await piles_under(buckets.originals, image.prefix)
        renditions = await piles_under(buckets.renditions, image.prefix)
        wanted = _digests(image)
        judged: list[_Judged] = []
        for archive, piles in ((buckets.originals, originals), (buckets.renditions, renditions)):
            for pile in piles.values():
                try:
                    judged.append(await self._judged(archive, pile, wanted.get(pile.key, ""), report, pace))
                except BackendUnavailable:
                    if unread.one_more() >= _UNREAD_IN_A_ROW:
                        raise
                    self._note(report, Flaw.UNREAD, pile.key, is_mended=False)
                else:
                    unread.in_a_row = 0
        missing = {_MISSING[drift] for drift in drifts(image, originals, renditions) if drift in _MISSING}
        if not missing and not any(one.damaged for one in judged) and not (image.problem and image.problem.code == DAMAGED):
            return
        current = await self._current(image)
        if current is not None:  # else it was purged, or is being developed: what was seen means nothing any more
            await self._mend(current, judged, missing, report, mends=mends)

    async def _judged(self, archive: Archive, pile: Pile, wanted: str, report: Scrubbed, pace: Pace) -> _Judged:
        sound: list[str] = []
        damaged: list[str] = []
        is_original = pile.key.endswith("/original")
        for layer in pile.layers:
            if layer.is_marker:
                continue
            try:
                is_sound = False
                for _ in range(2):  # what a cable spoils is not what the disk has
                    if is_sound := await self._is_sound(
                        archive, pile.key, layer.version, wanted, pace, report, is_original=is_original
                    ):
                        break
            except Missing:
                continue  # removed meanwhile
            (sound if is_sound else damaged).append(layer.version)
            report.objects += 1
        return _Judged(archive, pile, tuple(sound), tuple(damaged))

    async def _is_sound(
        self, archive: Archive, key: str, version: str, wanted: str, pace: Pace, report: Scrubbed, *, is_original: bool
    ) -> bool:
        """Raises Missing, BackendUnavailable."""
        digest = hashlib.sha256()
        try:
            opened = await archive.open(key, version=version)
            async for chunk in opened.chunks:
                digest.update(chunk)
                report.bytes += len(chunk)
                self.instruments.scrub_bytes.inc(len(chunk))
                await pace.spend(len(chunk))
        except DamagedObject:
            return False
        # What is made can have been made once more, by another release, under the same key: then only the store knows.
        is_as_stored = not (is_original and wanted) and digest.hexdigest() == opened.stored.etag
        return is_as_stored or digest.hexdigest() == wanted

    async def _current(self, image: Image) -> Image | None:
        """The record as it is now, if it still is of the same bytes."""
        with contextlib.suppress(Missing):
            async with self.development.catalog.tenant(image.tenant) as records:
                now = await records.images.get(image.id)
            seen = image.status, image.folder, image.developed_folder, image.is_trashed
            if (now.status, now.folder, now.developed_folder, now.is_trashed) == seen:
                return now
        return None

    async def _mend(self, image: Image, judged: list[_Judged], missing: set[Flaw], report: Scrubbed, *, mends: bool) -> None:
        is_sound = {one.pile.key: bool(one.sound) for one in judged}
        masters = {image.delivered_master_key, *map(image.delivered_lesser_key, LESSER_SIDES)}
        of_record = masters.union(rendition.object_key for rendition in image.renditions)
        known = {image.key_of_version(version.number): version.number for version in image.versions}
        read = {one.pile.key for one in judged if one.sound or one.damaged}
        # What was marked and cannot be read this time has not become sound by that.
        lost = [number for key, number in known.items() if image.is_damaged(number) and key not in read]
        is_anew = Flaw.MASTER_MISSING in missing or Flaw.RENDITION_MISSING in missing
        removed: dict[str, bool] = {}
        for one in judged:
            key = one.pile.key
            if not one.damaged:
                continue
            if not one.sound and key in known:
                lost.append(known[key])
                self._note(report, Flaw.ORIGINAL, key, is_mended=False)
                log.error("scrub.original_damaged", image_id=image.id, version=known[key])
                continue
            can = bool(one.sound) or self._can_be_made(image, one, is_sound)
            if mends and can:
                for version in one.damaged:
                    await one.archive.delete(key, version=version)
            is_anew = is_anew or (not one.sound and can and key in of_record)
            removed[key] = mends and can
        now = await self._marked(image, tuple(sorted(lost))) if mends else None
        is_begun = now is not None and is_anew and await self._developed_again(now, is_sound, report)
        for one in judged:
            if one.pile.key in removed:
                # What has been removed is made again by reconciling or delivery, if not by this.
                self._note(report, _kind_of(one), one.pile.key, is_mended=removed[one.pile.key])
        for flaw in sorted(missing):
            self._note(report, flaw, image.id, is_mended=is_begun and flaw is not Flaw.ORIGINAL_MISSING)

    def _can_be_made(self, image: Image, one: _Judged, is_sound: Mapping[str, bool]) -> bool:
        """Of the original; a rendition of the master, too, by whoever asks for it."""
        is_refused = image.problem is not None and image.problem.code != DAMAGED
        if is_sound.get(image.key_of_version(one.number), False) and not is_refused:
            return True
        return one.archive is self.development.buckets.renditions and is_sound.get(image.delivered_master_key, False)

    async def _developed_again(self, image: Image, is_sound: Mapping[str, bool], report: Scrubbed) -> bool:
        is_refused = image.problem is not None and image.problem.code != DAMAGED
        may = image.status is Status.READY and not image.is_trashed and not is_refused
        if not may or not is_sound.get(image.original_key, False) or report.anew >= self.most_anew:
            return False
        again = image.developed_again(at=self.development.clock())
        is_begun = await self.development.changed(image, again, ImageAccepted)
        report.anew += is_begun
        return is_begun

    async def _marked(self, image: Image, damaged: tuple[int, ...]) -> Image | None:
        """The record when what it says of its originals is so; None when somebody else has changed it meanwhile."""
        problem = image.problem
        if (problem.versions if problem else ()) == damaged or (problem is not None and problem.code == LOST):
            return image
        at = self.development.clock()
        marked = image.damaged(damaged, at=at) if damaged else image.found(at=at)
        return marked if await self.development.changed(image, marked, ImageDamaged if damaged else ImageEdited) else None

    def _note(self, report: Scrubbed, kind: Flaw, name: str, *, is_mended: bool) -> None:
        report.findings[kind].note(name, is_mended=is_mended)
        self.instruments.scrub_found.labels(kind.value).inc()
        self.instruments.scrub_mended.labels(kind.value).inc(is_mended)
        log.warning("scrub.found", flaw=kind.value, name=name, is_mended=is_mended)


@dataclass(slots=True)
class _Unread:
    in_a_row: int = 0

    def one_more(self) -> int:
        self.in_a_row += 1
        return self.in_a_row


def _digests(image: Image) -> dict[str, str]:
    """The SHA-256 that the record knows, by key."""
    originals = {image.key_of_version(version.number): version.sha256 for version in image.versions}
    return originals | {rendition.object_key: rendition.etag for rendition in image.renditions}


def _kind_of(one: _Judged) -> Flaw:
    if one.sound:
        return Flaw.LAYER
    if one.name.startswith("master"):
        return Flaw.MASTER
    return Flaw.TILES if one.name.endswith(".tiles") else Flaw.RENDITION


def _noted(report: Scrubbed, place: _Place | None, ended_at: str | None) -> dict[str, Any]:
    note: dict[str, Any] = {
        "began_at": report.began_at.isoformat(),
        "images": report.images,
        "objects": report.objects,
        "bytes": report.bytes,
        "anew": report.anew,
        "findings": {kind.value: [one.count, one.mended, one.first] for kind, one in report.findings.items() if one.count},
    }
    if place is not None:
        note["place"] = [place.tenant, place.is_trashed, place.cursor]
    if ended_at is not None:
        note["ended_at"] = ended_at
    return note


def _read(note: Mapping[str, Any], now: datetime) -> tuple[Scrubbed, _Place]:
    """The round that was left; a new one without."""
    try:
        place = _Place(*note["place"])
        report = Scrubbed(datetime.fromisoformat(note["began_at"]))
        report.images, report.objects, report.bytes, report.anew = (note[name] for name in ("images", "objects", "bytes", "anew"))
        report.findings |= {Flaw(kind): Finding(*values) for kind, values in note["findings"].items()}
    except (KeyError, TypeError, ValueError):
        return Scrubbed(now), _Place()
    return report, place
