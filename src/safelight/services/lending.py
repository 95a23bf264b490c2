"""Lending at work: looks up what others have lent to an actor, for services that ask `access`. In the caller's transaction."""

from __future__ import annotations

from datetime import datetime

from safelight.domain import access, sharing
from safelight.domain.accounts import Actor, Role
from safelight.domain.albums import Album
from safelight.domain.ids import AlbumId, UserId
from safelight.domain.images import Image
from safelight.domain.sharing import Lent
from safelight.ports.catalog import Records


async def album_for(records: Records, actor: Actor, permission: access.Permission, album_id: AlbumId, now: datetime) -> Album:
    """The album, which the actor owns or has been lent so that they may do this. Raises Missing, Forbidden."""
    album = await records.albums.get(album_id)
    lent = None
    if not access.may(actor, permission, album):
        lent = sharing.lent_album(await records.albums.shares.grants(album_id), actor.user, now)
    access.require(actor, permission, album, lent)
    return album


async def lent_image(records: Records, actor: Actor, image: Image, now: datetime) -> Lent | None:
    """What albums let the actor do with an image of somebody else."""
    return sharing.lent_image(image, await records.albums.shares.loans(image, actor.user), now)


async def takes_from(records: Records, user: UserId, album: Album, now: datetime) -> bool:
    """Whether the album takes images of this user now, who is not here to be asked."""
    if album.owner == user:
        return True
    lent = sharing.lent_album(await records.albums.shares.grants(album.id), user, now)
    if lent is not None and lent.may_contribute:
        return True
    return any(one.id == user and one.role is not Role.USER for one in await records.accounts.users())
