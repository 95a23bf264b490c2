"""The library: get, list, search, edit, trash, restore, purge. Every answer is one actor's view of one tenant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from safelight.concurrency import Bell, Places
from safelight.domain import access, sharing
from safelight.domain.accounts import Actor, Role
from safelight.domain.events import ImageEdited, ImageNarrowed, ImagePurged, ImageRestored, ImageTrashed
from safelight.domain.ids import ImageId, TenantId
from safelight.domain.images import Image, Status, Version
from safelight.domain.queries import ImageQuery, Page, SearchQuery, SearchResult, Sort
from safelight.errors import DamagedObject, Missing, Stale, WrongState
from safelight.ports.catalog import Catalog, Records
from safelight.ports.search import Search
from safelight.ports.storage import Opened, Storage
from safelight.services.apart import apart
from safelight.services.development import document, is_findable
from safelight.services.lending import lent_image
from safelight.services.relay import Relay
from safelight.services.remembered import Remembered

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Library:
    """What people do with the images that are in."""

    catalog: Catalog
    search_index: Search
    originals: Storage
    relay: Relay
    clock: Callable[[], datetime]
    bell: Bell[ImageId]
    remembered: Remembered
    waiting: Places[TenantId]
    """For who waits until a picture is developed: more could not be developed while they wait."""

    async def get(self, actor: Actor, image_id: ImageId) -> Image:
        """The image. Raises Missing also for one that the actor may not see."""
        image = await self.remembered.image(actor.tenant, image_id)
        await self._require(actor, "image.read", image)
        return image

    async def page(self, actor: Actor, query: ImageQuery) -> Page:
        """A page of what the actor may see."""
        access.require(actor, "image.list")
        visible_to = actor.user if actor.role is Role.USER else None
        query = replace(query, visible_to=visible_to)
        if query.album is not None:
            async with self.catalog.tenant(actor.tenant) as records:
                album, now = await records.albums.get(query.album), self.clock()
                grants = () if visible_to is None else await records.albums.shares.grants(album.id)
                lent = sharing.lent_album(grants, actor.user, now)
                access.require(actor, "album.read", album, lent)
                lenders = sharing.lenders(album, grants, now)
                if lent is not None or len(lenders) > 1:
                    # Never out of the cache, since it depends on the time and on others' grants.
                    return await records.images.page(replace(query, lent_by=lenders))
        return await self.remembered.page(actor.tenant, query)

    async def with_bytes(self, actor: Actor, sha256: str) -> Page:
        """The actor's own image with exactly these bytes, if there is one that is neither trashed nor refused."""
        access.require(actor, "image.list")
        async with self.catalog.tenant(actor.tenant) as records:
            image = await records.images.by_sha256(sha256, actor.user)
        return Page((image,) if image else ())

    async def tags(self, actor: Actor, prefix: str, limit: int) -> Sequence[tuple[str, int]]:
        """Tags in use on the actor's own images, with counts; an admin's are those of the whole tenant."""
        access.require(actor, "image.list")
        owner = actor.user if actor.role is Role.USER else None
        async with self.catalog.tenant(actor.tenant) as records:
            return await records.images.tags(prefix.casefold(), limit, owner=owner)

    async def search(self, actor: Actor, query: SearchQuery) -> tuple[SearchResult, list[Image]]:
        """What matches, best first, with the records of those that are still there."""
        access.require(actor, "image.list")
        visible_to = actor.user if actor.role is Role.USER else None
        result = await self.search_index.search(actor.tenant, replace(query, visible_to=visible_to))
        async with self.catalog.tenant(actor.tenant) as records:
            images = await records.images.get_many([hit.image for hit in result.hits])
        # The index lags: what has been trashed or made private a moment ago is left out here.
        return result, [image for image in images if is_findable(image) and access.may(actor, "image.read", image)]

    async def settled(self, actor: Actor, image_id: ImageId, wait_s: float) -> Image:
        """The image when its developing has ended, or as it is after that many seconds, or at once when too many wait already."""
        with self.waiting.take(actor.tenant) as may_wait:
            return await self._settled(actor, image_id, wait_s if may_wait else 0.0)

    async def _settled(self, actor: Actor, image_id: ImageId, wait_s: float) -> Image:
        deadline = asyncio.get_running_loop().time() + wait_s
        async with self.bell.listen(image_id) as rung:
            while True:
                rung.clear()
                async with self.catalog.tenant(actor.tenant) as records:
                    image = await records.images.get(image_id)
                left = deadline - asyncio.get_running_loop().time()
                if image.status is not Status.DEVELOPING or left <= 0:
                    return image
                try:
                    async with asyncio.timeout(min(left, 1.0)):  # another process may have developed it: look now and then
                        await rung.wait()
                except TimeoutError:
                    continue

    async def edit(
        self, actor: Actor, image_id: ImageId, changes: Callable[[Image], dict[str, Any]], *, if_revision: int | None
    ) -> Image:
        """Change words, tags, visibility or custom values, to what `changes` says of the image as nobody else can change it meanwhile.

        Raises Missing, Forbidden, Stale, WrongState, BadField, and what `changes` raises.
        """
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            image = await self._mine(records, actor, "image.edit", image_id, if_revision)
            edited = image.edited(at=self.clock(), **changes(image))
            await records.images.save(edited)
            await records.emit(ImageEdited.of(edited))
            if edited.visibility.is_narrower_than(image.visibility):
                await records.emit(ImageNarrowed(edited.tenant, edited.id, edited.revision))
        self._tell(image_id)
        return edited

    async def trash(self, actor: Actor, image_id: ImageId, *, if_revision: int | None = None) -> Image:
        """Hide the image; its bytes stay for the tenant's days. Raises Missing, Forbidden, WrongState, Stale."""
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            image = await self._mine(records, actor, "image.trash", image_id, if_revision)
            trashed = image.trashed(at=self.clock())
            await records.images.save(trashed)
            await records.emit(ImageTrashed.of(trashed))
        self._tell(image_id)
        return trashed

    async def restore(self, actor: Actor, image_id: ImageId) -> Image:
        """Bring it back. Raises Missing, Forbidden, WrongState."""
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            image = await self._mine(records, actor, "image.trash", image_id, None)
            restored = image.restored(at=self.clock())
            await records.images.save(restored)
            await records.emit(ImageRestored.of(restored))
        self._tell(image_id)
        return restored

    async def purge(self, actor: Actor, image_id: ImageId) -> None:
        """Remove it for good, bytes and all. Raises Missing, Forbidden, WrongState unless it is in the trash."""
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            image = await self._mine(records, actor, "image.purge", image_id, None)
            if not image.is_trashed:
                raise WrongState("Only an image in the trash can be purged; delete it first.")
            await _purge(records, image)
        self._tell(image_id)

    def _tell(self, image_id: ImageId) -> None:
        self.bell.ring(image_id)
        self.relay.nudge()

    async def purge_expired(self) -> int:
        """Purge what has been in the trash for longer than its tenant's days; how many."""
        async with self.catalog.directory() as directory:
            tenants = await directory.tenants()
        purged = 0
        for tenant in tenants:
            before, count = self.clock() - timedelta(days=tenant.trash_days), 100
            with apart("purge_trash", tenant.id):
                while count == 100:
                    async with self.catalog.tenant(tenant.id, writes=True) as records:
                        expired = await records.images.trashed_before(before, limit=100)
                        for image in expired:
                            await _purge(records, image)
                    count = len(expired)
                    purged += count
        if purged:
            self.relay.nudge()
            log.info("trash.purged", count=purged)
        return purged

    async def version(self, actor: Actor, image_id: ImageId, number: int | None) -> tuple[Image, Version]:
        """A version of the original, the present one for None. Raises Missing, Forbidden, DamagedObject.

        Whom the original is lent to gets the present one only.
        """
        image, version = await self._version(actor, image_id, number)
        if image.is_damaged(version.number):
            raise DamagedObject
        return image, version

    async def _version(self, actor: Actor, image_id: ImageId, number: int | None) -> tuple[Image, Version]:
        image = await self.get(actor, image_id)
        await self._require(actor, "image.original", image)
        wanted = image.version if number is None else number
        if wanted != image.version:
            access.require(actor, "image.history", image)
        version = next((version for version in image.versions if version.number == wanted), None)
        if version is None or image.status is Status.REJECTED or image.is_trashed:
            raise Missing
        return image, version

    async def versions(self, actor: Actor, image_id: ImageId) -> Image:
        """The image, to whoever may see what it was before. Raises Missing, Forbidden."""
        image, _ = await self._version(actor, image_id, None)
        access.require(actor, "image.history", image)
        return image

    async def original(self, image: Image, version: Version, *, start: int, end: int) -> Opened:
        """The bytes [start, end) of a version, as they came in. Raises Missing."""
        key = image.key_of_version(version.number)
        try:
            return await self.originals.open(key, start=start, end=end)
        except Missing:
            # Restored a moment ago, and the flow has not taken the delete marker off yet.
            await self.originals.restore(key)
            return await self.originals.open(key, start=start, end=end)

    async def reindex(self, told: Callable[[int], None] = lambda _: None) -> int:
        """Build the search anew from the catalog beside the one in use, then switch; how many documents."""
        generation = await self.search_index.begin()
        count = 0
        async with self.catalog.directory() as directory:
            tenants = await directory.tenants()
        for tenant in tenants:
            with apart("reindex", tenant.id):
                async for images in self._walk(tenant.id):
                    documents = [document(image) for image in images if is_findable(image)]
                    await self.search_index.put(tenant.id, documents, generation=generation)
                    count += len(documents)
                    told(count)
        await self.search_index.publish(generation)
        log.info("search.reindexed", documents=count)
        return count

    async def _walk(self, tenant: TenantId) -> AsyncIterator[Sequence[Image]]:
        query = ImageQuery(sort=Sort.CREATED, limit=200, skips_damaged=True)
        while True:
            async with self.catalog.tenant(tenant) as records:
                page = await records.images.page(query)
            if page.damaged:
                log.error("search.not_indexed", tenant=tenant, images=page.damaged)
            yield page.images
            if page.next is None:
                return
            query = replace(query, cursor=page.next)

    async def _require(self, actor: Actor, permission: access.Permission, image: Image) -> None:
        """Return, or refuse; what others have lent is asked for only where it matters. Raises Missing, Forbidden."""
        lent = None
        if not access.may(actor, permission, image):
            async with self.catalog.tenant(actor.tenant) as records:
                lent = await lent_image(records, actor, image, self.clock())
        access.require(actor, permission, image, lent)

    async def _mine(
        self, records: Records, actor: Actor, permission: access.Permission, image_id: ImageId, if_revision: int | None
    ) -> Image:
        image = await records.images.get(image_id)
        access.require(actor, permission, image)
        if if_revision is not None and image.revision != if_revision:
            raise Stale
        return image


async def _purge(records: Records, image: Image) -> None:
    await records.images.remove(image.id)
    await records.emit(ImagePurged.of(replace(image, revision=image.revision + 1)))
