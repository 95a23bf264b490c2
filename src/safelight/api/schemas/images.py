"""Images on the wire: records, versions, pages, results of a search, addresses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from safelight.api.schemas.common import FocalPoint, In, Out
from safelight.domain.accounts import Grammar
from safelight.domain.images import MAX_DESCRIPTION, MAX_TITLE, Image, Status, Version, Visibility
from safelight.domain.queries import SearchResult
from safelight.services.signer import Signer


class RenditionOut(Out):
    """One developed file and where it is delivered."""

    preset: str
    format: str
    type: str = Field(description="Media type.")
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    bytes: int
    url: str = Field(description="Ready to use; for a private image signed, and good for an hour at least.")


class ImageProblem(Out):
    """Why developing ended badly."""

    code: str
    detail: str


class ImageOut(Out):
    """One image: what its owner said, what the file says, what was made of it and where it is delivered."""

    id: str
    owner: str
    status: Status
    visibility: Visibility
    version: int = Field(description="Counts the bytes; 1 until they are replaced.")
    title: str
    description: str
    tags: list[str]
    custom: dict[str, Any]
    file_name: str
    type: str = Field(description="Media type of the original.")
    bytes: int
    sha256: str
    width: int = Field(description="Pixels, orientation applied.")
    height: int = Field(description="Pixels, orientation applied.")
    frames: int
    focal_point: FocalPoint | None = Field(description="What `gravity=focal` keeps inside.")
    taken_at: datetime | None
    camera: str
    place: str
    thumbhash: str = Field(description="Placeholder, base 64.")
    dominant_color: str
    phash: str = Field(description="Perceptual hash, 16 hex digits.")
    metadata: dict[str, Any] = Field(description="EXIF, IPTC and XMP without positions and serial numbers.")
    location: dict[str, Any] | None = Field(None, description="Only with include=location, for the owner.")
    created_at: datetime
    updated_at: datetime
    trashed_at: datetime | None
    problem: ImageProblem | None
    duplicate_of: str | None = Field(None, description="An older image of yours with the same bytes; told at upload.")
    recipe: str | None = Field(description="By which the renditions were made, like `shop@2`; null is the installation's way.")
    renditions: list[RenditionOut]
    original_url: str
    etag: str = Field(description="For If-Match.")


def image_json(
    image: Image, signer: Signer, base: str, *, duplicate_of: str | None = None, with_location: bool = False
) -> dict[str, Any]:
    """The record as its readers get it: an ImageOut as plain values, which cost a tenth of the model on a page of fifty."""
    return {
        "id": image.id,
        "owner": image.owner,
        "status": image.status,
        "visibility": image.visibility,
        "version": image.version,
        "title": image.title,
        "description": image.description,
        "tags": image.tags,
        "custom": image.custom,
        "file_name": image.file_name,
        "type": image.media_type,
        "bytes": image.size_bytes,
        "sha256": image.sha256,
        "width": image.width,
        "height": image.height,
        "frames": image.frames,
        "focal_point": {"x": image.focal_point.x, "y": image.focal_point.y} if image.focal_point else None,
        "taken_at": image.taken_at,
        "camera": image.camera,
        "place": image.place,
        "thumbhash": image.thumbhash,
        "dominant_color": image.dominant_color,
        "phash": image.phash,
        "metadata": image.metadata.get("public", {}),
        "location": image.metadata.get("private", {}).get("location") if with_location else None,
        "created_at": image.created_at,
        "updated_at": image.updated_at,
        "trashed_at": image.trashed_at,
        "problem": {"code": image.problem.code, "detail": image.problem.detail} if image.problem else None,
        "duplicate_of": duplicate_of,
        "recipe": image.developed_recipe.reference if image.developed_recipe else None,
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
        "original_url": f"{base}/images/{image.id}/original",
        "etag": etag_of(image),
    }


def etag_of(image: Image) -> str:
    """The record's entity tag, for If-Match."""
    return f'"{image.revision}"'


class VersionOut(Out):
    """One version of the original; `GET /images/{id}/original?version=` has its bytes."""

    version: int
    is_current: bool
    sha256: str
    bytes: int
    type: str
    width: int
    height: int
    frames: int
    file_name: str
    created_at: datetime


def version_out(image: Image, version: Version) -> VersionOut:
    """The version as its owner gets it."""
    return VersionOut(
        version=version.number,
        is_current=version.number == image.version,
        sha256=version.sha256,
        bytes=version.size_bytes,
        type=version.media_type,
        width=version.width,
        height=version.height,
        frames=version.frames,
        file_name=version.file_name,
        created_at=version.created_at,
    )


class ImagePage(Out):
    """A page of images; `next` goes into `cursor` for the one behind it, and is null at the end."""

    images: list[ImageOut]
    next: str | None


class ImagePatch(In):
    """RFC 7396 merge patch: what is left out stays, null empties."""

    title: str | None = Field(None, max_length=MAX_TITLE)
    description: str | None = Field(None, max_length=MAX_DESCRIPTION)
    tags: list[str] | None = None
    visibility: Visibility | None = None
    focal_point: FocalPoint | None = Field(None, description="What `gravity=focal` keeps inside; null takes it away.")
    custom: dict[str, Any] | None = None


class FoundImage(Out):
    """One search result: the record, how well it matched, and where (HTML-escaped, matches in <mark>)."""

    image: ImageOut
    score: float
    highlights: dict[str, str]


class SearchPage(Out):
    """Results, best first; facets count what matched by tag, type and year."""

    results: list[FoundImage]
    total: int = Field(description="How many match; at least so many where `is_total_exact` is false.")
    is_total_exact: bool = Field(
        description="Whether everything that matches was counted. Where it was not, the newest `total` matches were ranked and"
        " counted, by the facets too, and the others follow them, newest first."
    )
    facets: dict[str, dict[str, int]]
    corrected: str | None = Field(description="The text that was searched instead, when a word had to be mended.")
    next: str | None


def search_json(result: SearchResult, images: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Hits joined with their records, a SearchPage; a hit whose record has gone in between is left out."""
    by_id = {image["id"]: image for image in images}
    hits = [hit for hit in result.hits if hit.image in by_id]
    return {
        "results": [{"image": by_id[hit.image], "score": hit.score, "highlights": hit.highlights} for hit in hits],
        "total": result.total,
        "is_total_exact": result.is_total_exact,
        "facets": result.facets,
        "corrected": result.corrected,
        "next": None if result.next_offset is None else str(result.next_offset),
    }


class UrlsIn(In):
    """Transforms to make URLs of."""

    transforms: list[Annotated[str, Field(max_length=512)]] = Field(
        min_length=1, max_length=100, examples=[["w=300,h=200,fit=cover.webp", "width=1200.auto"]]
    )
    grammar: Grammar = Field(
        Grammar.NATIVE, description="Whose; imgproxy's are `rs:fill:300:200@webp`, thumbor's `300x200/smart`."
    )


class SourceUrlsIn(In):
    """Transforms of a picture that lies elsewhere, to make URLs of."""

    source: str = Field(min_length=1, max_length=2048, examples=["https://cdn.example.com/photos/sea.jpg"])
    transforms: list[Annotated[str, Field(max_length=512)]] = Field(min_length=1, max_length=100, examples=[["w=300,h=200.webp"]])


class CloudFrontRendition(Out):
    """A stored rendition at the CDN."""

    preset: str
    format: str
    url: str


class CloudFrontOut(Out):
    """Signed CloudFront URLs of what is stored of an image."""

    renditions: list[CloudFrontRendition]
    original: str | None = Field(description="Null where no distribution stands before the originals, or it is not yours.")
    expires_at: datetime


class CloudFrontCookies(Out):
    """Cookies that open every stored rendition of the tenant at the CDN."""

    resource: str = Field(description="What they open.")
    cookies: dict[str, str]
    expires_at: datetime


class UrlsOut(Out):
    """Signed URLs, in the order asked."""

    urls: list[str]
    expires_at: datetime


class TagOut(Out):
    """A tag in use."""

    tag: str
    count: int
