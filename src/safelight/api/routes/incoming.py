"""/incoming: what a store's presigned URL does, where Safelight is the store. The URL is the credential; no key is asked for.

It refuses what S3 refuses: a changed or expired URL (403), another type (403), another size (400, 413), a broken form (400).
Everything that the URL says is checked before the body is read. Pages of which origins may send is said in `api.cors`, as a bucket's
own rules do.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import structlog
from fastapi import APIRouter, Request, Response

from safelight.api.auth import Hall
from safelight.api.conditions import upload_id
from safelight.api.uploads import FLUSH_BYTES, body, received
from safelight.domain.tickets import Ticket
from safelight.domain.uploads import Method
from safelight.errors import BadField, BadSignature, Missing, SafelightError, TooManyBytes
from safelight.wiring import Safelight

log = structlog.get_logger()
router = APIRouter(include_in_schema=False)


@router.post("/incoming/{id}")
@router.put("/incoming/{id}")
async def send(request: Request, hall: Hall, id: str) -> Response:
    """Take the file that this URL is for."""
    await _send(request, hall, id)
    return Response(status_code=204 if request.method == "POST" else 200)


async def _send(request: Request, hall: Safelight, id: str) -> None:
    if hall.reception is None:
        raise Missing
    query = request.query_params
    ticket = hall.reception.admit(query.get("policy", ""), query.get("signature", ""), now=hall.uploads.clock())
    if ticket.upload != upload_id(id) or (ticket.method is Method.POST) is not (request.method == "POST"):
        raise BadSignature
    await hall.uploads.awaited(ticket.tenant, ticket.upload)
    if ticket.method is Method.POST:
        await _form(request, hall, ticket)
    else:
        declared = request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > ticket.max_bytes:
            raise TooManyBytes(f"The file has more than {ticket.max_bytes} bytes.", limit=ticket.max_bytes)
        sent = body(request, idle_s=hall.settings.server.body_idle_s)
        await hall.reception.keep(ticket, sent, media_type=request.headers.get("content-type", ""))
    # The store's event, as it were. What it says of the file is told by the upload, not by the store.
    try:
        await hall.uploads.arrived(ticket.tenant, ticket.upload)
    except SafelightError as error:
        log.warning("upload.not_taken_yet", upload_id=ticket.upload, code=error.code)


async def _form(request: Request, hall: Safelight, ticket: Ticket) -> None:
    assert hall.reception is not None
    idle_s = hall.settings.server.body_idle_s
    async with received(request, folder=hall.settings.spool_path, max_bytes=ticket.max_bytes, idle_s=idle_s) as form:
        said = dict(form.fields)
        expected = {"key": f"incoming/{ticket.tenant}/{ticket.upload}", "Content-Type": ticket.media_type}
        for name, value in said.items():
            if name not in expected:
                raise BadField(f"{name[:100]!r} is not a field of this form.", field=name[:100])
            if value != expected[name]:
                raise BadSignature(f"{name} is not the one that was signed.")
        if said.keys() != expected.keys():
            raise BadSignature("The form does not have the fields that were signed.")
        await hall.reception.keep(ticket, _read(form.fd), media_type=said["Content-Type"])


async def _read(fd: int) -> AsyncIterator[bytes]:
    offset = 0
    while chunk := await asyncio.to_thread(os.pread, fd, FLUSH_BYTES, offset):
        yield chunk
        offset += len(chunk)
