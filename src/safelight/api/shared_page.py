"""The page that a link to an album shows to browsers: plain HTML, which needs no script and holds nothing of another host.

Its style lies with the console's under `/static/`; a server without the console shows it unstyled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from fastapi import Request, Response

from safelight.api.problems import headers_of, status_of
from safelight.domain.images import Image
from safelight.domain.sharing import link_shows_original
from safelight.errors import SafelightError
from safelight.services.links import Opened
from safelight.services.signer import Signer

if TYPE_CHECKING:
    from jinja2 import Template

HEADERS: Final = {
    "cache-control": "private, no-store",
    "x-robots-tag": "noindex, nofollow",
    "vary": "Accept, Authorization, Cookie",
}
"""Of every answer below `/shared/`: nobody keeps what may be taken back a moment later."""
_SMALL: Final = 300
"""Pixels of the longer side that a picture of the page has at least, where there is one."""


@dataclass(frozen=True, slots=True)
class _Print:
    title: str
    small: str
    large: str
    original: str
    width: int
    height: int


def wants_page(request: Request) -> bool:
    """Whether a browser asks: what names HTML before JSON. `*/*` is a program's."""
    accept = request.headers.get("accept", "").casefold()
    html, json = accept.find("text/html"), accept.find("application/json")
    return html >= 0 and (json < 0 or html < json)


def shown(opened: Opened, signer: Signer, address: str) -> Response:
    """The album, a page of it. `address` is the link's path."""
    prints = [
        _print(image, signer, address if link_shows_original(opened.link, opened.album, image) else "")
        for image in opened.page.images
    ]
    following = f"{address}?cursor={opened.page.next.encode()}" if opened.page.next else ""
    text = _template().render(album=opened.album, prints=prints, next=following, expires_at=opened.link.expires_at)
    elsewhere = {_origin(url) for one in prints for url in (one.small, one.large) if "://" in url}
    return _page(text, 200, image_hosts=elsewhere)


def asked(request: Request, address: str, error: SafelightError) -> Response:
    """The password is asked for, or asked for again."""
    told = "" if error.code == "password_required" else error.detail
    if "retry_after_s" in error.extra:
        told = f"{told} Try again in {error.extra['retry_after_s']} seconds."
    return _refused(request, error, _template().render(asks=f"{address}/open", told=told))


def nothing(request: Request, error: SafelightError) -> Response:
    """A link that leads nowhere, whatever the reason."""
    return _refused(request, error, _template().render(told="The link may be mistyped, or its time is over."))


def _refused(request: Request, error: SafelightError, text: str) -> Response:
    request.state.problem_code = error.code
    said = {name: value for name, value in headers_of(error).items() if name not in ("content-type", "cache-control")}
    return _page(text, status_of(error), headers=said)


def _page(text: str, status: int, *, image_hosts: Iterable[str] = (), headers: dict[str, str] | None = None) -> Response:
    images = " ".join(("'self'", *sorted(image_hosts)))
    policy = (
        f"default-src 'none'; style-src 'self'; img-src {images}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    said = HEADERS | (headers or {}) | {"content-security-policy": policy}
    return Response(text, status, media_type="text/html; charset=utf-8", headers=said)


def _print(image: Image, signer: Signer, address: str) -> _Print:
    kinds = [one for one in image.renditions if one.format == "webp"] or list(image.renditions)
    by_size = sorted(kinds, key=lambda one: max(one.width, one.height))
    small = next((one for one in by_size if max(one.width, one.height) >= _SMALL), by_size[-1])
    return _Print(
        title=image.title,
        small=signer.link(image, small, ""),
        large=signer.link(image, by_size[-1], ""),
        original=f"{address}/originals/{image.id}" if address else "",
        width=small.width,
        height=small.height,
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader  # takes a while to import, and only this page needs it

    environment = Environment(loader=PackageLoader("safelight.api", "pages"), autoescape=True)
    return environment.get_template("shared.html")
