"""Sharing: whom the owner of an album lets see it, or put images into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from safelight.domain import access
from safelight.domain.accounts import Actor
from safelight.domain.ids import AlbumId, UserId
from safelight.domain.sharing import MAX_GRANTS, Grant, Level, checked_end
from safelight.errors import BadField, WrongState
from safelight.ports.catalog import Catalog
from safelight.services.lending import album_for

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sharing:
    """Grants are read with every use, so one that is changed or taken back holds from the next request on, everywhere."""

    catalog: Catalog
    clock: Callable[[], datetime]

    async def grant(
        self,
        actor: Actor,
        album_id: AlbumId,
        user: UserId,
        *,
        level: Level,
        has_originals: bool = False,
        expires_at: datetime | None = None,
    ) -> Grant:
        """Lend the album to a user of the tenant, in the place of what they had of it.

        Raises Missing for album or user, Forbidden, BadField, WrongState when there are too many.
        """
        now = self.clock()
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            album = await album_for(records, actor, "album.share", album_id, now)
            checked_end(expires_at, now)
            if user == album.owner:
                raise BadField("The album is theirs already.", field="user")
            others = [grant for grant in await records.albums.shares.grants(album_id) if grant.user != user]
            for over in [grant for grant in others if not grant.is_live(now)]:
                await records.albums.shares.drop_grant(album_id, over.user)
                others.remove(over)
            if len(others) >= MAX_GRANTS:
                raise WrongState(f"An album is lent to {MAX_GRANTS} users at most.")
            grant = Grant(
                tenant=actor.tenant,
                album=album_id,
                user=user,
                level=level,
                has_originals=has_originals,
                created_at=now,
                expires_at=expires_at,
            )
            await records.albums.shares.put_grant(grant)
        log.info("album.shared", album=album_id, user=user, level=level.value)
        return grant

    async def grants(self, actor: Actor, album_id: AlbumId) -> Sequence[Grant]:
        """Whom the album is lent to, oldest first. Raises Missing, Forbidden."""
        async with self.catalog.tenant(actor.tenant) as records:
            await album_for(records, actor, "album.share", album_id, self.clock())
            return await records.albums.shares.grants(album_id)

    async def revoke(self, actor: Actor, album_id: AlbumId, user: UserId) -> None:
        """Take it back; whoever it is lent to may give it up as well. Raises Missing, Forbidden."""
        permission: access.Permission = "album.read" if user == actor.user else "album.share"
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            await album_for(records, actor, permission, album_id, self.clock())
            await records.albums.shares.drop_grant(album_id, user)
        log.info("album.unshared", album=album_id, user=user)
