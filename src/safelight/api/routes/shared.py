"""/shared: albums for whoever has a link to them, as JSON or as a page, perhaps behind a password.

The token is in the path and nowhere else: no log, metric or audit entry names it. Whoever gave the password brings a pass, as a
bearer token or in a cookie that only this link's path gets. The cookie lets see and do nothing, so nobody gains by sending it
from another site.
"""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import parse_qs

from fastapi import Query, Request, Response
from pydantic import ValidationError

from safelight.api import shared_page
from safelight.api.auth import Hall, address_of
from safelight.api.conditions import base_url, image_id
from safelight.api.edge import SMALL_BYTES
from safelight.api.refusals import refuses
from safelight.api.routes.images import BYTES, answer, original_of, refuse_unknown, small_body
from safelight.api.routes.room import room
from safelight.api.schemas.common import Id
from safelight.api.schemas.sharing import PassIn, PassOut, SharedOut, shared_json
from safelight.api.shared_page import HEADERS, wants_page
from safelight.domain.queries import Cursor, Sort
from safelight.errors import (
    BadCursor,
    BadField,
    Busy,
    DamagedObject,
    Forbidden,
    LockedOut,
    Missing,
    PasswordRequired,
    PreconditionFailed,
    RangeNotSatisfiable,
    TenantSuspended,
    Unauthenticated,
    Unsupported,
)
from safelight.services.links import Pass

router = room("shared", "/shared")

COOKIE: Final = "safelight_pass"
HTML: Final = {"text/html": {"schema": {"type": "string"}}}
ASKS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"content": dict(HTML), "description": "Refused, to browsers as a page."} for status in (401, 404, 429)
}
PAGE: Final = ASKS | {200: {"content": dict(HTML), "description": "As JSON, or as a page."}}
OPENED: Final = ASKS | {303: {"description": "To the page, after its form."}}
PASSWORD_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/PassIn"}},
            "application/x-www-form-urlencoded": {"schema": {"$ref": "#/components/schemas/PassIn"}},
        },
    },
}


@router.get("/{token}", response_model=SharedOut, responses=PAGE)
@refuses(BadCursor, PasswordRequired, TenantSuspended)
async def shared(
    request: Request, hall: Hall, token: str, limit: Annotated[int, Query(ge=1, le=200)] = 100, cursor: str | None = None
) -> Response:
    """What a link shows: the album's images with delivery URLs that end no later than the link; to browsers, a page of them."""
    refuse_unknown(request, {"limit", "cursor"})
    behind, is_page = Cursor.decode(cursor, Sort.POSITION) if cursor else None, wants_page(request)
    try:
        opened = await hall.links.opened(token, _given(request), limit=limit, cursor=behind, host=_host(request))
    except PasswordRequired as error:
        if is_page:
            return shared_page.asked(request, _address(token), error)
        raise
    except Missing as error:
        if is_page:
            return shared_page.nothing(request, error)
        raise
    signer = await hall.delivery.signer(opened.link.tenant, until=opened.link.expires_at)
    if is_page:
        return shared_page.shown(opened, signer, _address(token))
    request.state.domains = opened.house.domains
    base = base_url(request)
    return _kept_by_nobody(answer(shared_json(opened, signer, base, base + _address(token))))


@router.post("/{token}/open", response_model=PassOut, responses=OPENED, openapi_extra=PASSWORD_BODY)
@refuses(Busy, Forbidden, LockedOut, TenantSuspended, Unauthenticated, Unsupported)
async def open_shared(request: Request, hall: Hall, token: str) -> Response:
    """Give a link's password; the answer is a pass for an hour, to be brought as a bearer token, and the same as a cookie."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().casefold()
    is_form = kind == "application/x-www-form-urlencoded"
    if is_form and request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Forbidden("This form is on the link's own page.")  # or another site could use up a reader's tries
    password = await _password(request, kind)
    try:
        given = await hall.links.unlock(token, password, address=address_of(request), host=_host(request))
    except (Unauthenticated, LockedOut) as error:
        if is_form:
            return shared_page.asked(request, _address(token), error)
        raise
    except Missing as error:
        if is_form:
            return shared_page.nothing(request, error)
        raise
    response = answer({"pass": given.text, "expires_at": given.expires_at})
    if is_form:
        response = Response(status_code=303, headers={"location": _address(token)})
    _set_cookie(request, response, token, given, now_s=hall.links.clock().timestamp())
    return _kept_by_nobody(response)


@router.get("/{token}/originals/{id}", response_class=Response, responses=BYTES)
@refuses(DamagedObject, Forbidden, PasswordRequired, PreconditionFailed, RangeNotSatisfiable, TenantSuspended)
async def shared_original(request: Request, hall: Hall, token: str, id: Id) -> Response:
    """A file as it came in, where the link gives them; answers conditions and a range."""
    image, version = await hall.links.original(token, _given(request), image_id(id), host=_host(request))
    response = await original_of(request, hall, image, version, cache_control=HEADERS["cache-control"])
    response.headers["x-robots-tag"] = HEADERS["x-robots-tag"]
    return response


async def _password(request: Request, kind: str) -> str:
    """Raises Unsupported, BadField."""
    body = await small_body(request, SMALL_BYTES)
    if kind == "application/x-www-form-urlencoded":
        try:
            return parse_qs(body.decode(), keep_blank_values=True, max_num_fields=10)["password"][0]
        except (ValueError, KeyError):
            raise BadField("The form has one field, password.", field="password") from None
    if kind != "application/json":
        raise Unsupported("Send application/json, or the form of the page.")
    try:
        return PassIn.model_validate_json(body).password
    except ValidationError as error:
        raise BadField("The body is an object with a password.", field="password") from error


def _given(request: Request) -> str:
    """The pass. A cookie goes before a bearer token, which may be somebody's API key."""
    if COOKIE in request.cookies:
        return request.cookies[COOKIE]
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.casefold() == "bearer" else ""


def _set_cookie(request: Request, response: Response, token: str, given: Pass, *, now_s: float) -> None:
    is_https = request.url.scheme == "https" or request.app.state.public_url.startswith("https://")
    response.set_cookie(
        COOKIE,
        given.text,
        max_age=max(0, int(given.expires_at.timestamp()) - int(now_s)),
        path=_address(token),
        secure=is_https,
        httponly=True,
        samesite="lax",  # strict would ask again whoever comes from a letter
    )


def _kept_by_nobody(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response


def _address(token: str) -> str:
    """The link's path; only for tokens that were found to be ours, or that are escaped where they go."""
    return f"/shared/{token}"


def _host(request: Request) -> str:
    return request.headers.get("host", "")
