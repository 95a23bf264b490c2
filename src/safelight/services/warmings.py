"""Warmings: renditions made before somebody asks for them, by a durable run that nobody waits for.

What is wanted and how far it has come is an object beside the renditions, written before the run is started, and anew after each page
of images. A page is a run of its own that starts the next one, so that the engine lets other work, and other tenants, in between. Each
rendition goes through delivery's own gate, behind everybody who asks for one, and counts as one of the tenant's transformations.
Whatever is interrupted is done again, and finds what has been made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
import structlog

from safelight.concurrency import beating
from safelight.domain import access
from safelight.domain.accounts import Actor
from safelight.domain.ids import AlbumId, ImageId, TenantId, WarmingId, is_id, new_id
from safelight.domain.images import Image, normal_tag
from safelight.domain.queries import Cursor
from safelight.domain.warmings import KEPT, Count, Warming, checked_transforms
from safelight.errors import BadField, BadOption, Busy, DamagedObject, Missing, QuotaExceeded, SafelightError, TenantSuspended
from safelight.ports.archive import Archive
from safelight.ports.catalog import Catalog
from safelight.ports.workflows import Workflows
from safelight.services.delivery import Delivery

log = structlog.get_logger()

FLOW: Final = "warm"
_FOLDER: Final = "warmings"
"""Apart from the tenant's images, so that no sweep takes it for one."""
_REST_S: Final = 1.0
"""Before another try, when so many ask for renditions that there is no room even for waiting."""


@dataclass(frozen=True, slots=True)
class Warmings:
    """Asked for by the API, done by the flow `warm`."""

    catalog: Catalog
    delivery: Delivery
    renditions: Archive
    workflows: Workflows
    clock: Callable[[], datetime]

    async def ask_image(self, actor: Actor, image_id: ImageId, transforms: Sequence[str]) -> Warming:
        """Make these of an image. Raises Missing, Forbidden, BadField, BadOption, PresetsOnly; then nothing has begun."""
        async with self.catalog.tenant(actor.tenant) as records:
            access.require(actor, "image.edit", await records.images.get(image_id))
        return await self._begin(actor, transforms, image=image_id)

    async def ask(self, actor: Actor, transforms: Sequence[str], *, album: AlbumId | None = None, tag: str = "") -> Warming:
        """Make these of the images in an album, with a tag, or both. Raises as `ask_image`."""
        access.require(actor, "warmings.manage")
        if album is None and not tag:
            raise BadField("Say which images: an album, a tag, or both.", field="filter")
        tag = normal_tag(tag) if tag else ""
        async with self.catalog.tenant(actor.tenant) as records:
            held = [(await records.albums.get(album)).image_count] if album is not None else []
            if tag:
                held.append(dict(await records.images.tags(tag, 1000)).get(tag, 0))
        return await self._begin(actor, transforms, album=album, tag=tag, images=min(held))

    async def get(self, actor: Actor, warming_id: str) -> Warming:
        """How far one has come, for who asked for it and for admins. Raises Missing."""
        if not is_id(warming_id):
            raise Missing
        warming = await self._read(actor.tenant, WarmingId(warming_id))
        if warming.user != actor.user and not access.may(actor, "warmings.manage"):
            raise access.Hidden
        return warming

    async def page(self, payload: Mapping[str, Any]) -> None:
        """The step: the page that the payload names, unless it is through, and a run for the next. Raises what is worth another try."""
        try:
            warming = await self._read(TenantId(payload["tenant"]), WarmingId(payload["warming"]))
        except Missing:
            return  # forgotten
        if warming.page == payload["page"]:  # and not done, with which there would be no page any more
            if warming.has_ended:
                await self._write(warming := warming.taken_up(at=self.clock()))
            async with beating():
                await self._write(warming := await self._worked(warming))
        if not warming.has_ended:
            await self._start(warming)

    async def give_up(self, payload: Mapping[str, Any], error: BaseException) -> None:
        """Its run has become a dead letter."""
        cause = f"{error.code}: {error.detail}" if isinstance(error, SafelightError) else "internal"
        try:
            warming = await self._read(TenantId(payload["tenant"]), WarmingId(payload["warming"]))
        except SafelightError:
            return
        await self._write(warming.gave_up(cause, Count(), at=self.clock()))

    async def sweep(self) -> int:
        """Forget those that nobody has written to for long; how many."""
        async with self.catalog.directory() as directory:
            tenants = await directory.tenants()
        swept = 0
        for tenant in tenants:
            after = ""
            while found := await self.renditions.scan(f"{_FOLDER}/{tenant.id}/", after=after):
                for stored in found:
                    if stored.modified_at < self.clock() - KEPT:
                        await self._drop(stored.key, keep=0)
                        swept += 1
                after = found[-1].key
        return swept

    async def drop_all(self, tenant: TenantId) -> None:
        """Forget the tenant's."""
        await self.renditions.purge(f"{_FOLDER}/{tenant}/")

    async def _begin(
        self,
        actor: Actor,
        transforms: Sequence[str],
        *,
        image: ImageId | None = None,
        album: AlbumId | None = None,
        tag: str = "",
        images: int = 1,
    ) -> Warming:
        wanted = checked_transforms(transforms)
        for text in wanted:
            try:
                await self.delivery.check(actor, text)
            except BadOption as error:
                raise BadOption(f"{text[:80]}: {error.detail}", **error.extra) from None
        now = self.clock()
        warming = Warming(
            id=WarmingId(new_id(now.timestamp())),
            tenant=actor.tenant,
            user=actor.user,
            transforms=wanted,
            image=image,
            album=album,
            tag=tag,
            images=images,
            created_at=now,
            updated_at=now,
        )
        await self._write(warming)
        await self._start(warming)
        return warming

    async def _start(self, warming: Warming) -> None:
        payload = {"tenant": warming.tenant, "warming": warming.id, "page": warming.page}
        await self.workflows.start(FLOW, f"{FLOW}:{warming.id}:{warming.page}", payload, party=warming.tenant)

    async def _worked(self, warming: Warming) -> Warming:
        count = Count()
        try:
            images, cursor = await self._images(warming)
            for image in images:
                for text in warming.transforms:
                    await self._one(image, text, count)
        except (QuotaExceeded, TenantSuspended, Missing) as error:  # for the rest of them, too
            return warming.gave_up(f"{error.code}: {error.detail}", count, at=self.clock())
        return warming.went(count, len(images), cursor, at=self.clock())

    async def _images(self, warming: Warming) -> tuple[Sequence[Image], Cursor | None]:
        async with self.catalog.tenant(warming.tenant) as records:
            if warming.image is not None:
                return await records.images.get_many([warming.image]), None
            if warming.album is not None:
                await records.albums.get(warming.album)
            page = await records.images.page(warming.query)
        return page.images, page.next

    async def _one(self, image: Image, text: str, count: Count) -> None:
        if image.is_trashed or not image.renditions:
            return
        while True:
            try:
                made = [await self.delivery.renditions.warm(each) for each in await self.delivery.ahead(image, text)]
            except Busy as error:
                await asyncio.sleep(float(error.extra.get("retry_after_s", _REST_S)))
                continue
            except (QuotaExceeded, TenantSuspended):
                raise
            except SafelightError as error:
                if error.is_transient:
                    raise
                count.failed += 1
                count.cause = f"{image.id}/{text}: {error.detail} [{error.code}]"
                return
            count.made += sum(made)
            count.present += len(made) - sum(made)
            return

    async def _read(self, tenant: TenantId, warming_id: WarmingId) -> Warming:
        try:
            return Warming.from_json(orjson.loads(await self.renditions.get(_key(tenant, warming_id))))
        except (DamagedObject, KeyError, TypeError, ValueError):
            raise Missing from None  # of a release before this one

    async def _write(self, warming: Warming) -> None:
        key = _key(warming.tenant, warming.id)
        await self.renditions.put(key, orjson.dumps(warming.to_json()), media_type="application/json")
        await self._drop(key, keep=1)

    async def _drop(self, key: str, *, keep: int) -> None:
        for stored in (await self.renditions.versions(key))[keep:]:
            await self.renditions.delete(key, version=stored.version)


def _key(tenant: TenantId, warming_id: WarmingId) -> str:
    return f"{_FOLDER}/{tenant}/{warming_id}"
