"""Albums on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from safelight.api.schemas.common import Id, In, Instant, Out
from safelight.domain.albums import Album
from safelight.domain.sharing import Grant, Level


class AlbumGrantIn(In):
    """What a user may do with the album."""

    level: Level = Level.VIEW
    originals: bool = Field(False, description="The files as they came in, too, of the images that are the album's owner's.")
    expires_at: Instant | None = None


class Lent(Out):
    """What you may do with somebody else's album."""

    level: Level
    originals: bool
    expires_at: datetime | None


class AlbumGrantOut(Lent):
    """What a user may do with an album."""

    user: str
    created_at: datetime


def grant_out(grant: Grant) -> AlbumGrantOut:
    """The grant as the album's owner gets it."""
    return AlbumGrantOut(user=grant.user, created_at=grant.created_at, **_terms(grant))


def _terms(grant: Grant) -> dict[str, Any]:
    return {"level": grant.level, "originals": grant.has_originals, "expires_at": grant.expires_at}


class AlbumOut(Out):
    """An album; its images are listed by `GET /images?album=`."""

    id: str
    owner: str
    title: str
    description: str
    cover: str | None
    image_count: int
    created_at: datetime
    updated_at: datetime
    etag: str
    lent: Lent | None = Field(None, description="What you may do with it; only in `GET /albums?shared=true`.")


def album_out(album: Album, grant: Grant | None = None) -> AlbumOut:
    """The album as its owner gets it, or whoever has been lent it."""
    return AlbumOut(
        lent=None if grant is None else Lent(**_terms(grant)),
        id=album.id,
        owner=album.owner,
        title=album.title,
        description=album.description,
        cover=album.cover,
        image_count=album.image_count,
        created_at=album.created_at,
        updated_at=album.updated_at,
        etag=f'"{album.revision}"',
    )


class AlbumPage(Out):
    """Albums, newest first."""

    albums: list[AlbumOut]
    next: str | None


class AlbumIn(In):
    """A new album."""

    title: str
    description: str = ""


class AlbumPatch(In):
    """RFC 7396 merge patch of an album."""

    title: str | None = None
    description: str | None = None
    cover: Id | None = None


class AlbumImages(In):
    """Images to add or move: to the end, or before another one."""

    images: list[Id] = Field(min_length=1, max_length=500)
    before: Id | None = None
