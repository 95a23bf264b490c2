"""/imports: name a URL, and Safelight fetches the picture, within the limits of an upload and the guard of its addresses."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import Header, Request, Response

from safelight.api.auth import Asking, Hall
from safelight.api.conditions import base_url, upload_id
from safelight.api.refusals import FILE, refuses
from safelight.api.routes.images import answer, is_urgent, patience
from safelight.api.routes.room import room
from safelight.api.routes.uploads import became, is_reused
from safelight.api.schemas.common import Id
from safelight.api.schemas.images import ImageOut, etag_of, image_json
from safelight.api.schemas.uploads import ImportIn, ImportOut, import_out
from safelight.domain.images import Status
from safelight.errors import Missing, SourceNotAllowed, SourceRefused, SourceUnavailable, SourceUnreachable, WrongState
from safelight.services.uploads import said

Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        description="Any text of yours: the same URL asked for again with the same key is the same import.",
    ),
]

router = room("imports", "/imports")


@router.post(
    "",
    status_code=201,
    response_model=ImageOut,
    responses={
        200: {"model": ImageOut, "description": "You already have these bytes, and your tenant reuses them."},
        202: {"model": ImportOut, "description": "Under way; `Location` tells what becomes of it."},
    },
)
@refuses(*FILE, Missing, SourceNotAllowed, SourceRefused, SourceUnavailable, SourceUnreachable, WrongState)
async def create(request: Request, hall: Hall, actor: Asking, body: ImportIn, key: Key = "") -> Response:
    """Fetch a picture from a URL; the answer is the image, as of `POST /images`, or 202 when that takes longer than you wait."""
    waits_until = time.monotonic() + patience(request, hall.settings.ingest.wait_s)
    asked = await hall.imports.request(actor, body.url, body.announced(), key=key, is_urgent=is_urgent(request))
    upload = await hall.imports.settled(actor, asked.id, waits_until - time.monotonic())
    if not upload.is_open:
        image = await became(hall, actor, said(upload), max(0.0, waits_until - time.monotonic()))
        if is_reused(upload) or image.status is Status.READY:
            signer = await hall.delivery.signer(actor.tenant)
            record = image_json(image, signer, base_url(request), duplicate_of=upload.duplicate_of)
            return answer(record, 200 if is_reused(upload) else 201, location=f"/images/{image.id}", etag=etag_of(image))
    return answer(import_out(upload).model_dump(mode="json"), 202, location=f"/imports/{upload.id}", cache_control="no-store")


@router.get("/{id}", response_model=ImportOut)
async def get(hall: Hall, actor: Asking, id: Id) -> ImportOut:
    """What has become of an import; for a week after its end."""
    return import_out(await hall.imports.get(actor, upload_id(id)))


@router.delete("/{id}", status_code=204)
@refuses(WrongState)
async def abandon(hall: Hall, actor: Asking, id: Id) -> Response:
    """Give it up, as long as it has not become an image."""
    await hall.uploads.abandon(actor, (await hall.imports.get(actor, upload_id(id))).id)
    return Response(status_code=204)
