"""Albums: make, rename, order, choose a cover, add and remove."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from safelight.domain import access
from safelight.domain.accounts import Actor, Role, Tenant
from safelight.domain.albums import MAX_ALBUM_IMAGES, Album
from safelight.domain.events import AlbumCreated, AlbumDeleted, AlbumEdited, AlbumEvent
from safelight.domain.ids import AlbumId, ImageId, new_id
from safelight.domain.images import Image, Visibility
from safelight.domain.queries import MAX_LIMIT, ImageQuery, Sort
from safelight.domain.sharing import Grant, Lent
from safelight.errors import BadField, Missing, Stale
from safelight.ports.catalog import Catalog, Records
from safelight.services.lending import album_for
from safelight.services.relay import Relay


@dataclass(frozen=True, slots=True)
class Shown:
    """An album and those of its images that somebody may see; what its owner says of it is theirs only where it `is_whole`."""

    album: Album
    images: tuple[Image, ...]
    is_whole: bool
    house: Tenant


@dataclass(frozen=True, slots=True)
class Albums:
    """An album belongs to one user and holds what that user may see."""

    catalog: Catalog
    clock: Callable[[], datetime]
    relay: Relay

    async def create(self, actor: Actor, *, title: str, description: str = "") -> Album:
        """A new, empty album. Raises BadField."""
        access.require(actor, "album.create")
        now = self.clock()
        blank = Album(
            id=AlbumId(new_id(now.timestamp())),
            tenant=actor.tenant,
            owner=actor.user,
            title="",
            created_at=now,
            updated_at=now,
            revision=0,
        )
        album = blank.edited(at=now, title=title, description=description)
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            await records.albums.add(album)
            await self._tell(records, AlbumCreated, album.id)
        self.relay.nudge()
        return album

    async def get(self, actor: Actor, album_id: AlbumId) -> Album:
        """The album, one's own or lent. Raises Missing."""
        async with self.catalog.tenant(actor.tenant) as records:
            return await album_for(records, actor, "album.read", album_id, self.clock())

    async def shown(self, actor: Actor | None, album_id: AlbumId) -> Shown:
        """What somebody may see of an album, perhaps a stranger: its reader all that they may see, others its public images.

        Raises Missing, also where there is no public image: nobody learns which albums there are; and TenantSuspended.
        """
        async with self.catalog.directory() as directory:
            tenant = await directory.tenant_of(album_id)
        images: list[Image] = []
        async with self.catalog.tenant(tenant) as records:
            house = records.tenant
            house.require_active()
            album = await records.albums.get(album_id)
            reader = actor if actor is not None and access.may(actor, "album.read", album) else None
            reach = None if reader else Visibility.PUBLIC
            query = ImageQuery(album=album_id, visibility=reach, sort=Sort.POSITION, limit=MAX_LIMIT)
            while True:
                page = await records.images.page(query)
                images += [
                    image
                    for image in page.images
                    if image.renditions and (reader is None or access.may(reader, "image.read", image))
                ]
                if page.next is None:
                    break
                query = replace(query, cursor=page.next)
        if reader is None and not images:
            raise Missing
        return Shown(album, tuple(images), is_whole=reader is not None or len(images) == album.image_count, house=house)

    async def list(self, actor: Actor, *, after: AlbumId | None, limit: int) -> Sequence[Album]:
        """The actor's albums, newest first; all of the tenant's for an admin."""
        access.require(actor, "album.list")
        owner = actor.user if actor.role is Role.USER else None
        async with self.catalog.tenant(actor.tenant) as records:
            return await records.albums.page(owner, after=after, limit=limit)

    async def lent(self, actor: Actor, *, after: AlbumId | None, limit: int) -> Sequence[tuple[Album, Grant]]:
        """The albums of others that have been lent to the actor, newest first, with what they may do."""
        access.require(actor, "album.list")
        async with self.catalog.tenant(actor.tenant) as records:
            return await records.albums.shares.lent(actor.user, self.clock(), after=after, limit=limit)

    async def edit(self, actor: Actor, album_id: AlbumId, changes: dict[str, Any], *, if_revision: int | None) -> Album:
        """Rename, describe, or choose a cover among its images. Raises Missing, Stale, BadField."""
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            album = await self._mine(records, actor, "album.edit", album_id)
            if if_revision is not None and album.revision != if_revision:
                raise Stale
            cover = changes.get("cover")
            if cover is not None and album_id not in await records.albums.of_image(cover):
                raise BadField("The cover has to be an image of the album.", field="cover")
            edited = album.edited(at=self.clock(), **changes)
            await records.albums.save(edited)
            await self._tell(records, AlbumEdited, album_id)
        self.relay.nudge()
        return edited

    async def delete(self, actor: Actor, album_id: AlbumId) -> None:
        """Remove the album; its images stay. Raises Missing."""
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            await self._mine(records, actor, "album.delete", album_id)
            await records.albums.remove(album_id)
            await self._tell(records, AlbumDeleted, album_id)
        self.relay.nudge()

    async def add(self, actor: Actor, album_id: AlbumId, image_ids: Sequence[ImageId], *, before: ImageId | None) -> Album:
        """Add images, or move those that are in it, before that one or to the end. Raises Missing, BadField when it is full.

        Who has been lent the album adds their own. What others have lent to the actor is not theirs to hand on.
        """
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            album = await album_for(records, actor, "album.contribute", album_id, self.clock())
            wanted: access.Permission = "image.read" if access.may(actor, "album.edit", album) else "image.lend"
            images = await records.images.get_many(image_ids)
            if len(images) != len(set(image_ids)) or not all(access.may(actor, wanted, image) for image in images):
                raise Missing("One of the images is not there.")
            # Whoever may edit the album adds to it on its owner's behalf.
            lent_by = {actor.user, album.owner} if wanted == "image.read" else {actor.user}
            await records.albums.insert(album_id, image_ids, before=before, lent_by=lent_by)
            await self._tell(records, AlbumEdited, album_id)
            album = await records.albums.get(album_id)
            # Counted when they are in, and undone by raising: those that are only moved take no more room.
            if album.image_count > MAX_ALBUM_IMAGES:
                raise BadField(f"An album has at most {MAX_ALBUM_IMAGES} images.", field="images")
        self.relay.nudge()
        return album

    async def remove(self, actor: Actor, album_id: AlbumId, image_ids: Sequence[ImageId]) -> Album:
        """Take images out; they stay in the library. Raises Missing for the album only, Forbidden for others' in a lent one."""
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            album = await album_for(records, actor, "album.contribute", album_id, self.clock())
            if not access.may(actor, "album.edit", album):
                for image in await records.images.get_many(image_ids):
                    access.require(actor, "image.lend", image, Lent())
            if await records.albums.drop(album_id, image_ids):
                await self._tell(records, AlbumEdited, album_id)
            album = await records.albums.get(album_id)
        self.relay.nudge()
        return album

    async def _mine(self, records: Records, actor: Actor, permission: access.Permission, album_id: AlbumId) -> Album:
        album = await records.albums.get(album_id)
        access.require(actor, permission, album)
        return album

    async def _tell(self, records: Records, event: type[AlbumEvent], album_id: AlbumId) -> None:
        await records.emit(event(records.tenant.id, album_id, new_id(self.clock().timestamp())))
