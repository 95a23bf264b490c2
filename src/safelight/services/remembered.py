"""Remembered: image records and pages of lists out of the cache, and what makes them be forgotten.

Only records are kept, never what somebody may do with them: whoever asks here decides on the record in hand. Reading inside a
transaction always reads the catalog. Forgetting is `Forgetting`'s, a catalog that tells the cache after each commit what the
transaction wrote, so that no service has to think of it; the relay tells it again, for a process that died in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from safelight.domain.accounts import Tenant
from safelight.domain.events import Event, ImageEvent
from safelight.domain.ids import ImageId, TenantId, UserId
from safelight.domain.images import Image, Status
from safelight.domain.queries import ImageQuery, Page
from safelight.domain.tenants import UNLIMITED, Quotas
from safelight.errors import Missing
from safelight.observability import Instruments
from safelight.ports.cache import Cache
from safelight.ports.catalog import (
    AccountRecords,
    AlbumRecords,
    Catalog,
    FactorRecords,
    ImageRecords,
    PeopleRecords,
    Records,
    RedevelopmentRecords,
    UploadRecords,
    WebhookRecords,
)
from safelight.ports.trail import TrailRecords
from safelight.services.around import Around
from safelight.services.wire import dumped, loaded, shape_of

MISSING_S: Final = 60.0
"""For which it is remembered that there is no such image: ids are ours, so nobody asks for one before it exists."""
_NOTHING: Final = b"-"
_RECORD: Final = shape_of(Image)
_PAGE: Final = shape_of(Page)
"""Part of the keys, since processes of two releases share the cache while one follows the other."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """Reads through the cache; without one, from the catalog."""

    catalog: Catalog
    cache: Cache | None
    instruments: Instruments
    record_s: float = 3600.0
    page_s: float = 300.0

    async def image(self, tenant: TenantId, image_id: ImageId) -> Image:
        """The tenant's image. Raises Missing."""
        if self.cache is None or not self.record_s:
            return await self._image(tenant, image_id)
        key, tags = f"{tenant}:image:{_RECORD}:{image_id}", (image_tag(image_id),)
        found = await self.cache.get(key, tags=tags)
        self._count("record", is_hit=found.value is not None)
        if found.value == _NOTHING:
            raise Missing
        if found.value is not None:
            return loaded(Image, found.value)
        try:
            image = await self._image(tenant, image_id)
        except Missing:
            await self.cache.put(key, _NOTHING, tags=tags, stamp=found.stamp, ttl_s=min(MISSING_S, self.record_s))
            raise
        # One that is being developed will be another in a moment, and who waits for that asks all the time.
        if image.status is Status.READY:
            await self.cache.put(key, dumped(image), tags=tags, stamp=found.stamp, ttl_s=self.record_s)
        return image

    async def tenant_of(self, image_id: ImageId) -> TenantId:
        """Whose image it is. Raises Missing."""
        if self.cache is None or not self.record_s:
            return await self._tenant_of(image_id)
        key, tags = f"tenant_of:{image_id}", (image_tag(image_id),)
        found = await self.cache.get(key, tags=tags)
        self._count("tenant", is_hit=found.value is not None)
        if found.value == _NOTHING:
            raise Missing
        if found.value is not None:
            return TenantId(found.value.decode())
        try:
            tenant = await self._tenant_of(image_id)
        except Missing:
            await self.cache.put(key, _NOTHING, tags=tags, stamp=found.stamp, ttl_s=min(MISSING_S, self.record_s))
            raise
        await self.cache.put(key, tenant.encode(), tags=tags, stamp=found.stamp, ttl_s=self.record_s)
        return tenant

    async def page(self, tenant: TenantId, query: ImageQuery) -> Page:
        """A page of the tenant's images; what the asker may see is part of the query."""
        if self.cache is None or not self.page_s:
            return await self._page(tenant, query)
        key = f"{tenant}:page:{_PAGE}:{hashlib.sha256(dumped(query)).hexdigest()}"
        tags = (images_tag(tenant),) if query.album is None else (images_tag(tenant), albums_tag(tenant))
        found = await self.cache.get(key, tags=tags)
        self._count("page", is_hit=found.value is not None)
        if found.value is not None:
            return loaded(Page, found.value)
        page = await self._page(tenant, query)
        await self.cache.put(key, dumped(page), tags=tags, stamp=found.stamp, ttl_s=self.page_s)
        return page

    async def forget(self, events: Sequence[Event]) -> None:
        """The images that these events were about have changed."""
        if self.cache is not None:
            images = [event for event in events if isinstance(event, ImageEvent)]
            tags = {tag for event in images for tag in (image_tag(event.image), images_tag(event.tenant))}
            await self.cache.forget(sorted(tags))

    def _count(self, what: str, *, is_hit: bool) -> None:
        self.instruments.cache_reads.labels(what, "hit" if is_hit else "miss").inc()

    async def _image(self, tenant: TenantId, image_id: ImageId) -> Image:
        async with self.catalog.tenant(tenant) as records:
            return await records.images.get(image_id)

    async def _tenant_of(self, image_id: ImageId) -> TenantId:
        async with self.catalog.directory() as directory:
            return await directory.tenant_of(image_id)

    async def _page(self, tenant: TenantId, query: ImageQuery) -> Page:
        async with self.catalog.tenant(tenant) as records:
            return await records.images.page(query)


def image_tag(image_id: ImageId) -> str:
    """Carried by whatever was made of this record alone."""
    return f"image:{image_id}"


def images_tag(tenant: TenantId) -> str:
    """Carried by every page of the tenant's images: any change of any of them may move it."""
    return f"{tenant}:images"


def albums_tag(tenant: TenantId) -> str:
    """Carried by every page of an album."""
    return f"{tenant}:albums"


@dataclass(frozen=True, slots=True)
class Forgetting(Around):
    """Keeps Catalog: the one inside, and a cache that is told after the commit what was written."""

    cache: Cache

    def tenant(self, tenant: TenantId, *, writes: bool = False) -> AbstractAsyncContextManager[Records]:
        """The block ends when the cache knows."""
        return self._noted(tenant) if writes else self.inner.tenant(tenant)

    @asynccontextmanager
    async def _noted(self, tenant: TenantId) -> AsyncIterator[Records]:
        written: set[str] = set()
        try:
            async with self.inner.tenant(tenant, writes=True) as records:
                yield _NotedRecords(records, written)
        finally:
            # After a failure too: a commit whose answer was lost may have happened.
            await self.cache.forget(sorted(written))


@dataclass(frozen=True, slots=True)
class _NotedRecords:
    """Keeps Records, and notes the tags of what is written."""

    inner: Records
    written: set[str]

    @property
    def tenant(self) -> Tenant:
        return self.inner.tenant

    @property
    def images(self) -> ImageRecords:
        return _NotedImages(self.inner.images, self.inner.tenant.id, self.written)

    @property
    def albums(self) -> AlbumRecords:
        # Whoever opens the albums in order to write has written, as far as pages of albums are concerned.
        self.written.add(albums_tag(self.inner.tenant.id))
        return self.inner.albums

    @property
    def accounts(self) -> AccountRecords:
        return self.inner.accounts

    @property
    def uploads(self) -> UploadRecords:
        return self.inner.uploads

    @property
    def people(self) -> PeopleRecords:
        return self.inner.people

    @property
    def factors(self) -> FactorRecords:
        return self.inner.factors

    @property
    def webhooks(self) -> WebhookRecords:
        return self.inner.webhooks

    @property
    def redevelopments(self) -> RedevelopmentRecords:
        return self.inner.redevelopments

    @property
    def trail(self) -> TrailRecords:
        return self.inner.trail

    async def emit(self, event: Event) -> None:
        await self.inner.emit(event)


@dataclass(frozen=True, slots=True)
class _NotedImages:
    """Keeps ImageRecords."""

    inner: ImageRecords
    tenant: TenantId
    written: set[str]

    async def add(self, image: Image, *, within: Quotas = UNLIMITED) -> None:
        self._note(image.id)
        await self.inner.add(image, within=within)

    async def save(self, image: Image, *, within: Quotas = UNLIMITED) -> None:
        self._note(image.id)
        await self.inner.save(image, within=within)

    async def remove(self, image_id: ImageId) -> None:
        self._note(image_id)
        await self.inner.remove(image_id)

    async def get(self, image_id: ImageId) -> Image:
        return await self.inner.get(image_id)

    async def get_many(self, image_ids: Sequence[ImageId]) -> list[Image]:
        return await self.inner.get_many(image_ids)

    async def page(self, query: ImageQuery) -> Page:
        return await self.inner.page(query)

    async def by_sha256(self, sha256: str, owner: UserId) -> Image | None:
        return await self.inner.by_sha256(sha256, owner)

    async def trashed_before(self, before: datetime, limit: int = 100) -> list[Image]:
        return await self.inner.trashed_before(before, limit)

    async def tags(self, prefix: str = "", limit: int = 100, *, owner: UserId | None = None) -> list[tuple[str, int]]:
        return await self.inner.tags(prefix, limit, owner=owner)

    def _note(self, image_id: ImageId) -> None:
        self.written.update((image_tag(image_id), images_tag(self.tenant)))
