"""The gallery at `/` and the interactive API page at `/docs`, with their files under `/static/`. Nothing comes from another host.

Not an API: the pages speak to the same endpoints as everybody else. The doors do not know each other; `cli.server` hands this
router to `api.app.Front`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Request, Response

from safelight.errors import Missing

router = APIRouter(include_in_schema=False)

GALLERY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI sets style attributes and draws its icons from data: addresses.
DOCS_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_OURS: Final = "safelight.console"
_PAGES: Final = {"index.html": GALLERY_POLICY, "docs.html": DOCS_POLICY, "account.html": GALLERY_POLICY}
# Every file that is served, by the package that holds it: a name that is not here is not looked for on any disk.
FILES: Final = {
    "account.css": _OURS,
    "account.js": _OURS,
    "api.js": _OURS,
    "docs.css": _OURS,
    "docs.js": _OURS,
    "elements.js": _OURS,
    "favicon.svg": _OURS,
    "gallery.css": _OURS,
    "gallery.js": _OURS,
    "lightbox.js": _OURS,
    "marks.js": _OURS,
    "rows.js": _OURS,
    "shared.css": _OURS,
    "thumbhash.js": _OURS,
    "uploads.js": _OURS,
    "swagger-ui.css": "fastapi_offline",
    "swagger-ui-bundle.js": "fastapi_offline",
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    media_type: str
    etag: str


@cache
def _file(package: str, name: str) -> _File:
    body = (files(package) / "static" / name).read_bytes()
    return _File(body, _TYPES[name.rpartition(".")[2]], f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def _answer(request: Request, package: str, name: str) -> Response:
    """The file, or 304 when the client has it. The names carry no version, so that a client asks each time (RFC 9111, no-cache)."""
    file = _file(package, name)
    headers = {"etag": file.etag, "cache-control": "no-cache", "x-content-type-options": "nosniff"}
    if policy := _PAGES.get(name):
        headers["content-security-policy"] = policy
        headers["cross-origin-opener-policy"] = "same-origin"
    held = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if file.etag in held or held == ["*"]:
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers=headers | {"content-length": str(len(file.body))}, media_type=file.media_type)
    return Response(file.body, headers=headers, media_type=file.media_type)


@router.api_route("/", methods=["GET", "HEAD"])
async def gallery(request: Request) -> Response:
    """The gallery's page; it holds nothing that needs a key."""
    return _answer(request, _OURS, "index.html")


@router.api_route("/docs", methods=["GET", "HEAD"])
async def docs(request: Request) -> Response:
    """Swagger UI over our own `/openapi.json`."""
    return _answer(request, _OURS, "docs.html")


@router.api_route("/account", methods=["GET", "HEAD"])
async def account(request: Request) -> Response:
    """What links in letters open: confirm an address, choose a password. The token is in the fragment and stays in the browser."""
    return _answer(request, _OURS, "account.html")


@router.api_route("/static/{name}", methods=["GET", "HEAD"])
async def static(request: Request, name: str) -> Response:
    """One of `FILES`. Raises Missing."""
    package = FILES.get(name)
    if package is None:
        raise Missing
    return _answer(request, package, name)
