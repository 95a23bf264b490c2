"""/uploads: announce a file, send it to the store, say that it is there. The bytes do not pass through here."""

from __future__ import annotations

from fastapi import Request, Response

from safelight.api.auth import Asking, Hall
from safelight.api.conditions import base_url, upload_id
from safelight.api.refusals import FILE, refuses
from safelight.api.routes.images import answer, is_urgent, patience
from safelight.api.routes.room import room
from safelight.api.schemas.common import Id
from safelight.api.schemas.images import ImageOut, etag_of, image_json
from safelight.api.schemas.uploads import OfferOut, UploadIn, UploadOut, upload_fields
from safelight.domain.accounts import Actor
from safelight.domain.images import Image, Status
from safelight.domain.uploads import Upload
from safelight.errors import (
    ChecksumMismatch,
    Kind,
    Missing,
    NotArrived,
    QuotaExceeded,
    SafelightError,
    TooManyBytes,
    Unsupported,
    WrongState,
)
from safelight.services.uploads import said
from safelight.wiring import Safelight

router = room("uploads", "/uploads")


@router.post("", status_code=201, response_model=OfferOut)
@refuses(Missing, QuotaExceeded, TooManyBytes, Unsupported, WrongState)
async def create(request: Request, response: Response, hall: Hall, actor: Asking, body: UploadIn) -> OfferOut:
    """Announce a file; the answer is a URL that takes it, and nothing but it, until it expires."""
    upload, offer = await hall.uploads.expect(actor, body.announced())
    response.headers["location"] = f"/uploads/{upload.id}"
    response.headers["cache-control"] = "no-store"
    return OfferOut(
        **upload_fields(upload),
        method=offer.method,
        url=base_url(request) + offer.url if offer.url.startswith("/") else offer.url,
        fields=dict(offer.fields) or None,
        headers=dict(offer.headers) or None,
    )


@router.get("/{id}", response_model=UploadOut)
async def get(hall: Hall, actor: Asking, id: Id) -> UploadOut:
    """What has become of an upload; for a week after its end."""
    return UploadOut(**upload_fields(await hall.uploads.get(actor, upload_id(id))))


@router.delete("/{id}", status_code=204)
@refuses(WrongState)
async def abandon(hall: Hall, actor: Asking, id: Id) -> Response:
    """Give it up; what has been sent is removed."""
    await hall.uploads.abandon(actor, upload_id(id))
    return Response(status_code=204)


@router.post(
    "/{id}/complete",
    status_code=201,
    response_model=ImageOut,
    responses={
        200: {"model": ImageOut, "description": "You already have these bytes, and your tenant reuses them."},
        202: {"model": ImageOut, "description": "Accepted; `Location` tells when it is ready."},
    },
)
@refuses(*FILE, ChecksumMismatch, NotArrived, Unsupported, WrongState)
async def complete(request: Request, hall: Hall, actor: Asking, id: Id) -> Response:
    """Say that the file is sent; the answer is the image, as of `POST /images`. May be repeated, and need not be called at all."""
    upload = await hall.uploads.complete(actor, upload_id(id), is_urgent=is_urgent(request))
    image = await became(hall, actor, upload, patience(request, hall.settings.ingest.wait_s))
    signer = await hall.delivery.signer(actor.tenant)
    record = image_json(image, signer, base_url(request), duplicate_of=upload.duplicate_of)
    status = 200 if is_reused(upload) else 201 if image.status is Status.READY else 202
    return answer(record, status, location=f"/images/{image.id}", etag=etag_of(image))


def is_reused(upload: Upload) -> bool:
    """Whether it has become an image that was there before."""
    return upload.image == upload.duplicate_of


async def became(hall: Safelight, actor: Actor, upload: Upload, wait_s: float) -> Image:
    """The image of an accepted upload, developed if that takes no longer than this; raises what developing found wrong with it."""
    assert upload.image is not None
    try:
        image = await hall.library.settled(actor, upload.image, wait_s)
        return image if is_reused(upload) else await hall.ingest.outcome(image)
    except Missing:
        # Another completion has found it refused; it says so in the upload before long.
        said(await hall.uploads.get(actor, upload.id))
        raise
    except SafelightError as error:
        if error.kind is not Kind.UNAVAILABLE:
            await hall.uploads.developing_failed(upload, error)
        raise
