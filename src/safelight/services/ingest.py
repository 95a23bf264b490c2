"""Taking pictures in: probe, keep, tell. Multipart ends here, and so does every other way in; `uploads` has those by the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog

from safelight.concurrency import AtHand, Bell
from safelight.domain import access
from safelight.domain.accounts import Actor, DuplicatePolicy
from safelight.domain.events import AlbumEdited, ImageAccepted, ImagePurged, ImageReplaced
from safelight.domain.ids import AlbumId, ImageId, TenantId, UserId, new_id
from safelight.domain.images import Image, Status, Version, Visibility, checked, normal_file_name
from safelight.domain.tenants import Quotas
from safelight.errors import (
    AlreadyExists,
    Busy,
    DamagedObject,
    Duplicate,
    Missing,
    SafelightError,
    Stale,
    Unavailable,
    WrongState,
    by_code,
)
from safelight.imaging import Header, Sandbox
from safelight.ports.catalog import Catalog, Records
from safelight.ports.storage import Storage
from safelight.services.lending import album_for
from safelight.services.meter import Meter
from safelight.services.recipes import held_for
from safelight.services.relay import Relay
from safelight.services.spool import chunks_of
from safelight.services.standing import Standing

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A file that has arrived whole on this machine: an open descriptor, what it holds, and what its owner says of it."""

    fd: int
    size_bytes: int
    sha256: str
    file_name: str = ""
    title: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    album: AlbumId | None = None
    visibility: Visibility = Visibility.PRIVATE
    custom: Mapping[str, Any] = field(default_factory=dict)
    is_urgent: bool = True
    """Somebody waits until it is developed."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Its bytes in order."""
        return chunks_of(self.fd)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The image as it was recorded, and the one that already had these bytes."""

    image: Image
    duplicate_of: ImageId | None = None
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class Ingest:
    """From bytes to a record whose developing is certain."""

    catalog: Catalog
    originals: Storage
    sandbox: Sandbox
    relay: Relay
    clock: Callable[[], datetime]
    bell: Bell[ImageId]
    standing: Standing
    meter: Meter
    at_hand: AtHand[str]
    """Uploads by the key of their original, for as long as their clients wait."""

    async def accept(self, actor: Actor, arrival: Arrival) -> Accepted:
        """Record the image and have it developed. Nothing stays behind when it is refused.

        Raises Unsupported, TooLarge, Unprocessable for the file, BadField for the words, Duplicate by the tenant's policy,
        QuotaExceeded, TenantSuspended, Missing for the album.
        """
        access.require(actor, "image.create")
        if arrival.album is not None:
            async with self.catalog.tenant(actor.tenant) as records:
                await album_for(records, actor, "album.contribute", arrival.album, self.clock())

        return await self.admit(actor.tenant, actor.user, arrival)

    async def admit(
        self,
        tenant: TenantId,
        owner: UserId,
        arrival: Arrival,
        *,
        keep: Callable[[Image], Awaitable[bool]] | None = None,
        beside: Callable[[Records, Accepted], Awaitable[None]] | None = None,
    ) -> Accepted:
        """The same for a file whose owner has been asked before: every way in ends here.

        `keep` has the bytes put where the image says, or says that they have to be put from here; `beside` writes in the transaction that records it, and undoes it by raising.
        """
        words = checked({"title": arrival.title, "description": arrival.description, "tags": arrival.tags})
        header = await self.sandbox.probe(arrival.fd)
        async with self.catalog.tenant(tenant) as records:
            records.tenant.require_active()
            twin = await records.images.by_sha256(arrival.sha256, owner)
            house = records.tenant
        policy, quotas = house.duplicates, self.standing.quotas(house)
        recipe = house.recipes.held([arrival.album] if arrival.album else [], words["tags"])
        image = self._recorded(tenant, owner, arrival, header, words | {"recipe": recipe})
        accepted = _unless_twin(Accepted(image), twin, policy)
        if not accepted.is_new:
            if beside is not None:
                async with self.catalog.tenant(tenant, writes=True) as records:
                    await beside(records, accepted)
            return accepted

        # Asked again with the row; asked here so that bytes which cannot stay are not stored at all.
        self.standing.room_of(house, arrival.size_bytes)
        if keep is None or not await keep(image):
            await self.originals.put(image.original_key, arrival.chunks(), media_type=image.media_type, if_absent=True)
        try:
            accepted = await _overtaken_once(lambda: self._record(accepted, arrival, policy, quotas, beside))
        except SafelightError as error:
            # Who does not answer may have committed all the same: those bytes are left to the sweep, which asks the catalog.
            if not isinstance(error, Unavailable):
                await asyncio.shield(self.originals.purge(image.prefix))
            raise
        if not accepted.is_new:
            await asyncio.shield(self.originals.purge(image.prefix))
            return accepted
        self.relay.nudge()
        self.meter.uploaded(tenant, image.size_bytes)
        log.info("image.accepted", image_id=image.id, size_bytes=image.size_bytes, media_type=image.media_type)
        return accepted

    async def _record(
        self,
        accepted: Accepted,
        arrival: Arrival,
        policy: DuplicatePolicy,
        quotas: Quotas,
        beside: Callable[[Records, Accepted], Awaitable[None]] | None,
    ) -> Accepted:
        """In one transaction: the row, its place in an album, its events. Raises Busy when somebody has just added the same bytes."""
        image = accepted.image
        async with self.catalog.tenant(image.tenant, writes=True) as records:
            records.tenant.require_active()
            if policy is not DuplicatePolicy.TELL:
                # Asked again where it is recorded: of two who send the same bytes at once, one learns of the other here.
                accepted = _unless_twin(accepted, await records.images.by_sha256(arrival.sha256, image.owner), policy)
            if accepted.is_new:
                await records.images.add(image, within=quotas)
                if arrival.album is not None:
                    await records.albums.insert(arrival.album, [image.id], lent_by=[image.owner])
                    await records.emit(AlbumEdited(image.tenant, arrival.album, image.id))
                await records.emit(replace(ImageAccepted.of(image), is_urgent=arrival.is_urgent))
            if beside is not None:
                await beside(records, accepted)
        return accepted

    def _recorded(self, tenant: TenantId, owner: UserId, arrival: Arrival, header: Header, words: dict[str, Any]) -> Image:
        now = self.clock()
        return Image(
            id=ImageId(new_id(now.timestamp())),
            tenant=tenant,
            owner=owner,
            created_at=now,
            updated_at=now,
            visibility=arrival.visibility,
            file_name=normal_file_name(arrival.file_name),
            custom=arrival.custom,
            media_type=header.format.media_type,
            size_bytes=arrival.size_bytes,
            sha256=arrival.sha256,
            width=header.width,
            height=header.height,
            frames=header.frames,
            **words,
        )

    async def replace(self, actor: Actor, image_id: ImageId, arrival: Arrival, *, if_revision: int | None) -> Image:
        """Give the image other bytes: its next version, developed while the old one is still delivered.

        Raises what `accept` raises for the file, and Missing, Forbidden, Stale, WrongState.
        """
        header = await self.sandbox.probe(arrival.fd)
        image, number = await self._replaceable(actor, image_id, if_revision, arrival.size_bytes)
        version = Version(
            number=number,
            sha256=arrival.sha256,
            size_bytes=arrival.size_bytes,
            media_type=header.format.media_type,
            width=header.width,
            height=header.height,
            frames=header.frames,
            file_name=normal_file_name(arrival.file_name) or image.file_name,
            created_at=self.clock(),
        )
        return await self._next(image, version, arrival.chunks())

    async def restore_version(self, actor: Actor, image_id: ImageId, number: int) -> Image:
        """Make an earlier version's bytes the next version. Raises Missing, Forbidden, WrongState, QuotaExceeded, DamagedObject."""
        image, next_number = await self._replaceable(actor, image_id, None, 0)
        earlier = next((version for version in image.earlier if version.number == number), None)
        if earlier is None:
            raise Missing
        version = replace(earlier, number=next_number, created_at=self.clock())
        opened = await self.originals.open(image.key_of_version(number))
        return await self._next(image, version, opened.chunks)

    async def _replaceable(self, actor: Actor, image_id: ImageId, if_revision: int | None, size_bytes: int) -> tuple[Image, int]:
        """The image, and the number of its next version."""
        async with self.catalog.tenant(actor.tenant) as records:
            image, house = await records.images.get(image_id), records.tenant
        access.require(actor, "image.edit", image)
        if if_revision is not None and image.revision != if_revision:
            raise Stale
        # Asked again under the lock; asked here so that bytes which cannot stay are not stored at all.
        image.replaced(replace(image.present, number=image.highest_version + 1), at=self.clock())
        self.standing.room_of(house, size_bytes, images=0)
        number = image.highest_version + 1
        while await self._is_taken(image.key_of_version(number)):
            number += 1
        return image, number

    async def _is_taken(self, key: str) -> bool:
        """By a replacement that is under way, or that a crash has cut off: its bytes stay until they are reconciled."""
        try:
            await self.originals.stat(key)
        except Missing:
            return False
        return True

    async def _next(self, image: Image, version: Version, chunks: AsyncIterator[bytes]) -> Image:
        key = image.key_of_version(version.number)
        try:
            stored = await self.originals.put(key, chunks, media_type=version.media_type, if_absent=True)
        except AlreadyExists:
            raise WrongState("The image has been replaced in the meantime.") from None
        try:
            if stored.etag != version.sha256:
                raise DamagedObject
            async with self.catalog.tenant(image.tenant, writes=True) as records:
                current = await records.images.get(image.id)
                if current.highest_version != image.highest_version:
                    raise WrongState("The image has been replaced in the meantime.")
                recipe = await held_for(records, current)
                replaced = current.replaced(version, at=self.clock(), recipe=recipe)
                await records.images.save(replaced, within=self.standing.quotas(records.tenant))
                await records.emit(ImageReplaced.of(replaced))
        except SafelightError as error:
            # As in `admit`: who does not answer may have committed all the same, and so may who was cancelled at the commit.
            if not isinstance(error, Unavailable):
                await asyncio.shield(self.originals.purge(key.removesuffix("original")))
            raise
        self.bell.ring(image.id)
        self.relay.nudge()
        self.meter.uploaded(image.tenant, version.size_bytes)
        log.info("image.replaced", image_id=image.id, version=version.number, size_bytes=version.size_bytes)
        return replaced

    async def outcome(self, image: Image) -> Image:
        """The image. A rejected one is removed and its reason raised, as if it had been refused at the door."""
        if image.status is not Status.REJECTED or image.problem is None:
            return image
        try:
            async with self.catalog.tenant(image.tenant, writes=True) as records:
                await records.images.remove(image.id)
                await records.emit(ImagePurged.of(image))
        except Missing:
            log.info("image.already_removed", image_id=image.id)
        await self.originals.purge(image.prefix)
        self.relay.nudge()
        raise by_code(image.problem.code, image.problem.detail)


async def _overtaken_once(record: Callable[[], Awaitable[Accepted]]) -> Accepted:
    """Once more where a catalog without a tenant's lock has found at its commit that others were faster: now their image is seen."""
    try:
        return await record()
    except Busy:
        return await record()


def _unless_twin(accepted: Accepted, twin: Image | None, policy: DuplicatePolicy) -> Accepted:
    """What the tenant's policy makes of bytes that are there already. Raises Duplicate."""
    if twin is None:
        return accepted
    if policy is DuplicatePolicy.REFUSE:
        raise Duplicate(duplicate_of=twin.id)
    if policy is DuplicatePolicy.REUSE:
        return Accepted(twin, twin.id, is_new=False)
    return replace(accepted, duplicate_of=twin.id)
