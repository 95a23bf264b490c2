"""Links to albums on the wire, and what they show."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from safelight.api.schemas.common import Instant, Out, Secretive
from safelight.api.schemas.images import RenditionOut
from safelight.domain.sharing import MAX_NOTE, Link, link_shows_original
from safelight.services.links import Opened
from safelight.services.signer import Signer


class LinkIn(Secretive):
    """A link to an album."""

    expires_at: Instant = Field(description="Within a year.")
    password: str = Field("", max_length=256, description="Asked for where there is one: 4 to 256 characters.")
    originals: bool = Field(False, description="The files as they came in, too, of the images that are the album's owner's.")
    note: str = Field("", max_length=MAX_NOTE, description="For you: whom it was given to, say.")


class LinkOut(Out):
    """A link to an album; `token` and `url` only in the answer that makes it."""

    id: str
    token: str | None = None
    url: str | None = Field(None, description="What to give away.")
    has_password: bool
    originals: bool
    note: str
    made_by: str
    created_at: datetime
    expires_at: datetime


def link_out(link: Link, token: str | None = None, base: str = "") -> LinkOut:
    """The link as the album's owner gets it."""
    return LinkOut(
        id=link.id,
        token=token,
        url=f"{base}/shared/{token}" if token else None,
        has_password=bool(link.password_hash),
        originals=link.has_originals,
        note=link.note,
        made_by=link.made_by,
        created_at=link.created_at,
        expires_at=link.expires_at,
    )


class PassIn(Secretive):
    """The password of a link."""

    password: str = Field(max_length=256)


class PassOut(Out):
    """Opens the link until then."""

    pass_: str = Field(alias="pass", description="To be brought as `Authorization: Bearer …`.")
    expires_at: datetime


class SharedImage(Out):
    """What a link tells of an image."""

    id: str
    title: str
    description: str
    width: int = Field(description="Pixels, orientation applied.")
    height: int = Field(description="Pixels, orientation applied.")
    thumbhash: str = Field(description="Placeholder, base 64.")
    dominant_color: str
    renditions: list[RenditionOut]
    original_url: str | None = Field(description="Null where the link does not give originals.")


class SharedOut(Out):
    """What a link shows: an album and a page of its images; `next` goes into `cursor`."""

    title: str
    description: str
    expires_at: datetime
    images: list[SharedImage]
    next: str | None


def shared_json(opened: Opened, signer: Signer, base: str, address: str) -> dict[str, Any]:
    """A SharedOut as plain values. `address` is the link's own."""
    return {
        "title": opened.album.title,
        "description": opened.album.description,
        "expires_at": opened.link.expires_at,
        "images": [
            {
                "id": image.id,
                "title": image.title,
                "description": image.description,
                "width": image.width,
                "height": image.height,
                "thumbhash": image.thumbhash,
                "dominant_color": image.dominant_color,
                "renditions": [
                    {
                        "preset": r.preset,
                        "format": r.format,
                        "type": r.media_type,
                        "width": r.width,
                        "height": r.height,
                        "bytes": r.size_bytes,
                        "url": signer.link(image, r, base),
                    }
                    for r in image.renditions
                ],
                "original_url": f"{address}/originals/{image.id}"
                if link_shows_original(opened.link, opened.album, image)
                else None,
            }
            for image in opened.page.images
        ],
        "next": opened.page.next.encode() if opened.page.next else None,
    }
