"""/admin/audit: the tenant's audit trail for its admins, the installation's for operators: a page, the head, an export."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import Depends, Query
from fastapi.responses import StreamingResponse

from safelight.api.auth import Asking, Hall
from safelight.api.refusals import refuses
from safelight.api.routes.room import room
from safelight.api.schemas.audit import AuditHeadOut, AuditPage, audit_entry_out
from safelight.api.schemas.common import Instant
from safelight.domain.accounts import Actor
from safelight.domain.audit import Checkpoint, Head, Sealed, TrailQuery, sealed_document
from safelight.domain.ids import UserId, is_id
from safelight.errors import BadCursor, TooBroad
from safelight.wiring import Safelight

router = room("audit", "/admin/audit")

_CSV: Final = (
    "number", "at", "action", "actor", "user", "object", "result", "count", "address", "agent", "key", "session", "hash",
)  # fmt: skip
_EXPORT: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Entries, a line each.",
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}, "text/csv": {"schema": {"type": "string"}}},
    }
}
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula when a cell begins with it (OWASP, CSV injection)."""

Chain = Annotated[
    Literal["installation"] | None,
    Query(description="`installation` for what belongs to no tenant (operators); the tenant's own otherwise."),
]


async def asked(
    hall: Hall,
    actor: Asking,
    actor_id: Annotated[str | None, Query(alias="actor", max_length=64, description="A user's id, `system` or `nobody`.")] = None,
    action: Annotated[str | None, Query(max_length=100, description="Exactly, or `image.*`.")] = None,
    object: Annotated[str | None, Query(max_length=200, description="`image/<id>`, `user/<id>`.")] = None,
    result: Annotated[str | None, Query(max_length=64, description="`done`, or the code of a refusal.")] = None,
    since: Annotated[Instant | None, Query(alias="from", description="At or after this time.")] = None,
    until: Annotated[Instant | None, Query(alias="to", description="Before this time.")] = None,
) -> TrailQuery:
    """The filters."""
    tenant = actor.tenant
    objects = None if object is None else frozenset({object})
    if object is not None and object.startswith("user/") and is_id(object[5:]):
        objects = frozenset(f"user/{name}" for name in hall.trail.pseudonyms(tenant, UserId(object[5:])))
    actors = None
    if actor_id is not None:
        actors = hall.trail.pseudonyms(tenant, UserId(actor_id)) if is_id(actor_id) else frozenset({actor_id})
    return TrailQuery(actors=actors, action=action, objects=objects, result=result, since=since, until=until)


Filters = Annotated[TrailQuery, Depends(asked)]


@router.get("", response_model=AuditPage, name="list")
@refuses(BadCursor, TooBroad)
async def page(
    hall: Hall,
    actor: Asking,
    query: Filters,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=20)] = None,
    chain: Chain = None,
) -> AuditPage:
    """Who did what, newest first. An entry is here a second or two after what it tells of."""
    if cursor is not None and not (cursor.isascii() and cursor.isdecimal() and int(cursor) < 2**62):
        raise BadCursor
    query = replace(query, limit=limit + 1, after=None if cursor is None else int(cursor))
    found = await hall.trail.page(actor, query, chain=chain)
    names = await hall.trail.names(actor.tenant)
    shown = found[:limit]
    more = str(shown[-1].number) if len(found) > limit else None
    return AuditPage(entries=[audit_entry_out(sealed, names) for sealed in shown], cursor=more)


@router.get("/head", response_model=AuditHeadOut)
async def head(hall: Hall, actor: Asking, chain: Chain = None) -> AuditHeadOut:
    """Where the chain ends: note it elsewhere, and later verify against it."""
    found = await hall.trail.head(actor, chain=chain)
    return AuditHeadOut(chain=chain or actor.tenant, head=str(found.last), pruned=str(found.pruned))


@router.get("/export", response_class=StreamingResponse, responses=_EXPORT)
@refuses(TooBroad)
async def export(
    hall: Hall, actor: Asking, query: Filters, format: Literal["ndjson", "csv"] = "ndjson", chain: Chain = None
) -> StreamingResponse:
    """Every entry that matches, oldest first, streamed. Without filters NDJSON begins and ends with what `audit verify` needs."""
    begun = await hall.trail.head(actor, chain=chain)
    names = await hall.trail.names(actor.tenant)
    if format == "csv":
        body, media_type = _csv(hall.trail.walk(actor, query, chain=chain), names), "text/csv; charset=utf-8"
    elif query == TrailQuery():
        body, media_type = _whole(hall, actor, chain, begun), "application/x-ndjson"
    else:
        body, media_type = _ndjson(hall.trail.walk(actor, query, chain=chain)), "application/x-ndjson"
    name = f"audit-{chain or actor.tenant}.{format}"
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return StreamingResponse(body, media_type=media_type, headers=headers)


async def _ndjson(entries: AsyncIterator[Sealed]) -> AsyncIterator[bytes]:
    async for sealed in entries:
        yield orjson.dumps(sealed_document(sealed)) + b"\n"


async def _whole(hall: Safelight, actor: Actor, chain: Literal["installation"] | None, begun: Head) -> AsyncIterator[bytes]:
    """From where the chain was pruned to its head, which goes on while we write: the last line says how far this came."""
    whose, last = chain or actor.tenant, begun.pruned
    yield orjson.dumps({"chain": whose, "checkpoint": str(last)}) + b"\n"
    while True:
        async for sealed in hall.trail.walk(actor, TrailQuery(after=last.number), chain=chain):
            last = Checkpoint(sealed.number, sealed.hash)
            yield orjson.dumps(sealed_document(sealed)) + b"\n"
        head = (await hall.trail.head(actor, chain=chain)).last
        if head.number <= last.number:
            break
    yield orjson.dumps({"chain": whose, "head": str(head)}) + b"\n"


async def _csv(entries: AsyncIterator[Sealed], names: dict[str, UserId]) -> AsyncIterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")  # RFC 4180
    writer.writerow(_CSV)
    async for sealed in entries:
        row = audit_entry_out(sealed, names).model_dump(mode="json")
        row |= {name: (row["origin"] or {}).get(name, "") for name in ("address", "agent", "key", "session")}
        writer.writerow([_cell(row[name]) for name in _CSV])
        if buffer.tell() > 32_768:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
