"""/tus: resumable uploads by tus 1.0.0 (https://tus.io/protocols/resumable-upload), for clients that exist.

Requests are those of the protocol, so they are not part of the OpenAPI document. What a page of another origin may read is said in
`api.cors`, which is outside.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from email.utils import format_datetime
from typing import Final

from fastapi import APIRouter, Request, Response

from safelight.api import auth
from safelight.api.auth import Hall
from safelight.api.conditions import album_id, base_url, upload_id
from safelight.api.problems import problem
from safelight.api.routes.images import custom_json
from safelight.api.uploads import body
from safelight.domain import tus
from safelight.domain.accounts import Actor
from safelight.domain.ids import UploadId
from safelight.domain.images import Visibility
from safelight.domain.uploads import Method, Upload, UploadState
from safelight.errors import BadField, BadRequest, OtherProtocol, SafelightError, TooManyBytes, Unsupported
from safelight.services.uploads import Announced
from safelight.wiring import Safelight

router = APIRouter(include_in_schema=False)

SPOKEN: Final = {"tus-resumable": tus.VERSION, "cache-control": "no-store"}
_SHA256: Final = re.compile("[0-9a-f]{64}")


@router.options("/tus")
@router.options("/tus/")
@router.options("/tus/{id}")
async def discover(hall: Hall, id: str = "") -> Response:
    """What is spoken here."""
    told = {
        "tus-version": tus.VERSION,
        "tus-extension": ",".join(tus.EXTENSIONS),
        "tus-max-size": str(hall.settings.limits.max_bytes),
        "tus-checksum-algorithm": ",".join(tus.ALGORITHMS),
    }
    return Response(status_code=204, headers=SPOKEN | told)


@router.post("/tus")
@router.post("/tus/")
async def create(request: Request, hall: Hall) -> Response:
    """An upload to send to, perhaps with its first bytes, or one that is joined of others."""
    return await _answered(request, hall, "CREATE", None)


@router.api_route("/tus/{id}", methods=["HEAD", "PATCH", "DELETE", "POST"])
async def resume(request: Request, hall: Hall, id: str) -> Response:
    """How far it has come, more of it, or the end of it; by POST for who can send nothing else."""
    method = request.method
    if method == "POST":
        method = request.headers.get("x-http-method-override", "").upper()
    return await _answered(request, hall, method, id)


async def _answered(request: Request, hall: Safelight, method: str, id: str | None) -> Response:
    try:
        if request.headers.get("tus-resumable", "").strip() != tus.VERSION:
            raise OtherProtocol
        actor = await auth.actor(request)
        response = await _done(request, hall, actor, method, id)
    except SafelightError as error:  # here, since refusals speak the protocol too
        request.state.problem_code = error.code
        response = problem(error)
        if isinstance(error, OtherProtocol):
            response.headers["tus-version"] = tus.VERSION
        if request.method == "HEAD":  # RFC 9110 section 9.3.2
            response = Response(status_code=response.status_code, headers=dict(response.headers) | {"content-length": "0"})
    response.headers.update(SPOKEN)
    return response


async def _done(request: Request, hall: Safelight, actor: Actor, method: str, id: str | None) -> Response:
    if id is None:
        return await _created(request, hall, actor)
    upload = upload_id(id)
    match method:
        case "HEAD":
            return _told(await hall.resumable.get(actor, upload))
        case "PATCH":
            if not _has_bytes(request):
                raise Unsupported(f"Send bytes as {tus.BODY_TYPE}.")
            offset = tus.number(request.headers.get("upload-offset", ""), "Upload-Offset")
            grown = await _appended(request, hall, actor, upload, offset)
            return Response(status_code=204, headers={"upload-offset": str(grown.offset_bytes)} | _expiry(grown))
        case "DELETE":
            await hall.resumable.abandon(actor, upload)
            return Response(status_code=204)
        case _:
            raise BadRequest("X-HTTP-Method-Override takes HEAD, PATCH or DELETE.")


async def _created(request: Request, hall: Safelight, actor: Actor) -> Response:
    headers = request.headers
    metadata, concat = headers.get("upload-metadata", ""), headers.get("upload-concat", "")
    parts = tus.read_concat(concat) if concat else ()
    words = tus.read_metadata(metadata)
    if parts:
        upload = await hall.resumable.join(actor, _announced(words), parts, metadata=metadata, concat=concat)
    else:
        size = _size(request)
        if size is None and headers.get("upload-defer-length", "").strip() != "1":
            raise BadField("Say Upload-Length, or Upload-Defer-Length: 1.", field="Upload-Length")
        announced = _announced(words, size_bytes=size, is_partial=parts is None)
        upload = await hall.resumable.create(actor, announced, metadata=metadata, is_partial=parts is None)
        if _has_bytes(request):
            try:
                upload = await _appended(request, hall, actor, upload.id, 0)
            except SafelightError:
                # Nobody has been told of it: what broke off here begins anew.
                with contextlib.suppress(SafelightError):
                    await hall.resumable.abandon(actor, upload.id)
                raise
    location = f"{base_url(request)}/tus/{upload.id}"
    return Response(status_code=201, headers={"location": location, "upload-offset": str(upload.offset_bytes)} | _expiry(upload))


async def _appended(request: Request, hall: Safelight, actor: Actor, upload: UploadId, offset: int) -> Upload:
    checksum = request.headers.get("upload-checksum")
    declared = request.headers.get("content-length", "")
    most = hall.settings.limits.max_bytes
    coming = int(declared[:20]) if declared.isascii() and declared.isdigit() else 0
    if coming and offset + coming > most:
        raise TooManyBytes(f"The file has more than {most} bytes.", limit=most)
    return await hall.resumable.append(
        actor,
        upload,
        body(request, idle_s=hall.settings.server.body_idle_s),
        offset_bytes=offset,
        coming_bytes=coming,
        size_bytes=_size(request),
        checksum=tus.read_checksum(checksum) if checksum is not None else None,
    )


def _told(upload: Upload) -> Response:
    headers = {"upload-offset": str(upload.offset_bytes)} | _expiry(upload)
    headers |= {"upload-defer-length": "1"} if upload.size_bytes is None else {"upload-length": str(upload.size_bytes)}
    if upload.tus_metadata:
        headers["upload-metadata"] = upload.tus_metadata
    if upload.tus_concat:
        headers["upload-concat"] = upload.tus_concat
    return Response(status_code=200, headers=headers)


def _expiry(upload: Upload) -> dict[str, str]:
    if upload.state is not UploadState.PENDING:
        return {}
    return {"upload-expires": format_datetime(upload.expires_at, usegmt=True)}


def _has_bytes(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == tus.BODY_TYPE


def _size(request: Request) -> int | None:
    said = request.headers.get("upload-length")
    return None if said is None else tus.number(said, "Upload-Length")


def _announced(words: Mapping[str, str], *, size_bytes: int | None = None, is_partial: bool = False) -> Announced:
    """What the metadata say of the file, by the names that tus-js-client, Uppy and tuspy use; other keys are only repeated."""
    if is_partial:
        return Announced(method=Method.TUS, size_bytes=size_bytes)
    visibility = words.get("visibility") or Visibility.PRIVATE.value
    if visibility not in list(Visibility):
        raise BadField(f"visibility is one of {', '.join(Visibility)}.", field="visibility")
    sha256 = words.get("sha256", "")
    if sha256 and not _SHA256.fullmatch(sha256):
        raise BadField("sha256 takes 64 hexadecimal digits.", field="sha256")
    album = words.get("album_id")
    return Announced(
        method=Method.TUS,
        media_type=words.get("filetype") or words.get("type") or "",
        size_bytes=size_bytes,
        sha256=sha256,
        file_name=words.get("filename") or words.get("name") or "",
        title=words.get("title", "").strip(),
        description=words.get("description", "").strip(),
        tags=tuple(tag for tag in words.get("tags", "").split(",") if tag.strip()),
        album=album_id(album) if album else None,
        visibility=Visibility(visibility),
        custom=custom_json(words.get("custom", "")),
    )
