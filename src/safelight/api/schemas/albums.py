"""Albums on the wire."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from safelight.api.schemas.common import In, Out
from safelight.domain.albums import Album


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


def album_out(album: Album) -> AlbumOut:
    """The album as its owner gets it."""
    return AlbumOut(
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
    cover: str | None = None


class AlbumImages(In):
    """Images to add or move: to the end, or before another one."""

    images: list[str] = Field(min_length=1, max_length=500)
    before: str | None = None
