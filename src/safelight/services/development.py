"""The steps that turn an original into renditions, facts and a place in the search. Each may run twice; `flows` says in which order.

The step `develop` is decode, encode, store and publish together: one decode feeds all sizes, and pixels never cross a checkpoint.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from safelight.concurrency import AtHand, Bell, Gate, beating
from safelight.domain.events import ImageEvent, ImageFailed, ImageNarrowed, ImageReady, ImageRejected
from safelight.domain.ids import ImageId, TenantId
from safelight.domain.images import MAX_DESCRIPTION, MAX_TAGS, MAX_TITLE, Image, Problem, Rendition, Status, normal_tag
from safelight.domain.queries import Document
from safelight.errors import BadField, Missing, SafelightError, Stale, TooLarge, Unprocessable, Unsupported
from safelight.imaging import PRESETS, Developed, Facts, File, Format, Recipe, Sandbox
from safelight.imaging.spec import MASTER, MASTERS
from safelight.imaging.transform import Watermark
from safelight.observability import Instruments
from safelight.ports.archive import Archive
from safelight.ports.catalog import Catalog
from safelight.ports.search import Search
from safelight.services.originals import delivered_version, fetched
from safelight.services.pyramids import Pyramids

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Buckets:
    """Originals (and our masters beside them) apart from renditions, which can be made again."""

    originals: Archive
    renditions: Archive


@dataclass(frozen=True, slots=True)
class Development:
    """What the flows `develop`, `index` and `purge` are made of."""

    catalog: Catalog
    buckets: Buckets
    search: Search
    sandbox: Sandbox
    recipe: Recipe
    """The installation's, which a tenant's goes over."""
    ink: Callable[[TenantId, Watermark], Awaitable[bytes]]
    """The PNG of a watermark of a tenant; raises BadOption where there is none."""
    clock: Callable[[], datetime]
    bell: Bell[ImageId]
    instruments: Instruments
    fetching: Gate
    """Who may hold an original in memory: without it every waiting image would. What somebody waits for goes first, tenants by turns."""
    at_hand: AtHand[str]
    """Originals whose upload is still here, by key."""
    pyramids: Pyramids
    tiled_pixels: int
    """From which size on a picture is tiled at once, and not when somebody first looks closely."""

    async def develop(self, payload: Mapping[str, Any]) -> None:
        """Make and store every rendition, then publish them in one transaction; a file at fault is rejected, once and for all."""
        tenant, image_id, version = TenantId(payload["tenant"]), ImageId(payload["image"]), int(payload["version"])
        started = time.perf_counter()
        try:
            async with self.catalog.tenant(tenant) as records:
                image = await records.images.get(image_id)
        except Missing:
            await self.erase(payload)  # removed since: an earlier try may have stored renditions behind the purge's back
            return
        if image.version != version or image.status in (Status.READY, Status.REJECTED):
            if image.status is Status.READY:
                await self._sweep(image)  # by a try that has not come to that
            return  # done, or replaced again since
        try:
            rank = 0 if payload.get("is_urgent", True) else 1
            async with beating(), self.fetching.admit(1, party=tenant, rank=rank):
                developed = await self._developed(image)
        except (TooLarge, Unsupported, Unprocessable) as error:
            await self._reject(image, error)
            self.instruments.developed.labels("rejected").observe(time.perf_counter() - started)
            return
        renditions = await self._stored(image, developed.files)
        ready = await self._published(image, developed, renditions)
        if ready is None:
            await self.erase(payload)
            return
        if ready.folder != image.folder:
            # Begun anew in the meantime: what was made here is nobody's, and who has begun it goes on.
            if image.folder != ready.developed_folder:
                await self.buckets.renditions.purge(f"{image.prefix}{image.folder}/")
            return
        if image.developed_version and image.developed_folder != image.folder:
            await self.buckets.renditions.purge(f"{image.prefix}{image.developed_folder}/")
        if ready.is_trashed:
            await self.mark(payload)
        self.instruments.developed.labels("ready").observe(time.perf_counter() - started)
        if self._is_tiled(ready):
            await self._tile(ready)

    def _is_tiled(self, image: Image) -> bool:
        wish = image.recipe.tiles if image.recipe else None
        return image.width * image.height >= self.tiled_pixels if wish is None else wish

    async def _sweep(self, image: Image) -> None:
        """Remove what developings before the delivered one have left."""
        after, places = "", set[str]()
        while page := await self.buckets.renditions.piles(image.prefix, after=after, limit=1000):
            places |= {pile.key.split("/")[2] for pile in page}
            after = page[-1].key
        for place in sorted(places - {image.developed_folder}):
            await self.buckets.renditions.purge(f"{image.prefix}{place}/")

    async def _tile(self, image: Image) -> None:
        """Ahead of whoever zooms in. Not worth a try of its own: what is not made here is made when it is asked for."""
        try:
            await self.pyramids.ensure(image, delivered_version(image))
        except SafelightError as error:
            log.warning("image.not_tiled", image_id=image.id, code=error.code)

    async def _developed(self, image: Image) -> Developed:
        # First of all: without its mark nothing of it is made.
        watermark = image.recipe.mark if image.recipe else None
        mark = await self.ink(image.tenant, watermark) if watermark else b""
        recipe = image.recipe.over(self.recipe) if image.recipe else self.recipe
        fd = self.at_hand.borrow(image.original_key)
        if fd is None:  # after a restart, in another process, or when nobody waits any more
            fd = await fetched(self.buckets.originals, image, image.present)
        try:
            return await self.sandbox.develop(fd, recipe, mark=mark)
        finally:
            os.close(fd)

    async def _stored(self, image: Image, files: tuple[File, ...]) -> tuple[Rendition, ...]:
        async def store(file: File) -> Rendition | None:
            if file.preset in MASTERS:
                is_needed = file.preset == MASTER  # what a lesser one has, it has, too
                key = image.master_key(file.preset)
                await self.buckets.originals.put(key, file.data, media_type=file.format.media_type, is_durable=is_needed)
                return None
            key = image.rendition_key(file.preset, file.format.extension, folder=image.folder)
            # Not fsynced: what a power cut takes, delivery makes again from the master.
            stored = await self.buckets.renditions.put(key, file.data, media_type=file.format.media_type, is_durable=False)
            return Rendition(
                preset=file.preset,
                format=file.format.value,
                media_type=file.format.media_type,
                width=file.width,
                height=file.height,
                size_bytes=len(file.data),
                etag=stored.etag,
                object_key=key,
            )

        made = await asyncio.gather(*map(store, files))
        order = [preset.name for preset in PRESETS] + [size.name for size in (image.recipe.sizes if image.recipe else ())]
        renditions = (rendition for rendition in made if rendition is not None)
        return tuple(sorted(renditions, key=lambda r: (order.index(r.preset), r.format != Format.WEBP)))

    async def _published(self, image: Image, developed: Developed, renditions: tuple[Rendition, ...]) -> Image | None:
        """The record as it is now; None when it is gone."""
        async with self.catalog.tenant(image.tenant, writes=True) as records:
            try:
                current = await records.images.get(image.id)
            except Missing:
                return None
            if current.folder != image.folder or current.status is Status.READY:
                return current
            ready = current.developed(at=self.clock(), renditions=renditions, **_learnt(current, developed))
            await records.images.save(ready)
            await records.emit(ImageReady.of(ready))
            if current.renditions and _mark_of(current) != _mark_of(ready):
                # Caches in between keep pictures of before for a year.
                await records.emit(ImageNarrowed(ready.tenant, ready.id, ready.revision))
        log.info("image.ready", image_id=image.id, renditions=len(renditions))
        self.bell.ring(image.id)
        return ready

    async def _reject(self, image: Image, error: SafelightError) -> None:
        problem = Problem(code=error.code, detail=error.detail)
        with contextlib.suppress(Missing):  # removed in between: then only its bytes are left to remove
            async with self.catalog.tenant(image.tenant, writes=True) as records:
                current = await records.images.get(image.id)
                if current.folder != image.folder:
                    return  # begun anew in the meantime
                rejected = current.rejected(problem, at=self.clock())
                await records.images.save(rejected)
                await records.emit(ImageRejected.of(rejected))
        if image.developed_version == image.version:
            log.warning("image.not_developed_again", image_id=image.id, code=error.code)
            self.bell.ring(image.id)
            return
        await self.buckets.originals.purge(f"{image.prefix}{image.version}/")
        log.info("image.rejected", image_id=image.id, code=error.code)
        self.bell.ring(image.id)

    async def give_up(self, payload: Mapping[str, Any], error: BaseException) -> None:
        """Mark the image failed: its run has become a dead letter."""
        tenant, image_id = TenantId(payload["tenant"]), ImageId(payload["image"])
        code = error.code if isinstance(error, SafelightError) else "internal"
        problem = Problem(code=code, detail="Developing failed; the operator has been told.")
        try:
            async with self.catalog.tenant(tenant, writes=True) as records:
                image = await records.images.get(image_id)
                if image.status is Status.DEVELOPING:
                    failed = image.failed(problem, at=self.clock())
                    await records.images.save(failed)
                    await records.emit(ImageFailed.of(failed))
        except Missing:
            return
        self.bell.ring(image_id)

    async def changed(self, was: Image, now: Image, event: type[ImageEvent]) -> bool:
        """Save what has become of it and tell. Whether it was still what it was."""
        try:
            async with self.catalog.tenant(was.tenant, writes=True) as records:
                await records.images.save(now)
                await records.emit(event.of(now))
        except (Stale, Missing):
            return False
        self.bell.ring(was.id)
        return True

    async def index(self, payload: Mapping[str, Any]) -> None:
        """Bring the search up to the record as it is now, whatever the event said of it."""
        tenant, image_id = TenantId(payload["tenant"]), ImageId(payload["image"])
        try:
            async with self.catalog.tenant(tenant) as records:
                image = await records.images.get(image_id)
        except Missing:
            await self.search.remove(tenant, [image_id])
            return
        if is_findable(image):
            await self.search.put(tenant, [document(image)])
        else:
            await self.search.remove(tenant, [image_id])

    async def mark(self, payload: Mapping[str, Any]) -> None:
        """Put a delete marker on a trashed image's original, take it off a restored one's: as the record is now.

        Whoever reads the bucket without us then sees what we would show. One that is being developed is left readable.
        """
        tenant, image_id = TenantId(payload["tenant"]), ImageId(payload["image"])
        was_trashed: bool | None = None
        while True:
            try:
                async with self.catalog.tenant(tenant) as records:
                    image = await records.images.get(image_id)
            except Missing:
                return
            if image.status is Status.DEVELOPING or image.is_trashed == was_trashed:
                return
            was_trashed = image.is_trashed
            # The record may change while we mark, and its own run may already be over: look again afterwards.
            if image.is_trashed:
                await self.buckets.originals.delete(image.original_key)
            else:
                with contextlib.suppress(Missing):
                    await self.buckets.originals.restore(image.original_key)

    async def forget(self, payload: Mapping[str, Any]) -> None:
        """Take a purged image out of the search."""
        await self.search.remove(TenantId(payload["tenant"]), [ImageId(payload["image"])])

    async def erase(self, payload: Mapping[str, Any]) -> None:
        """Remove a purged image's bytes, every version of them."""
        prefix = f"{payload['tenant']}/{payload['image']}/"
        counts = await asyncio.gather(self.buckets.originals.purge(prefix), self.buckets.renditions.purge(prefix))
        log.info("image.erased", image_id=payload["image"], objects=sum(counts))


def _mark_of(image: Image) -> str:
    return image.developed_recipe.watermark if image.developed_recipe else ""


def is_findable(image: Image) -> bool:
    """Whether the search should know it."""
    return image.status is Status.READY and not image.is_trashed


def document(image: Image) -> Document:
    """What the search knows of an image."""
    return Document(
        image=image.id,
        owner=image.owner,
        is_public=image.visibility.value == "public",
        title=image.title,
        description=image.description,
        tags=image.tags,
        file_name=image.file_name,
        camera=image.camera,
        place=image.place,
        media_type=image.media_type,
        dated_at=image.taken_at or image.created_at,
    )


def _learnt(image: Image, developed: Developed) -> dict[str, Any]:
    """What the file says of itself; the owner's own words come before it."""
    facts = developed.facts
    words: dict[str, Any] = {}
    if image.developed_version != image.version:  # else the owner has read them, and may have taken them out
        words["title"] = image.title or facts.title[:MAX_TITLE]
        words["description"] = image.description or facts.description[:MAX_DESCRIPTION]
        words["tags"] = image.tags or _keywords(facts.keywords)
    return words | {
        "width": developed.header.width,
        "height": developed.header.height,
        "frames": developed.header.frames,
        "has_alpha": developed.header.has_alpha,
        "taken_at": _taken_at(facts),
        "camera": facts.camera,
        "place": facts.place,
        "thumbhash": base64.b64encode(developed.thumbhash).decode(),
        "dominant_color": developed.dominant_color,
        "phash": developed.phash,
        "metadata": _metadata(facts),
    }


def _keywords(keywords: tuple[str, ...]) -> tuple[str, ...]:
    tags: dict[str, None] = {}
    for keyword in keywords[:MAX_TAGS]:
        try:
            tags[normal_tag(keyword)] = None
        except BadField:
            continue
    return tuple(tags)


def _taken_at(facts: Facts) -> datetime | None:
    if facts.taken_at is None:
        return None
    try:
        taken = datetime.fromisoformat(facts.taken_at)
    except ValueError:
        return None
    # A camera's clock without a zone is read as UTC, so that the same file sorts the same everywhere.
    taken = taken if taken.tzinfo else taken.replace(tzinfo=UTC)
    return taken if 1826 <= taken.year <= 9000 else None  # Niépce's first photograph; and room to convert to microseconds


def _metadata(facts: Facts) -> dict[str, Any]:
    """What everybody who sees the image may read, apart from what gives a person away."""
    told = {"lens": facts.lens, "creator": facts.creator, "copyright": facts.copyright, "icc_profile": facts.icc}
    public = {name: value for name, value in (told | dict(facts.metadata)).items() if value}
    private = dict(facts.private)
    if facts.location is not None:
        private["location"] = asdict(facts.location)
    return {"public": public, "private": private}
