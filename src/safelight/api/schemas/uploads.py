"""Uploads, imports and events of stores on the wire."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from safelight.api.conditions import album_id
from safelight.api.schemas.common import Id, In, Out, small_json
from safelight.api.schemas.images import ImageProblem
from safelight.domain.addresses import MAX_URL
from safelight.domain.images import MAX_DESCRIPTION, MAX_TITLE, Visibility
from safelight.domain.uploads import Method, Upload, UploadState
from safelight.services.uploads import Announced


class PictureIn(In):
    """A picture that is not here yet, and what its owner says of it."""

    filename: str = Field("", max_length=1000)
    title: str = Field("", max_length=MAX_TITLE)
    description: str = Field("", max_length=MAX_DESCRIPTION)
    tags: list[str] = Field(default_factory=list, max_length=1000)
    album_id: Id | None = None
    visibility: Visibility = Visibility.PRIVATE
    custom: Annotated[dict[str, Any], AfterValidator(small_json)] = Field(default_factory=dict)

    def announced(self) -> Announced:
        """As the services take it. Raises BadField for an album that cannot be."""
        return Announced(
            file_name=self.filename,
            title=self.title,
            description=self.description,
            tags=tuple(self.tags),
            album=album_id(self.album_id) if self.album_id else None,
            visibility=self.visibility,
            custom=self.custom,
        )


class UploadIn(PictureIn):
    """A file that is going to be sent to the store."""

    content_type: str = Field("", max_length=200, description="`image/...`, as the browser says; the sender has to say it again.")
    size: int | None = Field(None, ge=1, lt=2**53, description="Bytes; needed for `put`. The store takes exactly as many.")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="Of the file; another one is refused.")
    method: Literal["post", "put"] = Field("post", description="A form that the store checks, or a PUT with signed headers.")

    def announced(self) -> Announced:
        """With what the store is to hold the sender to. Raises as the picture's."""
        return replace(
            super().announced(),
            method=Method(self.method),
            media_type=self.content_type,
            size_bytes=self.size,
            sha256=self.sha256 or "",
        )


class UploadOut(Out):
    """An upload: what was announced, and what became of it."""

    id: str
    state: UploadState
    filename: str
    content_type: str
    size: int | None
    sha256: str | None
    created_at: datetime
    expires_at: datetime
    image_id: str | None = Field(description="The image that it has become.")
    duplicate_of: str | None
    problem: ImageProblem | None = Field(description="Why it was rejected.")


class ImportIn(PictureIn):
    """A picture that is to be fetched."""

    url: str = Field(max_length=MAX_URL, description="`https://…` or `http://…`, at a public address.")
    filename: str = Field("", max_length=1000, description="Empty: the last part of the URL's path.")


class ImportOut(Out):
    """An import: what was asked for, and what became of it."""

    id: str
    url: str
    state: UploadState
    filename: str
    created_at: datetime
    expires_at: datetime
    image_id: str | None = Field(description="The image that it has become.")
    duplicate_of: str | None
    problem: ImageProblem | None = Field(description="Why it was rejected.")


class OfferOut(UploadOut):
    """How to send the file. The URL is a secret until it expires."""

    method: Literal["POST", "PUT"]
    url: str
    fields: dict[str, str] | None = Field(description="Of the form, before the file, which comes last as `file`; null for a PUT.")
    headers: dict[str, str] | None = Field(description="Of the PUT; Content-Length is the announced size. Null for a form.")


def import_out(upload: Upload) -> ImportOut:
    """The import as its owner gets it."""
    fields = upload_fields(upload)
    return ImportOut(url=upload.source, **{name: fields[name] for name in ImportOut.model_fields if name != "url"})


def upload_fields(upload: Upload) -> dict[str, Any]:
    """The upload as its owner gets it."""
    return {
        "id": upload.id,
        "state": upload.state,
        "filename": upload.file_name,
        "content_type": upload.media_type,
        "size": upload.size_bytes,
        "sha256": upload.sha256 or None,
        "created_at": upload.created_at,
        "expires_at": upload.expires_at,
        "image_id": upload.image,
        "duplicate_of": upload.duplicate_of,
        "problem": ImageProblem(code=upload.problem.code, detail=upload.problem.detail) if upload.problem else None,
    }


class HeardOut(Out):
    """How many events ended how."""

    accepted: int = 0
    rejected: int = 0
    ignored: int = 0
