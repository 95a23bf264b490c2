"""/albums: make, rename, choose a cover, order, add and remove. The images of one are listed by `GET /images?album=`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from safelight.api.auth import Asking, Hall
from safelight.api.conditions import album_id, if_match, image_id
from safelight.api.schemas.albums import AlbumImages, AlbumIn, AlbumOut, AlbumPage, AlbumPatch, album_out

router = APIRouter(prefix="/albums", tags=["albums"])


@router.post("", status_code=201, response_model=AlbumOut)
async def create(response: Response, hall: Hall, actor: Asking, body: AlbumIn) -> AlbumOut:
    """A new, empty album."""
    album = album_out(await hall.albums.create(actor, title=body.title, description=body.description))
    response.headers["location"] = f"/albums/{album.id}"
    response.headers["etag"] = album.etag
    return album


@router.get("", response_model=AlbumPage)
async def list_albums(
    hall: Hall, actor: Asking, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> AlbumPage:
    """Your albums, newest first."""
    after = album_id(cursor) if cursor else None
    albums = [album_out(album) for album in await hall.albums.list(actor, after=after, limit=limit)]
    return AlbumPage(albums=albums, next=albums[-1].id if len(albums) == limit else None)


@router.get("/{id}", response_model=AlbumOut)
async def get(response: Response, hall: Hall, actor: Asking, id: str) -> AlbumOut:
    """One album."""
    album = album_out(await hall.albums.get(actor, album_id(id)))
    response.headers["etag"] = album.etag
    return album


@router.patch("/{id}", response_model=AlbumOut)
async def patch(request: Request, response: Response, hall: Hall, actor: Asking, id: str, body: AlbumPatch) -> AlbumOut:
    """Rename it, describe it, choose its cover; a merge patch, under If-Match if you like."""
    given = body.model_dump(exclude_unset=True)
    changes = {name: ("" if value is None and name != "cover" else value) for name, value in given.items()}
    if changes.get("cover") is not None:
        changes["cover"] = image_id(changes["cover"])
    album = album_out(await hall.albums.edit(actor, album_id(id), changes, if_revision=if_match(request)))
    response.headers["etag"] = album.etag
    return album


@router.delete("/{id}", status_code=204)
async def delete(hall: Hall, actor: Asking, id: str) -> Response:
    """Remove the album; its images stay."""
    await hall.albums.delete(actor, album_id(id))
    return Response(status_code=204)


@router.post("/{id}/images", response_model=AlbumOut)
async def add(hall: Hall, actor: Asking, id: str, body: AlbumImages) -> AlbumOut:
    """Add images, or move those that are in it: to the end, or before another one."""
    images = [image_id(each) for each in body.images]
    before = image_id(body.before) if body.before else None
    return album_out(await hall.albums.add(actor, album_id(id), images, before=before))


@router.delete("/{id}/images/{image}", response_model=AlbumOut)
async def remove(hall: Hall, actor: Asking, id: str, image: str) -> AlbumOut:
    """Take an image out; it stays in the library."""
    return album_out(await hall.albums.remove(actor, album_id(id), [image_id(image)]))
