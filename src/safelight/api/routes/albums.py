"""/albums: make, rename, choose a cover, order, add and remove. The images of one are listed by `GET /images?album=`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from safelight.api.auth import Asking, Hall
from safelight.api.conditions import IfMatch, album_id, base_url, image_id, link_id, user_id
from safelight.api.refusals import refuses
from safelight.api.routes.room import room
from safelight.api.schemas.albums import (
    AlbumGrantIn,
    AlbumGrantOut,
    AlbumImages,
    AlbumIn,
    AlbumOut,
    AlbumPage,
    AlbumPatch,
    album_out,
    grant_out,
)
from safelight.api.schemas.common import Id
from safelight.api.schemas.sharing import LinkIn, LinkOut, link_out
from safelight.errors import Busy, WrongState

router = room("albums", "/albums")


@router.post("", status_code=201, response_model=AlbumOut)
async def create(response: Response, hall: Hall, actor: Asking, body: AlbumIn) -> AlbumOut:
    """A new, empty album."""
    album = album_out(await hall.albums.create(actor, title=body.title, description=body.description))
    response.headers["location"] = f"/albums/{album.id}"
    response.headers["etag"] = album.etag
    return album


@router.get("", response_model=AlbumPage, name="list")
async def list_albums(
    hall: Hall,
    actor: Asking,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    shared: Annotated[bool, Query(description="Those that others have lent to you, instead of yours.")] = False,
) -> AlbumPage:
    """Your albums, newest first; or with `shared` those that others have lent to you."""
    after = album_id(cursor) if cursor else None
    if shared:
        albums = [album_out(album, grant) for album, grant in await hall.albums.lent(actor, after=after, limit=limit)]
    else:
        albums = [album_out(album) for album in await hall.albums.list(actor, after=after, limit=limit)]
    return AlbumPage(albums=albums, next=albums[-1].id if len(albums) == limit else None)


@router.get("/{id}", response_model=AlbumOut)
async def get(response: Response, hall: Hall, actor: Asking, id: Id) -> AlbumOut:
    """One album."""
    album = album_out(await hall.albums.get(actor, album_id(id)))
    response.headers["etag"] = album.etag
    return album


@router.patch("/{id}", response_model=AlbumOut)
async def patch(response: Response, hall: Hall, actor: Asking, id: Id, revision: IfMatch, body: AlbumPatch) -> AlbumOut:
    """Rename it, describe it, choose its cover; a merge patch, under If-Match if you like."""
    given = body.model_dump(exclude_unset=True)
    changes = {name: ("" if value is None and name != "cover" else value) for name, value in given.items()}
    if changes.get("cover") is not None:
        changes["cover"] = image_id(changes["cover"])
    album = album_out(await hall.albums.edit(actor, album_id(id), changes, if_revision=revision))
    response.headers["etag"] = album.etag
    return album


@router.delete("/{id}", status_code=204)
async def delete(hall: Hall, actor: Asking, id: Id) -> Response:
    """Remove the album; its images stay."""
    await hall.albums.delete(actor, album_id(id))
    return Response(status_code=204)


@router.post("/{id}/images", response_model=AlbumOut)
@refuses(WrongState)
async def add(hall: Hall, actor: Asking, id: Id, body: AlbumImages) -> AlbumOut:
    """Add images, or move those that are in it: to the end, or before another one."""
    images = [image_id(each) for each in body.images]
    before = image_id(body.before) if body.before else None
    return album_out(await hall.albums.add(actor, album_id(id), images, before=before))


@router.delete("/{id}/images/{image}", response_model=AlbumOut)
async def remove(hall: Hall, actor: Asking, id: Id, image: Id) -> AlbumOut:
    """Take an image out; it stays in the library."""
    return album_out(await hall.albums.remove(actor, album_id(id), [image_id(image)]))


@router.get("/{id}/grants", response_model=list[AlbumGrantOut])
async def grants(hall: Hall, actor: Asking, id: Id) -> list[AlbumGrantOut]:
    """Whom the album is lent to, oldest first, also those whose time is over."""
    return [grant_out(grant) for grant in await hall.sharing.grants(actor, album_id(id))]


@router.put("/{id}/grants/{user}", response_model=AlbumGrantOut)
@refuses(WrongState)
async def share(hall: Hall, actor: Asking, id: Id, user: Id, body: AlbumGrantIn) -> AlbumGrantOut:
    """Let a user of your tenant see the album, or put images of theirs into it; in the place of what they had of it."""
    grant = await hall.sharing.grant(
        actor, album_id(id), user_id(user), level=body.level, has_originals=body.originals, expires_at=body.expires_at
    )
    return grant_out(grant)


@router.delete("/{id}/grants/{user}", status_code=204)
async def unshare(hall: Hall, actor: Asking, id: Id, user: Id) -> Response:
    """Take it back, from the next request on; a user may give up their own."""
    await hall.sharing.revoke(actor, album_id(id), user_id(user))
    return Response(status_code=204)


@router.get("/{id}/links", response_model=list[LinkOut])
async def links(hall: Hall, actor: Asking, id: Id) -> list[LinkOut]:
    """The album's links, newest first, without their tokens; ended ones until another is made."""
    return [link_out(link) for link in await hall.links.all(actor, album_id(id))]


@router.post("/{id}/links", status_code=201, response_model=LinkOut)
@refuses(Busy, WrongState)
async def add_link(request: Request, response: Response, hall: Hall, actor: Asking, id: Id, body: LinkIn) -> LinkOut:
    """Show the album to whoever has a link, until a time and perhaps behind a password; the token is in this answer and never again."""
    response.headers["cache-control"] = "no-store"
    token, link = await hall.links.add(
        actor,
        album_id(id),
        expires_at=body.expires_at,
        password=body.password,
        has_originals=body.originals,
        note=body.note,
    )
    return link_out(link, token, base_url(request))


@router.delete("/{id}/links/{link}", status_code=204)
async def remove_link(hall: Hall, actor: Asking, id: Id, link: Id) -> Response:
    """Let a link lead nowhere, from the next request on."""
    await hall.links.remove(actor, album_id(id), link_id(link))
    return Response(status_code=204)
