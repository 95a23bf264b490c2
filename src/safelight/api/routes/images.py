"""/images: take in, get, list, search, edit, trash, restore, purge, and the original's bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace as changed
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final

import orjson
from fastapi import Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from safelight.api.auth import Asking, Hall, asking_again
from safelight.api.conditions import IfMatch, album_id, base_url, disposition, image_id
from safelight.api.problems import problem
from safelight.api.ranges import condition, http_date, spans
from safelight.api.refusals import FILE, FORM, refuses
from safelight.api.routes.room import room
from safelight.api.schemas.common import ID, Id, Instant, small_json
from safelight.api.schemas.images import (
    CloudFrontOut,
    CloudFrontRendition,
    ImageOut,
    ImagePage,
    ImagePatch,
    SearchPage,
    TagOut,
    UrlsIn,
    UrlsOut,
    VersionOut,
    etag_of,
    image_json,
    search_json,
    version_out,
)
from safelight.api.schemas.progress import HistoryOut, history_out
from safelight.api.streams import STREAM, After, EventStream, resumed
from safelight.api.uploads import Received, received
from safelight.domain import access
from safelight.domain.accounts import Actor
from safelight.domain.ids import UserId, is_id
from safelight.domain.images import Image, Status, Version, Visibility, normal_tag
from safelight.domain.queries import Cursor, ImageQuery, SearchQuery, Sort
from safelight.errors import (
    BadCursor,
    BadField,
    BadOption,
    Busy,
    DamagedObject,
    Missing,
    PreconditionFailed,
    PresetsOnly,
    QuotaExceeded,
    RangeNotSatisfiable,
    SearchUnavailable,
    TooBroad,
    TooManyStreams,
    Unsupported,
    WrongState,
    by_code,
)
from safelight.imaging.transform import Focal
from safelight.services.ingest import Arrival
from safelight.wiring import Safelight

router = room("images")

NEW_FILE_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "title": {"type": "string", "maxLength": 200},
                        "description": {"type": "string", "maxLength": 5000},
                        "tags": {"type": "string", "description": "Comma separated; may be repeated."},
                        "album_id": ID,
                        "visibility": {"type": "string", "enum": [v.value for v in Visibility]},
                        "custom": {"type": "string", "description": "A JSON object."},
                    },
                },
            },
        },
    },
}

FILE_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {"file": {"type": "string", "format": "binary"}},
                },
            },
        },
    },
}
BYTES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "All of it.", "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}},
    206: {"description": "The range.", "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "You have it."},
}
LATER: Final[dict[int | str, dict[str, Any]]] = {202: {"model": ImageOut, "description": "Taken; not developed yet."}}
PATCH_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/merge-patch+json": {"schema": {"$ref": "#/components/schemas/ImagePatch"}}},
    },
}


@router.post(
    "/images",
    status_code=201,
    response_model=ImageOut,
    responses={
        200: {"model": ImageOut, "description": "You already have these bytes, and your tenant reuses them."},
        202: {"model": ImageOut, "description": "Accepted; `Location` tells when it is ready."},
    },
    openapi_extra=NEW_FILE_FORM,
)
@refuses(*FORM, Missing)
async def create(request: Request, hall: Hall, actor: Asking) -> Response:
    """Take in one image; the answer is its record, with URLs, as soon as its renditions are ready."""
    room = await hall.standing.room(actor.tenant)
    async with _form(request, hall, room.require) as form:
        accepted = await hall.ingest.accept(actor, changed(_arrival(form), is_urgent=is_urgent(request)))
        image, status = accepted.image, 201 if accepted.is_new else 200
        if accepted.is_new:
            with hall.ingest.at_hand.lend(image.original_key, form.fd):
                image = await hall.library.settled(actor, image.id, patience(request, hall.settings.ingest.wait_s))
    if accepted.is_new:
        image = await hall.ingest.outcome(image)
        status = 201 if image.status is Status.READY else 202
        hall.instruments.accepted.labels(image.media_type).inc()
        hall.instruments.accepted_bytes.inc(image.size_bytes)
    signer = await hall.delivery.signer(actor.tenant)
    record = image_json(image, signer, base_url(request), duplicate_of=accepted.duplicate_of)
    return answer(record, status, location=f"/images/{image.id}", etag=etag_of(image))


def _form(request: Request, hall: Safelight, fits: Callable[[int], None]) -> AbstractAsyncContextManager[Received]:
    """The upload of this request, within the limits of the settings and what is left to the tenant."""
    limits, server = hall.settings.limits, hall.settings.server
    return received(request, folder=hall.settings.spool_path, max_bytes=limits.max_bytes, idle_s=server.body_idle_s, fits=fits)


def is_urgent(request: Request) -> bool:
    """Whether somebody waits for the picture: not when the request says so, or calls itself background work (RFC 9218: u=5 to 7)."""
    urgency = re.search(r"(?:^|,)\s*u=([0-7])\s*(?:[,;]|$)", request.headers.get("priority", ""))
    return patience(request, 1.0) > 0 and (urgency is None or int(urgency[1]) < 5)


def patience(request: Request, limit_s: float) -> float:
    """How long this upload waits: `Prefer: respond-async` or `wait=seconds` (RFC 7240), at most the setting."""
    prefer = request.headers.get("prefer", "").casefold()
    preferences = [part.strip() for part in prefer.split(",")]
    if "respond-async" in preferences:
        return 0.0
    for preference in preferences:
        name, _, value = preference.partition("=")
        if name == "wait" and value.isascii() and value.isdigit() and len(value) < 6:
            return min(limit_s, float(value))
    return limit_s


def _arrival(form: Received) -> Arrival:
    words: dict[str, Any] = {"tags": ()}
    for name, value in form.fields:
        match name:
            case "tags":
                words["tags"] += tuple(tag for tag in value.split(",") if tag.strip())
            case "title" | "description" | "album_id" | "visibility" | "custom" if name not in words:
                words[name] = value
            case _:
                raise BadField(f"{name[:100]!r} is not a field of this form, or is there twice.", field=name[:100])
    if (visibility := words.get("visibility", "private")) not in list(Visibility):
        raise BadField(f"visibility is one of {', '.join(Visibility)}.", field="visibility")
    album = words.get("album_id")
    return Arrival(
        fd=form.fd,
        size_bytes=form.size_bytes,
        sha256=form.sha256,
        file_name=form.file_name,
        title=words.get("title", "").strip(),
        description=words.get("description", "").strip(),
        tags=words["tags"],
        album=album_id(album) if album else None,
        visibility=Visibility(visibility),
        custom=custom_json(words.get("custom", "")),
    )


def custom_json(text: str) -> dict[str, Any]:
    """What the owner's own fields are, said in text. Raises BadField."""
    if not text:
        return {}
    try:
        value = orjson.loads(text)
        if not isinstance(value, dict):
            raise BadField("custom is a JSON object.", field="custom")
        return dict(small_json(value))
    except ValueError as error:
        raise BadField(f"custom: {error}", field="custom") from error


@router.get("/images", response_model=ImagePage, name="list")
@refuses(BadCursor, BadField, Missing)
async def list_images(
    request: Request,
    hall: Hall,
    actor: Asking,
    album: Id | None = None,
    tag: Annotated[list[str] | None, Query(max_length=10)] = None,
    owner: Id | None = None,
    status: Status | None = None,
    visibility: Visibility | None = None,
    type: Annotated[str | None, Query(description="Media type of the original.", max_length=100)] = None,
    camera: Annotated[str | None, Query(max_length=200)] = None,
    created_after: Instant | None = None,
    created_before: Instant | None = None,
    taken_after: Instant | None = None,
    taken_before: Instant | None = None,
    min_bytes: Annotated[int | None, Query(ge=0, lt=2**62)] = None,
    max_bytes: Annotated[int | None, Query(ge=0, lt=2**62)] = None,
    sha256: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="Exactly these bytes; goes alone.")] = None,
    trashed: bool = False,
    sort: Sort = Sort.CREATED_DESC,
    limit: int = 50,
    cursor: str | None = None,
) -> Response:
    """A page of your images, newest first unless `sort` says otherwise. Follow `next`, or the Link header, for more."""
    known = {"album", "tag", "owner", "status", "visibility", "type", "camera", "created_after", "created_before", "taken_after"}
    known |= {"taken_before", "min_bytes", "max_bytes", "trashed", "sort", "limit", "cursor"}
    refuse_unknown(request, known | {"sha256"})
    if sha256 is not None:
        if len(request.query_params) > 1:
            raise BadField("sha256 goes alone.", field="sha256")
        page = await hall.library.with_bytes(actor, sha256)
        return answer({"images": await presented(request, hall, page.images), "next": None})
    query = ImageQuery(
        owner=_user_id(owner),
        album=album_id(album) if album else None,
        tags=tuple(normal_tag(each) for each in tag or ()),
        status=status,
        visibility=visibility,
        media_type=type,
        camera=camera,
        created_after=created_after,
        created_before=created_before,
        taken_after=taken_after,
        taken_before=taken_before,
        min_bytes=min_bytes,
        max_bytes=max_bytes,
        is_trashed=trashed,
        sort=sort,
        limit=limit,
        cursor=Cursor.decode(cursor, sort) if cursor else None,
    )
    page = await hall.library.page(actor, query)
    following = page.next.encode() if page.next else None
    images = await presented(request, hall, page.images)
    return answer({"images": images, "next": following}, 200, **link(request, following))


@router.get("/images/search", response_model=SearchPage)
@refuses(BadCursor, BadField, SearchUnavailable, TooBroad)
async def search(
    request: Request,
    hall: Hall,
    actor: Asking,
    q: str = "",
    tag: Annotated[list[str] | None, Query(max_length=10)] = None,
    type: Annotated[str | None, Query(max_length=100)] = None,
    year: Annotated[int | None, Query(ge=1, le=9999)] = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Response:
    """Full text over title, description, tags, file name, camera and place; forgiving of typing errors."""
    refuse_unknown(request, {"q", "tag", "type", "year", "limit", "cursor"})
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 6):
        raise BadCursor
    query = SearchQuery(
        text=q,
        tags=tuple(normal_tag(each) for each in tag or ()),
        media_type=type,
        year=year,
        limit=limit,
        offset=int(cursor or 0),
    )
    result, found = await hall.library.search(actor, query)
    page = search_json(result, await presented(request, hall, found))
    return answer(page, 200, **link(request, page["next"]))


@router.get("/tags", response_model=list[TagOut])
async def tags(
    hall: Hall,
    actor: Asking,
    prefix: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[TagOut]:
    """Tags in use on your images, most used first; an admin gets those of the whole tenant."""
    return [TagOut(tag=tag, count=count) for tag, count in await hall.library.tags(actor, prefix, limit)]


@router.get("/images/{id}", response_model=ImageOut)
async def get(
    request: Request, hall: Hall, actor: Asking, id: Id, include: Annotated[str, Query(max_length=100)] = ""
) -> Response:
    """One image. `include=location` adds where it was taken, for its owner."""
    if include not in ("", "location"):
        raise BadField("include takes location.", field="include")
    image = await hall.library.get(actor, image_id(id))
    mine = image.owner == actor.user
    signer = await hall.delivery.signer(actor.tenant)
    record = image_json(image, signer, base_url(request), with_location=mine and include == "location")
    return answer(record, etag=etag_of(image), cache_control="private, no-cache")


@router.patch("/images/{id}", response_model=ImageOut, openapi_extra=PATCH_BODY)
@refuses(Unsupported, WrongState)
async def patch(request: Request, hall: Hall, actor: Asking, id: Id, revision: IfMatch) -> Response:
    """Change words, tags, visibility, focal point or custom values by an RFC 7396 merge patch, under If-Match if you like."""
    given = await merge_patch(request)

    def changes(current: Image) -> dict[str, Any]:
        if not given.get("custom"):
            return given
        try:
            return given | {"custom": small_json(merged(current.custom, given["custom"]))}
        except ValueError as error:
            raise BadField(f"custom: {error}", field="custom") from error

    edited = await hall.library.edit(actor, image_id(id), changes, if_revision=revision)
    return answer((await presented(request, hall, [edited]))[0], etag=etag_of(edited))


EMPTY: Final[dict[str, Any]] = {
    "title": "",
    "description": "",
    "tags": (),
    "visibility": Visibility.PRIVATE,
    "custom": {},
    "focal_point": None,
}


async def merge_patch(request: Request) -> dict[str, Any]:
    """The patch as changes of the record. Raises Unsupported, BadField."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().casefold()
    if kind not in ("application/merge-patch+json", "application/json"):
        raise Unsupported("Send application/merge-patch+json.")
    try:
        patch = ImagePatch.model_validate_json(await small_body(request))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "body"
        raise BadField(f"{name}: {first['msg']}", field=name) from error
    given = patch.model_dump(exclude_unset=True)
    changes = {name: EMPTY[name] if value is None else value for name, value in given.items()}
    if "visibility" in changes:
        changes["visibility"] = Visibility(changes["visibility"])
    if (point := changes.get("focal_point")) is not None:
        changes["focal_point"] = Focal(**point)
    return changes


async def small_body(request: Request, limit: int = 64 * 1024) -> bytes:
    """The body of a JSON request. Raises BadField when it is larger than any record could be."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise BadField(f"The body has at most {limit} bytes.", field="body")
    return bytes(body)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396 section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


@router.delete("/images/{id}", status_code=204)
@refuses(WrongState)
async def trash(hall: Hall, actor: Asking, id: Id, revision: IfMatch, *, purge: bool = False) -> Response:
    """Move it to the trash; `?purge=true` removes one that is there for good."""
    if purge:
        await hall.library.purge(actor, image_id(id))
    else:
        await hall.library.trash(actor, image_id(id), if_revision=revision)
    return Response(status_code=204)


@router.post("/images/{id}/restore", response_model=ImageOut)
@refuses(WrongState, QuotaExceeded)
async def restore(request: Request, hall: Hall, actor: Asking, id: Id) -> Response:
    """Bring it back from the trash."""
    restored = await hall.library.restore(actor, image_id(id))
    return answer((await presented(request, hall, [restored]))[0], etag=etag_of(restored))


@router.post("/images/{id}/urls", response_model=UrlsOut)
@refuses(BadOption, PresetsOnly, WrongState)
async def urls(request: Request, hall: Hall, actor: Asking, id: Id, body: UrlsIn) -> UrlsOut:
    """Signed delivery URLs of any transforms, like `w=300,h=200,fit=cover.webp`; see the reference of transforms."""
    image = await hall.library.get(actor, image_id(id))
    urls, expires_at = await hall.delivery.transform_urls(actor, image, body.transforms, body.grammar)
    base = base_url(request)
    return UrlsOut(urls=[base + url for url in urls], expires_at=expires_at)


@router.get("/images/{id}/cloudfront", response_model=CloudFrontOut)
@refuses(WrongState)
async def at_cloudfront(hall: Hall, actor: Asking, id: Id) -> CloudFrontOut:
    """Signed CloudFront URLs of the stored renditions, and of the original for whoever may have it."""
    image = await hall.library.get(actor, image_id(id))
    signer = await hall.delivery.signer(actor.tenant)
    cloudfront = signer.at_cloudfront
    urls = [(r.preset, r.format, cloudfront.rendition(r, signer.exp)) for r in image.renditions]
    may = access.may(actor, "image.original", image) and not image.is_trashed
    return CloudFrontOut(
        renditions=[CloudFrontRendition(preset=preset, format=format, url=url) for preset, format, url in urls if url],
        original=cloudfront.original(image, signer.exp) or None if may else None,
        expires_at=datetime.fromtimestamp(signer.exp, UTC),
    )


@router.get("/images/{id}/history", response_model=HistoryOut)
async def history(hall: Hall, actor: Asking, id: Id) -> HistoryOut:
    """What has been done about it: every run of its flows, newest first, with each step, its tries and times."""
    return history_out(await hall.history.of(actor, image_id(id)))


@router.get("/images/{id}/events", response_class=Response, responses=STREAM)
@refuses(BadField, Busy, TooManyStreams)
async def events(request: Request, hall: Hall, actor: Asking, id: Id, after: After = None) -> Response:
    """What happens to it, as it happens (server-sent events), from the first that is kept unless you resume."""
    image = image_id(id)
    access.require(actor, "image.history", await hall.library.get(actor, image))
    return EventStream(hall.progress, actor, asking_again(request), after=resumed(request, after), image=image)


@router.get("/images/{id}/versions", response_model=list[VersionOut])
async def versions(hall: Hall, actor: Asking, id: Id) -> list[VersionOut]:
    """Every version of the original, newest first."""
    image = await hall.library.versions(actor, image_id(id))
    return [version_out(image, version) for version in image.versions]


@router.post("/images/{id}/versions/{n}/restore", response_model=ImageOut, responses=LATER)
@refuses(*FILE, WrongState)
async def restore_version(
    request: Request, hall: Hall, actor: Asking, id: Id, n: Annotated[int, Path(ge=1, lt=2**31)]
) -> Response:
    """Make an earlier version the next one; the answer comes when it is developed."""
    replaced = await hall.ingest.restore_version(actor, image_id(id), n)
    return await _settled(request, hall, actor, replaced)


@router.put("/images/{id}/original", response_model=ImageOut, responses=LATER, openapi_extra=FILE_FORM)
@refuses(*FORM, WrongState)
async def replace(request: Request, hall: Hall, actor: Asking, id: Id, revision: IfMatch) -> Response:
    """Give the image other bytes, under If-Match if you like; the old ones stay as an earlier version."""
    image = image_id(id)
    room = await hall.standing.room(actor.tenant, images=0)
    async with _form(request, hall, partial(room.require, images=0)) as form:
        if form.fields:
            raise BadField("This form has the field file only; change the rest by PATCH.", field=form.fields[0][0][:100])
        replaced = await hall.ingest.replace(actor, image, _arrival(form), if_revision=revision)
        with hall.ingest.at_hand.lend(replaced.original_key, form.fd):
            return await _settled(request, hall, actor, replaced)


async def _settled(request: Request, hall: Safelight, actor: Actor, replaced: Image) -> Response:
    """The record when its new version is ready, refused when it cannot be, 202 when that takes longer than the client waits."""
    image = await hall.library.settled(actor, replaced.id, patience(request, hall.settings.ingest.wait_s))
    if image.version < replaced.version and image.problem is not None:
        raise by_code(image.problem.code, image.problem.detail)
    record = (await presented(request, hall, [image]))[0]
    return answer(record, 200 if image.status is Status.READY else 202, etag=etag_of(image))


@router.get("/images/{id}/original", response_class=Response, responses=BYTES)
@refuses(PreconditionFailed, RangeNotSatisfiable, DamagedObject)
async def original(
    request: Request, hall: Hall, actor: Asking, id: Id, version: Annotated[int | None, Query(ge=1, lt=2**31)] = None
) -> Response:
    """The bytes that came in, as they came; answers conditions and a range."""
    image, wanted = await hall.library.version(actor, image_id(id), version)
    return await original_of(request, hall, image, wanted)


async def original_of(
    request: Request, hall: Safelight, image: Image, wanted: Version, *, cache_control: str = "private, no-cache"
) -> Response:
    """The bytes of a version, for who may have them; conditions and one range are answered."""
    etag, size = f'"{wanted.sha256}"', wanted.size_bytes
    headers = {
        "etag": etag,
        "last-modified": http_date(wanted.created_at),
        "cache-control": cache_control,
        "accept-ranges": "bytes",
        "content-disposition": disposition(wanted.file_name or image.id),
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",  # an SVG must not run as a page of ours
    }
    asked = dict(request.headers)
    match condition(asked, etag, wanted.created_at):
        case 304:
            return Response(status_code=304, headers=headers)
        case 412:
            raise PreconditionFailed
    parts = spans(asked, size, etag, wanted.created_at)
    if parts == 416:
        refusal = problem(RangeNotSatisfiable(f"The original has {size} bytes."))
        refusal.headers["content-range"] = f"bytes */{size}"
        return refusal
    start, end, status = 0, size, 200
    if parts and len(parts) == 1:
        (start, end), status = parts[0], 206
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    headers["content-length"] = str(end - start)
    opened = await hall.library.original(image, wanted, start=start, end=end)
    return StreamingResponse(opened.chunks, status, media_type=wanted.media_type, headers=headers)


def answer(body: dict[str, Any], status: int = 200, **headers: str) -> Response:
    """JSON as it is; the models of the signature are what the document promises, and a test holds the two together."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(orjson.dumps(body), status, media_type="application/json", headers=named)


def link(request: Request, cursor: str | None) -> dict[str, str]:
    """The Link header (RFC 8288) to the next page, where there is one."""
    return {"link": f'<{request.url.include_query_params(cursor=cursor)}>; rel="next"'} if cursor else {}


async def presented(request: Request, hall: Safelight, images: Sequence[Image]) -> list[dict[str, Any]]:
    """Records with their URLs, signed by each one's tenant."""
    if not images:
        return []
    signer = await hall.delivery.signer(images[0].tenant)
    base = base_url(request)
    return [image_json(image, signer, base) for image in images]


def refuse_unknown(request: Request, known: set[str]) -> None:
    """A parameter that means nothing here is a mistake that would otherwise go unseen. Raises BadField."""
    for name in request.query_params:
        if name not in known:
            raise BadField(f"{name[:100]!r} is not a parameter here.", field=name[:100])


def _user_id(text: str | None) -> UserId | None:
    if text is None:
        return None
    if not is_id(text):
        raise BadField("owner is the id of a user.", field="owner")
    return UserId(text)
